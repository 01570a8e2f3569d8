"""Labelled examples: sentences and sentence pairs from TSV or JSONL, tagged words from CoNLL-U.

TSV files begin with a line of column names, JSONL files have one object a line; both need `label` and either `text` or
`text_a` and `text_b`. A class is known by the text of its label: in JSONL 1, 1.0 and "1" are one, and true is "True". What is
read of CoNLL-U (universaldependencies.org/format) are the word forms and universal tags (UPOS).
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirembert.data.text import read_lines
from minirembert.files import unique_keys
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.tokenization.encoding import BatchEncoding
from minirembert.tokenization.pretrained import PreTrainedTokenizer

SENTENCE_COLUMNS, PAIR_COLUMNS = {"text", "label"}, {"text_a", "text_b", "label"}
COLUMNS = SENTENCE_COLUMNS | PAIR_COLUMNS
NO_TAG = "_"  # CoNLL-U's empty field
NUMBER = r"[1-9][0-9]{0,8}"
WORD_ID = re.compile(NUMBER)
RANGE_ID = re.compile(rf"({NUMBER})-({NUMBER})")  # of words that are written as one: 3-4
EMPTY_ID = re.compile(rf"(0|{NUMBER})\.({NUMBER})")  # a node without a word, after word 5: 5.1
HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class Sentence(NamedTuple):
    """A sentence, or a pair, with one label."""

    text: str
    pair: str | None
    label: str


class TaggedSentence(NamedTuple):
    """The word forms of a sentence, and the universal tag (UPOS) of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_sentences(path: Path) -> list[Sentence]:
    """Reads a .tsv or .jsonl file: either sentences or pairs.

    Raises ValueError, with the file and the line, for a missing column, an empty value, NaN and infinity, a key that is there
    twice, and a mixture of both kinds.
    """
    rows = _tsv_rows(path) if path.suffix.lower() == ".tsv" else _jsonl_rows(path)
    sentences: list[Sentence] = []
    first = 0
    for number, row in rows:
        sentence = _sentence(row, f"{path}, line {number}")
        if not sentences:
            first = number
        elif (sentence.pair is None) != (sentences[0].pair is None):
            kinds = ("a sentence", "a pair")
            raise ValueError(
                f"{path}, line {number}: {kinds[sentence.pair is not None]}, but line {first} has "
                f"{kinds[sentence.pair is None]}: a file has either text or text_a and text_b in every line"
            )
        sentences.append(sentence)
    if not sentences:
        raise ValueError(f"{path} has no examples")
    return sentences


def _sentence(row: Mapping[str, Any], place: str) -> Sentence:
    columns = COLUMNS & set(row)
    if columns == SENTENCE_COLUMNS:
        return Sentence(_cell(row, "text", place), None, _cell(row, "label", place).strip())
    if columns == PAIR_COLUMNS:
        pair = _cell(row, "text_b", place)
        return Sentence(_cell(row, "text_a", place), pair, _cell(row, "label", place).strip())
    raise ValueError(f"{place}: needs label and either text or text_a and text_b, found {_listed(row)}")


def _listed(names: Iterable[str]) -> str:
    """For a message: a line that was meant as an example may be long."""
    text = ", ".join(names)
    return (text if len(text) <= 100 else text[:97] + "...") or "nothing"


