"""Embedding: rows are copied out, and gradients are added back in."""

import numpy as np
import pytest
from checks import assert_same, assert_within, truth
from properties import holds_for, property_tests

from minirembert.ops import OPS


@holds_for("embedding")
def check_each_output_row_is_the_row_of_its_id(impl, case):
    """Said with a loop; copying is exact."""
    y = impl.run(case).y
    for where in np.ndindex(case.settings["ids"].shape):
        row = case.arrays[0][case.settings["ids"][where]]
        assert_same(y[where], row.astype(y.dtype), f"y[{where}]", case)


@holds_for("embedding")
def check_an_id_read_twice_gets_both_gradients(impl, case):
    """dW[r] is the sum of dy over the places that read row r: a loop that adds."""
    dtype = impl.dtypes[0]
    ids, padding = case.settings["ids"], case.settings["padding_idx"]
    dy = case.cotangent((*ids.shape, case.arrays[0].shape[1]), dtype)
    expected = np.zeros_like(case.arrays[0])
    for where in np.ndindex(ids.shape):
        if ids[where] != padding:
            expected[ids[where]] += dy[where]
    (dweight,) = impl.run(case, dtype).gradients
    assert_within(dweight, expected, truth(case, dtype).gradients[0].allowed, f"dweight of {case}", case.seed)


@holds_for("embedding")
def check_unread_rows_and_the_padding_row_learn_nothing(impl, case):
    (dweight,) = impl.run(case).gradients
    untouched = np.setdiff1d(np.arange(len(dweight)), case.settings["ids"])
    assert not dweight[untouched].any(), f"{case}: a gradient in a row that no id read"
    if case.settings["padding_idx"] is not None:
        assert not dweight[case.settings["padding_idx"]].any(), f"{case}: a gradient in the padding row"


@holds_for("embedding")
def check_the_padding_row_is_read_like_any_other(impl, case):
    assert_same(impl.run(case.but_with(padding_idx=None)).y, impl.run(case.but_with(padding_idx=0)).y, "y", case)


@holds_for("embedding")
def check_the_order_of_the_tokens_does_not_matter_to_the_table(impl, case):
    """Reading the tokens backwards, with their gradients backwards, teaches the table the same."""
    dtype = impl.dtypes[0]
    ids = case.settings["ids"].ravel()
    case = case.but_with(ids=ids)
    reversed_case = case.but_with(ids=ids[::-1])
    dy = case.cotangent((len(ids), case.arrays[0].shape[1]), dtype)
    results = []
    for one, one_dy in ((case, dy), (reversed_case, dy[::-1])):
        arrays, settings = one.at(dtype)
        _, saved = impl.call("embedding", *arrays, **settings)
        results.append(impl.call_back("embedding", one_dy, saved)[0])
    assert_within(*results, 2 * truth(case, dtype).gradients[0].allowed, f"dweight of {case}, reversed", case.seed)


test_embedding = property_tests()


@pytest.mark.parametrize(("bad", "where"), [(-1, (0, 2)), (5, (1, 0)), (-6, (1, 1))])
def test_an_id_outside_the_table_is_refused_with_its_place(bad, where):
    """NumPy would read row -1 from the end of the table."""
    ids = np.zeros((2, 3), int)
    ids[where] = bad
    with pytest.raises(IndexError, match=rf"ids\[{where[0]}, {where[1]}\] is {bad}, .* rows 0 to 4"):
        OPS["embedding"].forward(np.zeros((5, 2)), ids)


def test_no_ids_at_all():
    weight = np.ones((5, 2))
    y, saved = OPS["embedding"].forward(weight, np.zeros((0,), int))
    assert y.shape == (0, 2)
    assert not OPS["embedding"].backward(y, saved)[0].any()
