"""Masks filled and sentences embedded, worked out from the model's own output for one sequence of ids at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import PARITY_OUTPUTS
from models import randomised

from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertModel, RemBertTokenizer
from minirembert.inference import embed, fill_mask
from minirembert.tokenization.training import train_tokenizer

SENTENCES = ["the cat sleeps", "a dog sees the bird", "no", "no bird sees a cat", "the dog sleeps"]
SPACE = "\u2581"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> RemBertTokenizer:
    folder: Path = tmp_path_factory.mktemp("inference")
    (folder / "en.txt").write_text("\n".join(SENTENCES * 20), encoding="utf-8")
    train_tokenizer([folder / "en.txt"], 28, folder / "tokenizer")
    return RemBertTokenizer.from_pretrained(folder / "tokenizer")


def make(kind: Any, tokenizer: RemBertTokenizer) -> Any:
    config = RemBertConfig(
        vocab_size=len(tokenizer), hidden_size=6, num_hidden_layers=2, num_attention_heads=2, input_embedding_size=4,
        output_embedding_size=5, intermediate_size=7, max_position_embeddings=20,
    )  # fmt: skip
    model = kind(config, dtype="float64")
    randomised(model.parameters, np.random.default_rng(0))
    return model


def guesses_by_hand(
    model: Any, tokenizer: RemBertTokenizer, pieces: list[str], top: int
) -> list[list[tuple[Any, ...]]]:
    """(piece, probability) for each [MASK] of `pieces`, which stand between [CLS] and [SEP]."""
    ids = tokenizer.convert_tokens_to_ids(["[CLS]", *pieces, "[SEP]"])
    logits = model([ids]).logits[0]
    found = []
    for place in np.flatnonzero(np.array(ids) == tokenizer.mask_token_id):
        odds = np.exp(logits[place] - logits[place].max())
        odds /= odds.sum()
        best = np.argsort(-odds)[:top]
        found.append([(tokenizer.convert_ids_to_tokens(int(i)), odds[i]) for i in best])
    return found


def test_each_mask_has_its_likeliest_pieces(tokenizer: RemBertTokenizer) -> None:
    model = make(RemBertForMaskedLM, tokenizer)
    pieces = [*tokenizer.tokenize("the"), "[MASK]", *tokenizer.tokenize("sees a"), "[MASK]"]
    for top in (1, 3, len(tokenizer)):
        ours, expected = fill_mask(model, tokenizer, "the [MASK] sees a [MASK]", top), []
        expected = guesses_by_hand(model, tokenizer, pieces, top)
        assert [[guess.token for guess in row] for row in ours] == [[piece for piece, _ in row] for row in expected]
        odds = [[guess.probability for guess in row] for row in ours]
        np.testing.assert_allclose(odds, [[p for _, p in row] for row in expected], rtol=PARITY_OUTPUTS)
        assert [len(row) for row in ours] == [top, top]
    assert [guess.token for guess in ours[0]] != [guess.token for guess in ours[1]]


def test_a_guess_stands_in_its_own_mask_and_the_other_stays_open(tokenizer: RemBertTokenizer) -> None:
    first, second = fill_mask(
        make(RemBertForMaskedLM, tokenizer), tokenizer, "the [MASK] sees a [MASK]", len(tokenizer)
    )
    words = [guess for guess in first if guess.token.startswith(SPACE) and len(guess.token) > 1]
    assert words
    for guess in words:
        assert guess.text.split() == ["the", guess.token[1:], "sees", "a", "[MASK]"]
        (other,) = [one for one in second if one.token == guess.token]
        assert other.text.split() == ["the", "[MASK]", "sees", "a", guess.token[1:]]


def test_a_space_is_where_the_text_has_one(tokenizer: RemBertTokenizer) -> None:
    """A letter right after a mask has no space before it, though the tokenizer puts one before every stretch of text."""
    model = make(RemBertForMaskedLM, tokenizer)
    letter = next(c for c in "abcdeghilnoprst" if tokenizer.tokenize(c) == [SPACE, c])
    start = tokenizer.tokenize("the")
    for text, pieces in (
        (f"the [MASK]{letter}", [*start, "[MASK]", letter]),
        (f"the [MASK] {letter}", [*start, "[MASK]", SPACE, letter]),
        (f"the [MASK]{letter} [MASK]", [*start, "[MASK]", letter, "[MASK]"]),
    ):
        ours, expected = fill_mask(model, tokenizer, text, 4), guesses_by_hand(model, tokenizer, pieces, 4)
        assert [[guess.token for guess in row] for row in ours] == [[piece for piece, _ in row] for row in expected]
        odds = [[guess.probability for guess in row] for row in ours]
        np.testing.assert_allclose(odds, [[p for _, p in row] for row in expected], rtol=PARITY_OUTPUTS)


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2, -3])
def test_a_vector_is_the_mean_of_its_tokens_at_its_layer(layer: int, tokenizer: RemBertTokenizer) -> None:
    """Sentences of one word and of several side by side: each is what it is alone, without [CLS], [SEP] and padding."""
    model = make(RemBertModel, tokenizer)
    vectors = embed(model, tokenizer, SENTENCES, layer)
    assert vectors.shape == (len(SENTENCES), 6)
    for sentence, vector in zip(SENTENCES, vectors, strict=True):
        states = model([tokenizer.encode(sentence)], output_hidden_states=True).hidden_states[layer][0]
        np.testing.assert_allclose(vector, states[1:-1].mean(axis=0), rtol=PARITY_OUTPUTS)


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_the_model_lacks(layer: int, tokenizer: RemBertTokenizer) -> None:
    with pytest.raises(IndexError, match=f"layer {layer} is not among 0 to 2"):
        embed(make(RemBertModel, tokenizer), tokenizer, SENTENCES, layer)
