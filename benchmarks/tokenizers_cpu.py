"""How long a megabyte of text takes, next to the tokenizer of the transformers that is installed.

    python -m benchmarks.tokenizers_cpu TEXT.txt [MORE.txt ...] [--folder DIR] [--out FILE.json]

Beside version 4 the slow tokenizers run, beside version 5, which has no slow one, the fast ones. Both sides load the same
folder and tokenize the same megabyte, once as one text and once line by line in a batch, turn by turn in one process. Reported
are ratios, ours over theirs: the best of the rounds of each. In a batch our slow tokenizer uses all cores.

The vocabulary is learned from the texts, or is the one saved in DIR. It takes the second way in an environment of
version 4, whose `tokenizers` library is too old to write our tokenizer.json; it needs no installed minirembert, only its
folder in PYTHONPATH.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minirembert.progress import busy
from minirembert.provenance import provenance

SIZE = 1_000_000  # bytes of UTF-8
ROUNDS = 5
VOCAB_SIZE = 8000


def megabyte(paths: list[Path], wanted: int = SIZE) -> list[str]:
    """The lines of all files, in turn and again and again, until they make `wanted` bytes."""
    files = [path.read_text(encoding="utf-8").splitlines() for path in paths]
    lines: list[str] = []
    size = 0
    while size < wanted:
        for i in range(max(map(len, files))):
            for file in files:
                lines.append(file[i % len(file)])
                size += len(lines[-1].encode()) + 1
            if size >= wanted:
                break
    return lines


def pair(folder: Path) -> tuple[str, Any, Any]:
    """What is compared, our tokenizer and transformers'."""
    import transformers

    from minirembert.tokenization.fast import RemBertTokenizerFast
    from minirembert.tokenization.tokenizer import RemBertTokenizer

    transformers.logging.set_verbosity_error()
    theirs = transformers.RemBertTokenizer.from_pretrained(folder)
    if theirs.is_fast:
        return "fast", RemBertTokenizerFast.from_pretrained(folder), theirs
    return "slow", RemBertTokenizer.from_pretrained(folder), theirs


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(ours: Any, theirs: Any, lines: list[str], rounds: int = ROUNDS) -> dict[str, float]:
    """Ratios of the best times, and how much of the ids is the same."""
    text = "\n".join(lines)
    result: dict[str, float] = {}
    for name, given in (("one text", text), ("lines", lines)):
        times: list[tuple[float, float]] = []
        for _ in range(rounds):
            times.append((seconds(lambda given=given: ours(given)), seconds(lambda given=given: theirs(given))))
        best_ours, best_theirs = map(min, zip(*times, strict=True))
        result[name] = round(best_ours / best_theirs, 3)
    same = [a == b for a, b in zip(ours(lines)["input_ids"], theirs(lines)["input_ids"], strict=True)]
    result["lines with the same ids"] = round(sum(same) / len(same), 4)
    return result


def main() -> int:
    from minirembert.tokenization.training import train_tokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--folder", type=Path, help="a saved tokenizer; none: a vocabulary is learned")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="see that it runs, on two kilobytes; measures nothing")
    arguments = parser.parse_args()
    if arguments.tiny and arguments.out:
        parser.error("--tiny measures nothing, so there is nothing to write")
    lines = megabyte(arguments.texts, 2000 if arguments.tiny else SIZE)
    with tempfile.TemporaryDirectory() as scratch, busy("comparing tokenizers"):
        if arguments.folder is None:
            train_tokenizer(arguments.texts, 300 if arguments.tiny else VOCAB_SIZE, scratch)
        kind, ours, theirs = pair(arguments.folder or Path(scratch))
        ratios = compare(ours, theirs, lines, 1 if arguments.tiny else ROUNDS)
    print(kind, ", ".join(f"{what}: {value}" for what, value in ratios.items()))
    if arguments.out:
        head = provenance("transformers", "tokenizers", "sentencepiece")
        arguments.out.write_text(
            json.dumps(
                {**head, "bytes": SIZE, "tokenizers": kind, "ours over theirs": ratios}, indent=1, allow_nan=False
            )
            + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
