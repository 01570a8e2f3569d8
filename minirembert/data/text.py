"""Text files: one sentence (or paragraph) a line, one language a file, in UTF-8."""

from collections.abc import Sequence
from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a UTF-8 text file, stripped.

    Raises FileNotFoundError, or ValueError for a file that is not UTF-8 (which byte) or has no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} is not UTF-8: byte {error.start} (line {line}) is 0x{content[error.start]:02x}"
        ) from error
    # Not str.splitlines(): it also breaks at form feeds and other characters that may stand inside a sentence.
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f"{path} has no text: it is empty or only white space")
    return lines


def language_names(paths: Sequence[Path]) -> list[str]:
    """Each file's name without its suffix. Raises ValueError where two files would share a name."""
    names = [path.stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two files are named {twice[0]}: a file's name is its language, so the names must differ")
    return names
