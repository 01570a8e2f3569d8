"""Writes a corpus to disk: text for pre-training and CoNLL-U for tagging, by language and by split.

    folder/train/en.txt         one sentence a line
    folder/train/en.conllu      the same sentences, one word a line with its part of speech, concept and role
    folder/validation/...       the same for the other splits
    folder/corpus.json          how it was made and what is in it; written last, so the rest is complete

Parallel: line k of every language says the same meaning. Not parallel: no two languages share a meaning, so
a model that aligns the languages has found that out without translations. Either way a meaning's split is its
own (`split_of`).

The CoNLL-U columns for the lemma, the features and the tree stay "_": the generator knows parts of speech
and roles, and builds no tree. MISC holds Concept, Role, Clause and, where no blank follows, SpaceAfter=No. A
contraction such as "al" is one word with the tag ADP.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from minirembert.files import atomic_folder, json_text

from .meaning import SPLITS, split_of
from .realize import LANGUAGES, Sentence, Token, realize
from .sampler import MAX_MEANINGS, iter_meanings


class CorpusFile(NamedTuple):
    """One language of one split: its two files and how much is in them."""

    text: Path
    conllu: Path
    sentences: int
    tokens: int


def to_conllu(sentence: Sentence) -> str:
    """A sentence as a CoNLL-U block, with the blank line that ends it."""
    tokens = sentence.tokens
    lines = [
        f"# sent_id = {sentence.language}-{sentence.meaning.digest:016x}",
        f"# text = {sentence.text}",
        f"# meaning = {sentence.meaning.key}",
    ]
    for number, token in enumerate(tokens, start=1):
        misc = f"Clause={token.clause}|Concept={token.concept or '_'}|Role={token.role}"
        if number < len(tokens) and not tokens[number].space_before:
            misc += "|SpaceAfter=No"
        lines.append(f"{number}\t{token.form}\t_\t{token.upos}\t_\t_\t_\t_\t_\t{misc}")
    return "\n".join(lines) + "\n\n"


def read_conllu(path: str | os.PathLike[str]) -> Iterator[tuple[str, tuple[Token, ...]]]:
    """The text and the tokens of every sentence of a file that `write_corpus` wrote."""
    with Path(path).open(encoding="utf-8") as lines:
        yield from parse_conllu(lines)


def parse_conllu(lines: Iterable[str]) -> Iterator[tuple[str, tuple[Token, ...]]]:
    """The text and the tokens of every sentence, from lines of CoNLL-U."""
    text, tokens, space_before = "", list[Token](), False
    for line in lines:
        line = line.rstrip("\n")
        if line.startswith("# text = "):
            text = line.removeprefix("# text = ")
        elif line and not line.startswith("#"):
            columns = line.split("\t")
            misc = dict(pair.split("=", 1) for pair in columns[9].split("|"))
            concept = None if misc["Concept"] == "_" else misc["Concept"]
            token = Token(columns[1], columns[3], concept, misc["Role"], int(misc["Clause"]), space_before)
            tokens.append(token)
            space_before = misc.get("SpaceAfter") != "No"
        elif not line and tokens:
            yield text, tuple(tokens)
            text, tokens, space_before = "", [], False


def _check(sentences_per_language: int, parallel: bool, languages: Sequence[str]) -> None:
    for language in languages:
        if language not in LANGUAGES:
            raise ValueError(f"unknown language {language!r}; the languages are {', '.join(LANGUAGES)}")
    if not languages or len(set(languages)) != len(languages):
        raise ValueError("a corpus needs at least one language, and each of them once")
    if sentences_per_language < 1:
        raise ValueError(f"a corpus needs at least 1 sentence per language, not {sentences_per_language}")
    needed = sentences_per_language * (1 if parallel else len(languages))
    if needed > MAX_MEANINGS:
        raise ValueError(f"this corpus needs {needed} distinct meanings and at most {MAX_MEANINGS} can be sampled")


def write_corpus(
    folder: str | os.PathLike[str],
    sentences_per_language: int,
    seed: int,
    parallel: bool = False,
    languages: Sequence[str] = LANGUAGES,
) -> dict[str, dict[str, CorpusFile]]:
    """Writes a corpus and returns its files by split and language.

    `sentences_per_language` counts all splits together; about 90 % are train, 5 % validation, 5 % test. The folder
    appears whole or not at all. Raises ValueError for a bad argument, FileExistsError for a folder that has anything
    in it.
    """
    _check(sentences_per_language, parallel, languages)
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    elif folder.exists():
        raise FileExistsError(f"{folder} exists and is not an empty folder: choose another place for the corpus")
    sentences = {(split, language): 0 for split in SPLITS for language in languages}
    tokens = dict(sentences)
    with atomic_folder(folder) as unfinished:
        with ExitStack() as stack:
            files = {}
            for split in SPLITS:
                (unfinished / split).mkdir()
                for language in languages:
                    for kind in ("txt", "conllu"):
                        path = unfinished / split / f"{language}.{kind}"
                        files[split, language, kind] = stack.enter_context(
                            path.open("w", encoding="utf-8", newline="\n")
                        )
            needed = sentences_per_language * (1 if parallel else len(languages))
            for index, meaning in enumerate(islice(iter_meanings(seed), needed)):
                split = split_of(meaning)
                for language in languages if parallel else (languages[index % len(languages)],):
                    sentence = realize(meaning, language)
                    files[split, language, "txt"].write(sentence.text + "\n")
                    files[split, language, "conllu"].write(to_conllu(sentence))
                    sentences[split, language] += 1
                    tokens[split, language] += len(sentence.tokens)
        manifest = {
            "seed": seed,
            "parallel": parallel,
            "languages": list(languages),
            "sentences_per_language": sentences_per_language,
            "sentences": {split: {language: sentences[split, language] for language in languages} for split in SPLITS},
        }
        (unfinished / "corpus.json").write_text(json_text(manifest, "corpus.json"), encoding="utf-8")
    return {
        split: {
            language: CorpusFile(
                folder / split / f"{language}.txt",
                folder / split / f"{language}.conllu",
                sentences[split, language],
                tokens[split, language],
            )
            for language in languages
        }
        for split in SPLITS
    }
