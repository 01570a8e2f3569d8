"""Fine-tuning and using a trained model, on a run small enough for a test."""

import json
import logging
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checks import PARITY_OUTPUTS

from minirembert import (
    RemBertForMaskedLM,
    RemBertForSequenceClassification,
    RemBertForTokenClassification,
    RemBertModel,
    RemBertTokenizer,
)
from minirembert.data.labelled import encode_tagged, read_conllu
from minirembert.inference import _encode_around_masks, embed, fill_mask
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.training.finetune import FinetuneSettings, finetune
from minirembert.training.pretrain import PretrainSettings, pretrain

DETERMINERS = ("the", "a", "every", "this", "no")
NOUNS = ("cat", "dog", "bird", "fish", "horse", "child", "woman", "teacher", "farmer", "mouse", "snake", "queen")
VERBS = ("sees", "likes", "finds", "bites", "hunts", "wakes")
TAGS = {word: tag for words, tag in ((DETERMINERS, "DET"), (NOUNS, "NOUN"), (VERBS, "VERB")) for word in words}


def sentence(rng: random.Random) -> list[str]:
    return [rng.choice(words) for words in (DETERMINERS, NOUNS, VERBS, DETERMINERS, NOUNS)]


def conllu(sentences: list[list[str]]) -> str:
    blocks = []
    for words in sentences:
        blocks.append(
            "".join(f"{i}\t{word}\t_\t{TAGS[word]}" + "\t_" * 6 + "\n" for i, word in enumerate(words, start=1))
        )
    return "\n".join(blocks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained model in `model/`, and labelled files beside it."""
    folder = tmp_path_factory.mktemp("finetune")
    rng = random.Random(1)
    sentences = [sentence(rng) for _ in range(300)]
    (folder / "en.txt").write_text("\n".join(map(" ".join, sentences)), encoding="utf-8")
    (folder / "train.conllu").write_text(conllu(sentences[:200]), encoding="utf-8")
    (folder / "test.conllu").write_text(conllu(sentences[200:]), encoding="utf-8")
    rows = [f"{' '.join(words)}\t{'gentle' if words[2] in VERBS[:3] else 'rough'}" for words in sentences]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows[:200]]), encoding="utf-8")
    (folder / "test.tsv").write_text("\n".join(["text\tlabel", *rows[200:]]), encoding="utf-8")
    pretrain(
        PretrainSettings(
            out=str(folder / "model"), corpus=(str(folder / "en.txt"),), vocab_size=48, hidden_size=24,
            num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, input_embedding_size=12,
            output_embedding_size=32, initializer_range=0.1, sequence_length=24, lines_per_sequence=1, batch_size=16,
            steps=200, learning_rate=3e-3,
        ),
        say=lambda text: None,
    )  # fmt: skip
    return folder


def settings(folder: Path, kind: str, out: str, **changes: object) -> FinetuneSettings:
    return FinetuneSettings(
        model=str(folder / "model"), train=str(folder / f"train.{kind}"), out=str(folder / out),
        evaluate=(str(folder / f"test.{kind}"),), **{"epochs": 4, "learning_rate": 3e-3, "batch_size": 16, **changes},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["conllu", "tsv"])
def test_a_task_that_can_be_learned_is_learned(folder: Path, kind: str) -> None:
    said: list[str] = []
    epochs = {"conllu": 6, "tsv": 20}[kind]  # four seeds tried: all above 0.99
    result = finetune(settings(folder, kind, f"tuned-{kind}", epochs=epochs), say=said.append)
    (score,) = result.scores
    assert score.language == "test"
    assert score.majority_baseline < 0.85
    assert score.accuracy > 0.95
    stored = json.loads((folder / f"tuned-{kind}" / "scores.json").read_text(encoding="utf-8"))
    assert stored["test"]["accuracy"] == score.accuracy
    assert any(f"{result.discarded_parameters:,}" in line for line in said), "how much is discarded is said"


def test_what_is_discarded_is_exactly_the_output_head(folder: Path) -> None:
    result = finetune(settings(folder, "conllu", "counted", epochs=1), say=lambda text: None)
    pretrained = RemBertForMaskedLM.from_pretrained(folder / "model")
    head = {name: array for name, array in pretrained.parameters.items() if name.startswith("cls.predictions")}
    assert result.discarded_parameters == sum(array.size for array in head.values())
    saved = RemBertForTokenClassification.from_pretrained(folder / "counted")
    assert not [name for name in saved.parameters if name.startswith("cls.")]
    fresh = sum(saved.parameters[name].size for name in ("classifier.weight", "classifier.bias"))
    assert saved.num_parameters() == pretrained.num_parameters() - result.discarded_parameters + fresh


def test_baselines_by_hand(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train.conllu").write_text(conllu([["the", "cat", "sees", "dog"]] * 5), encoding="utf-8")
    (tmp_path / "xx.conllu").write_text(conllu([["bird", "sees", "the", "dog"]]), encoding="utf-8")
    changed = settings(folder, "conllu", "unused", epochs=1)
    result = finetune(
        FinetuneSettings(changed.model, str(tmp_path / "train.conllu"), str(tmp_path / "out"),
                         evaluate=(str(tmp_path / "xx.conllu"),), epochs=1),
        say=lambda text: None,
    )  # fmt: skip
    (score,) = result.scores
    assert score.examples == 4
    assert score.majority_baseline == 2 / 4, "NOUN is most frequent: bird and dog"
    assert score.lookup_baseline == 4 / 4, "bird is unknown and taken for a NOUN"


def test_a_tag_stands_at_the_first_piece_of_its_word(folder: Path) -> None:
    tokenizer = RemBertTokenizer.from_pretrained(folder / "model")
    (example, *_) = read_conllu(folder / "test.conllu")
    unknown = example._replace(words=("queensnake", *example.words[1:]))
    batch = encode_tagged([unknown], tokenizer, {"DET": 0, "NOUN": 1, "VERB": 2}, max_length=30)
    labels = batch["labels"][0]
    first_pieces = [1]
    for word in unknown.words[:-1]:
        first_pieces.append(first_pieces[-1] + len(tokenizer.tokenize(word)))
    expected = np.full_like(labels, IGNORE_INDEX)
    expected[first_pieces] = [0, 1, 2, 0, 1]
    np.testing.assert_array_equal(labels, expected)


def test_words_beyond_the_longest_example_count_as_wrong(folder: Path) -> None:
    result = finetune(settings(folder, "conllu", "short", max_length=4), say=lambda text: None)
    (score,) = result.scores
    assert score.examples == 500
    assert score.accuracy <= 2 / 5, "two pieces fit between [CLS] and [SEP]"


def test_a_file_with_one_label_teaches_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("text\tlabel\na\tyes\nb\tyes\n", encoding="utf-8")
    with pytest.raises(ValueError, match="only one label, yes"):
        finetune(FinetuneSettings(str(folder / "model"), str(tmp_path / "x.tsv"), str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_files_of_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must all be .conllu \(tagging\), or all .tsv or .jsonl"):
        FinetuneSettings("model", "train.conllu", "out", evaluate=("test.tsv",))


def quietly(text: str) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be above 0 and finite, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0 and finite, got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1.0"),
        ({"clip": float("nan")}, "clip must be above 0, got nan"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"warmup": 1000}, "warmup must lie between 0 and steps - 1 = 51, got 1000"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1, got 0"),
        ({"max_length": -4}, r"max_length must be at least 3 \(\[CLS\], a token, \[SEP\]\), got -4"),
        ({"max_length": 0}, "max_length must be at least 3"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_settings_that_make_no_sense_are_named_and_leave_nothing(
    folder: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        finetune(replace(settings(folder, "conllu", "x"), out=str(tmp_path / "out"), **change), say=quietly)
    assert not (tmp_path / "out").exists()


def tsv(path: Path, rows: list[str], header: str = "text\tlabel") -> str:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def small(folder: Path, tmp_path: Path, **changes: object) -> FinetuneSettings:
    train = tsv(tmp_path / "train.tsv", ["the cat\tgood", "a dog\tbad", "the bird\tgood"])
    return FinetuneSettings(**{"model": str(folder / "model"), "train": train, "out": str(tmp_path / "out"), "epochs": 1,
                               **changes})  # fmt: skip


@pytest.mark.parametrize("labels", [("good", "bad"), ("left", "right"), ("x", "y", "z")])
def test_a_second_fine_tuning_starts_with_a_head_of_its_own(
    folder: Path, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    rate = 1e-30  # so small that the head stays as it began
    finetune(small(folder, tmp_path, learning_rate=3e-3), say=quietly)
    train = tsv(tmp_path / "second.tsv", [f"the cat\t{label}" for label in labels])
    said: list[str] = []
    again, other = (
        finetune(small(folder, tmp_path, model=str(model), train=train, out=str(tmp_path / out), learning_rate=rate),
                 say=said.append).model
        for model, out in ((tmp_path / "out", "again"), (folder / "model", "other"))
    )  # fmt: skip
    for name in ("classifier.weight", "classifier.bias"):
        # The steps move a bias, which begins at 0, by the learning rate.
        np.testing.assert_allclose(again.parameters[name], other.parameters[name], rtol=0, atol=10 * rate)
    assert again.config.id2label == dict(enumerate(sorted(labels)))
    first = RemBertForSequenceClassification.from_pretrained(tmp_path / "out")
    for part in ("rembert.pooler.dense.weight", "rembert.encoder.layer.0.output.dense.weight"):
        np.testing.assert_array_equal(again.parameters[part], first.parameters[part], err_msg="kept")
    head = 24 * 2 + 2
    assert f"discarded the classifier of a fine-tuning: {head} parameters" in said
    assert any(line.endswith(f"a new head for {len(labels)} labels") for line in said)
    assert any(line.endswith(f"a new head for {len(labels)} labels and {24 * 24 + 24} a new pooler") for line in said)


def test_labels_that_training_never_saw_are_counted(folder: Path, tmp_path: Path) -> None:
    some = tsv(tmp_path / "some.tsv", ["a cat\tgood", "a dog\tnew", "a cat\tnew"])
    said: list[str] = []
    (score,) = finetune(small(folder, tmp_path, evaluate=(some,)), say=said.append).scores
    assert f"some: 2 of 3 labels (new) do not occur in {tmp_path / 'train.tsv'}" in said
    assert score.examples == 3 and score.accuracy <= 1 / 3
    none = tsv(tmp_path / "none.tsv", ["a cat\tsame", "a dog\tnew"])
    with pytest.raises(ValueError, match=r"none: 2 of 2 labels \(new, same\) do not occur in .*train.tsv"):
        finetune(small(folder, tmp_path, evaluate=(none,), out=str(tmp_path / "other")), say=quietly)
    assert not (tmp_path / "other").exists()


def test_sentences_and_pairs_are_two_tasks(folder: Path, tmp_path: Path) -> None:
    pairs = tsv(tmp_path / "pairs.tsv", ["a cat\ta dog\tgood", "a\tb\tbad"], header="text_a\ttext_b\tlabel")
    with pytest.raises(ValueError, match=r"pairs.tsv has pairs .* but .*train.tsv has sentences"):
        finetune(small(folder, tmp_path, evaluate=(pairs,)), say=quietly)
    with pytest.raises(ValueError, match="max_length must be at least 5 for pairs"):
        finetune(small(folder, tmp_path, train=pairs, max_length=4), say=quietly)
    assert not (tmp_path / "out").exists()
    finetune(small(folder, tmp_path, train=pairs, max_length=5), say=quietly)


@pytest.mark.parametrize(("max_length", "times"), [(3, 1), (4, 1), (24, 1), (24, 6)])  # 24 is the tokenizer's limit too
def test_how_many_examples_were_cut_is_said_once(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, max_length: int, times: int
) -> None:
    tokenizer = RemBertTokenizer.from_pretrained(folder / "model")
    last = " ".join(["the cat sees a dog"] * times)
    lengths = [len(tokenizer.encode(text, verbose=False)) for text in ("the cat", "a dog", "the bird", last)]
    test = tsv(tmp_path / "test.tsv", [f"{last}\tgood"])
    said: list[str] = []
    with caplog.at_level(logging.WARNING):
        finetune(small(folder, tmp_path, evaluate=(test,), max_length=max_length), say=said.append)
    longer = sum(length > max_length for length in lengths)
    expected = [f"{longer} of 4 examples are longer than {max_length} tokens and were cut"] if longer else []
    assert [line for line in said if "were cut" in line] == expected
    assert not caplog.records


def test_untagged_words_count_nowhere(folder: Path, tmp_path: Path) -> None:
    text = conllu([["the", "cat", "sees", "dog"]] * 4)
    (tmp_path / "train.CONLLU").write_text(text, encoding="utf-8")
    (tmp_path / "xx.conllu").write_text(text.replace("sees\t_\tVERB", "sees\t_\t_"), encoding="utf-8")
    files = {"train": str(tmp_path / "train.CONLLU"), "evaluate": (str(tmp_path / "xx.conllu"),)}
    (score,) = finetune(small(folder, tmp_path, **files, epochs=60, learning_rate=3e-3), say=quietly).scores
    assert score.examples == 3 * 4
    assert score.accuracy == score.lookup_baseline == 1
    assert score.majority_baseline == 2 / 3


def test_a_label_may_be_an_underscore(folder: Path, tmp_path: Path) -> None:
    train = tsv(tmp_path / "under.tsv", ["a cat\t_", "a dog\tx"])
    assert finetune(small(folder, tmp_path, train=train), say=quietly).model.config.id2label == {0: "_", 1: "x"}


def test_a_run_is_known_by_the_content_of_its_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(small(folder, tmp_path), say=quietly)
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    shutil.copytree(folder / "model", tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    test = tsv(tmp_path / "test.tsv", ["a cat\tgood"])
    said: list[str] = []
    again = FinetuneSettings(model="./copy", train="train.tsv", out="out", evaluate=(test,), epochs=1)
    assert [score.language for score in finetune(again, say=said.append).scores] == ["test"]
    assert said.count("already finished: out has all 1 steps") == 1
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    with pytest.raises(FileExistsError, match="another run: its seed is 0"):
        finetune(replace(again, seed=1), say=quietly)
    tsv(tmp_path / "train.tsv", ["a cat\tgood", "a dog\tbad"])
    with pytest.raises(FileExistsError, match="another run: its train_content"):
        finetune(again, say=quietly)


# --- inference -------------------------------------------------------------------------------------------------------


def test_the_guesses_for_a_mask_are_the_largest_probabilities_at_its_place(folder: Path) -> None:
    model = RemBertForMaskedLM.from_pretrained(folder / "model", dtype="float64")
    tokenizer = RemBertTokenizer.from_pretrained(folder / "model")
    text = "the [MASK] sees [MASK] dog"
    ids = tokenizer.encode(text)
    filled = fill_mask(model, tokenizer, text, top=3)
    places = [i for i, token in enumerate(ids) if token == tokenizer.mask_token_id]
    assert len(filled) == len(places) == 2
    probabilities = np.exp(model([ids]).logits[0])
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    for guesses, place in zip(filled, places, strict=True):
        row = probabilities[place]
        assert [guess.token for guess in guesses] == tokenizer.convert_ids_to_tokens(np.argsort(-row)[:3].tolist())
        np.testing.assert_allclose([guess.probability for guess in guesses], np.sort(row)[:-4:-1], rtol=PARITY_OUTPUTS)
        assert all(guess.text.count("[MASK]") == 1 for guess in guesses), "the other mask is left open"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the cat [MASK].", ["[MASK]", "."]),
        ("the cat [MASK] .", ["[MASK]", "\u2581", "."]),
        ("the cat[MASK]", ["[MASK]"]),
        ("[MASK][MASK] cat", ["[MASK]", "[MASK]"]),
    ],
)
def test_a_mask_is_surrounded_as_in_training(folder: Path, text: str, pieces: list[str]) -> None:
    """The tokenizer would put a space in front of each stretch of text, also where the text has none."""
    tokenizer = RemBertTokenizer.from_pretrained(folder / "model")
    tokens = tokenizer.convert_ids_to_tokens(_encode_around_masks(tokenizer, text).tolist())
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]"
    first = tokens.index("[MASK]")
    assert [token for token in tokens[first:-1] if token in ("[MASK]", "\u2581", ".", "[UNK]")][: len(pieces)] == [
        "[UNK]" if piece == "." and "." not in tokenizer.get_vocab() else piece for piece in pieces
    ]


def test_a_text_without_mask_is_refused(folder: Path) -> None:
    model = RemBertForMaskedLM.from_pretrained(folder / "model")
    tokenizer = RemBertTokenizer.from_pretrained(folder / "model")
    with pytest.raises(ValueError, match=r"there is no \[MASK\] in 'the cat'"):
        fill_mask(model, tokenizer, "the cat")


@pytest.mark.filterwarnings("ignore:.*newly initialised")
@pytest.mark.filterwarnings("ignore:.*not used by")
def test_a_sentence_vector_is_the_mean_of_its_tokens_and_knows_no_neighbours(folder: Path) -> None:
    model = RemBertModel.from_pretrained(folder / "model", dtype="float64")
    tokenizer = RemBertTokenizer.from_pretrained(folder / "model")
    sentences = ["the cat sees a dog", "a bird"]
    together = embed(model, tokenizer, sentences, layer=1)
    assert together.shape == (2, 24) and together.dtype == np.float64
    for text, vector in zip(sentences, together, strict=True):
        ids = np.array([tokenizer.encode(text)])
        states = model(ids, output_hidden_states=True).hidden_states[1][0, 1:-1]
        np.testing.assert_allclose(vector, states.mean(axis=0), rtol=PARITY_OUTPUTS)
    with pytest.raises(IndexError, match="layer 3 is not among 0 to 2"):
        embed(model, tokenizer, sentences, layer=3)
    with pytest.raises(ValueError, match="no sentence"):
        embed(model, tokenizer, [])
