"""The numbers of the tour, from models that say what a test tells them: what is hidden, what is right, what is compared."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minirembert import RemBertConfig, RemBertModel, tour
from minirembert.corpus import LANGUAGES, realize, split_of
from minirembert.tour import finetuning_settings, nearest_neighbour_accuracy, pretraining_settings, unseen_meanings
from minirembert.tour.page import GuessScore, Retrieval, TourResults

MEANINGS = unseen_meanings(40)
OPEN = "\u2581"


class Words:
    """A tokenizer whose pieces are the tokens of the generated sentences; `halved` words are two pieces."""

    pad_token_id, cls_token_id, sep_token_id, mask_token_id = range(4)
    all_special_ids = (0, 1, 2, 3)

    def __init__(self, halved: tuple[str, ...] = ()) -> None:
        self.pieces = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
        self.ids: dict[str, list[int]] = {}
        for meaning in MEANINGS:
            for language in LANGUAGES:
                sentence = realize(meaning, language)
                forms = []
                for token in sentence.tokens:
                    form = (OPEN if token.space_before else "") + token.form
                    forms += [form[:-1], form[-1]] if token.form in halved else [form]
                for form in forms:
                    if form not in self.pieces:
                        self.pieces.append(form)
                self.ids[sentence.text] = [1, *map(self.pieces.index, forms), 2]

    def encode(self, text: str) -> list[int]:
        return self.ids[text]

    def __call__(self, texts: list[str], **settings: Any) -> dict[str, np.ndarray]:
        assert settings["padding"] and settings["return_tensors"] == "np"
        rows = [self.ids[text] for text in texts]
        ids = np.zeros((len(rows), max(map(len, rows))), int)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        return {"input_ids": ids, "attention_mask": (ids != 0).astype(int)}

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        return self.pieces[ids] if isinstance(ids, int) else [self.pieces[i] for i in ids]


class Model:
    """Gives the logits that `answer(ids, attention_mask)` says, and keeps what it was shown."""

    def __init__(self, answer: Any) -> None:
        self.config = SimpleNamespace(max_position_embeddings=64, num_hidden_layers=2)
        self.answer, self.shown = answer, []

    def __call__(self, ids: np.ndarray, attention_mask: Any = None) -> Any:
        self.shown.append((ids.copy(), attention_mask))
        return SimpleNamespace(logits=self.answer(ids, attention_mask))


# --- which files ------------------------------------------------------------------------------------------------------------


def test_each_file_is_of_its_split() -> None:
    corpus, out = Path("corpus"), Path("out")
    pretrained, tagged = pretraining_settings(corpus, out / "pretrained"), finetuning_settings(corpus, out)
    assert pretrained.corpus == tuple(f"corpus/train/{language}.txt" for language in LANGUAGES)
    assert pretrained.held_out == tuple(f"corpus/validation/{language}.txt" for language in LANGUAGES)
    assert (tagged.train, tagged.model) == ("corpus/train/en.conllu", "out/pretrained")
    assert tagged.evaluate == tuple(f"corpus/test/{language}.conllu" for language in LANGUAGES)
    assert (pretrained.out, tagged.out) == ("out/pretrained", "out/tagger")


# --- guessing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_score_is_that_of_one_hidden_piece_in_each_sentence(language: str) -> None:
    """Every third sentence is answered rightly. The baseline is how often the language's most frequent piece is hidden."""
    words = Words()
    sentences = [words.encode(realize(meaning, language).text) for meaning in MEANINGS]
    whole = words([realize(meaning, language).text for meaning in MEANINGS], padding=True, return_tensors="np")[
        "input_ids"
    ]

    def answer(ids: np.ndarray, attention_mask: Any) -> np.ndarray:
        logits = np.zeros((*ids.shape, len(words.pieces)))
        for n, row in enumerate(ids):
            (place,) = np.flatnonzero(row == words.mask_token_id)
            logits[n, place, whole[n, place] if n % 3 == 0 else words.pad_token_id] = 1
        return logits

    model = Model(answer)
    score = tour.score_guesses(model, words, MEANINGS, language)
    ((shown, attention_mask),) = model.shown
    hidden = shown != whole
    assert (hidden.sum(axis=1) == 1).all()
    assert (shown[hidden] == words.mask_token_id).all()
    assert not np.isin(whole[hidden], words.all_special_ids).any()
    assert (attention_mask == (whole != words.pad_token_id)).all()
    assert score.language == language
    assert score.accuracy == len(MEANINGS[::3]) / len(MEANINGS)
    count = Counter(piece for sentence in sentences for piece in sentence[1:-1])
    ((frequent, times), (_, fewer)) = count.most_common(2)
    assert times > fewer
    assert score.baseline == (whole[hidden] == frequent).mean()
    assert 0 < score.baseline < 1
    again = Model(answer)
    assert tour.score_guesses(again, words, MEANINGS, language) == score
    assert (again.shown[0][0] == shown).all()


