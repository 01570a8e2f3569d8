"""Using a trained model: filling masks and turning sentences into vectors.

model = RemBertForMaskedLM.from_pretrained("model"); tokenizer = RemBertTokenizer.from_pretrained("model")
fill_mask(model, tokenizer, "The cat drinks [MASK].")
embed(RemBertModel.from_pretrained("model"), tokenizer, ["The cat sleeps.", "El gato duerme."])
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minirembert.data.labelled import padded_on_the_right
from minirembert.model.base import RemBertModel, RemBertPreTrainedModel
from minirembert.model.tasks import RemBertForMaskedLM
from minirembert.ops.array import Array
from minirembert.ops.softmax import softmax
from minirembert.tokenization.candidates import SPACE
from minirembert.tokenization.pretrained import PreTrainedTokenizer


class Guess(NamedTuple):
    """One piece that may stand in a mask's place."""

    token: str
    probability: float
    text: str  # the sentence with this guess in this mask's place, the other masks left as they are


def fill_mask(model: RemBertForMaskedLM, tokenizer: PreTrainedTokenizer, text: str, top: int = 5) -> list[list[Guess]]:
    """The `top` most probable pieces for each mask in `text`, in order.

    Raises ValueError if `text` has no mask, is longer than the model's positions or the tokenizer is another model's,
    and for a model whose logits are not finite.
    """
    _check_vocabulary(model, tokenizer)
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    if tokenizer.mask_token not in text:
        raise ValueError(f"there is no {tokenizer.mask_token} in {text!r}")
    ids = _encode_around_masks(tokenizer, text)
    masks = np.flatnonzero(ids == tokenizer.mask_token_id)
    with np.errstate(all="ignore"):  # what comes of it is looked at below
        logits = model.backend.numpy(model(ids[None]).logits[0])[
            masks, : len(tokenizer)
        ]  # rows beyond it are not pieces
    _require_finite(logits, f"the logits for {text!r}")
    probabilities, _ = softmax(logits)
    guesses = []
    for mask, row in zip(masks, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        guesses.append([Guess(*_filled(tokenizer, ids, int(mask), int(piece), float(row[piece]))) for piece in best])
    return guesses


def _encode_around_masks(tokenizer: PreTrainedTokenizer, text: str) -> Array:
    """Like `tokenizer.encode`, but with no space that the text does not have.

    The tokenizer puts a space sign before every stretch of text: "[MASK]." is read as "[MASK] .", and a model that has
    never seen a space before a full stop is put off by it. Pre-training hides pieces after tokenizing.
    """
    first, *others = text.split(tokenizer.mask_token)
    ids = tokenizer.encode(first, add_special_tokens=False, verbose=False)  # the model says what is too long
    for stretch in others:
        tokens = tokenizer.encode(stretch, add_special_tokens=False, verbose=False)
        if tokens and not stretch[0].isspace() and tokenizer.convert_ids_to_tokens(tokens[0]) == SPACE:
            tokens = tokens[1:]
        ids += [tokenizer.mask_token_id, *tokens]
    return np.array(tokenizer.build_inputs_with_special_tokens(ids))


def _filled(
    tokenizer: PreTrainedTokenizer, ids: Array, mask: int, piece: int, probability: float
) -> tuple[str, float, str]:
    filled = ids.copy()
    filled[mask] = piece
    # Decoding drops special tokens, but masks that are still open should be seen.
    parts: list[list[int]] = [[]]
    for token in filled.tolist():
        if token == tokenizer.mask_token_id:
            parts.append([])
        else:
            parts[-1].append(token)
    text = f" {tokenizer.mask_token} ".join(tokenizer.decode(part, skip_special_tokens=True) for part in parts)
    return tokenizer.convert_ids_to_tokens(piece), probability, text


def embed(
    model: RemBertModel,
    tokenizer: PreTrainedTokenizer,
    sentences: Sequence[str],
    layer: int = -1,
    batch_size: int = 32,
) -> Float[Array, "N H"]:
    """One vector a sentence: the mean of its token states at `layer` (0: embedding, -1: last), [CLS] and [SEP] left out.

    The recipe of the paper's A.9. Raises ValueError without sentences, for a sentence without a token, for another
    model's tokenizer and for a model whose states are not finite, TypeError for a string in place of the sentences and
    IndexError for a layer the model lacks.
    """
    _check_vocabulary(model, tokenizer)
    if isinstance(sentences, str):  # a string is a sequence of strings too, of its letters
        raise TypeError(f"sentences must be a list of strings, got the string {sentences[:60]!r}; write [sentence]")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not sentences:
        raise ValueError("there is no sentence to embed")
    layers = model.config.num_hidden_layers + 1
    if not -layers <= layer < layers:
        raise IndexError(f"layer {layer} is not among 0 to {layers - 1}")
    vectors = []
    for start in range(0, len(sentences), batch_size):
        encoding = padded_on_the_right(
            tokenizer(
                list(sentences[start : start + batch_size]),
                padding=True,
                truncation=True,
                max_length=model.config.max_position_embeddings,
                return_tensors="np",
            )
        )
        frame = [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id]
        ordinary = ~np.isin(encoding["input_ids"], frame)
        for n in (start + int(row) for row in np.flatnonzero(~ordinary.any(axis=1))):
            raise ValueError(f"sentences[{n}] has no token to take a mean of: {sentences[n]!r}")
        with np.errstate(all="ignore"):  # what comes of it is looked at below
            states = model.backend.numpy(model(**encoding, output_hidden_states=True).hidden_states[layer])
            weights = ordinary / ordinary.sum(axis=1, keepdims=True)
            vectors.append(np.einsum("bs,bsh->bh", weights.astype(states.dtype), states))
        for n, vector in enumerate(vectors[-1], start=start):
            _require_finite(vector, f"the states of sentences[{n}] at layer {layer}")
    return np.concatenate(vectors)


def _check_vocabulary(model: RemBertPreTrainedModel, tokenizer: PreTrainedTokenizer) -> None:
    """A model may have more rows than there are pieces: tables are padded to a round number."""
    pieces, rows = len(tokenizer), model.config.vocab_size
    if pieces > rows:
        raise ValueError(
            f"the tokenizer has {pieces} pieces, but the model has vocab_size = {rows}: not made for each other"
        )


def _require_finite(values: Array, what: str) -> None:
    """Raises ValueError for values that are not finite: they say nothing, and NaN is not even JSON."""
    if not np.isfinite(values).all():
        wrong = values[~np.isfinite(values)][0]
        raise ValueError(f"{what} are not finite (there is {wrong}): the model's weights are damaged, or far too large")
