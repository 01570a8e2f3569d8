"""AutoTokenizer: the tokenizer that a folder asks for, under the name that Hugging Face's examples use."""

from pathlib import Path
from typing import Any

from minirembert.files import read_json
from minirembert.tokenization.fast import RemBertTokenizerFast
from minirembert.tokenization.folder import CONFIG_FILE, TOKENIZER_FILE, VOCAB_FILE
from minirembert.tokenization.tokenizer import RemBertTokenizer

OURS = ("RemBertTokenizer", "RemBertTokenizerFast")


class AutoTokenizer:
    """Makes tokenizers; there are none of this class."""

    def __init__(self) -> None:
        raise TypeError("AutoTokenizer makes tokenizers by AutoTokenizer.from_pretrained(folder)")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, use_fast: bool = True, **changes: Any
    ) -> RemBertTokenizer | RemBertTokenizerFast:
        """The tokenizer saved in a folder: RemBertTokenizerFast if the folder has a tokenizer.json, or settings beside its
        sentencepiece.model, and `use_fast` holds; else RemBertTokenizer.

        `changes` go over the saved settings. Raises ValueError for a folder of another kind of tokenizer; and what the two
        classes raise.
        """
        folder = Path(pretrained_model_name_or_path)
        kind = _class_name(folder)
        if kind is not None and kind not in OURS:
            raise ValueError(f"{folder} holds a {kind}; only {' and '.join(OURS)} can be loaded")
        fast = (folder / TOKENIZER_FILE).is_file()
        slow = (folder / VOCAB_FILE).is_file() or folder.is_file()
        if use_fast and not fast:
            fast = slow and (folder / CONFIG_FILE).is_file()
        if fast and (use_fast or not slow):
            return RemBertTokenizerFast.from_pretrained(folder, **changes)
        return RemBertTokenizer.from_pretrained(folder, **changes)


def _class_name(folder: Path) -> Any:
    """What the tokenizer's settings say, else what the model's do; None where neither says anything."""
    path = folder / CONFIG_FILE
    if path.is_file() and (name := read_json(path).get("tokenizer_class")) is not None:
        return name
    path = folder / "config.json"
    if path.is_file() and (kind := read_json(path).get("model_type")) not in (None, "rembert"):
        return f"model of the type {kind!r}"
    return None
