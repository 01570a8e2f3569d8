"""Counted traffic: what the formulas say, to the byte, whatever the tile; and a count that notices what is different."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import GridExecutor, interpreter_builder

from kernels._launch import INTERPRETED
from kernels.attention import attention
from kernels.layernorm import layer_norm, layer_norm_backward, residual_layer_norm
from kernels.softmax import softmax, softmax_backward
from kernels.traffic import traffic

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="compiled kernels cannot be counted")

PATCHED = ("set_grid_idx", "create_masked_load", "create_masked_store", "create_atomic_rmw", "create_atomic_cas")


@triton.jit
def copy_kernel(x_ptr, y_ptr, size, SKIP: tl.constexpr, TWICE: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if MASKED:
        x = tl.load(x_ptr + at, mask=at < size, other=0)
        if TWICE:
            x += tl.load(x_ptr + at, mask=at < size, other=0)
        tl.store(y_ptr + at, x, mask=at < size - SKIP)
    else:
        tl.store(y_ptr + at, tl.load(x_ptr + at))


@triton.jit
def tally_kernel(x_ptr, total_ptr, lock_ptr, size, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.atomic_add(total_ptr + at, tl.load(x_ptr + at, mask=at < size, other=0), mask=at < size)
    tl.atomic_cas(lock_ptr, 0, 1)


@triton.jit
def stumbling_kernel(x_ptr, BLOCK: tl.constexpr):
    tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.static_assert(BLOCK < 0)


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4), ("float64", 8)])
@pytest.mark.parametrize(("rows", "width", "block"), [(5, 100, None), (1, 1, None), (7, 33, 64), (3, 1152, None)])
def test_softmax_reads_and_writes_a_row_once(rows, width, block, dtype, size):
    x = torch.from_numpy(numbers(rows, width)).to(getattr(torch, dtype))
    with traffic() as count:
        y, saved = softmax(x, block=block)
        softmax_backward(torch.randn_like(y), saved, block=block)
    row = rows * width * size
    forward, backward = count["softmax_kernel"], count["softmax_backward_kernel"]
    assert (forward.loaded, forward.stored) == (row, row)
    assert (backward.loaded, backward.stored) == (2 * row, row)
    assert (count.loaded, count.stored, count.total) == (3 * row, 2 * row, 5 * row)
    assert list(count) == ["softmax_kernel", "softmax_backward_kernel"]


@pytest.mark.parametrize(("rows", "width", "block"), [(2, 100, 16), (3, 128, 32), (1, 65, 64)])
def test_split_softmax_reads_a_row_twice_and_the_statistics_once_for_each_split(rows, width, block):
    splits = -(-width // block)
    with traffic() as count:
        _, saved = softmax(numbers(rows, width), block=block)
        softmax_backward(numbers(rows, width), saved, block=block)
    numbers_moved = {name: (kernel.loaded // 4, kernel.stored // 4) for name, kernel in count.items()}
    assert numbers_moved == {
        "split_softmax_statistics_kernel": (rows * width, 2 * rows * splits),
        "split_softmax_kernel": (rows * (width + 2 * splits**2), rows * width),
        "split_softmax_delta_kernel": (2 * rows * width, rows * splits),
        "split_softmax_backward_kernel": (rows * (2 * width + splits**2), rows * width),
    }
    assert {kernel.programs for kernel in count.values()} == {rows * splits}


def test_a_residual_in_the_same_kernel_saves_a_trip():
    x, residual = numbers(6, 100), numbers(6, 100)
    weight, bias = numbers(100), numbers(100)
    with traffic() as fused:
        _, saved = residual_layer_norm(x, residual, weight, bias, 1e-12)
    with traffic() as alone:
        layer_norm(x + residual, weight, bias, 1e-12)
    parameters, statistics = 2 * 100 * fused["layer_norm_kernel"].programs, 2 * 6
    assert fused.total == 4 * (4 * x.size + parameters + statistics)
    assert alone.total == 4 * (2 * x.size + parameters + statistics)
    with traffic() as backward:
        layer_norm_backward(numbers(6, 100), saved)
    parts = backward["layer_norm_backward_kernel"].programs
    assert backward["layer_norm_backward_kernel"].loaded == 4 * (2 * x.size + statistics + 100 * parts)
    assert backward["layer_norm_backward_kernel"].stored == 4 * (x.size + 2 * 100 * parts)
    assert backward["column_sums_kernel"].total == 4 * (2 * 100 * parts + 2 * 100)


def test_keys_that_nobody_may_see_are_not_fetched():
    q, k, v = numbers(1, 64, 32), numbers(1, 64, 32), numbers(1, 64, 32)
    loaded = {}
    for causal in (False, True):
        with traffic() as count:
            attention(q, k, v, num_heads=2, causal=causal, block=(16, 16))
        assert count["attention_plain_kernel"].programs == 2 * 4
        loaded[causal] = (count.loaded - q.nbytes) // (2 * 16 * 32 * 4)  # tiles of keys and values of both heads
    assert loaded == {False: 16, True: 10}


def test_launches_and_programs_are_counted():
    with traffic() as count:
        for _ in range(3):
            softmax(numbers(4, 10), block=16)  # 16 numbers: one row to a program
    assert (count["softmax_kernel"].launches, count["softmax_kernel"].programs) == (3, 12)


def test_the_count_notices_what_a_kernel_does():
    """One number not stored, everything read twice, idle lanes no longer masked: three different counts."""
    x = torch.arange(32.0)
    counted = []
    for skip, twice, masked in ((0, False, True), (1, False, True), (0, True, True), (0, False, False)):
        with traffic() as count:
            copy_kernel[(2,)](x, torch.empty(32), 20, skip, twice, masked, BLOCK=16)
        counted.append((count.loaded, count.stored))
    assert counted == [(80, 80), (80, 76), (160, 80), (128, 128)]


def test_atomics_load_and_store():
    total, lock = torch.zeros(16), torch.zeros(1, dtype=torch.int32)
    with traffic() as count:
        tally_kernel[(1,)](torch.ones(16), total, lock, 10, BLOCK=16)
    assert (count.loaded, count.stored) == (2 * 10 * 4 + 4, 10 * 4 + 4)
    with traffic() as again:  # the lock is taken: nothing is stored there
        tally_kernel[(1,)](torch.ones(16), total, lock, 10, BLOCK=16)
    assert (again.loaded, again.stored) == (count.loaded, count.stored - 4)


def test_counting_changes_no_result():
    x = numbers(3, 50)
    with traffic():
        counted, _ = softmax(x)
    assert np.array_equal(counted, softmax(x)[0])


def test_counts_within_counts():
    x = numbers(2, 8)
    with traffic() as outer:
        softmax(x)
        with traffic() as inner:
            softmax(x)
        softmax(x)
    assert inner.total == 2 * x.nbytes
    assert outer.total == 3 * inner.total
    softmax(x)
    assert outer.total == 3 * inner.total, "counting went on after the block"


def test_an_error_ends_the_counting():
    assert not any(name in vars(interpreter_builder) for name in PATCHED), "somebody else is counting"
    launch = GridExecutor.__call__
    with pytest.raises(triton.runtime.errors.InterpreterError), traffic() as count:
        stumbling_kernel[(3,)](torch.ones(4), BLOCK=4)
    assert (count["stumbling_kernel"].programs, count.loaded) == (1, 16)
    assert GridExecutor.__call__ is launch
    assert not any(name in vars(interpreter_builder) for name in PATCHED)


def test_a_printed_count_is_a_table():
    with traffic() as count:
        softmax(numbers(2, 600))
    head, line = str(count).splitlines()
    assert head.split() == ["kernel", "launches", "programs", "loaded", "stored"]
    assert line.split() == ["softmax_kernel", "1", "1", "4,800", "4,800"]


def test_compiled_kernels_cannot_be_counted():
    program = "from kernels.traffic import traffic\nwith traffic(): pass"
    result = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "TRITON_INTERPRET": "0"}, capture_output=True, text=True
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        "RuntimeError: traffic is counted by the interpreter, but kernels are compiled here: set TRITON_INTERPRET=1"
    )
