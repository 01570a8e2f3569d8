"""AutoTokenizer: the tokenizer that a folder asks for, under the name that Hugging Face's examples use."""

from pathlib import Path
from typing import Any

from minirembert.files import read_json
from minirembert.scalars import as_switch
from minirembert.tokenization.fast import RemBertTokenizerFast
from minirembert.tokenization.folder import CONFIG_FILE, TOKENIZER_FILE, VOCAB_FILE
from minirembert.tokenization.tokenizer import RemBertTokenizer

OURS = ("RemBertTokenizer", "RemBertTokenizerFast")
# What transformers writes for a tokenizer that is a tokenizer.json and nothing more: 5's name and 4's.
WHOLE_FILE = ("TokenizersBackend", "PreTrainedTokenizerFast")


class AutoTokenizer:
    """Makes tokenizers of other classes; it has no instances itself."""

    def __init__(self) -> None:
        raise TypeError("AutoTokenizer makes tokenizers by AutoTokenizer.from_pretrained(folder)")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, use_fast: bool = True, **changes: Any
    ) -> RemBertTokenizer | RemBertTokenizerFast:
        """The tokenizer saved in a folder: RemBertTokenizerFast if the folder has a tokenizer.json, or settings beside its
        sentencepiece.model, and `use_fast` holds; else RemBertTokenizer, which takes a sentencepiece.model.

        A whole tokenizer.json is enough, whatever `use_fast` says. `changes` go over the saved settings. Raises
        FileNotFoundError for a folder without either file, ValueError for a folder of another kind of tokenizer; and what the
        two classes raise.
        """
        use_fast = as_switch("use_fast", use_fast)
        folder = Path(pretrained_model_name_or_path)
        kind = _class_name(folder)
        if kind is not None and kind not in OURS + WHOLE_FILE:
            raise ValueError(f"{folder} holds a {kind}; only {' and '.join(OURS)} can be loaded")
        fast = (folder / TOKENIZER_FILE).is_file()
        slow = (folder / VOCAB_FILE).is_file() or folder.is_file()
        if not fast and not slow:
            raise FileNotFoundError(
                f"{folder} holds no saved RemBERT tokenizer: neither {TOKENIZER_FILE} nor {VOCAB_FILE} is there"
            )
        if use_fast and not fast:
            fast = (folder / CONFIG_FILE).is_file()
        if not fast or (slow and not use_fast):
            return RemBertTokenizer.from_pretrained(folder, **changes)
        tokenizer = RemBertTokenizerFast.from_pretrained(folder, **changes)
        if kind in WHOLE_FILE:
            _require_template(tokenizer, folder)
        return tokenizer


def _require_template(tokenizer: RemBertTokenizerFast, folder: Path) -> None:
    """The class name says nothing of the model, so the special tokens have to."""
    found, wanted = tokenizer.encode("", verbose=False), tokenizer.build_inputs_with_special_tokens([])
    if found != wanted:
        tokens = [" ".join(tokenizer.convert_ids_to_tokens(ids)) or "nothing" for ids in (found, wanted)]
        raise ValueError(
            f"{folder} holds no RemBERT tokenizer: its {TOKENIZER_FILE} puts {tokens[0]} around a text, not {tokens[1]}"
        )


def _class_name(folder: Path) -> Any:
    """What the tokenizer's settings say, else what the model's do; None where neither says anything."""
    path = folder / CONFIG_FILE
    name = read_json(path).get("tokenizer_class") if path.is_file() else None
    if name is not None and name not in WHOLE_FILE:
        return name
    path = folder / "config.json"
    if path.is_file() and (kind := read_json(path).get("model_type")) not in (None, "rembert"):
        return f"model of the type {kind!r}"
    return name