def test_the_object_is_hidden_and_the_likeliest_pieces_are_shown() -> None:
    words = Words()
    table = np.random.default_rng(0).standard_normal((64, len(words.pieces)))
    model = Model(lambda ids, mask: table[None, : ids.shape[1]])
    filled = tour.fill_objects(model, words, MEANINGS, 3)
    assert len(filled) == 3
    for row in filled:
        assert [one.language for one in row] == list(LANGUAGES)
        for one in row:
            sentence = next(
                sentence
                for sentence in (realize(meaning, one.language) for meaning in MEANINGS)
                if sentence.text == (one.before + one.truth.lstrip(OPEN) + one.after).strip()
            )
            objects = [t.form for t in sentence.tokens if t.role == "object" and t.upos in ("NOUN", "PROPN")]
            assert objects == [one.truth.lstrip(OPEN)]
            ids = words.encode(sentence.text)
            place = ids.index(words.pieces.index(one.truth))
            expected = [*ids]
            expected[place] = words.mask_token_id
            assert any(shown[0].tolist() == expected for shown, _ in model.shown)
            odds = np.exp(table[place]) / np.exp(table[place]).sum()
            assert [piece for piece, _ in one.guesses] == [words.pieces[i] for i in np.argsort(-odds)[:5]]
            np.testing.assert_allclose([p for _, p in one.guesses], np.sort(odds)[::-1][:5])


def test_a_meaning_whose_object_is_two_pieces_in_one_language_is_left_out() -> None:
    words = Words()
    model = Model(lambda ids, mask: np.zeros((*ids.shape, len(words.pieces))))
    first = tour.fill_objects(model, words, MEANINGS, 1)[0]
    spanish = first[LANGUAGES.index("es")].truth.lstrip(OPEN)
    words = Words(halved=(spanish,))
    other = tour.fill_objects(model, words, MEANINGS, 1)[0]
    assert [one.language for one in other] == list(LANGUAGES)
    assert other[0].before + other[0].truth != first[0].before + first[0].truth


# --- nearest neighbours -----------------------------------------------------------------------------------------------------


def test_neighbours_are_those_of_the_first_half_moved_by_the_second() -> None:
    """0 is nearest to 9, its own; 10, whose own is 12, is nearest to 9 as well. The second halves agree: nothing is moved."""
    a, b = np.array([[0.0], [10.0], [-1.0], [1.0]]), np.array([[9.0], [12.0], [1.0], [-1.0]])
    assert nearest_neighbour_accuracy(a, b) == 0.5
    assert nearest_neighbour_accuracy(a, b + 7) == 0.5
    further = b.copy()
    further[2:] -= 2  # b is moved up by 2: 11 and 14
    assert nearest_neighbour_accuracy(a, further) == 0.5
    assert nearest_neighbour_accuracy(a + np.array([[0], [5], [0], [0]]), b) == 1.0


