"""Calling a tokenizer: texts in, the model's inputs out.

    tokenizer("a text")                      one
    tokenizer(["a text", "another"])         a batch
    tokenizer("a question", "an answer")     a pair: [CLS] A [SEP] B [SEP], token types 0 and 1

A tokenizer says how it encodes (`_encode`); everything that is done with lists of ids is here. Padding gets the padding
token, token type 0, attention mask 0 and special-tokens mask 1.
"""

import logging
from collections.abc import Sequence
from typing import Any, Unpack

from minirembert.scalars import as_integer
from minirembert.tokenization.arrays import padded_array, to_array
from minirembert.tokenization.encoding import BatchEncoding
from minirembert.tokenization.lengths import Limit, Side, kept_lengths, overflow, pad, padded_length
from minirembert.tokenization.options import CallOptions, Options, settle
from minirembert.tokenization.rows import Origin, Tokens, kept, pairs_of_batch, plain, plain_batch
from minirembert.tokenization.template import Template
from minirembert.tokenization.vocabulary import list_of_ids

logger = logging.getLogger(__name__)


class Calls(Template):
    """A tokenizer as a function. A subclass gives `tokenize` and `_encode`."""

    model_max_length = Limit()
    padding_side, truncation_side = Side(), Side()
    model_input_names: list[str]
    split_special_tokens: bool
    _warned: set[str]

    def _encode(self, inputs: list[tuple[Any, Any]], options: Options, batched: bool) -> BatchEncoding:
        """Encodes (first, second or None) pairs. Not `batched`: there is one, and lists come without a batch axis."""
        raise NotImplementedError

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        **options: Unpack[CallOptions],
    ) -> BatchEncoding:
        """Everything the model needs: input_ids, token_type_ids (0 for the first side, 1 for the second), attention_mask.

        `text` is one text or a list of texts; `text_pair` likewise, for pairs (a list of pairs may stand in `text`
        instead). With `is_split_into_words` each text is a list of words, and the result's `word_ids()` says which word a
        token came from. What comes out of `text_target` is under "labels". The options: see `CallOptions`.

        Raises ValueError for input that is not text, an empty batch, lists that do not fit together, an unknown
        strategy, or rows of different lengths where an array is asked for; TypeError for an unknown option.
        """
        settled = settle(self, options)
        if text is None and text_target is None:
            raise ValueError("a text is needed, in text or in text_target")
        if text_target is None:
            return self._encode_any(text, text_pair, settled)
        target = self._encode_any(text_target, text_pair_target, settled)
        if text is None:
            return target
        encoding = self._encode_any(text, text_pair, settled)
        encoding["labels"] = target["input_ids"]
        return encoding

    def encode(self, text: Any, text_pair: Any = None, **options: Unpack[CallOptions]) -> Any:
        """The input_ids of `encode_plus`: a list, or an array of one row where `return_tensors` asks for it."""
        return self.encode_plus(text, text_pair, **options)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **options: Unpack[CallOptions]) -> BatchEncoding:
        """One text or one pair. A list stands for tokens, or ids, that are ready already (or for words, see `CallOptions`)."""
        return self._encode([(text, text_pair)], settle(self, options), batched=False)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Unpack[CallOptions]) -> BatchEncoding:
        """A list of texts, or of pairs (of texts, of lists of tokens, of lists of ids)."""
        settled = settle(self, options)
        inputs = pairs_of_batch(batch_text_or_text_pairs, None, settled.is_split_into_words)
        return self._encode(inputs, settled, batched=True)

    def _encode_any(self, text: Any, text_pair: Any, options: Options) -> BatchEncoding:
        batched = isinstance(text, list | tuple)
        if options.is_split_into_words:
            batched = batched and len(text) > 0 and isinstance(text[0], list | tuple)
        inputs = pairs_of_batch(text, text_pair, options.is_split_into_words) if batched else [(text, text_pair)]
        return self._encode(inputs, options, batched)

    # --- from lists of ids ---

    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        prepend_batch_axis: bool = False,
        **options: Unpack[CallOptions],
    ) -> BatchEncoding:
        """What a call makes of the ids of its text, or of a pair's: cut, put between special tokens, padded.

        `prepend_batch_axis` gives tensors of one row rather than of none.
        """
        settled = settle(self, options)
        second = None if pair_ids is None else Tokens(list_of_ids(pair_ids))
        encoding = self._collate([self._prepare(Tokens(list_of_ids(ids)), second, settled)], settled, batched=False)
        return encoding.convert_to_tensors(settled.return_tensors, prepend_batch_axis)

    def _prepare(self, first: Tokens, second: Tokens | None, options: Options) -> tuple[dict[str, Any], Origin]:
        """One row, cut but not padded."""
        pair = second is not None
        if options.return_overflowing_tokens and pair and options.truncation == "longest_first":
            raise ValueError(
                "return_overflowing_tokens goes with truncation='only_first' or 'only_second' for pairs, "
                "not with 'longest_first', which cuts both sides"
            )
        special = self.num_special_tokens_to_add(pair) if options.add_special_tokens else 0
        total = len(first.ids) + (len(second.ids) if second else 0) + special
        excess = 0 if options.max_length is None else total - options.max_length
        row: dict[str, Any] = {}
        cut: list[int] = []
        if excess > 0 and options.truncation != "do_not_truncate":
            first, second, cut = self._truncate(first, second, excess, options.truncation, options.stride)
        if options.return_overflowing_tokens:
            row |= {"overflowing_tokens": cut, "num_truncated_tokens": excess}

        pair_ids = None if second is None else second.ids
        if options.add_special_tokens:
            row["input_ids"] = self._around(first.ids, pair_ids)
            types = self.create_token_type_ids_from_sequences(first.ids, pair_ids)
            mask = self.get_special_tokens_mask(first.ids, pair_ids)
        else:
            # Without special tokens all types are 0, in a pair too: Hugging Face's slow tokenizer, not its fast one.
            row["input_ids"] = first.ids + (pair_ids or [])
            types, mask = [0] * len(row["input_ids"]), [0] * len(row["input_ids"])
        if options.return_token_type_ids:
            row["token_type_ids"] = types
        if options.return_special_tokens_mask:
            row["special_tokens_mask"] = mask
        self._warn_if_too_long(len(row["input_ids"]), options)
        sides = (first,) if second is None else (first, second)
        origin = Origin(tuple(len(s.ids) for s in sides), tuple(s.words for s in sides), options.add_special_tokens)
        return row, origin

    def _truncate(
        self, first: Tokens, second: Tokens | None, excess: int, strategy: str, stride: int
    ) -> tuple[Tokens, Tokens | None, list[int]]:
        side = self.truncation_side
        count, second_count = kept_lengths(len(first.ids), len(second.ids) if second else None, excess, strategy)
        cut: list[int] = []
        if second is None or strategy != "longest_first":
            if count < len(first.ids):
                cut = overflow(first.ids, count, stride, side)
            elif second is not None and second_count is not None and second_count < len(second.ids):
                cut = overflow(second.ids, second_count, stride, side)
        first = kept(first, count, side)
        return first, None if second is None or second_count is None else kept(second, second_count, side), cut

    def truncate_sequences(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: str = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """Both lists with `num_tokens_to_remove` tokens less, and those, together with `stride` that are kept.

        The last is empty where both sides are cut. See `kept_lengths` for the strategies.
        """
        strategy = settle(self, {"truncation": truncation_strategy, "max_length": 1, "stride": stride}).truncation
        remove = as_integer("num_tokens_to_remove", num_tokens_to_remove)
        second = None if pair_ids is None else Tokens(list_of_ids(pair_ids))
        kept, kept_second, cut = self._truncate(Tokens(list_of_ids(ids)), second, remove, strategy, int(stride))
        return kept.ids, None if kept_second is None else kept_second.ids, cut

    def _collate(self, rows: Sequence[tuple[dict[str, Any], Origin]], options: Options, batched: bool) -> BatchEncoding:
        """The rows as one batch of lists, padded; without a batch axis for one row, unless `batched`."""
        data: dict[str, Any] = {name: [row[name] for row, _ in rows] for name in rows[0][0]}
        lengths = [len(ids) for ids in data["input_ids"]]
        length = padded_length(lengths, options.padding, options.max_length, options.pad_to_multiple_of)
        gaps = [0 if length is None else max(0, length - n) for n in lengths]
        if options.return_length:
            data["length"] = lengths if batched else [lengths[0] + gaps[0]]
        if options.return_attention_mask:
            data["attention_mask"] = [[1] * n for n in lengths]
        origins = [origin for _, origin in rows]
        if any(gaps):
            side = self.padding_side
            if length is not None and batched and options.return_tensors and max(lengths) <= length:
                fill = self._padding()
                data |= {n: padded_array(data[n], length, fill[n], side) for n in data.keys() & fill.keys()}
            else:
                data = pad(data, gaps, self._padding(), side)
            origins = [origin.padded(gap, side) for origin, gap in zip(origins, gaps, strict=True)]
        if not batched:
            data = {name: values[0] for name, values in data.items()}
        return BatchEncoding(data, origins=origins)

    def _padding(self) -> dict[str, int]:
        return {
            "input_ids": self.pad_token_id,
            "token_type_ids": int(self.pad_token_type_id),
            "attention_mask": 0,
            "special_tokens_mask": 1,
        }

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pads what a call without padding returned: one encoding, a batch, or a list of encodings, which become a batch.

        Made for collecting examples that were tokenized one by one. Only what a tokenizer itself makes is padded: "labels",
        for example, are not. Arrays and tensors are padded to such. In an array "labels" have the type of their values: int64,
        bool, or floating (see `arrays.py`). Raises ValueError where there are no input_ids, where the lists do not have the
        same number of rows, for other values than lists, and for an array of values that do not make one.
        """
        data, kind = plain_batch(encoded_inputs)
        settled = settle(
            self,
            {
                "padding": padding,
                "truncation": False,
                "max_length": max_length,
                "pad_to_multiple_of": pad_to_multiple_of,
                "return_attention_mask": return_attention_mask,
                "return_tensors": return_tensors or kind,
                "verbose": verbose,
            },
        )
        batched = bool(data["input_ids"]) and isinstance(data["input_ids"][0], list)
        if not batched:
            data = {name: [values] for name, values in data.items()}
        counts = {name: _rows(name, values) for name, values in data.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"pad needs as many rows of each, got {counts}")
        lengths = [len(ids) for ids in data["input_ids"]]
        if settled.return_attention_mask:
            data.setdefault("attention_mask", [[1] * n for n in lengths])
        length = padded_length(lengths, settled.padding, settled.max_length, settled.pad_to_multiple_of)
        gaps = [0 if length is None else max(0, length - n) for n in lengths]
        result: dict[str, Any] = pad(data, gaps, self._padding(), self.padding_side)
        if not batched:
            result = {name: values[0] for name, values in result.items()}
        kind = settled.return_tensors
        return BatchEncoding({n: plain(v) if kind is None else to_array(n, v, kind) for n, v in result.items()})

    # --- warnings ---

    def warn_once(self, message: str, verbose: bool = True) -> None:
        """Logs a warning that this tokenizer has not logged yet."""
        if verbose and message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def _warn_if_too_long(self, length: int, options: Options) -> None:
        if options.max_length is None and length > self.model_max_length:
            self.warn_once(
                f"a sequence is longer than the model's limit of {self.model_max_length} tokens: cut it with truncation=True",
                options.verbose,
            )


def _rows(name: str, values: Any) -> int:
    """How many rows a batch of values has. A text does not count as a list of its letters."""
    if isinstance(values, str | bytes) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
        raise ValueError(f"pad needs a list with one {name} for each row, got {values!r}"[:200])
    return len(values)
