"""RemBertTokenizer: text to pieces to ids and back, as the slow tokenizer of transformers 4.34 does it.

    "x[MASK]y"  ->  ["▁", "x", "[MASK]", "▁", "y"]  ->  [CLS] ... [SEP]

1. Special and added tokens are found literally in the raw text, from left to right, the longest where several begin.
2. SentencePiece takes each stretch between them on its own: it normalises the characters (NFKC and a little more),
   collapses white space and strips it at both ends, puts one "▁" (its sign for a space) in front, and finds the
   segmentation into pieces whose scores have the largest sum. Neighbouring unknown characters become one piece.
3. Each piece is looked up; a text that is not a piece has the unknown token's id.

What this file does not do: it knows nothing about characters and where they went (`RemBertTokenizerFast` does).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from minirembert.files import atomic_file
from minirembert.scalars import as_switch, is_integer
from minirembert.tokenization.added_tokens import AddedToken, Splitter, literal_pattern, lower_between
from minirembert.tokenization.encoding import BatchEncoding
from minirembert.tokenization.fast_backend import tokenizer_json
from minirembert.tokenization.folder import (
    ADDED_TOKENS_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
    Contents,
    json_content,
    named,
)  # fmt: skip
from minirembert.tokenization.options import Options
from minirembert.tokenization.pretrained import INPUT_NAMES, PreTrainedTokenizer
from minirembert.tokenization.rows import Tokens
from minirembert.tokenization.vocabulary import sentencepiece_processor

MANY_TEXTS = 256  # from here on SentencePiece's threads cost less than they save (measured on two cores)

logger = logging.getLogger(__name__)


class RemBertTokenizer(PreTrainedTokenizer):
    """A tokenizer over the SentencePiece model in `vocab_file`.

    `do_lower_case` lowers the text between special tokens, character by character. `remove_space` and `keep_accents`
    are stored and saved but change nothing, as in transformers 4.34: the model's own normalisation decides.
    `model_max_length` is where `truncation=True` and `padding="max_length"` stop if a call gives no `max_length`.
    Each special token has its id in `bos_token_id`, `eos_token_id`, `unk_token_id`, `sep_token_id`, `pad_token_id`,
    `cls_token_id` and `mask_token_id`; one that is not a piece of the model gets the next free id, V, V + 1, ..., which a
    model has no row for until its embeddings are resized to `len(tokenizer)`. `additional_special_tokens` are found in
    text and skipped like these. `added_tokens_decoder` maps ids to tokens that were added earlier.

    Raises FileNotFoundError where `vocab_file` is missing; ValueError where it is not a SentencePiece model or an added
    token and the model disagree about an id; TypeError for a token that is neither text nor AddedToken.
    """

    def __init__(
        self,
        vocab_file: str | Path,
        do_lower_case: bool = False,
        remove_space: bool = True,
        keep_accents: bool = True,
        bos_token: str | AddedToken | None = "[CLS]",
        eos_token: str | AddedToken | None = "[SEP]",
        unk_token: str | AddedToken | None = "[UNK]",
        sep_token: str | AddedToken | None = "[SEP]",
        pad_token: str | AddedToken | None = "[PAD]",
        cls_token: str | AddedToken | None = "[CLS]",
        mask_token: str | AddedToken | None = "[MASK]",
        *,
        additional_special_tokens: Iterable[str | AddedToken] | None = None,
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        model_input_names: Iterable[str] = INPUT_NAMES,
        clean_up_tokenization_spaces: bool = True,
        split_special_tokens: bool = False,
    ) -> None:
        self.vocab_file = str(vocab_file)
        self.do_lower_case = do_lower_case
        self.remove_space = remove_space
        self.keep_accents = keep_accents
        if not Path(vocab_file).is_file():
            raise FileNotFoundError(f"vocab_file {vocab_file} does not exist")
        self._model_bytes = Path(vocab_file).read_bytes()
        self.sp_model = sentencepiece_processor(self._model_bytes, self.vocab_file)
        self._set_up(
            {
                "bos_token": bos_token,
                "eos_token": eos_token,
                "unk_token": unk_token,
                "sep_token": sep_token,
                "pad_token": pad_token,
                "cls_token": cls_token,
                "mask_token": mask_token,
            },
            additional_special_tokens=additional_special_tokens,
            added_tokens_decoder=added_tokens_decoder,
            model_max_length=model_max_length,
            padding_side=padding_side,
            truncation_side=truncation_side,
            model_input_names=model_input_names,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            split_special_tokens=split_special_tokens,
        )

    # --- the model's vocabulary ---

    @property
    def vocab_size(self) -> int:
        """V: the number of the model's pieces, without added tokens."""
        return len(self.sp_model)

    @property
    def _unknown_id(self) -> int:
        return int(self.sp_model.unk_id())

    def _base_id(self, token: str) -> int | None:
        index = int(self.sp_model.piece_to_id(token))
        return None if index == self._unknown_id and self.sp_model.id_to_piece(index) != token else index

    def _base_token(self, index: int) -> str:
        return str(self.sp_model.id_to_piece(index))

    def _tokens_added(self, tokens: list[AddedToken]) -> None:
        self._cut = Splitter(self._tables.added.values())  # after the ids are there: what it cuts out has one

    # --- text to pieces to ids ---

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """The pieces of `text` and `pair`, special tokens in them included.

        `split_special_tokens` (None: the tokenizer's setting) takes special tokens in a text for text. Raises ValueError
        for anything but text.
        """
        split = self.split_special_tokens
        if split_special_tokens is not None:
            split = as_switch("split_special_tokens", split_special_tokens)
        sides = [self._pieces(side, split) for side in ((text,) if pair is None else (text, pair))]
        if as_switch("add_special_tokens", add_special_tokens):
            ids = self.build_inputs_with_special_tokens([], None if pair is None else [])
            cls, *seps = self.convert_ids_to_tokens(ids)
            sides = [[cls], *([*side, sep] for side, sep in zip(sides, seps, strict=True))]
        return [token for side in sides for token in side]

    def _pieces(self, text: str, split_special_tokens: bool) -> list[str]:
        pieces: list[str] = []
        for part, is_token in self._split(text, split_special_tokens):
            pieces += [part] if is_token else self.sp_model.encode(part, out_type=str)
        return pieces

    def _split(self, text: str, split_special_tokens: bool) -> list[tuple[str, bool]]:
        """Step 1: stretches of the text, and whether each is an added token."""
        if not isinstance(text, str):
            raise ValueError(f"a text is needed, got {type(text).__name__} {text!r}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            lone = f"character {error.start} is {text[error.start]!r}, half of a surrogate pair"
            raise ValueError(f"the text is not valid Unicode: {lone}") from None
        if self.do_lower_case:
            ordinary = [
                token.content for token in self._tables.added.values() if token.normalized and not token.special
            ]
            text = lower_between(text, literal_pattern([*self.all_special_tokens, *ordinary]))
        if split_special_tokens:
            return [(text, False)]
        return [(part, part in self._tables.ids) for part in self._cut(text)]

    def _encode_texts(self, texts: list[str], split_special_tokens: bool) -> list[list[int]]:
        """Steps 1 to 3 for many texts at once."""
        splits = [self._split(text, split_special_tokens) for text in texts]
        encoded = iter(self._encode_plain([part for parts in splits for part, is_token in parts if not is_token]))
        rows = []
        for parts in splits:
            row: list[int] = []
            for part, is_token in parts:
                row += [self._tables.ids[part]] if is_token else next(encoded)
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

    def _encode(self, inputs: list[tuple[Any, Any]], options: Options, batched: bool) -> BatchEncoding:
        if options.return_offsets_mapping:
            raise NotImplementedError(
                "return_offsets_mapping needs a tokenizer that knows where characters went: RemBertTokenizerFast"
            )
        texts = [side for text, pair in inputs for side in ((text,) if pair is None else (text, pair))]
        sides = iter(self._encode_sides(texts, options))
        rows = [self._prepare(next(sides), None if pair is None else next(sides), options) for _, pair in inputs]
        encoding = self._collate(rows, options, batched)
        return encoding.convert_to_tensors(options.return_tensors, prepend_batch_axis=not batched)

    def _encode_sides(self, sides: Sequence[Any], options: Options) -> list[Tokens]:
        """Every text and every word in one go, then put together again."""
        split = options.is_split_into_words
        texts: list[str] = []
        for side in sides:
            if isinstance(side, str):
                texts.append(side)
            elif not isinstance(side, list | tuple) or not side:
                what = "a text or a list of words" if split else "a text"
                raise ValueError(f"{what} is needed, got {type(side).__name__} {side!r}")
            elif split:
                texts.extend(side)
        encoded = iter(self._encode_texts(texts, options.split_special_tokens))
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
            elif all(map(is_integer, side)):
                result.append(Tokens([int(item) for item in side]))
            else:
                raise ValueError(f"a text, a list of tokens or a list of ids is needed, got {side!r}")
        return result

    # --- pieces to text ---

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The pieces as text. Control pieces such as [CLS] and [MASK] vanish, and the unknown token becomes " ⁇ "."""
        return str(self.sp_model.decode_pieces(list(tokens)))

    # --- files ---

    def save_vocabulary(self, save_directory: str | Path, filename_prefix: str | None = None) -> tuple[str] | None:
        """Writes [prefix-]sentencepiece.model, the bytes this tokenizer was made from, and returns its path in a tuple.

        Logs an error and returns None where `save_directory` is not a folder.
        """
        folder = Path(save_directory)
        if not str(save_directory) or not folder.is_dir():  # an empty name would be the current folder
            logger.error("not saved: %s is not a folder", str(save_directory) or "an empty name")
            return None
        path = named(folder, filename_prefix, VOCAB_FILE)
        with atomic_file(path) as temporary:
            temporary.write_bytes(self._model_bytes)
        return (str(path),)

    def _model_contents(self, legacy_format: bool | None) -> Contents:
        if legacy_format is False:
            raise ValueError("legacy_format=False is for RemBertTokenizerFast: this one needs its sentencepiece.model")
        whole = tokenizer_json(self)  # transformers 5 adds no special tokens to a text without this file
        return {
            VOCAB_FILE: self._model_bytes,
            ADDED_TOKENS_FILE: json_content(ADDED_TOKENS_FILE, self.get_added_vocab()),
            TOKENIZER_FILE: None
            if whole is None
            else whole.encode(),  # what another tokenizer left would speak for this one
        }

    @classmethod
    def _model_files(cls, folder: Path) -> dict[str, Path]:
        if not (folder / VOCAB_FILE).is_file():
            if (folder / TOKENIZER_FILE).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no {VOCAB_FILE}, which RemBertTokenizer needs; RemBertTokenizerFast, or AutoTokenizer, "
                    f"reads the {TOKENIZER_FILE} there"
                )
            raise FileNotFoundError(f"{folder / VOCAB_FILE} does not exist: {folder} holds no saved RemBERT tokenizer")
        return {"vocab_file": folder / VOCAB_FILE}
