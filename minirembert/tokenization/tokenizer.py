"""RemBertTokenizer: text to pieces to ids and back, as the slow tokenizer of transformers 4.34 does it.

    "x[MASK]y"  ->  ["▁", "x", "[MASK]", "▁", "y"]  ->  [CLS] ... [SEP]

1. Special tokens are found literally in the raw text, from left to right, the longest where several begin.
2. SentencePiece takes each stretch between them on its own: it normalises the characters (NFKC and a little more),
   collapses white space and strips it at both ends, puts one "▁" (its sign for a space) in front, and finds the
   segmentation into pieces whose scores have the largest sum. Neighbouring unknown characters become one piece.
3. Each piece is looked up; a text that is no piece has the unknown token's id.

What this file does not do: it adds no tokens to the vocabulary (a special token must be a piece of the model), pads
and cuts on the right only, and reads no tokenizer.json.
"""

import inspect
import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import sentencepiece

from minirembert.files import atomic_file, write_text_atomically
from minirembert.tokenization.encoding import (
    PADDING_STRATEGIES,
    TRUNCATION_STRATEGIES,
    BatchEncoding,
    Row,
    Tokens,
    collate,
    kept_lengths,
)

VOCAB_FILE = "sentencepiece.model"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

NO_LIMIT = int(1e30)  # what Hugging Face writes as model_max_length where there is no limit
LARGEST_LIMIT = int(1e20)  # above it Hugging Face takes model_max_length for none
MANY_TEXTS = 256  # from here on SentencePiece's threads cost less than they save (measured on two cores)

# English only, and only on the way back: "it 's , he said ." reads "it's, he said."
CLEAN_UPS = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")

# Settings that Hugging Face's files may hold and that this class cannot follow: read over, they would change ids.
ONLY_SUPPORTED = {"padding_side": "right", "truncation_side": "right", "split_special_tokens": False}

logger = logging.getLogger(__name__)


