"""What every op must do, whatever it computes."""

import checks
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from oracles import ORACLES
from properties import holds_for, property_tests
from strategies import CASES, ORDINARY, TILE

from minirembert.ops import OPS

DIFFERENTIABLE = [op for op in OPS if OPS[op].backward]

holds_for(*OPS)(checks.check_the_value_is_right)
holds_for(*DIFFERENTIABLE)(checks.check_the_gradients_are_right)
# some two dozen forward passes for each case
holds_for(*DIFFERENTIABLE, values=ORDINARY, enough=8)(checks.check_backward_is_the_transpose_of_forward)
holds_for(*OPS)(checks.check_nothing_is_changed_or_shared)
holds_for(*OPS)(checks.check_the_blocks_do_not_matter)
# where a kernel is told how far apart rows are
BY_ROWS = ["softmax", "layer_norm", "residual_layer_norm", "bias_gelu", "attention", "attention_packed"]
holds_for(*BY_ROWS, values=ORDINARY)(checks.check_arrays_may_be_slices_of_wider_ones)


@holds_for("softmax", "layer_norm", "residual_layer_norm", "bias_gelu", values=ORDINARY, enough=3)
def check_rows_may_be_taken_in_pieces_and_together(impl, case):
    """Whatever the case: rows of several tiles, the last one whole or not, whose largest number is far above the others, at the
    front or at the end, or is not; and many short rows, the last tile of which is not full."""
    dtype, names = impl.dtypes[-1], checks.parameter_names(case.op)
    for shape in ((3, 3 * TILE + 5), (3, 4 * TILE), (TILE + 1, 5)):
        for largest in (None, 0, -1):
            arrays = [case.rng.standard_normal(shape if name in ("x", "residual") else shape[1]) for name in names]
            arrays = arrays[: len(case.arrays)]
            arrays[0] -= 30
            if largest is not None:
                arrays[0][:, largest] = 1000
            one = case.but_with(*arrays)
            with impl.tiny_blocks(impl) as tiny:
                y, gradients, _ = tiny.run(one, dtype)
            checks.assert_right(y, checks.truth(one, dtype).y, dtype, "y", one)
            for name, gradient, answer in zip(names, gradients, checks.truth(one, dtype).gradients, strict=False):
                checks.assert_right(gradient, answer, dtype, f"d{name}", one)


test_op = property_tests()


@pytest.mark.parametrize("where", [CASES, ORACLES], ids=["strategy", "oracle"])
def test_no_op_is_forgotten(where):
    assert set(where) == set(OPS)


def test_the_shapes_in_the_signatures_are_checked_while_the_tests_run():
    """`conftest.py` sees to it: every call in this suite is also a test of the shapes that the signatures promise."""
    with pytest.raises(TypeCheckError, match="weight"):
        OPS["linear"].forward(np.zeros((2, 3)), np.zeros((4, 5)))
