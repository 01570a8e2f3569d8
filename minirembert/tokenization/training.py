"""A new vocabulary from text files: `train_tokenizer`, on SentencePiece's unigram trainer.

Each file is a language. Were every sentence taken once, a language with a thousandth of the text would get next to no
pieces of its own; so file i, with n_i sentences, is given a share of the sample

    p_i = n_i^alpha / (n_1^alpha + ... + n_k^alpha)

With alpha = 1 that is its share of the text, with 0 an equal share for each, with the usual 1/2 in between: 1,000
times as many sentences count 32 times as much. A language whose share is larger than its text is read several times.

The same files and settings give the same bytes: one thread, nothing shuffled, a sample drawn from `seed`. What this
file does not do: it picks no vocabulary size, and does not clean text.
"""

import contextlib
import io
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from minirembert.files import atomic_file
from minirembert.scalars import as_integer, is_integer, is_number
from minirembert.tokenization.candidates import candidate_pieces
from minirembert.tokenization.folder import VOCAB_FILE
from minirembert.tokenization.tokenizer import RemBertTokenizer

PIECES = ("[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]")  # ids 0 to 4; transformers 5 takes 2 for the unknown token's

LONGEST_SENTENCE = 1000  # characters; SentencePiece drops sentences of more than 4192 bytes, so they are cut before
RESERVED = "▅"  # SentencePiece drops sentences with this character, its stand-in for unknown ones


def train_tokenizer(
    files: str | Path | Sequence[str | Path],
    vocab_size: int,
    folder: str | Path,
    *,
    alpha: float = 0.5,
    max_sentences: int = 1_000_000,
    character_coverage: float = 0.9995,
    seed: int = 0,
) -> RemBertTokenizer:
    """Learns `vocab_size` pieces from UTF-8 text files, one sentence a line and one language a file; saves and returns them.

    The first pieces are [PAD]=0, [CLS]=1, [UNK]=2, [SEP]=3, [MASK]=4. `max_sentences` bounds the sample (memory and
    time grow with it), and `character_coverage` is the part of the text whose characters get a piece: the rarest of
    the others will be [UNK]. `folder` gets what `save_pretrained` writes.

    Raises FileNotFoundError for a file that is not there; ValueError, naming the file or the value, for a file that
    is empty or not UTF-8, a value out of range, and a `vocab_size` that is too small for the characters of the text
    or too large for its length. Whatever stood in `folder` is unchanged then.
    """
    folder = Path(folder)
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    _require(len(paths) > 0, "files must name at least one text file")
    check_sizes(vocab_size, character_coverage)
    _require(is_number(alpha) and 0 <= alpha <= 1, f"alpha must be between 0 and 1, got {alpha}")
    _require(is_number(max_sentences) and max_sentences >= 1, f"max_sentences must be at least 1, got {max_sentences}")
    vocab_size, character_coverage, seed = int(vocab_size), float(character_coverage), as_integer("seed", seed)

    counts = [sum(1 for _ in _sentences(path)) for path in paths]
    for path, count in zip(paths, counts, strict=True):
        _require(count > 0, f"{path} is empty: there is no sentence in it")
    shares = sentence_shares(counts, alpha, min(sum(counts), max_sentences))
    model = io.BytesIO()
    absolute = [path.absolute() for path in paths]
    candidates = candidate_pieces(_sample(absolute, counts, shares, seed))
    # SentencePiece writes the candidates' path into the model. A name relative to the scratch folder keeps the machine's
    # paths out of it, and the bytes the same on every run.
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_sample(absolute, counts, shares, seed),
                model_writer=model,
                model_type="unigram",
                vocab_size=vocab_size,
                character_coverage=character_coverage,
                normalization_rule_name="nmt_nfkc",
                byte_fallback=False,
                **_piece_settings(),
                **_seed_settings(candidates),
                num_threads=1,
                input_sentence_size=0,
                shuffle_input_sentence=False,
                minloglevel=4,
            )
        except RuntimeError as error:
            raise ValueError(_explain(str(error), vocab_size, character_coverage, paths)) from error

    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / VOCAB_FILE) as temporary:
        temporary.write_bytes(model.getvalue())
    tokenizer = RemBertTokenizer(folder / VOCAB_FILE)
    tokenizer.save_pretrained(folder)
    return tokenizer


def check_sizes(vocab_size: int, character_coverage: float) -> None:
    """Raises ValueError for what no text can make right, before anyone reads one."""
    whole = is_integer(vocab_size) and vocab_size > len(PIECES)
    _require(whole, f"vocab_size must be an integer above {len(PIECES)}, the special tokens, got {vocab_size!r}")
    covers = is_number(character_coverage) and 0.98 <= character_coverage <= 1
    _require(covers, f"character_coverage must be between 0.98 and 1, got {character_coverage}")


def sentence_shares(counts: Sequence[int], alpha: float, total: int) -> list[int]:
    """How many sentences of each file make a sample of about `total`, at least one of each."""
    weights = [count**alpha for count in counts]
    return [max(1, round(total * weight / sum(weights))) for weight in weights]


def _sample(paths: Sequence[Path], counts: Sequence[int], shares: Sequence[int], seed: int) -> Iterator[str]:
    """Each file's sentences in their order: all of them as often as they go into its share, a random few once more."""
    for i, (path, count, share) in enumerate(zip(paths, counts, shares, strict=True)):
        once_more = set(random.Random(f"{seed} {i}").sample(range(count), share % count))
        for number, sentence in enumerate(_sentences(path)):
            sentence = sentence.replace(RESERVED, " ")
            for _ in range(share // count + (number in once_more)):
                for start in range(0, len(sentence), LONGEST_SENTENCE):
                    yield sentence[start : start + LONGEST_SENTENCE]


def _sentences(path: Path) -> Iterator[str]:
    """The lines of a file that are not blank."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, or is not a file")
    position = 0
    with path.open("rb") as file:
        for line in file:
            try:
                sentence = line.decode().strip()
            except UnicodeDecodeError as error:
                where = f"byte {position + error.start} is 0x{line[error.start]:02x}"
                raise ValueError(f"{path} is not UTF-8 text: {where} ({error.reason})") from None
            position += len(line)
            if sentence:
                yield sentence


def _piece_settings() -> dict[str, Any]:
    pad, bos, unk, eos, mask = PIECES
    return {
        "pad_id": 0, "bos_id": 1, "unk_id": 2, "eos_id": 3,
        "pad_piece": pad, "bos_piece": bos, "unk_piece": unk, "eos_piece": eos,
        "control_symbols": [mask],  # takes the next free id, 4
    }  # fmt: skip


def _seed_settings(candidates: list[tuple[str, int]] | None) -> dict[str, Any]:
    if candidates is None:
        return {}
    file = Path("candidates.tsv")
    file.write_text("".join(f"{piece}\t{weight}\n" for piece, weight in candidates), encoding="utf-8")
    return {"seed_sentencepieces_file": str(file)}


def _explain(message: str, vocab_size: int, character_coverage: float, paths: Sequence[Path]) -> str:
    """SentencePiece's reason for refusing, as a sentence with the value, the limit and the files."""
    names = ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    if most := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        return f"vocab_size {vocab_size} is too large: the text in {names} yields at most {most[1]} pieces"
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"vocab_size {vocab_size} is too small: the characters in {names} and the {len(PIECES)} special tokens "
            f"need at least {least[1]}; raise it, or lower character_coverage (now {character_coverage})"
        )
    if "sentences_.empty()" in message or "all_chars_count" in message:
        return f"nothing is left of the text in {names} once it is normalised"
    return f"SentencePiece could not learn from {names}: {message}"


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
