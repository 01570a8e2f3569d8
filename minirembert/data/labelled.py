"""Labelled examples: sentences and sentence pairs from TSV or JSONL, tagged words from CoNLL-U.

TSV files begin with a line of column names, JSONL files have one object a line; both need `label` and either `text` or
`text_a` and `text_b`. Of CoNLL-U (universaldependencies.org/format) the word forms and universal tags (UPOS) are read.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirembert.data.text import read_lines
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.tokenization.tokenizer import RemBertTokenizer

NO_WORD = "_"  # CoNLL-U's empty field


class Sentence(NamedTuple):
    """A sentence, or a pair, with one label."""

    text: str
    pair: str | None
    label: str


class TaggedSentence(NamedTuple):
    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_sentences(path: Path) -> list[Sentence]:
    """Reads a .tsv or .jsonl file. Raises ValueError, with the file and the line, for a missing column or value."""
    rows = _tsv_rows(path) if path.suffix == ".tsv" else _jsonl_rows(path)
    sentences = []
    for number, row in rows:
        text = row.get("text", row.get("text_a"))
        pair = row.get("text_b")
        label = row.get("label")
        if text is None or label is None or ("text_a" in row) != ("text_b" in row):
            raise ValueError(
                f"{path}, line {number}: needs label and either text or text_a and text_b, found {', '.join(row)}"
            )
        sentences.append(Sentence(str(text), None if pair is None else str(pair), str(label)))
    if not sentences:
        raise ValueError(f"{path} has no examples")
    return sentences


def _tsv_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    header, *lines = csv.reader(read_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)
    rows = []
    for number, fields in enumerate(lines, start=2):
        if len(fields) != len(header):
            raise ValueError(f"{path}, line {number}: {len(fields)} fields, but the first line names {len(header)}")
        rows.append((number, dict(zip(header, fields, strict=True))))
    return rows


def _jsonl_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object")
        rows.append((number, row))
    return rows


def read_conllu(path: Path) -> list[TaggedSentence]:
    """Reads a .conllu file. Multi-word ranges (3-4) and empty nodes (5.1) are skipped: their parts have lines too."""
    sentences: list[TaggedSentence] = []
    words: list[str] = []
    tags: list[str] = []
    lines = path.read_text(encoding="utf-8").split("\n") if read_lines(path) else []
    for number, line in enumerate([*lines, ""], start=1):
        if not line.strip():
            if words:
                sentences.append(TaggedSentence(tuple(words), tuple(tags)))
                words, tags = [], []
            continue
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 10:
            raise ValueError(f"{path}, line {number}: CoNLL-U has 10 fields separated by tabs, found {len(fields)}")
        if fields[0].isdigit():
            words.append(fields[1])
            tags.append(fields[3])
    if not sentences:
        raise ValueError(f"{path} has no sentences")
    return sentences


def label_names(labels: Sequence[str]) -> dict[int, str]:
    """Number -> label, in alphabetical order: what `RemBertConfig.id2label` holds."""
    return dict(enumerate(sorted({*labels} - {NO_WORD})))


def encode_sentences(
    sentences: Sequence[Sentence], tokenizer: RemBertTokenizer, label2id: Mapping[str, int], max_length: int
) -> dict[str, Any]:
    """Keyword arguments of `RemBertForSequenceClassification`, as one batch. A label the model lacks is ignored (-100)."""
    pairs = [sentence.pair for sentence in sentences]
    encoding = tokenizer(
        [sentence.text for sentence in sentences],
        None if pairs[0] is None else pairs,
        padding=True,
        truncation=True,
        max_length=max_length,
        return_tensors="np",
    )
    return {**encoding, "labels": np.array([label2id.get(sentence.label, IGNORE_INDEX) for sentence in sentences])}


def encode_tagged(
    sentences: Sequence[TaggedSentence], tokenizer: RemBertTokenizer, label2id: Mapping[str, int], max_length: int
) -> dict[str, Any]:
    """Keyword arguments of `RemBertForTokenClassification`, as one batch: the tag stands at the first piece of its word."""
    encoding = tokenizer(
        [list(sentence.words) for sentence in sentences],
        is_split_into_words=True,
        padding=True,
        truncation=True,
        max_length=max_length,
        return_tensors="np",
    )
    labels = np.full_like(encoding["input_ids"], IGNORE_INDEX)
    for row, sentence in enumerate(sentences):
        words = encoding.word_ids(row)
        for position, word in enumerate(words):
            if word is not None and word != words[position - 1]:
                labels[row, position] = label2id.get(sentence.tags[word], IGNORE_INDEX)
    return {**encoding, "labels": labels}
