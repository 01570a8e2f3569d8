"""RemBertTokenizerFast: the tokenizer on the `tokenizers` library, which also knows where in the text a token stood.

    encoding = tokenizer("Hello world", return_offsets_mapping=True)
    encoding.tokens()          ["[CLS]", "▁Hello", "▁world", "[SEP]"]
    encoding["offset_mapping"] [(0, 0), (0, 5), (5, 11), (0, 0)]

It is made from a tokenizer.json, and then does what that file says, or from a sentencepiece.model, and then gives the ids
of RemBertTokenizer but for the differences in DEVIATIONS.md. What this file does not do: the pipeline itself is in
`fast_backend.py`, everything about lists of ids in `calls.py`.
"""

import logging
import pickle
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from minirembert.files import atomic_file
from minirembert.scalars import as_switch
from minirembert.tokenization.added_tokens import AddedToken
from minirembert.tokenization.encoding import BatchEncoding
from minirembert.tokenization.fast_backend import (
    add_template,
    add_tokens,
    as_input,
    backend_from_sentencepiece,
    backend_json,
    read_backend,
    unknown_id,
)
from minirembert.tokenization.fast_calls import run
from minirembert.tokenization.folder import (
    ADDED_TOKENS_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
    Contents,
    json_content,
    named,
)  # fmt: skip
from minirembert.tokenization.options import CallOptions, Options
from minirembert.tokenization.pretrained import INPUT_NAMES, PreTrainedTokenizer
from minirembert.tokenization.special_tokens import CHANGE
from minirembert.tokenization.vocabulary import text_around

logger = logging.getLogger(__name__)

# The library keeps a call's truncation and padding in the tokenizer itself, so that two threads must not call at once, nor
# add a token during a call. Who needs `CHANGE`, too, takes that first.
_CALL = threading.Lock()


class _Usual(str):
    """A default that a model need not have: it stands only if the model has it."""


UNK, PAD = _Usual("<unk>"), _Usual("<pad>")


