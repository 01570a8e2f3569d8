"""One call of the `tokenizers` library: its settings, and what it cannot cut, in a sentence.

The library keeps a call's truncation and padding in its tokenizer. Where nothing is left to cut it raises an error that
names no text, and where `stride` is too large it panics and prints so: that is looked for beforehand.
"""

from typing import Any

from minirembert.tokenization.fast_backend import one_sentence, require_text
from minirembert.tokenization.options import Options


def set_truncation(backend: Any, options: Options, pair: bool, side: str) -> None:
    """Puts the call's truncation into the backend, after everything that can be known without the texts is checked."""
    if options.truncation == "do_not_truncate":
        backend.no_truncation()
        return
    special = backend.num_special_tokens_to_add(pair) if options.add_special_tokens else 0
    length = options.max_length or 0
    if length < special:
        raise ValueError(f"max_length {length} is too short for the {special} special tokens alone")
    if options.stride and options.stride >= length - special:
        raise ValueError(
            f"stride {options.stride} must be less than the {length - special} tokens that max_length {length} leaves "
            f"beside {special} special ones"
        )
    backend.enable_truncation(length, stride=options.stride, strategy=options.truncation, direction=side)


def run(backend: Any, texts: list[Any], options: Options, side: str) -> list[Any]:
    """The `tokenizers.Encoding` of each text or pair (as `as_input` makes them), cut on `side` and padded as was set before.

    Raises ValueError in one sentence for input that is not text, and for texts that cannot be cut as they should.
    """
    pairs = [text for text in texts if isinstance(text, tuple)]
    set_truncation(backend, options, bool(pairs), side)
    if options.truncation != "do_not_truncate" and options.stride and pairs:
        _require_room(backend, pairs, options, side)
    try:
        with one_sentence("the text cannot be tokenized"):
            return list(
                backend.encode_batch(
                    texts, is_pretokenized=options.is_split_into_words, add_special_tokens=options.add_special_tokens
                )
            )
    except ValueError:
        for text in texts:  # the library does not say which of them it was
            require_text(text)
        if options.truncation != "do_not_truncate":
            _require_room(backend, texts, options, side)
        raise


def _require_room(backend: Any, texts: list[Any], options: Options, side: str) -> None:
    """Raises ValueError for the first text or pair that the library could not cut. Counts their tokens for that."""
    for text in texts:
        require_text(text)
    backend.no_truncation()
    for text in texts:
        sides = text if isinstance(text, tuple) else (text,)
        lengths = [
            sum(backend.encode(s, is_pretokenized=options.is_split_into_words, add_special_tokens=False).attention_mask)
            for s in sides
        ]
        special = backend.num_special_tokens_to_add(len(sides) == 2) if options.add_special_tokens else 0
        require_room(lengths, special, options)
    set_truncation(backend, options, any(isinstance(text, tuple) for text in texts), side)


def require_room(lengths: list[int], special: int, options: Options) -> None:
    """Raises ValueError where sides of these `lengths`, beside `special` tokens, cannot be cut to `options.max_length`."""
    limit = options.max_length or 0
    excess = sum(lengths) + special - limit
    if excess <= 0 or limit == special:  # without any room the library empties both sides, whatever the strategy
        return
    names = ("first", "second")
    if options.truncation == "longest_first":
        kept = _kept_by_longest_first(lengths, limit - special)
    else:
        cut = names.index(options.truncation.removeprefix("only_"))
        if cut == len(lengths):
            raise ValueError("truncation='only_second' needs a second text, and there is none")
        if lengths[cut] <= excess:
            raise ValueError(
                f"truncation={options.truncation!r} cannot take {excess} tokens, as max_length {limit} asks, from a "
                f"{names[cut]} text of {lengths[cut]}"
            )
        kept = [length - excess * (i == cut) for i, length in enumerate(lengths)]
    for name, length, left in zip(names, lengths, kept, strict=False):
        if 0 < left < length and options.stride >= left:
            raise ValueError(
                f"stride {options.stride} must be less than the tokens that are left, and max_length {limit} leaves {left} "
                f"of the {length} tokens of the {name} text"
            )


def _kept_by_longest_first(lengths: list[int], room: int) -> list[int]:
    """How many tokens the library leaves of each side; of an odd number the longer side, or the second, has one more."""
    if len(lengths) == 1:
        return [room]
    shorter = min(lengths)
    if 2 * shorter > room:
        shorter = room // 2
    kept = [shorter, room - shorter]
    return kept[::-1] if lengths[0] > lengths[1] else kept
