"""What all tokenizers of this library have in common beside their calls: settings, saving, loading."""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from minirembert.scalars import as_switch
from minirembert.tokenization.calls import Calls
from minirembert.tokenization.folder import Contents, read_settings, settings_contents, write_all
from minirembert.tokenization.lengths import Switch
from minirembert.tokenization.special_tokens import CHANGE, SPECIAL_TOKEN_NAMES

INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")


class PreTrainedTokenizer(Calls):
    """Base of the slow and the fast tokenizer. A subclass says which files make it (`_model_files`, `_model_contents`)."""

    is_fast = False
    vocab_file: str | None
    do_lower_case, remove_space, keep_accents = Switch(), Switch(), Switch()
    clean_up_tokenization_spaces, split_special_tokens = Switch(), Switch()

    def _set_up(
        self,
        tokens: Mapping[str, Any],
        *,
        additional_special_tokens: Iterable[Any] | None = None,
        added_tokens_decoder: Mapping[Any, Any] | None = None,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        model_input_names: Iterable[str] = INPUT_NAMES,
        clean_up_tokenization_spaces: bool = True,
        split_special_tokens: bool = False,
    ) -> None:
        """The part of a constructor that knows no model. `tokens` has the named special tokens.

        Raises ValueError for a side other than left and right and for a limit below 1, TypeError for anything but a token.
        """
        names: list[Any] = list(model_input_names) if isinstance(model_input_names, list | tuple) else [None]
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"model_input_names must be a list of names, got {model_input_names!r}")
        self.model_max_length = model_max_length
        self.padding_side, self.truncation_side = padding_side, truncation_side
        self.model_input_names = names
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.split_special_tokens = split_special_tokens
        self._warned = set()
        self._set_up_tokens(tokens, additional_special_tokens or (), added_tokens_decoder)

    # --- files ---

    @classmethod
    def _model_files(cls, folder: Path) -> dict[str, Path]:
        """The constructor's arguments that are files of the folder. Raises FileNotFoundError if what is needed is not there."""
        raise NotImplementedError

    def _model_contents(self, legacy_format: bool | None) -> Contents:
        """The files that are not settings. Raises ValueError for a format that cannot be had."""
        raise NotImplementedError

    def save_pretrained(
        self, save_directory: str | Path, legacy_format: bool | None = None, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Writes the tokenizer into a folder, for `from_pretrained` here and in transformers, and returns the paths.

        Each file gets the prefix, if there is one. `legacy_format` is for fast tokenizers. Raises OSError where the files
        cannot be written; ValueError for an empty name and for what JSON cannot hold, before anything is written.
        """
        legacy_format = None if legacy_format is None else as_switch("legacy_format", legacy_format)
        if not str(save_directory):
            raise ValueError("save_directory must be the name of a folder, got an empty one; for this folder say '.'")
        folder = Path(save_directory)
        with CHANGE:  # or the files could say different things of a token that is added meanwhile
            contents = settings_contents(self._settings(), self.special_tokens_map, self.added_tokens_decoder)
            contents |= self._model_contents(legacy_format)
        folder.mkdir(parents=True, exist_ok=True)
        return write_all(folder, filename_prefix, contents)

    def _settings(self) -> dict[str, Any]:
        """What tokenizer_config.json says beside the tokens. Settings that most tokenizers share are written if changed."""
        rare = {
            "padding_side": (self.padding_side, "right"),
            "truncation_side": (self.truncation_side, "right"),
            "split_special_tokens": (self.split_special_tokens, False),
            "model_input_names": (self.model_input_names, list(INPUT_NAMES)),
        }
        return {
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "do_lower_case": self.do_lower_case,
            "keep_accents": self.keep_accents,
            "model_max_length": self.model_max_length,
            "remove_space": self.remove_space,
            "tokenizer_class": "RemBertTokenizer",  # of the fast one, too, as Hugging Face writes it
            **{name: value for name, (value, usual) in rare.items() if value != usual},
            **{name: None for name in SPECIAL_TOKEN_NAMES if getattr(self, name) is None},
        }

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **changes: Any) -> Self:
        """The tokenizer saved in a folder, here or by transformers; `changes` go over its saved settings.

        The path of the folder's sentencepiece.model alone is enough, too. Raises FileNotFoundError where the folder has not
        what it takes, ValueError naming the file or folder where a settings file is not JSON or does not
        hold what it should, TypeError for an unknown setting.
        """
        known = inspect.signature(cls).parameters.keys() - {"vocab_file", "tokenizer_file"}
        if unknown := changes.keys() - known:
            raise TypeError(f"{min(unknown)!r} is no setting of {cls.__name__}; there are {', '.join(sorted(known))}")
        path = Path(pretrained_model_name_or_path)
        if path.is_file():
            return cls(path, **changes)  # type: ignore[call-arg]
        files = cls._model_files(path)
        settings = read_settings(path, known)
        try:
            return cls(**{**settings, **changes, **files})
        except (TypeError, ValueError) as error:  # one of the files' settings, most likely, so their place helps
            named = any(str(file) in str(error) for file in files.values())
            raise ValueError(str(error) if named else f"{path}: {error}") from error

    def __repr__(self) -> str:
        name = type(self).__name__
        tokens = ", ".join(
            f"{token}={i}" for token, i in zip(self.all_special_tokens, self.all_special_ids, strict=True)
        )
        return f"{name}({self.vocab_file!r}, {len(self)} tokens, {tokens})"
