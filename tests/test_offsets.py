"""Arrays whose rows, heads or sequences lie far apart: 2^31 numbers in all, of which a handful are there.

They are views of memory that the system promises and never has to give: pages nobody writes to are one page of zeros.
"""

import mmap
import sys
from typing import Any

import numpy as np
import pytest
import torch

from kernels._launch import INTERPRETED
from kernels.table import OPS

NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # Python 3.13 has the name
FAR = 2**30  # a stride that has 32 bits, while three times itself has not

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="on a GPU such a view takes all of its memory")


def far_apart(array: np.ndarray, axis: int) -> np.ndarray:
    """The same numbers, FAR numbers apart along an axis."""
    strides = list(array.strides)
    strides[axis] = FAR * array.itemsize
    last = sum((n - 1) * stride for n, stride in zip(array.shape, strides, strict=True))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    try:
        memory = mmap.mmap(-1, last + array.itemsize, flags=flags)
    except (OSError, OverflowError) as error:
        pytest.skip(f"the system promises no {last:,} bytes: {error}")
    view = np.ndarray(array.shape, array.dtype, memory, strides=strides)
    view[...] = array
    return view


def compact(array: np.ndarray) -> np.ndarray:
    """The same numbers, side by side, in memory of their own."""
    return np.ascontiguousarray(array).copy()


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def results(op: str, *arrays: np.ndarray, far_dy: bool = False, block: Any = None, **settings: Any) -> list[np.ndarray]:
    """Output and gradients, which FAR apart or not must be the same bits."""
    tile = {} if block is None else {"block": block}
    y, saved = OPS[op].forward(*arrays, **settings, **tile)
    if OPS[op].backward is None:
        return [y]
    dy = draw(9, *y.shape)
    return [y, *OPS[op].backward(far_apart(dy, 0) if far_dy else dy, saved, **tile)]


def check(far: list[np.ndarray], near: list[np.ndarray]) -> None:
    for i, (a, b) in enumerate(zip(far, near, strict=True)):
        assert np.array_equal(a, b), f"result {i} depends on where the numbers lie"


B, HEADS, S, T, D = 3, 3, 19, 18, 2
SHAPE = (B, HEADS, S, T)
BLOCKS = pytest.mark.parametrize("block", [None, (16, 16)], ids=["one program owns a head", "tiles"])


@BLOCKS
@pytest.mark.parametrize("kind", ["added", "boolean"])
@pytest.mark.parametrize("axis", range(4), ids=["batch", "head", "query", "key"])
@pytest.mark.parametrize("op", ["attention", "attention_probabilities"])
def test_a_mask_far_apart(op: str, axis: int, kind: str, block: Any) -> None:
    shape = tuple(min(n, 3) if i == axis else n for i, n in enumerate(SHAPE))
    batch, heads, queries, keys = shape
    bias = draw(3, *shape)
    if kind == "boolean":
        bias = bias > -1
    q, k, v = draw(0, batch, queries, heads * D), draw(1, batch, keys, heads * D), draw(2, batch, keys, heads * D)
    arrays = (q, k, v) if op == "attention" else (q, k)
    far = far_apart(bias, axis)
    assert far.strides[axis] == FAR * far.itemsize
    near = results(op, *arrays, num_heads=heads, bias=compact(bias), block=block)
    check(results(op, *arrays, num_heads=heads, bias=far, block=block), near)


@BLOCKS
@pytest.mark.parametrize("axis", [0, 1], ids=["batch", "token"])
@pytest.mark.parametrize("which", range(4), ids=["q", "k", "v", "dy"])
def test_attention_of_rows_far_apart(which: int, axis: int, block: Any) -> None:
    arrays = [draw(i, *((3, 19, 6) if axis == 0 else (1, 4, 6))) for i in range(3)]
    moved = [far_apart(a, axis) if i == which else a for i, a in enumerate(arrays)]
    near = results("attention", *arrays, num_heads=HEADS, block=block)
    check(results("attention", *moved, num_heads=HEADS, block=block, far_dy=which == 3), near)


@BLOCKS
@pytest.mark.parametrize("which", range(4), ids=["q", "k", "v", "dy"])
def test_packed_attention_of_rows_far_apart(which: int, block: Any) -> None:
    arrays = [draw(i, 5, 6) for i in range(3)]
    moved = [far_apart(a, 0) if i == which else a for i, a in enumerate(arrays)]
    settings = {"num_heads": HEADS, "cu_seqlens": np.array([0, 3, 5]), "drop_prob": 0.5, "seed": 1, "block": block}
    check(
        results("attention_packed", *moved, far_dy=which == 3, **settings),
        results("attention_packed", *arrays, **settings),
    )


ROWS = {
    "softmax": ([(4, 40)], {}),
    "layer_norm": ([(4, 40), (40,), (40,)], {"eps": 1e-5}),
    "residual_layer_norm": ([(4, 40), (4, 40), (40,), (40,)], {"eps": 1e-5}),
    "bias_gelu": ([(4, 40), (40,)], {}),
    "gelu": ([(4, 40)], {}),
    "dropout": ([(4, 40)], {"drop_prob": 0.5, "seed": 1}),
}


@pytest.mark.parametrize("block", [None, 16], ids=["whole rows", "rows in pieces"])
@pytest.mark.parametrize("op", ROWS)
def test_rows_far_apart(op: str, block: int | None) -> None:
    shapes, settings = ROWS[op]
    if op == "dropout":  # it gives its numbers no more room than it must
        block = None
    arrays = [draw(i, *shape) for i, shape in enumerate(shapes)]
    near = results(op, *arrays, block=block, **settings)
    for which, array in enumerate(arrays):
        if array.ndim > 1:
            moved = [far_apart(a, 0) if i == which else a for i, a in enumerate(arrays)]
            check(results(op, *moved, block=block, **settings), near)
    check(results(op, *arrays, block=block, far_dy=True, **settings), near)


@pytest.mark.parametrize("op", ["layer_norm", "bias_gelu"])
def test_parameters_far_apart(op: str) -> None:
    """Weights that are a column of something larger."""
    shapes, settings = ROWS[op]
    arrays = [draw(i, *((2, 3) if i == 0 else (3,))) for i in range(len(shapes))]
    moved = [a if i == 0 else far_apart(a, 0) for i, a in enumerate(arrays)]
    check(results(op, *moved, **settings), results(op, *arrays, **settings))


@pytest.mark.parametrize(
    ("shape", "keys"), [((1, 2**30 + 1, 2), 2), ((1, 2, 2), 2**30 + 1), ((1, 2, 2**30 + 4), 2)], ids=["S", "T", "H"]
)
def test_more_than_thirty_two_bits_can_count(shape: tuple[int, ...], keys: int) -> None:
    q, k = torch.zeros(1).expand(shape), torch.zeros(1).expand(1, keys, shape[-1])
    with pytest.raises(ValueError, match="an axis has at most 1073741824 numbers"):
        OPS["attention"].forward(q, k, k, 1)


@pytest.mark.parametrize("op", ["softmax", "bias_gelu"])
def test_rows_of_more_blocks_than_a_grid_has(op: str) -> None:
    x = torch.zeros(1).expand(1, 16 * 65535 + 1)
    with pytest.raises(ValueError, match=f"{op}: rows of 1048561 numbers in blocks of 16 are 65536 blocks"):
        OPS[op].forward(x, *([x[0]] if op == "bias_gelu" else []), block=16)
