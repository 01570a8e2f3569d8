"""What a user of the kernels gets wrong, and the one sentence it is answered with.

A kernel reads where its pointers lead: a shape that nobody compared is memory of somebody else, or a dead process.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from checks import PARITY_OUTPUTS, assert_within

from kernels import attention as A
from kernels._launch import DEVICE
from kernels.softmax import softmax
from minirembert.ops import OPS

Lend = Callable[..., Any]


@pytest.fixture(params=["NumPy arrays", "tensors"])
def lend(request: pytest.FixtureRequest) -> Lend:
    """Arrays as a user may hold them; whatever is no array stays as it is."""
    if request.param == "NumPy arrays":
        return lambda value: value
    return lambda value: torch.from_numpy(value).to(DEVICE) if isinstance(value, np.ndarray) else value


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def refused(kind: type[Exception], message: str, call: Callable[..., Any], *args: Any, **settings: Any) -> None:
    """The call raises `kind`, in one sentence that has `message` in it."""
    with pytest.raises(kind, match=re.escape(message)) as caught:
        call(*args, **settings)
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


# --- attention ------------------------------------------------------------------------------------------------------

Q, K = numbers(2, 5, 8), numbers(2, 7, 8)
TOKENS = numbers(8, 4)
ENDS = np.array([0, 5, 8])


def attend(lend: Lend, op: str = "attention", q: Any = Q, k: Any = K, v: Any = K, num_heads: Any = 2, **settings: Any):
    """A call in which everything is right but for what is said."""
    arrays = (q, k) if op == "attention_probabilities" else (q, k, v)
    settings = {name: lend(value) for name, value in settings.items()}
    return getattr(A, op)(*map(lend, arrays), num_heads, **settings)


def attend_packed(lend: Lend, cu_seqlens: Any = ENDS, **changes: Any):
    tokens = {"q": TOKENS, "k": TOKENS, "v": TOKENS}
    return attend(lend, "attention_packed", **tokens | changes, cu_seqlens=cu_seqlens)


@pytest.mark.parametrize("op", ["attention", "attention_probabilities"])
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((16, 32, 64), (1, 32, 64)), "k has shape (1, 32, 64), expected (16, 32, 64)"),
        (((2, 5, 8), (1, 7, 8)), "k has shape (1, 7, 8), expected (2, 7, 8)"),
        (((2, 5, 8), (3, 7, 8)), "k has shape (3, 7, 8), expected (2, 7, 8)"),
        (((2, 5, 8), (2, 7, 4)), "k has shape (2, 7, 4), expected (2, 7, 8)"),
        (((2, 5, 8), (2, 7, 16)), "k has shape (2, 7, 16), expected (2, 7, 8)"),
        (((2, 5, 8), (7, 8)), "k has shape (7, 8), expected"),
        (((2, 5, 8), (2, 7, 1, 8)), "k has shape (2, 7, 1, 8), expected"),
        (((5, 8), (7, 8)), "q has shape (5, 8), expected (B, S, H)"),
        (((1, 2, 5, 8), (1, 2, 7, 8)), "q has shape (1, 2, 5, 8), expected (B, S, H)"),
        (((8,), (8,)), "q has shape (8,), expected (B, S, H)"),
        (((2, 5, 8), (2, 0, 8)), "k has shape (2, 0, 8), but attention needs at least 1 key"),
    ],
)
def test_queries_and_keys_that_do_not_match(lend, op, shapes, message):
    q, k = (numbers(*shape) for shape in shapes)
    refused(ValueError, f"{op}: {message}", attend, lend, op, q=q, k=k, v=k)


@pytest.mark.parametrize("shape", [(1, 7, 8), (2, 6, 8), (2, 8, 8), (2, 7, 4), (2, 7, 16), (7, 8), (2, 1, 7, 8)])
def test_values_that_do_not_match(lend, shape):
    message = f"attention: v has shape {shape}, expected (2, 7, 8)"
    refused(ValueError, message, attend, lend, v=numbers(*shape))


@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("shape", [(7, 4), (9, 4), (8, 2), (8, 6), (1, 8, 4), (8,)])
def test_packed_arrays_that_do_not_match(lend, name, shape):
    message = f"attention_packed: {name} has shape {shape}, expected (8, 4)"
    refused(ValueError, message, attend_packed, lend, **{name: numbers(*shape)})


def test_packed_arrays_with_an_axis_too_many(lend):
    x = numbers(1, 8, 4)
    refused(ValueError, "attention_packed: q has shape (1, 8, 4), expected (N, H)", attend_packed, lend, q=x, k=x, v=x)


@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("call", [attend, attend_packed])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_arrays_of_different_precision(lend, call, name, dtype):
    x = (K if call is attend else TOKENS).astype(dtype)
    refused(TypeError, f"{name} is torch.{dtype}, expected torch.float32", call, lend, **{name: x})


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_arrays_that_hold_no_floating_point_numbers(lend, name, dtype):
    x = np.ones(Q.shape if name == "q" else K.shape, dtype)
    refused(TypeError, f"got torch.{dtype} for {name}", attend, lend, **{name: x})


@pytest.mark.parametrize("name", ["k", "v"])
def test_something_that_is_no_array(lend, name):
    refused(TypeError, f"attention: {name} must be a NumPy array or a torch tensor, got", attend, lend, **{name: None})


@pytest.mark.parametrize("op", ["attention", "attention_probabilities"])
@pytest.mark.parametrize(
    ("lengths", "kind", "message"),
    [
        (np.zeros(0, int), ValueError, "key_lengths has shape (0,), expected (2,)"),
        (np.array([7]), ValueError, "key_lengths has shape (1,), expected (2,)"),
        (np.array([7, 7, 7]), ValueError, "key_lengths has shape (3,), expected (2,)"),
        (np.array([[7, 7]]), ValueError, "key_lengths has shape (1, 2), expected (2,)"),
        (np.array(7), ValueError, "key_lengths has shape (), expected (2,)"),
        (7, ValueError, "key_lengths has shape (), expected (2,)"),
        ([7], ValueError, "key_lengths has shape (1,), expected (2,)"),
        (np.array([3.5, 7]), TypeError, "key_lengths must hold integers, got torch.float64"),
        ([3.5, 7], TypeError, "key_lengths must hold integers, got torch.float64"),
        (np.array([True, False]), TypeError, "key_lengths must hold integers, got torch.bool"),
        ([7, 8], ValueError, "key_lengths[1] is 8, but a sequence has 0 to 7 keys"),
    ],
)
def test_lengths_that_are_none(lend, op, lengths, kind, message):
    refused(kind, message, attend, lend, op, key_lengths=lengths)


@pytest.mark.parametrize(
    ("ends", "kind", "message"),
    [
        (np.array([0, 5, 3, 8], "uint8"), ValueError, "cu_seqlens must rise from 0 to 8"),
        ([0, 5, 3, 8], ValueError, "cu_seqlens must rise from 0 to 8"),
        ([0], ValueError, "cu_seqlens must rise from 0 to 8"),
        (np.array([0.0, 5.5, 8.0]), TypeError, "cu_seqlens must hold integers, got torch.float64"),
        (np.array([False, True]), TypeError, "cu_seqlens must hold integers, got torch.bool"),
        (np.array([[0], [8]]), ValueError, "cu_seqlens has shape (2, 1), expected one axis"),
        (8, ValueError, "cu_seqlens has shape (), expected one axis"),
    ],
)
def test_ends_that_are_none(lend, ends, kind, message):
    refused(kind, message, attend_packed, lend, cu_seqlens=ends)


def test_numpy_s_ends_may_be_unsigned_but_not_fall():
    """Differences of unsigned integers are never negative."""
    ends = np.array([0, 5, 3, 8], "uint8")
    refused(ValueError, "[0, 5, 3, 8]", OPS["attention_packed"].forward, *[TOKENS] * 3, num_heads=2, cu_seqlens=ends)


def test_lengths_and_ends_in_a_list(lend):
    """They are what arrays of the same numbers are, in backward, too."""
    for call, backward, name, values in (
        (attend, A.attention_backward, "key_lengths", [3, 7]),
        (attend_packed, A.attention_packed_backward, "cu_seqlens", [0, 5, 8]),
    ):
        (y, saved), (expected, expected_saved) = (call(lend, **{name: v}) for v in (values, np.array(values)))
        assert (y == expected).all()
        for gradient, other in zip(backward(y, saved), backward(y, expected_saved), strict=True):
            assert (gradient == other).all()


@pytest.mark.parametrize("op", ["attention", "attention_probabilities"])
@pytest.mark.parametrize(
    ("heads", "width", "kind", "message"),
    [
        (0, 8, ValueError, "num_heads is 0, but there must be at least 1"),
        (-2, 8, ValueError, "num_heads is -2, but there must be at least 1"),
        (2.0, 8, TypeError, "num_heads must be an integer, got 2.0"),
        (True, 8, TypeError, "num_heads must be an integer, got True"),
        (None, 8, TypeError, "num_heads must be an integer, got None"),
        (3, 8, ValueError, "the width 8 is not a multiple of the number of heads 3"),
        (2, 0, ValueError, "a width of 0 in 2 heads makes 0 features a head, but the kernels have tiles for 1 to 128"),
        (
            1,
            129,
            ValueError,
            "a width of 129 in 1 heads makes 129 features a head, but the kernels have tiles for 1 to 128",
        ),
        (
            2,
            512,
            ValueError,
            "a width of 512 in 2 heads makes 256 features a head, but the kernels have tiles for 1 to 128",
        ),
    ],
)
def test_heads_that_cannot_be(lend, op, heads, width, kind, message):
    x = numbers(1, 2, width)
    refused(kind, f"{op}: {message}", attend, lend, op, q=x, k=x, v=x, num_heads=heads)


def test_the_largest_head(lend):
    x = numbers(1, 2, 128)
    assert attend(lend, q=x, k=x, v=x, num_heads=1)[0].shape == (1, 2, 128)


BLOCKS = [
    ((16, 8), "block[1] must be a power of two from 16 up, got 8"),
    ((0, 16), "block[0] must be a power of two from 16 up, got 0"),
    ((-16, 16), "block[0] must be a power of two from 16 up, got -16"),
    ((16, 24), "block[1] must be a power of two from 16 up, got 24"),
    ((16.0, 16), "block[0] must be a power of two from 16 up, got 16.0"),
    (16, "block must be a pair, queries and keys of a tile, got 16"),
    ((16,), "block must be a pair, queries and keys of a tile, got (16,)"),
    ((16, 16, 16), "block must be a pair, queries and keys of a tile, got (16, 16, 16)"),
]


@pytest.mark.parametrize(("block", "message"), BLOCKS)
def test_a_tile_that_cannot_be(lend, block, message):
    refused(ValueError, f"attention: {message}", attend, lend, block=block)
    refused(ValueError, f"attention_probabilities: {message}", attend, lend, "attention_probabilities", block=block)
    refused(ValueError, f"attention_packed: {message}", attend_packed, lend, block=block)
    y, saved = attend(lend)
    refused(ValueError, f"attention_backward: {message}", A.attention_backward, y, saved, block=block)


@pytest.mark.parametrize("op", ["attention", "attention_probabilities"])
@pytest.mark.parametrize(
    ("bias", "kind", "message"),
    [
        (numbers(5, 6), ValueError, "bias has shape (5, 6), which does not broadcast to (B, h, S, T) = (2, 2, 5, 7)"),
        (numbers(3, 1, 5, 7), ValueError, "bias has shape (3, 1, 5, 7), which does not broadcast"),
        (numbers(1, 2, 2, 5, 7), ValueError, "bias has shape (1, 2, 2, 5, 7), which does not broadcast"),
        (np.ones((2, 7), bool), ValueError, "bias has shape (2, 7), which does not broadcast"),
        (
            np.zeros((5, 7), int),
            TypeError,
            "bias must be an array of floating-point numbers or booleans, got torch.int64",
        ),
        (np.zeros((5, 7), "complex64"), TypeError, "got torch.complex64"),
        (0.5, TypeError, "bias must be an array of floating-point numbers or booleans, got float"),
        ([0.0] * 7, TypeError, "bias must be an array of floating-point numbers or booleans, got list"),
    ],
)
def test_a_bias_that_is_none(lend, op, bias, kind, message):
    refused(kind, message, attend, lend, op, bias=bias)


@pytest.mark.parametrize("drop_prob", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_probability_that_is_none(lend, drop_prob):
    message = f"a dropout probability must lie in [0, 1), got {drop_prob}"
    refused(ValueError, message, attend, lend, drop_prob=drop_prob)
    refused(ValueError, message, attend, lend, "attention_probabilities", drop_prob=drop_prob)
    refused(ValueError, message, attend_packed, lend, drop_prob=drop_prob)


@pytest.mark.parametrize(
    ("seed", "kind", "message"),
    [
        (2**64, ValueError, "seed is 18446744073709551616, but it must lie in [-2^63, 2^64)"),
        (-(2**63) - 1, ValueError, "seed is -9223372036854775809, but it must lie in [-2^63, 2^64)"),
        (1.0, TypeError, "seed must be an integer, got 1.0"),
        (None, TypeError, "seed must be an integer, got None"),
    ],
)
def test_a_seed_that_is_none(lend, seed, kind, message):
    refused(kind, message, attend, lend, drop_prob=0.5, seed=seed)
    refused(kind, message, attend, lend, "attention_probabilities", drop_prob=0.5, seed=seed)
    refused(kind, message, attend_packed, lend, drop_prob=0.5, seed=seed)


@pytest.mark.parametrize("seed", [-(2**63), -1, 2**63, 2**64 - 1, np.int64(-1), np.uint64(2**64 - 1), np.int32(3)])
def test_the_largest_and_the_smallest_seed(seed):
    """The same bits as NumPy's, forward and backward: a probability of 0 or not says which were dropped."""
    settings = {"num_heads": np.int64(2), "drop_prob": 0.5, "seed": seed}
    plain = settings | {"num_heads": 2, "seed": int(seed)}
    q, k = Q.astype(np.float64), K.astype(np.float64)
    expected, _ = OPS["attention_probabilities"].forward(q, k, **plain)
    p, _ = A.attention_probabilities(q, k, **settings)
    assert np.array_equal(p == 0, expected == 0) and 0 < (p == 0).mean() < 1
    y, saved = A.attention(q, k, k, **settings)
    theirs, theirs_saved = OPS["attention"].forward(q, k, k, **plain)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    for got, wanted in zip(
        (y, *A.attention_backward(dy, saved)),
        (theirs, *OPS["attention"].backward(dy, theirs_saved)),
        strict=True,
    ):
        assert_within(got, wanted, PARITY_OUTPUTS, f"seed {seed}", seed)


