"""How the tests are run: an interpreter that is strict and quick, and cases that are the same on every run."""

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from properties import draw_cases
from strategies import EVERY_KIND
from triton.runtime.errors import InterpreterError

from kernels._launch import INTERPRETED
from kernels.table import OPS

interpreted = pytest.mark.skipif(not INTERPRETED, reason="kernels are compiled here")

# --- strict ---------------------------------------------------------------------------------------------------------


@triton.jit
def copy_kernel(x_ptr, y_ptr, first, N: tl.constexpr):
    i = first + tl.arange(0, N)
    tl.store(y_ptr + tl.arange(0, N), tl.load(x_ptr + i))


@triton.jit
def product_kernel(x_ptr, a, b):
    tl.store(x_ptr, a * b)


@interpreted
@pytest.mark.parametrize(("first", "outside"), [(1, "reads 1 of 16"), (-3, "reads 3 of 16")])
def test_what_lies_beside_an_array_is_not_read(first: int, outside: str) -> None:
    x, y = torch.zeros(16), torch.zeros(16)
    copy_kernel[(1,)](x, y, 0, N=16)
    with pytest.raises(InterpreterError, match=f"{outside} numbers outside"):
        copy_kernel[(1,)](x, y, first, N=16)


@interpreted
def test_what_lies_beside_an_array_is_not_written() -> None:
    with pytest.raises(InterpreterError, match="writes 8 of 16 numbers outside"):
        copy_kernel[(1,)](torch.zeros(16), torch.zeros(8), 0, N=16)


@interpreted
def test_a_product_that_does_not_fit_32_bits_is_noticed() -> None:
    x = torch.zeros(1, dtype=torch.int64)
    product_kernel[(1,)](x, 2**15, 2**15)
    assert x.item() == 2**30
    with pytest.raises(InterpreterError, match="int32 overflows in mul: 4294967296"):
        product_kernel[(1,)](x, 2**16, 2**16)


@triton.jit
def offset_kernel(x_ptr, x_row, WIDE: tl.constexpr):
    row = tl.program_id(0)
    if WIDE:
        row = row.to(tl.int64)
    tl.store(x_ptr + row * x_row, 1)


@interpreted
def test_a_stride_that_is_multiplied_in_32_bits_is_noticed() -> None:
    """Before it is too large for them."""
    x = torch.zeros(3, 2)
    offset_kernel[(3,)](x, x.stride(0), WIDE=True)
    assert x[:, 0].all()
    with pytest.raises(InterpreterError, match="offset_kernel multiplies a stride or a length in int32"):
        offset_kernel[(3,)](x, x.stride(0), WIDE=False)


# --- quick ----------------------------------------------------------------------------------------------------------

# Some of everything: several tiles, masks, dropout, all precisions.
COMPUTE = """
import hashlib
import numpy as np
import torch

def digest(OPS):
    sum_of = hashlib.sha256()
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        rng = np.random.default_rng(0)
        draw = lambda *shape: torch.from_numpy(rng.standard_normal(shape)).to(dtype)
        masked = {"num_heads": 2, "key_lengths": np.array([3, 19]), "causal": True, "drop_prob": 0.5, "seed": 2**40}
        for op, arrays, settings in (
            ("attention", [draw(2, 17, 6), draw(2, 21, 6), draw(2, 21, 6)], masked),
            ("attention", [draw(1, 3, 2), draw(1, 4, 2), draw(1, 4, 2)], {"num_heads": 2, "bias": draw(1, 2, 3, 4)}),
            ("residual_layer_norm", [draw(5, 37), draw(5, 37), draw(37), draw(37)], {"eps": 1e-5}),
            ("softmax", [draw(3, 53)], {}),
            ("bias_gelu", [draw(5, 37), draw(37)], {}),
        ):
            block = {"block": (16, 16) if op == "attention" else 32}
            y, saved = OPS[op].forward(*arrays, **settings, **block)
            for result in (y, *OPS[op].backward(draw(*y.shape), saved, **block)):
                sum_of.update(result.double().numpy().tobytes())
    return sum_of.hexdigest()
"""


@interpreted
def test_the_quick_interpreter_computes_the_same_bits() -> None:
    here: dict = {}
    exec(COMPUTE, here)
    program = f"{COMPUTE}\nfrom kernels.table import OPS\nprint(digest(OPS))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent.parent, capture_output=True, text=True
    )
    assert done.stdout.strip() == here["digest"](OPS), done.stderr


# --- the same cases -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["attention", "linear", "dropout"])
def test_the_cases_do_not_depend_on_what_is_imported(op: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        said = hashlib.sha256()
        for case in draw_cases(op, EVERY_KIND, 100):
            said.update(repr(case).encode())
            for array in case.arrays:
                said.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return said.hexdigest()

    before = digest()
    name = f"constants_for_{op}"
    (tmp_path / f"{name}.py").write_text(f"NUMBERS = {list(range(3, 300, 7))}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(name)
    assert digest() == before
