"""What a call of a tokenizer may ask for, and what that means for one that has a limit, a padding token and sides."""

import operator
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, cast

from minirembert.scalars import as_switch, is_switch
from minirembert.tokenization.arrays import require_tensor_type
from minirembert.tokenization.lengths import PADDING_STRATEGIES, TRUNCATION_STRATEGIES

SWITCHES = (
    "add_special_tokens", "is_split_into_words", "split_special_tokens", "return_token_type_ids", "return_attention_mask",
    "return_overflowing_tokens", "return_special_tokens_mask", "return_offsets_mapping", "return_length", "verbose",
)  # fmt: skip
LARGEST_LIMIT = int(1e20)  # above it Hugging Face takes model_max_length for none


class CallOptions(TypedDict, total=False):
    """The keyword arguments of a call. None stands for the default; NumPy's integers and truth values are taken, too.

    - `add_special_tokens` (True): [CLS] A [SEP], or [CLS] A [SEP] B [SEP].
    - `padding` (False): True or "longest" to the longest of the batch, "max_length" to `max_length`.
    - `truncation` (False): True or "longest_first", "only_first", "only_second" down to `max_length`. A `max_length` on its
      own cuts, too, and logs a warning.
    - `max_length`: in tokens, special ones included; without it the tokenizer's `model_max_length` counts.
    - `stride` (0): how many tokens what was cut off has in common with what was kept.
    - `is_split_into_words` (False): each text is a list of words, tokenized one by one.
    - `split_special_tokens` (the tokenizer's): special tokens in a text are text like any other.
    - `pad_to_multiple_of`: padding goes up to a multiple of this.
    - `return_tensors`: "np" for int64 arrays, "pt" for PyTorch's.
    - `return_token_type_ids`, `return_attention_mask` (what the tokenizer's `model_input_names` has).
    - `return_overflowing_tokens`, `return_special_tokens_mask`, `return_offsets_mapping`, `return_length` (False).
    - `verbose` (True): whether warnings are logged.
    """

    add_special_tokens: bool
    padding: bool | str
    truncation: bool | str | None
    max_length: int | None
    stride: int
    is_split_into_words: bool
    split_special_tokens: bool | None
    pad_to_multiple_of: int | None
    return_tensors: str | None
    return_token_type_ids: bool | None
    return_attention_mask: bool | None
    return_overflowing_tokens: bool
    return_special_tokens_mask: bool
    return_offsets_mapping: bool
    return_length: bool
    verbose: bool


@dataclass(frozen=True)
class Options:
    """The options of one call with every default filled in. `padding` and `truncation` are names of strategies."""

    padding: str
    truncation: str
    max_length: int | None
    return_token_type_ids: bool
    return_attention_mask: bool
    split_special_tokens: bool
    add_special_tokens: bool = True
    stride: int = 0
    is_split_into_words: bool = False
    pad_to_multiple_of: int | None = None
    return_tensors: str | None = None
    return_overflowing_tokens: bool = False
    return_special_tokens_mask: bool = False
    return_offsets_mapping: bool = False
    return_length: bool = False
    verbose: bool = True


class Settings(Protocol):
    """What options need to know of a tokenizer."""

    model_max_length: int
    model_input_names: list[str]
    split_special_tokens: bool

    @property
    def pad_token(self) -> Any:
        """The token to pad with, or None."""

    def warn_once(self, message: str, verbose: bool = True) -> None:
        """Logs a warning that this tokenizer has not logged yet."""


def settle(tokenizer: Settings, given: CallOptions) -> Options:
    """Fills the defaults in. Raises ValueError or TypeError for options that make no sense, alone or together."""
    if unknown := given.keys() - CallOptions.__annotations__.keys():
        known = ", ".join(CallOptions.__annotations__)
        raise TypeError(f"{min(unknown)!r} is no option of a tokenizer; there are {known}")
    require_tensor_type(given.get("return_tensors"))
    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name in said.keys() & SWITCHES:
        said[name] = as_switch(name, said[name])
    for name, least in (("max_length", 1), ("stride", 0), ("pad_to_multiple_of", 1)):
        if name in said:
            said[name] = _count(name, said[name], least)
    for name in said.keys() & {"padding", "truncation"}:
        said[name] = bool(said[name]) if is_switch(said[name]) else said[name]
    given = cast(CallOptions, said)
    padding, truncation, max_length = _strategies(tokenizer, given)
    multiple = given.get("pad_to_multiple_of")
    both = padding != "do_not_pad" and truncation != "do_not_truncate"
    if both and multiple is not None and max_length is not None and max_length % multiple:
        raise ValueError(
            f"with padding and truncation, max_length must be a multiple of pad_to_multiple_of = {multiple}, got {max_length}"
        )
    defaults: dict[str, Any] = {
        "return_token_type_ids": "token_type_ids" in tokenizer.model_input_names,
        "return_attention_mask": "attention_mask" in tokenizer.model_input_names,
        "split_special_tokens": tokenizer.split_special_tokens,
    }
    settled = {"padding": padding, "truncation": truncation, "max_length": max_length}
    return Options(**{**defaults, **said, **settled})


def _strategies(tokenizer: Settings, given: CallOptions) -> tuple[str, str, int | None]:
    padding, truncation, max_length = given.get("padding"), given.get("truncation"), given.get("max_length")
    verbose = given.get("verbose", True)
    if max_length is not None and not padding and truncation is None:
        tokenizer.warn_once("max_length without truncation: cutting by 'longest_first'; say truncation=True", verbose)
        truncation = True
    if padding is None or isinstance(padding, bool):
        padding = "longest" if padding else "do_not_pad"
    if truncation is None or isinstance(truncation, bool):
        truncation = "longest_first" if truncation else "do_not_truncate"
    padding = _strategy("Padding", padding, PADDING_STRATEGIES)
    truncation = _strategy("Truncation", truncation, TRUNCATION_STRATEGIES)
    needed = padding == "max_length" or truncation != "do_not_truncate"
    if max_length is None and needed and tokenizer.model_max_length <= LARGEST_LIMIT:
        max_length = int(tokenizer.model_max_length)
    if max_length is None and padding == "max_length":
        tokenizer.warn_once(
            "not padded: padding='max_length' needs a max_length, and the tokenizer has none of its own", verbose
        )
        padding = "do_not_pad"
    if max_length is None and truncation != "do_not_truncate":
        tokenizer.warn_once(
            "not truncated: truncation needs a max_length, and the tokenizer has none of its own", verbose
        )
        truncation = "do_not_truncate"
    if padding != "do_not_pad" and tokenizer.pad_token is None:
        raise ValueError("padding needs a pad_token, and this tokenizer has none: set tokenizer.pad_token")
    return padding, truncation, max_length


def _count(name: str, value: Any, least: int) -> int:
    """As Python's own integer, from anything that is one, arrays and tensors of a single integer among them."""
    try:
        count = None if is_switch(value) else operator.index(value)
    except TypeError:
        count = None
    if count is None:
        raise TypeError(f"{name} must be an integer, got {type(value).__name__} {value!r}")
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}")
    return count


def _strategy(kind: str, given: Any, strategies: tuple[str, ...]) -> str:
    given = getattr(given, "value", given)  # Hugging Face's enumerations are accepted, too
    if given not in strategies:
        raise ValueError(f"{given} is not a valid {kind}Strategy, please select one of {list(strategies)}")
    return str(given)
