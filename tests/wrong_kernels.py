"""Kernels as they should not be, each wrong in one way. `python wrong_kernels.py FILE` writes what the report says of them."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from kernels.inspect import compiling  # isort: skip, since it decides that kernels are compiled

import torch
import triton
import triton.language as tl


@triton.jit
def product_kernel(a_ptr, b_ptr, c_ptr, steps, width, TILE: tl.constexpr, PRECISION: tl.constexpr):
    # c = the sum of a b over a row of tiles.
    i = tl.arange(0, TILE)
    tile = i[:, None] * width + i[None, :]
    c = tl.zeros([TILE, TILE], tl.float32)
    for step in range(steps):
        a = tl.load(a_ptr + step * TILE + tile)
        b = tl.load(b_ptr + step * TILE * width + tile)
        c = tl.dot(a, b, c, input_precision=PRECISION)
    tl.store(c_ptr + tile, c)


@triton.jit
def wide_kernel(x_ptr, TILE: tl.constexpr):
    # Needs every x twice: for the sum, and after it.
    i = tl.arange(0, TILE)
    x = tl.load(x_ptr + i)
    tl.store(x_ptr + i, x / tl.sum(x, axis=0))


@triton.jit
def atomic_kernel(x_ptr, sums_ptr, TILE: tl.constexpr):
    tl.atomic_add(sums_ptr, tl.sum(tl.load(x_ptr + tl.arange(0, TILE)), axis=0))


@triton.jit
def float64_kernel(x_ptr, TILE: tl.constexpr):
    i = tl.arange(0, TILE)
    x = tl.load(x_ptr + i)
    tl.store(x_ptr + i, x * x + tl.full([TILE], 1 / 3, tl.float64))


def launch(flaw: str) -> None:
    dtype = torch.float32 if flaw == "tf32" else torch.bfloat16
    a, b, c = (torch.empty(512, 512, dtype=dtype) for _ in range(3))
    x = torch.empty(1024)
    product = {"TILE": 64, "PRECISION": "tf32" if flaw == "tf32" else "ieee", "num_warps": 4, "num_stages": 3}
    if flaw == "shared memory":
        product |= {"TILE": 128, "num_warps": 8, "num_stages": 8}
    elif flaw == "unaligned":
        a, b = a[:, 1:], b[:, 1:]
    elif flaw == "small tile":
        product |= {"TILE": 16}

    if flaw == "spills":
        wide_kernel[(1,)](x, TILE=131072)
    elif flaw == "atomics":
        atomic_kernel[(1,)](x, x, TILE=1024)
    elif flaw == "float64":
        float64_kernel[(1,)](x, TILE=1024)
    else:
        product_kernel[(1,)](a, b, c, 8, a.stride(0), **product)


FLAWS = ("none", "spills", "shared memory", "unaligned", "small tile", "tf32", "atomics", "float64")

if __name__ == "__main__":
    found: dict[str, dict[str, object]] = {}
    for target in ("sm_80", "sm_90", "gfx942"):
        found[target] = {}
        for flaw in FLAWS:
            with compiling(target, flaw) as reports:
                launch(flaw)
            (report,) = reports
            found[target][flaw] = asdict(report) | {"problems": report.problems()}
    Path(sys.argv[1]).write_text(json.dumps(found))
