"""What filling masks and sentence vectors refuse, on models that have learned nothing."""

from pathlib import Path

import numpy as np
import pytest
from checks import PARITY_OUTPUTS

from minirembert import (
    RemBertConfig,
    RemBertForMaskedLM,
    RemBertForSequenceClassification,
    RemBertForTokenClassification,
    RemBertModel,
    RemBertTokenizer,
)
from minirembert.data.labelled import Sentence, TaggedSentence, encode_sentences, encode_tagged
from minirembert.inference import embed, fill_mask
from minirembert.tokenization.training import train_tokenizer

SENTENCES = ["the cat sleeps", "a dog sees the bird", "no bird sees a cat", "the dog sleeps"]
SIZES = dict(
    hidden_size=6, num_hidden_layers=1, num_attention_heads=2, input_embedding_size=4, output_embedding_size=5,
    intermediate_size=7, max_position_embeddings=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> RemBertTokenizer:
    folder: Path = tmp_path_factory.mktemp("inference")
    (folder / "en.txt").write_text("\n".join(SENTENCES * 20), encoding="utf-8")
    train_tokenizer([folder / "en.txt"], 28, folder / "tokenizer")
    return RemBertTokenizer.from_pretrained(folder / "tokenizer")


def encoder(tokenizer: RemBertTokenizer, rows: int = 0) -> RemBertModel:
    return RemBertModel(RemBertConfig(vocab_size=len(tokenizer) + rows, **SIZES), dtype="float64")


def filler(tokenizer: RemBertTokenizer, rows: int = 0) -> RemBertForMaskedLM:
    return RemBertForMaskedLM(RemBertConfig(vocab_size=len(tokenizer) + rows, **SIZES))


def test_one_string_is_no_list_of_sentences(tokenizer: RemBertTokenizer) -> None:
    with pytest.raises(TypeError, match=r"sentences must be a list of strings, got the string 'the cat'"):
        embed(encoder(tokenizer), tokenizer, "the cat")


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing(tokenizer: RemBertTokenizer, size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {size}"):
        embed(encoder(tokenizer), tokenizer, SENTENCES, batch_size=size)


@pytest.mark.parametrize("empty", ["", "  "])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_sentence_without_a_token(tokenizer: RemBertTokenizer, empty: str, batch_size: int) -> None:
    """Its mean would be over nothing."""
    with pytest.raises(ValueError, match=rf"sentences\[3\] has no token.*'{empty}'"):
        embed(encoder(tokenizer), tokenizer, [*SENTENCES[:3], empty, ""], batch_size=batch_size)


def test_the_batch_size_changes_nothing(tokenizer: RemBertTokenizer) -> None:
    model = encoder(tokenizer)
    vectors = [embed(model, tokenizer, SENTENCES, batch_size=size) for size in (1, 3, 32)]
    for other in vectors[1:]:
        np.testing.assert_allclose(other, vectors[0], rtol=PARITY_OUTPUTS)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_weights_that_are_not_numbers(tokenizer: RemBertTokenizer, bad: float) -> None:
    """One line, not a guess of probability nan; numpy has nothing to add."""
    model, head = encoder(tokenizer), filler(tokenizer)
    model.parameters["encoder.layer.0.attention.self.value.bias"][0] = bad
    head.parameters["cls.predictions.decoder.bias"][7] = bad
    with pytest.raises(ValueError, match=r"the states of sentences\[0\] at layer -1 are not finite \(there is nan\)"):
        embed(model, tokenizer, SENTENCES)
    assert np.isfinite(embed(model, tokenizer, SENTENCES, layer=0)).all(), "what lies before the damage is sound"
    with pytest.raises(ValueError, match=rf"the logits for 'the \[MASK\]' are not finite \(there is {bad}\)"):
        fill_mask(head, tokenizer, "the [MASK]")


def test_a_damaged_row_is_named_by_the_first_sentence_that_has_it(tokenizer: RemBertTokenizer) -> None:
    model = encoder(tokenizer)
    seen = [{*tokenizer.encode(sentence)} for sentence in SENTENCES]
    only_in_the_second = min(seen[1] - seen[0])
    model.parameters["embeddings.word_embeddings.weight"][only_in_the_second] = np.nan
    for size in (1, 32):
        with pytest.raises(ValueError, match=r"the states of sentences\[1\] at layer 0 are not finite"):
            embed(model, tokenizer, SENTENCES, layer=0, batch_size=size)
    assert np.isfinite(embed(model, tokenizer, SENTENCES[:1])).all()


def test_the_tokenizer_of_another_model(tokenizer: RemBertTokenizer) -> None:
    message = f"the tokenizer has {len(tokenizer)} pieces, but the model has vocab_size = {len(tokenizer) - 1}"
    with pytest.raises(ValueError, match=message):
        embed(encoder(tokenizer, -1), tokenizer, SENTENCES)
    with pytest.raises(ValueError, match=message):
        fill_mask(filler(tokenizer, -1), tokenizer, "the [MASK]")


@pytest.mark.parametrize("rows", [1, 36])
def test_rows_that_are_no_piece_are_never_proposed(tokenizer: RemBertTokenizer, rows: int) -> None:
    """Tables are often padded to a multiple of 8 or 64. Nothing that is in these rows changes an answer."""
    pieces = len(tokenizer)
    padded, whole = filler(tokenizer, rows), filler(tokenizer)
    for name, array in whole.parameters.items():
        wide = padded.parameters[name]
        array[...] = wide[:pieces] if wide.shape != array.shape else wide
    padded.parameters["cls.predictions.decoder.bias"][pieces:] = 1e3  # by far the best
    guesses = fill_mask(padded, tokenizer, "the [MASK] sees a [MASK]", top=pieces + rows)
    assert guesses == fill_mask(whole, tokenizer, "the [MASK] sees a [MASK]", top=pieces)
    for of_mask in guesses:
        assert {guess.token for guess in of_mask} == {*tokenizer.get_vocab()}
        np.testing.assert_allclose(
            sum(guess.probability for guess in of_mask), 1, rtol=1e-5
        )  # float32, some thirty terms
    assert embed(encoder(tokenizer, rows), tokenizer, SENTENCES).shape == (len(SENTENCES), SIZES["hidden_size"])


@pytest.fixture
def left(tokenizer: RemBertTokenizer, monkeypatch: pytest.MonkeyPatch) -> RemBertTokenizer:
    monkeypatch.setattr(tokenizer, "padding_side", "left")
    return tokenizer


def test_a_sentence_vector_does_not_depend_on_its_neighbours(left: RemBertTokenizer) -> None:
    """Nor on the side on which the tokenizer pads: each sentence of a batch, and alone."""
    model = encoder(left)
    sentences = ["a", "the cat sleeps", "no bird sees a cat"]
    together = embed(model, left, sentences)
    for sentence, vector in zip(sentences, together, strict=True):
        ids = left.encode(sentence)
        alone = model([ids]).last_hidden_state[0, 1:-1].mean(axis=0)
        np.testing.assert_allclose(vector, alone, rtol=PARITY_OUTPUTS)


def test_labelled_batches_do_not_depend_on_the_side_of_the_padding(left: RemBertTokenizer) -> None:
    """The first token is pooled and the tags stand where their words do."""
    config = {**SIZES, "vocab_size": len(left)}
    sentences = [Sentence("a", None, "x"), Sentence("no bird sees a cat", None, "y")]
    batch = encode_sentences(sentences, left, {"x": 0, "y": 1}, 12)
    assert (batch["input_ids"][:, 0] == left.cls_token_id).all() and batch["labels"].tolist() == [0, 1]
    classifier = RemBertForSequenceClassification(RemBertConfig(**config), dtype="float64")
    for row, sentence in zip(classifier(**batch).logits, sentences, strict=True):
        np.testing.assert_allclose(row, classifier([left.encode(sentence.text)]).logits[0], rtol=PARITY_OUTPUTS)

    tagged = [TaggedSentence(("a",), ("D",)), TaggedSentence(("no", "bird"), ("D", "N"))]
    batch = encode_tagged(tagged, left, {"D": 0, "N": 1}, 12)
    tagger = RemBertForTokenClassification(RemBertConfig(**config), dtype="float64")
    for n, sentence in enumerate(tagged):
        length = int(batch["attention_mask"][n].sum())
        ids = left.encode(" ".join(sentence.words))
        assert batch["input_ids"][n, :length].tolist() == ids
        labels = batch["labels"][n]
        assert labels[labels != -100].tolist() == [{"D": 0, "N": 1}[tag] for tag in sentence.tags]
        assert (labels[length:] == -100).all() and (batch["attention_mask"][n, :length] == 1).all()
        logits = tagger(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits[n, :length]
        np.testing.assert_allclose(logits, tagger([ids]).logits[0], rtol=PARITY_OUTPUTS)


def test_a_text_longer_than_the_positions(tokenizer: RemBertTokenizer) -> None:
    """Nine masks and more stand between [CLS] and [SEP]: which to cut is for the caller to say."""
    with pytest.raises(ValueError, match="a sequence of 13 tokens is longer than max_position_embeddings = 12"):
        fill_mask(filler(tokenizer), tokenizer, "[MASK]" * 11)
    assert len(fill_mask(filler(tokenizer), tokenizer, "[MASK]" * 10)) == 10


def test_the_tokenizer_does_not_say_once_more_what_is_too_long(
    tokenizer: RemBertTokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its limit is the model's where `pretrain` has saved it."""
    monkeypatch.setattr(tokenizer, "model_max_length", 12)
    for text in ("the cat " * 9 + "[MASK]", "[MASK]" + " the cat" * 9):
        with pytest.raises(ValueError, match="longer than max_position_embeddings = 12"):
            fill_mask(filler(tokenizer), tokenizer, text)
    assert not caplog.records