class RemBertTokenizer:
    """A tokenizer over the SentencePiece model in `vocab_file`.

    `do_lower_case` lowers the text between special tokens, character by character. `remove_space` and `keep_accents`
    are stored and saved but change nothing, as in transformers 4.34: the model's own normalisation decides.
    `model_max_length` is where `truncation=True` and `padding="max_length"` stop if a call gives no `max_length`.
    Each special token has its id in `bos_token_id`, `eos_token_id`, `unk_token_id`, `sep_token_id`, `pad_token_id`,
    `cls_token_id` and `mask_token_id`. `additional_special_tokens` are found in text and skipped like these.

    Raises FileNotFoundError where `vocab_file` is missing; ValueError where it is no SentencePiece model or a special
    token is not one of its pieces.
    """

    def __init__(
        self,
        vocab_file: str | Path,
        do_lower_case: bool = False,
        remove_space: bool = True,
        keep_accents: bool = True,
        bos_token: str = "[CLS]",
        eos_token: str = "[SEP]",
        unk_token: str = "[UNK]",
        sep_token: str = "[SEP]",
        pad_token: str = "[PAD]",
        cls_token: str = "[CLS]",
        mask_token: str = "[MASK]",
        *,
        additional_special_tokens: Sequence[str] = (),
        model_max_length: int | None = None,
        clean_up_tokenization_spaces: bool = True,
    ) -> None:
        self.vocab_file = str(vocab_file)
        self.do_lower_case = do_lower_case
        self.remove_space = remove_space
        self.keep_accents = keep_accents
        self.model_max_length = NO_LIMIT if model_max_length is None else int(model_max_length)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self._model_bytes = _read_model(Path(vocab_file))
        self.sp_model = _sentencepiece_processor(self._model_bytes, self.vocab_file)

        self.bos_token, self.bos_token_id = bos_token, self._special_id("bos_token", bos_token)
        self.eos_token, self.eos_token_id = eos_token, self._special_id("eos_token", eos_token)
        self.unk_token, self.unk_token_id = unk_token, self._special_id("unk_token", unk_token)
        self.sep_token, self.sep_token_id = sep_token, self._special_id("sep_token", sep_token)
        self.pad_token, self.pad_token_id = pad_token, self._special_id("pad_token", pad_token)
        self.cls_token, self.cls_token_id = cls_token, self._special_id("cls_token", cls_token)
        self.mask_token, self.mask_token_id = mask_token, self._special_id("mask_token", mask_token)

        self.additional_special_tokens = list(additional_special_tokens)
        named = [getattr(self, name) for name in SPECIAL_TOKEN_NAMES]
        self.all_special_tokens = list(dict.fromkeys([*named, *self.additional_special_tokens]))  # each once
        self.all_special_ids = [
            self._special_id("additional_special_tokens", token) for token in self.all_special_tokens
        ]

        self._warned: set[str] = set()
        self._special_ids = dict(zip(self.all_special_tokens, self.all_special_ids, strict=True))
        longest_first = sorted(self._special_ids, key=len, reverse=True)
        self._special_pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def _special_id(self, name: str, token: str) -> int:
        if not isinstance(token, str) or not token:
            raise ValueError(f"{name} must be a text, got {token!r}")
        index = self.sp_model.piece_to_id(token)
        if self.sp_model.id_to_piece(index) != token:
            raise ValueError(f"{name} {token!r} is not a piece of {self.vocab_file}")
        return int(index)

    # --- the vocabulary ---

    @property
    def vocab_size(self) -> int:
        """V: the number of pieces."""
        return len(self.sp_model)

    def __len__(self) -> int:
        return self.vocab_size

    def get_vocab(self) -> dict[str, int]:
        """Every piece with its id."""
        return {self.sp_model.id_to_piece(i): i for i in range(self.vocab_size)}

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        tokens = {name: getattr(self, name) for name in SPECIAL_TOKEN_NAMES}
        additional = self.additional_special_tokens
        return {**tokens, "additional_special_tokens": additional} if additional else tokens

    # --- text to pieces to ids ---

    def tokenize(self, text: str) -> list[str]:
        """The pieces of `text`, special tokens in it included, none added. Raises ValueError for anything but text."""
        plain, *rest = self._split(text)
        pieces = self.sp_model.encode(plain, out_type=str)
        for special, plain in zip(rest[::2], rest[1::2], strict=True):
            pieces += [special, *self.sp_model.encode(plain, out_type=str)]
        return list(pieces)

    def _split(self, text: str) -> list[str]:
        """Step 1: plain text at the even places, special tokens at the odd ones."""
        if not isinstance(text, str):
            raise ValueError(f"a text is needed, got {type(text).__name__} {text!r}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            lone = f"character {error.start} is {text[error.start]!r}, half of a surrogate pair"
            raise ValueError(f"the text is not valid Unicode: {lone}") from None
        parts = self._special_pattern.split(text)
        if self.do_lower_case:
            # One character at a time: str.lower on the whole would make a Greek sigma at the end of a word a ς.
            parts[::2] = ["".join(map(str.lower, part)) for part in parts[::2]]
            parts = self._special_pattern.split("".join(parts))
        return parts

    def _encode_texts(self, texts: list[str]) -> list[list[int]]:
        """Steps 1 to 3 for many texts at once."""
        splits = [self._split(text) for text in texts]
        encoded = iter(self._encode_plain([part for parts in splits for part in parts[::2]]))
        rows = []
        for parts in splits:
            row = next(encoded)
            for special in parts[1::2]:
                row.append(self._special_ids[special])
                row += next(encoded)
            rows.append(row)
        return rows

    def _encode_plain(self, texts: list[str]) -> list[list[int]]:
        """Steps 2 and 3."""
        encode = self.sp_model.encode
        rows: list[list[int]] = encode(texts) if len(texts) > MANY_TEXTS else [encode(text) for text in texts]
        unknown = self.sp_model.unk_id()
        for i, row in enumerate(rows):
            if unknown in row:
                # SentencePiece gives a stretch of unknown characters the unknown id; Hugging Face looks the stretch
                # up, and it may be a piece after all: one SentencePiece never matches, such as "[MASK]".
                rows[i] = self.convert_tokens_to_ids(encode(texts[i], out_type=str))
        return rows

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | list[str] | tuple[str, ...]) -> int | list[int]:
        """Step 3, for one token or several."""
        if isinstance(tokens, str):
            return int(self.sp_model.piece_to_id(tokens))
        return [self.sp_model.piece_to_id(token) for token in tokens]

    # --- inputs for the model ---

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        return_tensors: str | None = None,
        is_split_into_words: bool = False,
    ) -> BatchEncoding:
        """Everything the model needs: input_ids, token_type_ids (0 for the first side, 1 for the second), attention_mask.

        `text` is one text or a list of texts; `text_pair` likewise, for pairs (a list of pairs may stand in `text`
        instead). With `is_split_into_words` each text is a list of words, tokenized one by one, and the result's
        `word_ids()` says which word a token came from. `add_special_tokens` makes [CLS] A [SEP] or
        [CLS] A [SEP] B [SEP].

        `padding`: True or "longest" to the longest of the batch, "max_length" to `max_length`.
        `truncation`: True or "longest_first", "only_first", "only_second" down to `max_length` (see `kept_lengths`).
        A `max_length` on its own cuts, too, and logs a warning. `return_tensors="np"` gives int64 arrays.

        Raises ValueError for anything that is no text, an empty batch, lists that do not fit together, an unknown
        strategy, or rows of different lengths where an array is asked for.
        """
        batched = isinstance(text, list | tuple)
        if is_split_into_words:
            batched = batched and len(text) > 0 and isinstance(text[0], list | tuple)
        inputs = _pairs_of_batch(text, text_pair, is_split_into_words) if batched else [(text, text_pair)]
        if return_tensors not in (None, "np"):
            raise ValueError(f"return_tensors must be None or 'np', got {return_tensors!r}")
        padding, truncation, max_length = self._strategies(padding, truncation, max_length)

        rows = self._rows(inputs, is_split_into_words, add_special_tokens, truncation, max_length)
        width = {"longest": max(len(row.ids) for row in rows), "max_length": max_length}.get(padding)
        encoding = collate(rows, self.pad_token_id, width, return_tensors)
        if not batched and return_tensors is None:
            for name, lists in encoding.items():
                encoding[name] = lists[0]
        return encoding

    def encode(
        self,
        text: Any,
        text_pair: Any = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
    ) -> list[int]:
        """The ids of one text or one pair. A list stands for tokens, or ids, that are ready already."""
        padding, truncation, max_length = self._strategies(padding, truncation, max_length)
        row = self._rows([(text, text_pair)], False, add_special_tokens, truncation, max_length)[0]
        width = max_length if padding == "max_length" else None
        return list(collate([row], self.pad_token_id, width, None).input_ids[0])

    def _strategies(
        self, padding: bool | str, truncation: bool | str | None, max_length: int | None
    ) -> tuple[str, str, int | None]:
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        if max_length is not None and padding is False and truncation is None:
            self._warn_once("max_length without truncation: cutting by 'longest_first'; say truncation=True")
            truncation = True
        if isinstance(padding, bool):
            padding = "longest" if padding else "do_not_pad"
        if truncation is None or isinstance(truncation, bool):
            truncation = "longest_first" if truncation else "do_not_truncate"
        _require_strategy("Padding", padding, PADDING_STRATEGIES)
        _require_strategy("Truncation", truncation, TRUNCATION_STRATEGIES)
        if max_length is None and self.model_max_length <= LARGEST_LIMIT:
            max_length = self.model_max_length
        if max_length is None and padding == "max_length":
            self._warn_once(
                "not padded: padding='max_length' needs a max_length, and the tokenizer has none of its own"
            )
            padding = "do_not_pad"
        if max_length is None and truncation != "do_not_truncate":
            self._warn_once("not truncated: truncation needs a max_length, and the tokenizer has none of its own")
            truncation = "do_not_truncate"
        return padding, truncation, max_length

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def _rows(
        self, inputs: list[tuple[Any, Any]], split: bool, add_special_tokens: bool, truncation: str, limit: int | None
    ) -> list[Row]:
        texts = [side for text, pair in inputs for side in ((text,) if pair is None else (text, pair))]
        sides = iter(self._encode_sides(texts, split))
        rows = []
        for _, pair in inputs:
            first = next(sides)
            second = None if pair is None else next(sides)
            if limit is not None:
                first, second = self._truncate(first, second, add_special_tokens, truncation, limit)
            rows.append(self._row(first, second, add_special_tokens))
        return rows

    def _encode_sides(self, sides: list[Any], split: bool) -> list[Tokens]:
        """Every text and every word in one go, then put together again."""
        texts: list[str] = []
        for side in sides:
            if isinstance(side, str):
                texts.append(side)
            elif not isinstance(side, list | tuple) or not side:
                what = "a text or a list of words" if split else "a text"
                raise ValueError(f"{what} is needed, got {type(side).__name__} {side!r}")
            elif split:
                texts.extend(side)
        encoded = iter(self._encode_texts(texts))
        result = []
        for side in sides:
            if isinstance(side, str):
                result.append(Tokens(next(encoded)))
            elif split:
                parts = [next(encoded) for _ in side]
                words = [word for word, part in enumerate(parts) for _ in part]
                result.append(Tokens([i for part in parts for i in part], words))
            elif all(isinstance(item, str) for item in side):
                result.append(Tokens(self.convert_tokens_to_ids(side)))
            elif all(isinstance(item, int | np.integer) for item in side):
                result.append(Tokens([int(item) for item in side]))
            else:
                raise ValueError(f"a text, a list of tokens or a list of ids is needed, got {side!r}")
        return result

    def _truncate(
        self, first: Tokens, second: Tokens | None, add_special_tokens: bool, strategy: str, limit: int
    ) -> tuple[Tokens, Tokens | None]:
        special = self.num_special_tokens_to_add(second is not None) if add_special_tokens else 0
        excess = len(first.ids) + (0 if second is None else len(second.ids)) + special - limit
        keep, keep_second = kept_lengths(len(first.ids), None if second is None else len(second.ids), excess, strategy)
        return _start(first, keep), None if second is None else _start(second, keep_second)

    def _row(self, first: Tokens, second: Tokens | None, add_special_tokens: bool) -> Row:
        pair_ids = None if second is None else second.ids
        words: list[int | None] | None = None
        if first.words is not None or (second is not None and second.words is not None):
            edge: list[int | None] = [None] if add_special_tokens else []
            words = [*edge, *_words(first), *edge]
            if second is not None:
                words += [*_words(second), *edge]
        if add_special_tokens:
            return Row(self.build_inputs_with_special_tokens(first.ids, pair_ids), len(first.ids) + 2, words)
        # Without special tokens all types are 0, in a pair too: Hugging Face's slow tokenizer, not its fast one.
        ids = first.ids + (pair_ids or [])
        return Row(ids, len(ids), words)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens go around one sequence, or around a pair."""
        return len(self.build_inputs_with_special_tokens([], [] if pair else None))

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP]."""
        first = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        return first if token_ids_1 is None else [*first, *token_ids_1, self.sep_token_id]

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 where `build_inputs_with_special_tokens` puts a special token, 0 elsewhere.

        With `already_has_special_tokens` the ids are a finished sequence, and its [CLS] and [SEP] have a 1; other
        special tokens do not. Raises ValueError if a second sequence comes with a finished one.
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise ValueError(
                    "You should not supply a second sequence if the provided sequence of ids is already formatted "
                    "with special tokens for the model."
                )
            return [int(i in (self.sep_token_id, self.cls_token_id)) for i in token_ids_0]
        first = [1, *[0] * len(token_ids_0), 1]
        return first if token_ids_1 is None else [*first, *[0] * len(token_ids_1), 1]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """0 for [CLS] A [SEP], then 1 for B [SEP]."""
        first = [0] * (len(token_ids_0) + 2)
        return first if token_ids_1 is None else first + [1] * (len(token_ids_1) + 1)

    # --- ids to pieces to text ---

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = False) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: Iterable[int], skip_special_tokens: bool = False) -> list[str]: ...
    def convert_ids_to_tokens(self, ids: int | Iterable[int], skip_special_tokens: bool = False) -> str | list[str]:
        """The token of one id (special or not), or the tokens of several. Raises IndexError for an id outside V."""
        if isinstance(ids, int | np.integer):
            return self._token(int(ids))
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token(i) for i in map(int, ids) if i not in skipped]

    def _token(self, index: int) -> str:
        if not 0 <= index < self.vocab_size:
            raise IndexError(f"id {index} is not in the vocabulary of {self.vocab_size} pieces")
        return str(self.sp_model.id_to_piece(index))

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The pieces as text. Control pieces such as [CLS] and [MASK] vanish, and the unknown token becomes " ⁇ "."""
        return str(self.sp_model.decode_pieces(list(tokens)))

    def decode(
        self,
        token_ids: int | Iterable[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """The ids as text. `clean_up_tokenization_spaces` (None: the tokenizer's own setting) drops the spaces before
        English punctuation. Raises IndexError for an id outside V.
        """
        if isinstance(token_ids, np.ndarray):
            token_ids = token_ids.tolist()
        # A single id gives a single token, whose letters are decoded: 4 reads "[MASK]" where [4] reads "". As in 4.34.
        text = self.convert_tokens_to_string(self.convert_ids_to_tokens(token_ids, skip_special_tokens))
        if self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces:
            for untidy in CLEAN_UPS:
                text = text.replace(untidy, untidy.strip())
        return text

    def batch_decode(
        self,
        sequences: Iterable[Iterable[int]],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """`decode` for each sequence."""
        return [self.decode(ids, skip_special_tokens, clean_up_tokenization_spaces) for ids in sequences]

    # --- files ---

    def save_vocabulary(self, save_directory: str | Path, filename_prefix: str | None = None) -> tuple[str] | None:
        """Writes [prefix-]sentencepiece.model, the bytes this tokenizer was made from, and returns its path in a tuple.

        Logs an error and returns None where `save_directory` is no folder.
        """
        folder = Path(save_directory)
        if not folder.is_dir():
            logger.error("not saved: %s is not a folder", save_directory)
            return None
        path = folder / (f"{filename_prefix}-{VOCAB_FILE}" if filename_prefix else VOCAB_FILE)
        with atomic_file(path) as temporary:
            temporary.write_bytes(self._model_bytes)
        return (str(path),)

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Writes the model and its settings into `folder`, for `from_pretrained` here and in transformers.

        Returns the paths written. Raises OSError where they cannot be.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        config = {
            "added_tokens_decoder": {i: {"content": token, **flags} for token, i in self._special_ids.items()},
            "additional_special_tokens": self.additional_special_tokens,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "do_lower_case": self.do_lower_case,
            "keep_accents": self.keep_accents,
            "model_max_length": self.model_max_length,
            "remove_space": self.remove_space,
            "tokenizer_class": "RemBertTokenizer",
            **self.special_tokens_map,
        }
        _write_json(folder / CONFIG_FILE, config)
        _write_json(folder / SPECIAL_TOKENS_FILE, self.special_tokens_map)
        saved = self.save_vocabulary(folder)
        assert saved is not None
        return (str(folder / CONFIG_FILE), str(folder / SPECIAL_TOKENS_FILE), *saved)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **changes: Any) -> "RemBertTokenizer":
        """The tokenizer saved in `folder`, here or by transformers 4; `changes` go over its saved settings.

        Raises FileNotFoundError without a sentencepiece.model, ValueError naming the file where a settings file is
        no JSON or asks for what this class cannot do (tokens that are no pieces, padding on the left).
        """
        folder = Path(folder)
        if not (folder / VOCAB_FILE).is_file():
            raise FileNotFoundError(f"{folder / VOCAB_FILE} does not exist: {folder} holds no saved RemBERT tokenizer")
        config = _read_json(folder / CONFIG_FILE)
        if "added_tokens_decoder" in config:
            added = list(config["added_tokens_decoder"].values())
        else:  # written before transformers 4.34: the other files have the last word
            config |= _read_json(folder / SPECIAL_TOKENS_FILE)
            added = list(_read_json(folder / ADDED_TOKENS_FILE))
        for name, supported in ONLY_SUPPORTED.items():
            if config.get(name, supported) != supported:
                raise ValueError(f"{folder / CONFIG_FILE}: {name} = {config[name]!r} is not supported")

        known = inspect.signature(cls).parameters
        settings = {name: _content(value) for name, value in config.items() if name in known} | changes
        settings["vocab_file"] = folder / VOCAB_FILE
        named = [settings.get(name, known[name].default) for name in SPECIAL_TOKEN_NAMES]
        added += settings.get("additional_special_tokens") or []
        contents = dict.fromkeys(map(_content, added))
        settings["additional_special_tokens"] = [token for token in contents if token not in named]
        return cls(**settings)

    def __repr__(self) -> str:
        tokens = ", ".join(f"{token}={i}" for token, i in self._special_ids.items())
        return f"RemBertTokenizer({self.vocab_file!r}, {self.vocab_size} pieces, {tokens})"


def _read_model(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"vocab_file {path} does not exist")
    return path.read_bytes()


def _sentencepiece_processor(model: bytes, name: str) -> Any:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise ValueError(f"{name} is not a SentencePiece model: {error}") from error
    return processor


def _pairs_of_batch(text: Any, text_pair: Any, split: bool) -> list[tuple[Any, Any]]:
    """A batch as a list of (first, second or None)."""
    if len(text) == 0:
        raise ValueError("the batch is empty: at least one text is needed")
    if text_pair is not None:
        if not isinstance(text_pair, list | tuple) or len(text_pair) != len(text):
            given = f"{len(text_pair)}" if isinstance(text_pair, list | tuple) else type(text_pair).__name__
            raise ValueError(f"text_pair must be a list as long as text: {len(text)} expected, got {given}")
        return list(zip(text, text_pair, strict=True))
    pairs = []
    for item in text:
        words = split and isinstance(item, list | tuple) and not (item and isinstance(item[0], list | tuple))
        if words or not isinstance(item, list | tuple):
            pairs.append((item, None))
        elif len(item) == 2:
            pairs.append((item[0], item[1]))
        else:
            raise ValueError(
                f"a batch holds texts, or pairs of texts; a list of {len(item)} is neither "
                "(for a list of words pass is_split_into_words=True)"
            )
    return pairs


def _start(tokens: Tokens, count: int | None) -> Tokens:
    return Tokens(tokens.ids[:count], None if tokens.words is None else tokens.words[:count])


def _words(tokens: Tokens) -> Sequence[int | None]:
    return [None] * len(tokens.ids) if tokens.words is None else tokens.words


def _require_strategy(kind: str, given: Any, strategies: tuple[str, ...]) -> None:
    if given not in strategies:
        raise ValueError(f"{given} is not a valid {kind}Strategy, please select one of {list(strategies)}")


def _content(token: Any) -> Any:
    """The text of a token, which Hugging Face writes as it is or with its flags around it."""
    return token["content"] if isinstance(token, dict) and "content" in token else token


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a settings file; nothing where there is no such file."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, found {type(values).__name__}")
    return values


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text_atomically(path, json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