class RemBertTokenizerFast(PreTrainedTokenizer):
    """A tokenizer from `tokenizer_file` (a tokenizer.json), else from the SentencePiece model in `vocab_file`.

    The defaults are those of transformers 4.34's class: `do_lower_case` lowers the text, and without `keep_accents` it loses
    its marks; google/rembert itself does neither, which `from_pretrained` reads in its folder. Both are ignored where
    tokenizer.json has decided. `remove_space` is stored and saved, but changes nothing.

    `unk_token` and `pad_token` have defaults that RemBERT's models do not have as pieces. As ids V and V + 1 they would be
    outside a model's embeddings, so where neither the caller nor a file names others, the unknown token and the [PAD] of a
    tokenizer.json take their place, and without one that is a ValueError. A special token
    that is named and is not a piece gets the next free id, V, V + 1, ...: resize the model's embeddings to
    `len(tokenizer)` then. The other arguments are RemBertTokenizer's.

    Raises FileNotFoundError where a file is missing; ValueError where it is not what it should be, or where ids disagree;
    TypeError for a token that is neither text nor AddedToken.
    """

    is_fast = True

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        tokenizer_file: str | Path | None = None,
        do_lower_case: bool = True,
        remove_space: bool = True,
        keep_accents: bool = False,
        bos_token: str | AddedToken | None = "[CLS]",
        eos_token: str | AddedToken | None = "[SEP]",
        unk_token: str | AddedToken | None = UNK,
        sep_token: str | AddedToken | None = "[SEP]",
        pad_token: str | AddedToken | None = PAD,
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
        self.vocab_file = None if vocab_file is None else str(vocab_file)
        self.do_lower_case = do_lower_case
        self.remove_space = remove_space
        self.keep_accents = keep_accents
        self._model_bytes = None if vocab_file is None else _read_model(Path(vocab_file))
        known: dict[int, AddedToken] = {}
        if tokenizer_file is not None:
            self._backend = read_backend(Path(tokenizer_file))
            known = {i: AddedToken.of(token) for i, token in self._backend.get_added_tokens_decoder().items()}
        elif self._model_bytes is not None:
            name = str(vocab_file)
            self._backend = backend_from_sentencepiece(
                self._model_bytes, name, do_lower_case=do_lower_case, keep_accents=keep_accents
            )
        else:
            raise ValueError("RemBertTokenizerFast needs a vocab_file (sentencepiece.model) or a tokenizer_file")
        decoder = {**(added_tokens_decoder or {}), **known}
        added = {
            AddedToken.of(token).content for token in decoder.values()
        }  # these keep the flags that they have there
        self._set_up(
            {
                "bos_token": bos_token,
                "eos_token": eos_token,
                "unk_token": self._usual("unk_token", unk_token, known, tokenizer_file is not None),
                "sep_token": sep_token,
                "pad_token": self._usual("pad_token", pad_token, known, tokenizer_file is not None),
                "cls_token": cls_token,
                "mask_token": mask_token,
            },
            additional_special_tokens=[
                token if isinstance(token, str) and token in added else AddedToken.of(token, special=True)
                for token in additional_special_tokens or ()
            ],
            added_tokens_decoder=decoder,
            model_max_length=model_max_length,
            padding_side=padding_side,
            truncation_side=truncation_side,
            model_input_names=model_input_names,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            split_special_tokens=split_special_tokens,
        )
        if tokenizer_file is None and self.cls_token is not None and self.sep_token is not None:
            add_template(self._backend, (self.cls_token, self.cls_token_id), (self.sep_token, self.sep_token_id))

    def _usual(self, name: str, token: Any, known: Mapping[int, AddedToken], whole: bool) -> Any:
        if not isinstance(token, _Usual):
            return token
        there = {*map(str, known.values())}
        if self._base_id(token) is None and token not in there:
            bracketed = f"[{token[1:-1].upper()}]"
            if whole and name == "unk_token":
                return self._base_token(self._unknown_id)
            if whole and (self._base_id(bracketed) is not None or bracketed in there):
                return bracketed
            advice = f"{name}={bracketed!r}" if self._base_id(bracketed) is not None else f"{name}"
            raise ValueError(
                f"{name} {str(token)!r}, the default, is not in the vocabulary: as id {self.vocab_size} or above it would be "
                f"outside the model's embeddings; pass {advice}, or load the tokenizer's folder with from_pretrained"
            )
        return str(token)

    # --- the vocabulary ---

    @property
    def backend_tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer`. Tokens added to it directly are not known here."""
        return self._backend

    @property
    def vocab_size(self) -> int:
        """V: the number of the model's pieces, without added tokens."""
        return int(self._backend.get_vocab_size(with_added_tokens=False))

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, those that were added included."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    @property
    def vocab(self) -> dict[str, int]:
        """`get_vocab()`."""
        return self.get_vocab()

    @property
    def _unknown_id(self) -> int:
        return unknown_id(self._backend)

    def _base_id(self, token: str) -> int | None:
        index = self._backend.model.token_to_id(token)
        return None if index is None else int(index)

    def _base_token(self, index: int) -> str:
        return str(self._backend.model.id_to_token(index))

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds one token or a list of them (texts or AddedTokens) and returns how many the vocabulary did not have.

        New ones get the next ids: a model then needs as many more rows in its embeddings. All are found in texts from now
        on. Raises TypeError for anything but a token.
        """
        special_tokens = as_switch("special_tokens", special_tokens)
        if not isinstance(new_tokens, list | tuple):
            new_tokens = [new_tokens] if new_tokens else []
        # A mere text leaves the white space around it alone: it belongs to no token then, and to no offsets.
        tokens = [AddedToken.of(token, special=special_tokens) for token in new_tokens]
        return super().add_tokens(tokens, special_tokens)

    def _tokens_added(self, tokens: list[AddedToken]) -> None:
        tables = self._tables
        new = {token.content: tables.ids[token.content] for token in tokens}
        with _CALL:
            there = {str(token.content) for token in self._backend.get_added_tokens_decoder().values()}
            missing = [(index, tables.added[index]) for text, index in new.items() if text not in there]
            add_tokens(self._backend, sorted(missing, key=lambda item: item[0]), self.do_lower_case)

    def __getstate__(self) -> dict[str, Any]:
        """The backend as bytes: a copy has one of its own, with the tokens that its tables have."""
        with CHANGE, _CALL:
            return {**super().__getstate__(), "_backend": pickle.dumps(self._backend)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_backend": pickle.loads(state["_backend"])}

    # --- text to ids ---

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of `text` and `pair`; special tokens around them if asked for. The options of a call hold here, too."""
        given: CallOptions = {**options, "add_special_tokens": add_special_tokens}  # type: ignore[typeddict-item]
        return self.encode_plus(text, pair, **given).tokens()

    def _encode(self, inputs: list[tuple[Any, Any]], options: Options, batched: bool) -> BatchEncoding:
        texts = [as_input(first, second, options.is_split_into_words) for first, second in inputs]
        with _CALL:
            self._backend.encode_special_tokens = options.split_special_tokens
            self._set_padding(options)
            rows = run(self._backend, texts, options, self.truncation_side)
        samples = list(range(len(rows)))
        if options.return_overflowing_tokens:
            samples = [i for i, row in enumerate(rows) for _ in range(1 + len(row.overflowing))]
            rows = [part for row in rows for part in (row, *row.overflowing)]
        data: dict[str, Any] = {"input_ids": [row.ids for row in rows]}
        if options.return_token_type_ids:
            data["token_type_ids"] = [row.type_ids for row in rows]
        if options.return_attention_mask:
            data["attention_mask"] = [row.attention_mask for row in rows]
        if options.return_special_tokens_mask:
            data["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if options.return_offsets_mapping:
            data["offset_mapping"] = [row.offsets for row in rows]
        if options.return_length:
            data["length"] = [len(ids) for ids in data["input_ids"]]
        if options.return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = samples
        self._warn_if_too_long(max(map(len, data["input_ids"])), options)
        if not batched and options.return_tensors is None and not options.return_overflowing_tokens:
            data = {name: values if name == "length" else values[0] for name, values in data.items()}
        return BatchEncoding(data, rows, options.return_tensors)

    def _set_padding(self, options: Options) -> None:
        """Puts the call's padding into the backend."""
        if options.padding == "do_not_pad":
            self._backend.no_padding()
            return
        self._backend.enable_padding(
            direction=self.padding_side,
            pad_id=self.pad_token_id,
            pad_type_id=self.pad_token_type_id,
            pad_token=self.pad_token,
            length=options.max_length if options.padding == "max_length" else None,
            pad_to_multiple_of=options.pad_to_multiple_of,
        )

    # --- ids to text ---

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The tokens as text; special tokens among them stand for themselves."""
        return str(self._backend.decoder.decode(list(tokens)))

    def _text_of(self, ids: int | Iterable[int], skip_special_tokens: bool, spaces: bool) -> str:
        listed = [ids] if isinstance(ids, int) else list(ids)
        for index in listed:
            self._token_of(index)  # the library would skip a number that is not an id

        def text_of(stretch: list[int]) -> str:
            return str(self._backend.decode(stretch, skip_special_tokens=skip_special_tokens))

        # Hugging Face's pipeline keeps a space before an added token as a piece "▁"; one that drops it has to put it back.
        normalizer = self._backend.normalizer
        if normalizer is None or normalizer.normalize_str("a ") != "a":
            return text_of(listed)
        added = {index: token.content for index, token in self._tables.added.items() if not token.special}
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        listed = [index for index in listed if index not in skipped]
        return text_around(listed, added, text_of, spaces)

    # --- files ---

    def save_vocabulary(self, save_directory: str | Path, filename_prefix: str | None = None) -> tuple[str] | None:
        """Writes [prefix-]sentencepiece.model, the bytes this tokenizer was made from, and returns its path in a tuple.

        Logs an error and returns None where `save_directory` is not a folder. Raises ValueError for a tokenizer that was made
        from a tokenizer.json alone.
        """
        content = self._required_model()
        folder = Path(save_directory)
        if not str(save_directory) or not folder.is_dir():  # an empty name would be the current folder
            logger.error("not saved: %s is not a folder", str(save_directory) or "an empty name")
            return None
        path = named(folder, filename_prefix, VOCAB_FILE)
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        return (str(path),)

    def _model_contents(self, legacy_format: bool | None) -> Contents:
        """Files for a slow tokenizer unless `legacy_format` is False, tokenizer.json unless it is True."""
        contents: Contents = {}
        if legacy_format or (legacy_format is None and self._model_bytes is not None):
            contents[ADDED_TOKENS_FILE] = json_content(ADDED_TOKENS_FILE, self.get_added_vocab())
            contents[VOCAB_FILE] = self._required_model()
        if not legacy_format:
            with _CALL:
                contents[TOKENIZER_FILE] = backend_json(self._backend).encode()
        return contents

    def _required_model(self) -> bytes:
        if self._model_bytes is None:
            raise ValueError(
                "there is no sentencepiece.model to save: this tokenizer was made from a tokenizer.json alone"
            )
        return self._model_bytes

    @classmethod
    def _model_files(cls, folder: Path) -> dict[str, Path]:
        files = {"vocab_file": folder / VOCAB_FILE, "tokenizer_file": folder / TOKENIZER_FILE}
        files = {name: path for name, path in files.items() if path.is_file()}
        if not files:
            raise FileNotFoundError(
                f"{folder} holds no saved RemBERT tokenizer: neither {TOKENIZER_FILE} nor {VOCAB_FILE} is there"
            )
        return files


def _read_model(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"vocab_file {path} does not exist")
    return path.read_bytes()
