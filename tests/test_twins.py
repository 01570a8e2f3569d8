"""The two implementations can be read side by side: same files, same names, same arguments, same steps."""

import ast
import inspect
import re
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from checks import assert_within
from hypothesis import given, settings
from impls import TRITON
from strategies import ORDINARY, cases

from kernels import activations, layernorm, softmax
from kernels.attention import first, general, plain
from kernels.table import OPS as KERNEL_OPS
from minirembert import ops
from minirembert.ops import OPS


def home(function: object) -> str:
    """The file below `minirembert/ops` or `kernels`, or the folder there."""
    return re.fullmatch(r"(?:minirembert\.ops|kernels)\.(\w+)(?:\..*)?", inspect.getmodule(function).__name__)[1]


def arguments(function: object) -> dict[str, object]:
    """Names and defaults, in order; all but the size of a tile, which NumPy has no use for."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "block"}


def test_the_tables_have_the_same_ops():
    assert list(OPS) == list(KERNEL_OPS)


@pytest.mark.parametrize("name", OPS)
def test_an_op_and_its_twin_have_the_same_file_name_and_arguments(name):
    for ours, theirs in zip(OPS[name], KERNEL_OPS[name], strict=True):
        if ours is None:
            assert theirs is None
            continue
        assert home(ours) == home(theirs)
        assert ours.__name__ == theirs.__name__ or "<locals>" in ours.__qualname__
        assert list(arguments(ours)) == list(arguments(theirs))
        assert arguments(ours) == arguments(theirs)


STEPS = {
    "softmax": (ops.softmax, "softmax", softmax, ["softmax_kernel", "split_softmax_kernel"]),
    "softmax, backward": (
        ops.softmax, "softmax_backward", softmax, ["softmax_backward_kernel", "split_softmax_backward_kernel"],
    ),
    "layer norm": (ops.layernorm, "layer_norm", layernorm, ["layer_norm_kernel"]),
    "layer norm, backward": (ops.layernorm, "layer_norm_backward", layernorm, ["layer_norm_backward_kernel"]),
    "bias + GELU": (ops.activations, "bias_gelu", activations, ["bias_gelu_kernel"]),
    "bias + GELU, backward": (ops.activations, "bias_gelu_backward", activations, ["bias_gelu_backward_kernel"]),
    "attention, first rung": (ops.attention, "_forward", first, ["attention_first_kernel"]),
    "attention, first rung, backward": (
        ops.attention, "_backward", first,
        [["attention_first_delta_kernel", "attention_first_queries_kernel", "attention_first_keys_kernel"]],
    ),
    "attention, second rung": (ops.attention, "_forward", plain, [["attend", "attention_plain_kernel"]]),
    "attention, second rung, backward, in one tile": (
        ops.attention, "_backward", plain, ["attention_plain_head_kernel"],
    ),
    "attention, second rung, backward": (
        ops.attention, "_backward", plain, [["attention_plain_queries_kernel", "through_queries", "through_keys"]],
    ),
    "attention, third rung": (ops.attention, "_forward", general, [["attend", "attention_general_kernel"]]),
    "attention, third rung, backward, in one tile": (
        ops.attention, "_backward", general, ["attention_general_head_kernel"],
    ),
    "attention, third rung, backward": (
        ops.attention, "_backward", general, [["attention_general_queries_kernel", "through_queries", "through_keys"]],
    ),
}  # fmt: skip


def steps(module: ModuleType, name: str) -> set[int]:
    """The numbers of the comments `# 1. ...` in a function of the module."""
    source = inspect.getsource(module)
    (function,) = (n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name)
    return {int(number) for number in re.findall(r"# (\d)\. ", ast.get_source_segment(source, function))}


WITHOUT = {"attention, first rung": {5}, "attention, second rung": {5}}  # dropout


@pytest.mark.parametrize("pair", STEPS)
def test_the_same_number_is_the_same_step(pair):
    """Every step of the NumPy function is in its kernel, or in the kernels that share its work; and nothing else is."""
    reference, function, twin, kernels = STEPS[pair]
    expected = steps(reference, function)
    assert expected == set(range(1, len(expected) + 1)) != set()
    expected -= WITHOUT.get(pair, set())
    for kernel in kernels:
        together = [kernel] if isinstance(kernel, str) else kernel
        assert set.union(*(steps(twin, name) for name in together)) == expected, f"steps of {' and '.join(together)}"


@pytest.mark.parametrize("name", OPS)
def test_numpy_goes_in_and_comes_out(name):
    """A launcher gives back the kind that it was given, and the numbers do not depend on it."""
    lent = replace(TRITON, to_device=lambda array: array, to_numpy=lambda array: array)

    @settings(max_examples=3)
    @given(case=cases(name, ORDINARY))
    def on_every_case(case):
        ours, theirs = lent.run(case, "float32"), TRITON.run(case, "float32")
        for mine, other in zip((ours.y, *ours.gradients), (theirs.y, *theirs.gradients), strict=True):
            if other is not None:
                assert isinstance(mine, np.ndarray)
                # a loss takes its dy as a Python number or as an array of one: its factor and then the product are rounded
                last_place = 2 * np.finfo(np.float32).eps * np.abs(other)
                assert_within(mine, other, last_place, f"NumPy against tensors, {case}", case.seed)
        for field, value in (ours.saved._asdict() if ours.saved else {}).items():
            assert not isinstance(value, torch.Tensor), f"saved.{field} of {name} is a tensor"

    on_every_case()
