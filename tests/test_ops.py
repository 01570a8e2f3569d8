"""What every op must do, whatever it computes."""

import checks
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from oracles import ORACLES
from properties import holds_for, property_tests
from strategies import CASES, ORDINARY

from minirembert.ops import OPS

DIFFERENTIABLE = [op for op in OPS if OPS[op].backward]

holds_for(*OPS)(checks.check_the_value_is_right)
holds_for(*DIFFERENTIABLE)(checks.check_the_gradients_are_right)
holds_for(*DIFFERENTIABLE, values=ORDINARY)(checks.check_backward_is_the_transpose_of_forward)
holds_for(*OPS)(checks.check_nothing_is_changed_or_shared)
holds_for(*OPS)(checks.check_the_blocks_do_not_matter)
# where a kernel is told how far apart rows are
BY_ROWS = ("softmax", "layer_norm", "residual_layer_norm", "bias_gelu", "attention", "attention_packed")
holds_for(*BY_ROWS, values=ORDINARY)(checks.check_arrays_may_be_slices_of_wider_ones)

test_op = property_tests()


@pytest.mark.parametrize("where", [CASES, ORACLES], ids=["strategy", "oracle"])
def test_no_op_is_forgotten(where):
    assert set(where) == set(OPS)


def test_the_shapes_in_the_signatures_are_checked_while_the_tests_run():
    """`conftest.py` sees to it: every call in this suite is also a test of the shapes that the signatures promise."""
    with pytest.raises(TypeCheckError, match="weight"):
        OPS["linear"].forward(np.zeros((2, 3)), np.zeros((4, 5)))
