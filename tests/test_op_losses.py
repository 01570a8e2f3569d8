"""The losses: what they are zero for, what they ignore, and what their gradients sum to."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checks import FLOOR, assert_same, assert_within, truth
from properties import holds_for, property_tests
from strategies import ORDINARY

from minirembert.ops import OPS


def labelled(case) -> np.ndarray:
    return case.settings["labels"] != case.settings["ignore_index"]


@holds_for("cross_entropy")
def check_the_loss_is_the_mean_over_the_labelled_rows_one_by_one(impl, case):
    """Said with a loop over Python floats."""
    dtype = impl.dtypes[0]
    (logits,), labels = case.arrays, case.settings["labels"]
    losses = []
    for row, label in zip(logits[labelled(case)], labels[labelled(case)], strict=True):
        m = max(row)
        losses.append(m + math.log(math.fsum(math.exp(v - m) for v in row)) - row[label])
    exact = math.fsum(losses) / len(losses)
    assert_within(impl.run(case, dtype).y, exact, 2 * truth(case, dtype).y.allowed, f"{case}", case.seed)


@holds_for("cross_entropy")
def check_ignored_rows_have_no_say(impl, case):
    """Whatever their logits: the loss is the same to the bit, and their gradient is exactly zero."""
    (logits,) = case.arrays
    noise = np.where(labelled(case)[:, None], logits, 1e4 * case.rng.standard_normal(logits.shape))
    here, there = case.but_with(logits), case.but_with(noise)
    assert_same(impl.run(there).y, impl.run(here).y, "the loss", case)
    for dtype in impl.dtypes:
        (dlogits,) = impl.run(there, dtype).gradients
        assert not dlogits[~labelled(case)].any(), f"{case}: an ignored row has a gradient"


@holds_for("cross_entropy")
def check_leaving_the_ignored_rows_out_changes_nothing(impl, case):
    dtype = impl.dtypes[0]
    (logits,), labels, rows = case.arrays, case.settings["labels"], labelled(case)
    fewer = case.but_with(logits[rows], labels=labels[rows])
    answer = truth(case, dtype)
    assert_within(impl.run(fewer, dtype).y, impl.run(case, dtype).y, 2 * answer.y.allowed, f"{case}", case.seed)
    assert_within(
        impl.run(fewer, dtype).gradients[0], impl.run(case.but_with(logits), dtype).gradients[0][rows],
        2 * answer.gradients[0].allowed[rows], f"dlogits of {case}", case.seed,
    )  # fmt: skip


@holds_for("cross_entropy")
def check_the_gradient_of_a_row_sums_to_zero(impl, case):
    """What the label gains, the others lose."""
    for dtype in impl.dtypes:
        (dlogits,) = impl.run(case, dtype).gradients
        allowed = truth(case, dtype).gradients[0].allowed.sum(-1)
        assert_within(
            dlogits.astype(np.float64).sum(-1), np.zeros(len(dlogits)), allowed, f"sum of dlogits of {case}", case.seed
        )


@holds_for("cross_entropy")
def check_a_constant_added_to_a_row_changes_nothing(impl, case):
    dtype = impl.dtypes[0]
    (logits,) = case.arrays
    grid = np.round(logits * 2**6) / 2**6
    shift = np.round(8 * case.rng.standard_normal((len(logits), 1)))
    here, there = case.but_with(grid), case.but_with(grid + shift)
    allowed = truth(here, dtype).y.allowed + truth(there, dtype).y.allowed
    assert_within(impl.run(there, dtype).y, impl.run(here, dtype).y, allowed, f"{case}, shifted", case.seed)


@holds_for("cross_entropy")
def check_knowing_nothing_costs_log_c(impl, case):
    """Equal logits: each of C classes has probability 1 / C."""
    for dtype in impl.dtypes:
        (logits,) = case.arrays
        y = impl.run(case.but_with(np.full_like(logits, 3.0)), dtype).y
        C = logits.shape[1]
        assert_within(y, math.log(C), FLOOR * np.finfo(dtype).eps * (3 + math.log(C)), f"{case}, equal", case.seed)


@holds_for("cross_entropy")
def check_the_saved_lse_is_log_sum_exp(impl, case):
    for dtype in impl.dtypes:
        (logits,) = case.arrays
        m = logits.max(-1)
        exact = m + np.log(np.exp(logits - m[:, None]).sum(-1))
        lse = impl.saved(impl.run(case, dtype).saved, "lse")
        assert lse.dtype == dtype
        C = logits.shape[1]
        allowed = FLOOR * np.finfo(dtype).eps * (np.abs(m) + math.sqrt(C))
        assert_within(lse[labelled(case)], exact[labelled(case)], allowed[labelled(case)], f"lse of {case}", case.seed)


@holds_for("cross_entropy")
def check_with_no_label_the_loss_is_nan_and_the_gradient_zero(impl, case):
    none = case.but_with(labels=np.full_like(case.settings["labels"], case.settings["ignore_index"]))
    for dtype in impl.dtypes:
        y, (dlogits,), _ = impl.run(none, dtype)
        assert np.isnan(y), f"{case}: a loss of {y} over no rows"
        assert y.dtype == dtype
        assert not dlogits.any(), f"{case}: a gradient from no rows"


@holds_for("mse", values=ORDINARY)
def check_mse_is_zero_for_the_target_and_symmetric(impl, case):
    (x,), target = case.arrays, case.settings["target"]
    assert impl.run(case.but_with(target)).y == 0
    assert_same(impl.run(case.but_with(target, target=x)).y, impl.run(case.but_with(x)).y, "mse the other way", case)


@holds_for("bce_with_logits")
def check_saying_no_to_not_x_is_saying_yes_to_x(impl, case):
    """loss(x, t) = loss(-x, 1 - t)."""
    dtype = impl.dtypes[0]
    (x,), target = case.arrays, np.round(case.settings["target"] * 16) / 16
    here, there = case.but_with(x, target=target), case.but_with(-x, target=1 - target)
    allowed = truth(here, dtype).y.allowed + truth(there, dtype).y.allowed
    size = FLOOR * np.finfo(dtype).eps * np.abs(x).mean()
    assert_within(impl.run(there, dtype).y, impl.run(here, dtype).y, allowed + size, f"{case}, mirrored", case.seed)


@holds_for("bce_with_logits")
def check_not_knowing_costs_log_two(impl, case):
    for dtype in impl.dtypes:
        y = impl.run(case.but_with(np.zeros_like(case.arrays[0])), dtype).y
        assert_within(y, math.log(2), FLOOR * np.finfo(dtype).eps, f"{case} at zero", case.seed)


test_loss = property_tests()


def test_nothing_labelled_is_treated_as_pytorch_treats_it():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    theirs = F.cross_entropy(logits, torch.full((3,), -100))
    theirs.backward()
    ours, saved = OPS["cross_entropy"].forward(logits.detach().numpy(), np.full(3, -100))
    (dlogits,) = OPS["cross_entropy"].backward(np.ones((), np.float32), saved)
    assert np.isnan(ours) and torch.isnan(theirs)
    assert (dlogits == logits.grad.numpy()).all()


@pytest.mark.parametrize("bad", [-1, 4, 100, -101])
def test_a_label_outside_the_classes_is_refused(bad):
    with pytest.raises(IndexError, match=rf"Target {bad} is out of bounds.*0 to 3"):
        OPS["cross_entropy"].forward(np.zeros((3, 4)), np.array([0, bad, 1]))


@pytest.mark.parametrize("op", ["mse", "bce_with_logits"])
def test_predictions_and_targets_must_have_one_shape(op):
    """NumPy would repeat (3,) against (3, 1) to nine differences."""
    with pytest.raises(ValueError, match=r"\(3, 1\).*\(3,\)"):
        OPS[op].forward.__wrapped__(np.zeros((3, 1)), np.zeros(3))