@pytest.mark.parametrize(
    ("call", "op", "shape", "wrong"),
    [
        (
            attend,
            "attention_backward",
            (2, 5, 8),
            [(2, 4, 8), (2, 6, 8), (1, 5, 8), (2, 5, 4), (2, 7, 8), (5, 8), (80,)],
        ),
        (attend_packed, "attention_packed_backward", (8, 4), [(7, 4), (9, 4), (8, 2), (8, 8), (1, 8, 4), (4,)]),
    ],
)
def test_a_gradient_of_another_shape_than_the_output(lend, call, op, shape, wrong):
    _, saved = call(lend)
    for other in wrong:
        message = f"{op}: dy has shape {other}, expected {shape}"
        refused(ValueError, message, getattr(A, op), lend(numbers(*other)), saved)
    half = lend(numbers(*shape, dtype="float16"))
    refused(TypeError, f"{op}: dy is torch.float16, expected torch.float32", getattr(A, op), half, saved)


def test_what_another_op_saved(lend):
    dense, packed, other = attend(lend)[1], attend_packed(lend)[1], softmax(lend(numbers(2, 3)))[1]
    for op, shape, expected, wrong in (
        ("attention_backward", (8, 4), "AttentionSaved", (packed, other, None)),
        ("attention_packed_backward", (2, 5, 8), "AttentionPackedSaved", (dense, other, None)),
    ):
        for saved in wrong:
            message = f"{op}: saved is a {type(saved).__name__}, expected the {expected} of the forward pass"
            refused(TypeError, message, getattr(A, op), lend(numbers(*shape)), saved)


def test_no_sequence_and_no_query(lend):
    """Nothing to compute is nothing wrong: an empty result, and keys that nobody looked at get no gradient."""
    for batch, queries in ((0, 5), (2, 0)):
        q, k = numbers(batch, queries, 8), numbers(batch, 7, 8)
        y, saved = attend(lend, q=q, k=k, v=k)
        dq, dk, dv = A.attention_backward(y, saved)
        assert tuple(y.shape) == tuple(dq.shape) == q.shape
        assert tuple(dk.shape) == tuple(dv.shape) == k.shape
        assert not dk.any() and not dv.any()