def test_each_layer_of_each_model_has_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trained model finds all in layer 2, the untrained one in layer 0, and neither anything else."""
    of_text = {realize(m, language).text: (n, language) for n, m in enumerate(MEANINGS) for language in LANGUAGES}

    def embed(model: Any, tokenizer: Any, sentences: list[str], layer: int) -> np.ndarray:
        found = [of_text[sentence] for sentence in sentences]
        assert len({language for _, language in found}) == 1
        n = np.array([number for number, _ in found], float)
        together = layer == (2 if model.name == "trained" else 0) or found[0][1] == "en"
        n[:20] = n[:20] if together else (n[:20] + 1) % 20  # each beside its neighbour's translation
        return np.c_[n, np.zeros_like(n)]

    monkeypatch.setattr(tour, "embed", embed)
    config = SimpleNamespace(num_hidden_layers=2)
    trained, untrained = (SimpleNamespace(name=name, config=config) for name in ("trained", "untrained"))
    found = tour.retrieve(trained, untrained, None, MEANINGS)
    assert [retrieval.language for retrieval in found] == list(LANGUAGES[1:])
    for retrieval in found:
        assert retrieval.by_layer == (0.0, 0.0, 1.0)
        assert retrieval.untrained == (1.0, 0.0, 0.0)


# --- the whole --------------------------------------------------------------------------------------------------------------


def test_each_step_gets_what_the_one_before_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every step replaced: the model that is compared has the trained one's sizes and none of its numbers, and what is
    scored comes from meanings in no training text."""
    got: dict[str, Any] = {}
    config = RemBertConfig(
        vocab_size=20, hidden_size=6, num_hidden_layers=1, num_attention_heads=2, input_embedding_size=4,
        output_embedding_size=5, intermediate_size=7,
    )  # fmt: skip
    RemBertModel(config, seed=5).save_pretrained(tmp_path / "pretrained")
    model, tokenizer = object(), object()

    def step(name: str, result: Any) -> Any:
        def record(*given: Any, **named: Any) -> Any:
            got.setdefault(name, []).append((*given, named) if named else given)
            return result(*given) if callable(result) else result

        return record

    pretrained = SimpleNamespace(model=model, tokenizer=tokenizer)
    found = Retrieval("es", (0.5,), (0.25,))
    for name, result in (
        ("write_corpus", None), ("pretrain", pretrained), ("finetune", "tagged"), ("fill_objects", "filled"),
        ("score_guesses", lambda m, t, meanings, language: GuessScore(language, 0.5, 0.25)),
        ("retrieve", [found]), ("write_page", tmp_path / "index.html"),
    ):  # fmt: skip
        monkeypatch.setattr(tour, name, step(name, result))
    for name, value in (("SENTENCES", 70), ("EXAMPLES", 2), ("GUESSED", 6), ("RETRIEVED", 5)):
        monkeypatch.setattr(tour, name, value)
    tour.tour(tmp_path)
    unseen = unseen_meanings(10)
    assert {split_of(meaning) for meaning in unseen} == {"test"}
    assert got["write_corpus"] == [(tmp_path / "corpus", 70, {"seed": 0})]
    assert got["pretrain"][0][0] == pretraining_settings(tmp_path / "corpus", tmp_path / "pretrained")
    assert got["finetune"][0][0] == finetuning_settings(tmp_path / "corpus", tmp_path)
    assert got["fill_objects"] == [(model, tokenizer, unseen, 2)]
    assert got["score_guesses"] == [(model, tokenizer, unseen[:6], language) for language in LANGUAGES]
    ((trained, untrained, given, meanings),) = got["retrieve"]
    assert (given, meanings) == (tokenizer, unseen)
    saved = RemBertModel.from_pretrained(tmp_path / "pretrained").parameters
    assert all((trained.parameters[name] == array).all() for name, array in saved.items())
    weights = [name for name, array in saved.items() if array.ndim > 1]
    assert untrained.parameters.keys() == saved.keys() and untrained.config == trained.config
    assert all((untrained.parameters[name] != saved[name]).any() for name in weights)
    scores = [GuessScore(language, 0.5, 0.25) for language in LANGUAGES]
    results = TourResults(pretrained, "tagged", unseen[:2], "filled", scores, [found], 1 / 5)
    assert got["write_page"] == [(tmp_path, results)]
    (tmp_path / "corpus").mkdir()
    tour.tour(tmp_path)
    assert len(got["write_corpus"]) == 1  # the corpus that is there is used