def _cell(row: Mapping[str, Any], column: str, place: str) -> str:
    value = row[column]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{place}: {column} is empty")
    if isinstance(value, bool) and column != "label":
        raise ValueError(f"{place}: {column} must be a string or a number, got {json.dumps(value)}")
    if not isinstance(value, str | int | float):
        raise ValueError(f"{place}: {column} must be a string or a number, got {type(value).__name__}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place}: {column} is {json.dumps(value)}, which is no number")
        if column == "label" and value.is_integer():  # 1.0 and 1 are one class, and so are -0.0 and 0
            value = int(value)
    text = str(value)
    if half := HALF_A_PAIR.search(text):
        raise ValueError(
            f"{place}: {column} has \\u{ord(half[0]):04x}, half of a surrogate pair, which is no character"
        )
    return text


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line as it stands in the file, without its end, and its number. Raises like `read_lines`."""
    read_lines(path)  # complains about a missing or empty file, and about one that is not UTF-8
    # Not open() with its universal newlines: they also break at a carriage return inside a line.
    lines = path.read_bytes().decode("utf-8-sig").split("\n")
    return ((number, line.rstrip("\r")) for number, line in enumerate(lines, start=1))


def _tsv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    # Not the csv module: it limits the length of a cell, and without quoting there is nothing to parse.
    lines = ((number, line) for number, line in _numbered_lines(path) if line.strip(" "))
    first, line = next(lines)
    header = [name.strip() for name in line.split("\t")]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path}, line {first}: two columns are named {twice[0]!r}")
    if COLUMNS & set(header) not in (SENTENCE_COLUMNS, PAIR_COLUMNS):
        raise ValueError(
            f"{path}, line {first}: the first line must name the columns, label and either text or text_a and text_b, "
            f"found {_listed(header)}"
        )
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(fields)} fields, but the first line names {len(header)} "
                f"({_listed(header)})"
            )
        yield number, dict(zip(header, fields, strict=True))


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except RecursionError as error:
            raise ValueError(f"{path}, line {number}: not JSON (brackets nested too deeply)") from error
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object")
        yield number, row


def read_conllu(path: Path) -> list[TaggedSentence]:
    """Reads a .conllu file. Multi-word ranges (3-4) and empty nodes (5.1) are skipped: their parts have lines too.

    A sentence without a single tag is left out: there is nothing to learn from it and nothing to score. Raises
    ValueError, with the file and the line, for a line that is not CoNLL-U, for words of a sentence that are not numbered 1, 2,
    3, for a range or an empty node in the wrong place, and for a file without tags.
    """
    sentences: list[TaggedSentence] = []
    ids = _WordIds()
    words: list[tuple[str, str]] = []
    found = False
    for number, line in [*_numbered_lines(path), (0, "")]:
        place = f"{path}, line {number}"
        if not line.strip():
            ids.end()
            if any(tag != NO_TAG for _, tag in words):
                sentences.append(TaggedSentence(*zip(*words, strict=True)))
            ids, words = _WordIds(), []
        elif not line.startswith("#"):
            fields = _conllu_fields(line, place)
            if ids.is_word(fields[0], place):
                words.append((fields[1], fields[3]))
                found = True
    if not found:
        raise ValueError(f"{path} has no sentences")
    if not sentences:
        raise ValueError(f"{path} has no tags: the fourth field (UPOS) of every word is {NO_TAG}")
    return sentences


def _conllu_fields(line: str, place: str) -> list[str]:
    """The ten fields of a line. A word has a form and a tag, a range or an empty node may lack them."""
    fields = line.split("\t")
    if len(fields) != 10:
        raise ValueError(f"{place}: CoNLL-U has 10 fields separated by tabs, found {len(fields)}")
    for name, value in (("second field (FORM)", fields[1]), ("fourth field (UPOS)", fields[3])):
        if fields[0].isdigit() and not value.strip():
            raise ValueError(f"{place}: the {name} is empty")
    return fields


class _WordIds:
    """The first fields (ID) of a sentence, one after the other: words 1, 2, 3, each range before its words, each empty node
    after its word.
    """

    def __init__(self) -> None:
        self.last = 0  # word
        self._empty_nodes = 0  # after it
        self._range_end = 0
        self._range_place = ""

    def is_word(self, id: str, place: str) -> bool:
        """Whether the next line is a word. Raises ValueError that names `place` for an ID that cannot stand there."""
        if WORD_ID.fullmatch(id):
            if id != str(self.last + 1):
                raise ValueError(
                    f"{place}: the words of a sentence are numbered 1, 2, 3, so this one is {self.last + 1}, got {id}"
                    + ("; an empty line ends a sentence" if id == "1" else "")
                )
            self.last, self._empty_nodes = self.last + 1, 0
            return True
        if of := RANGE_ID.fullmatch(id):
            first, end = int(of[1]), int(of[2])
            if end <= first or first != self.last + 1 or first <= self._range_end:
                raise ValueError(
                    f"{place}: a range stands before its first word and goes up, got {id} before word {self.last + 1}"
                )
            self._range_end, self._range_place = end, place
            return False
        if node := EMPTY_ID.fullmatch(id):
            self._empty_nodes += 1
            if (int(node[1]), int(node[2])) != (self.last, self._empty_nodes):
                expected = f"{self.last}.{self._empty_nodes}"
                raise ValueError(f"{place}: an empty node after word {self.last} is numbered {expected}, got {id}")
            return False
        raise ValueError(f"{place}: the first field (ID) must be like 3, 3-4 or 3.1, got {id!r}")

    def end(self) -> None:
        """Raises ValueError where a range goes on after the last word."""
        if self._range_end > self.last:
            raise ValueError(
                f"{self._range_place}: the range ends with {self._range_end}, the sentence with {self.last}"
            )


def label_names(labels: Sequence[str]) -> dict[int, str]:
    """Number -> label, in alphabetical order: what `RemBertConfig.id2label` holds."""
    return dict(enumerate(sorted({*labels})))


def count_longer(
    examples: Sequence[Sentence] | Sequence[TaggedSentence], tokenizer: PreTrainedTokenizer, max_length: int
) -> int:
    """How many examples have more than `max_length` tokens, [CLS] and [SEP] included: those are cut."""
    return sum(len(ids) > max_length for ids in _tokenize(examples, tokenizer, verbose=False)["input_ids"])


def _tokenize(
    examples: Sequence[Sentence] | Sequence[TaggedSentence], tokenizer: PreTrainedTokenizer, **options: Any
) -> BatchEncoding:
    words = [list(example.words) for example in examples if isinstance(example, TaggedSentence)]
    if words:
        return tokenizer(words, is_split_into_words=True, **options)
    sentences = [example for example in examples if isinstance(example, Sentence)]
    pairs = [sentence.pair for sentence in sentences if sentence.pair is not None]
    if pairs and len(pairs) != len(sentences):
        raise ValueError(f"a batch has either sentences or pairs, got {len(pairs)} pairs among {len(sentences)}")
    return tokenizer([sentence.text for sentence in sentences], pairs or None, **options)


def encode_sentences(
    sentences: Sequence[Sentence], tokenizer: PreTrainedTokenizer, label2id: Mapping[str, int], max_length: int
) -> dict[str, Any]:
    """Keyword arguments of `RemBertForSequenceClassification`, as one batch. A label the model lacks is ignored (-100)."""
    encoding = _tokenize(
        sentences, tokenizer, padding=True, truncation=True, max_length=max_length, return_tensors="np"
    )
    labels = np.array([label2id.get(sentence.label, IGNORE_INDEX) for sentence in sentences])
    return {**padded_on_the_right(encoding), "labels": labels}


def encode_tagged(
    sentences: Sequence[TaggedSentence], tokenizer: PreTrainedTokenizer, label2id: Mapping[str, int], max_length: int
) -> dict[str, Any]:
    """Keyword arguments of `RemBertForTokenClassification`, as one batch: the tag stands at the first piece of its word."""
    encoding = _tokenize(
        sentences, tokenizer, padding=True, truncation=True, max_length=max_length, return_tensors="np"
    )
    labels = np.full_like(encoding["input_ids"], IGNORE_INDEX)
    for row, sentence in enumerate(sentences):
        words = encoding.word_ids(row)
        for position, word in enumerate(words):
            if word is not None and word != words[position - 1]:
                labels[row, position] = label2id.get(sentence.tags[word], IGNORE_INDEX)
    return padded_on_the_right({**encoding, "labels": labels})


def padded_on_the_right(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The same rows, each with its padding after its tokens: arrays (B, S), of which `attention_mask` says what is padding.

    A model counts positions from the left and pools the first token, so a row that a tokenizer padded on the left
    (`padding_side="left"`) would depend on how long its neighbours are.
    """
    mask = np.asarray(batch["attention_mask"])
    tokens_first = np.argsort(mask == 0, axis=1, kind="stable")
    return {name: np.take_along_axis(np.asarray(array), tokens_first, axis=1) for name, array in batch.items()}
