"""Examples put together into a batch: `pad`, and lists that become arrays, beside what transformers does with the same.

What a tokenizer makes is padded, and is int64. Whatever else stands in an example ("labels") keeps its values and their type.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_models import small_model

from minirembert import RemBertTokenizer, RemBertTokenizerFast
from minirembert.tokenization.encoding import BatchEncoding

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
WIDE = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
MIXED = st.lists(st.integers(-(2**50), 2**50) | FINITE | st.booleans(), min_size=3, max_size=3)
FLOATS = ("float16", "float32", "float64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("collate")
    (path / "sentencepiece.model").write_bytes(small_model())
    RemBertTokenizer(path / "sentencepiece.model").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def theirs(folder) -> Any:
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module", params=[RemBertTokenizer, RemBertTokenizerFast])
def tokenizer(request, folder) -> Any:
    return request.param.from_pretrained(folder)


def examples(labels: list[Any], **more: list[Any]) -> list[dict[str, Any]]:
    """One example for each label, of different lengths."""
    rows = [{"input_ids": list(range(5, 6 + i)), "labels": label} for i, label in enumerate(labels)]
    for name, values in more.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def facts(array: Any) -> tuple[Any, ...]:
    return type(array), str(array.dtype).removeprefix("torch."), tuple(array.shape), array.tolist()


def test_labels_that_are_no_integers(tokenizer):
    rows = [{"input_ids": [5, 6], "labels": 0.5}, {"input_ids": [7], "labels": 2.75}]
    for kind, default in (("np", "float64"), ("pt", "float32")):
        batch = tokenizer.pad(rows, return_tensors=kind)
        assert facts(batch["labels"])[1:] == (default, (2,), [0.5, 2.75])
        assert facts(batch["input_ids"])[1:] == ("int64", (2, 2), [[5, 6], [7, 0]])
        soft = tokenizer.pad({"input_ids": [[5, 6]], "labels": [[0.5, 0.25]]}, return_tensors=kind)
        assert facts(soft["labels"])[1:] == (default, (1, 2), [[0.5, 0.25]])
        alone = tokenizer.pad({"input_ids": [5, 6], "labels": 0.5}, return_tensors=kind)
        assert facts(alone["labels"])[1:] == (default, (), 0.5)
        late = BatchEncoding({"labels": [[1, 0], [0, 0.5]]}, tensor_type=kind)  # the first value says nothing
        assert facts(late["labels"])[1:] == (default, (2, 2), [[1, 0], [0, 0.5]])
    assert tokenizer.pad(rows)["labels"] == [0.5, 2.75]


@given(
    st.sampled_from(["np", "pt"]),
    st.one_of(
        st.lists(FINITE, min_size=3, max_size=3),
        st.lists(INTEGERS, min_size=3, max_size=3),
        st.lists(st.booleans(), min_size=3, max_size=3),
        MIXED,
        st.lists(MIXED, min_size=3, max_size=3),
        st.lists(st.lists(MIXED, min_size=2, max_size=2), min_size=3, max_size=3),
    ),
    st.booleans(),
    st.booleans(),
)
def test_lists_become_the_arrays_that_transformers_makes(theirs, tokenizer, kind, labels, as_rows, arrays):
    batch: Any = examples(labels, weight=[1, 0.5, 0])
    if arrays:
        for row in batch:
            row["input_ids"] = np.array(row["input_ids"])
    if not as_rows:
        batch = {name: [row[name] for row in batch] for name in batch[0]}
    expected = theirs.pad(copy.deepcopy(batch), return_tensors=kind)  # theirs may write into what it is given
    found = tokenizer.pad(batch, return_tensors=kind)
    for name in ("input_ids", "attention_mask", "labels", "weight"):
        assert facts(found[name]) == facts(expected[name]), name


@given(st.sampled_from(["np", "pt"]), st.sampled_from(FLOATS), st.lists(WIDE, min_size=4, max_size=4), st.booleans())
def test_arrays_keep_their_floating_type(tokenizer, kind, dtype, values, tensors):
    with np.errstate(over="ignore"):
        labels = np.array(values).astype(dtype).reshape(2, 2)
    make = torch.from_numpy if tensors else np.asarray
    ids = [make(np.array([5, 6])), make(np.array([7]))]
    expected = labels.tolist()
    for given_labels in ([make(row) for row in labels], make(labels), [list(row) for row in labels]):
        batch = tokenizer.pad({"input_ids": ids, "labels": given_labels}, return_tensors=kind)
        assert facts(batch["labels"])[1:] == (dtype, (2, 2), expected)
    rows = [{"input_ids": i, "labels": make(row)} for i, row in zip(ids, labels, strict=True)]
    assert facts(tokenizer.pad(rows)["labels"]) == (torch.Tensor if tensors else np.ndarray, dtype, (2, 2), expected)
    single = [{"input_ids": i, "labels": label} for i, label in zip(ids, labels[0], strict=True)]  # NumPy's scalars
    assert facts(tokenizer.pad(single, return_tensors=kind)["labels"])[1:] == (dtype, (2,), expected[0])


def test_types_that_differ_take_the_widest(tokenizer):
    labels = [np.float32(0.1), 0.1, 1]
    assert tokenizer.pad(examples(labels), return_tensors="np")["labels"].tolist() == [float(np.float32(0.1)), 0.1, 1]
    rows = [np.float16([0.1]), np.float32([0.1]), [1]]
    assert tokenizer.pad(examples(rows), return_tensors="pt")["labels"].dtype == torch.float32
    half = [torch.tensor([0.5, value], dtype=torch.bfloat16) for value in (1, 2)]
    assert tokenizer.pad(examples(half), return_tensors="pt")["labels"].dtype == torch.bfloat16
    assert tokenizer.pad(examples(half), return_tensors="np")["labels"].dtype == np.float32  # NumPy has no bfloat16
    whole = tokenizer.pad(examples([np.int8([1]), np.uint16([2]), [3]]), return_tensors="np")["labels"]
    assert facts(whole)[1:] == ("int64", (3, 1), [[1], [2], [3]])


def test_large_integers(theirs, tokenizer):
    kept = [2**31, 2**53 + 1, 2**63 - 1]
    for kind in ("np", "pt"):
        assert tokenizer.pad(examples(kept), return_tensors=kind)["labels"].tolist() == kept
    unsigned = examples([2**63, 2**64 - 1])
    assert facts(tokenizer.pad(unsigned, return_tensors="np")["labels"]) == facts(
        theirs.pad(unsigned, return_tensors="np")["labels"]
    )
    for labels, kind in (([2**63, 1], "pt"), ([2**63, -1], "np"), ([2**64, 1], "np"), ([-(2**63) - 1, 0.0], "no")):
        if kind == "no":  # with a float beside it, it is one
            assert tokenizer.pad(examples(labels), return_tensors="np")["labels"].tolist() == [-(2.0**63), 0.0]
            continue
        with pytest.raises(ValueError, match=rf"labels: the integer {labels[0]} is outside int64"):
            tokenizer.pad(examples(labels), return_tensors=kind)
    with pytest.raises(ValueError, match="labels: there is a number that is too large for a float"):
        tokenizer.pad(examples([10**400, 0.5]), return_tensors="np")


def test_texts_beside_the_ids(theirs, tokenizer):
    rows = examples(["12", "b"])  # digits are no number
    expected = theirs.pad(rows, return_tensors="np")["labels"]
    assert facts(tokenizer.pad(rows, return_tensors="np")["labels"]) == facts(expected)
    assert tokenizer.pad(rows)["labels"] == ["12", "b"]
    with pytest.raises(ValueError, match="labels: '12' is no number, and an array is asked for"):
        tokenizer.pad(rows, return_tensors="pt")


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_values_that_make_no_array(tokenizer, kind):
    for labels, message in [
        (
            [[1, 2], [3]],
            "labels: lists of 1 to 2 values do not make one array: padding fills only what a tokenizer makes",
        ),
        ([[0.5, 0.5], [0.5]], "labels: lists of 1 to 2 values"),
        ([np.array([1, 2]), np.array([3])], "labels: lists of 1 to 2 values"),
        ([[[1], [2, 3]], [[1], [2]]], "labels: lists of 1 to 2 values"),
        ([[1, 2], 3], "labels: lists beside 3, which is no list"),
        ([1, None], "labels: None is no number"),
        ([0.5, 1j], "labels: 1j is no number"),
        ([0.5, "x"], "labels: 'x' is no number"),
    ]:
        with pytest.raises(ValueError, match=message):
            tokenizer.pad(examples(labels), return_tensors=kind)
    for name, values in (("labels", "ab"), ("labels", 0.5), ("weight", np.array(3))):
        with pytest.raises(ValueError, match=f"pad needs a list with one {name} for each row"):
            tokenizer.pad({"input_ids": [[5], [6]], name: values}, return_tensors=kind)
    with pytest.raises(ValueError, match="pad needs an encoding, or a list of encodings, got int 5"):
        tokenizer.pad(5)


def test_nothing_at_all(theirs, tokenizer):
    rows = examples([[], []])
    for kind in ("np", "pt"):
        expected = theirs.pad(rows, return_tensors=kind)["labels"]
        assert facts(tokenizer.pad(rows, return_tensors=kind)["labels"]) == facts(expected)


def test_the_caller_keeps_its_own(tokenizer):
    labels = np.float32([[1, 2], [3, 4]])
    batch = tokenizer.pad({"input_ids": [[5, 6], [7]], "labels": labels}, return_tensors="np")
    batch["labels"][:] = 0
    assert labels.tolist() == [[1, 2], [3, 4]]
