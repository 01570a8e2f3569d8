"""What attention's second and third rung share: the arguments of a kernel, under their names; where a program works; tiles.

A kernel is handed a few named tuples. `q.ptr` is where q lies, `q.step` how many numbers from one row to the next, and
`tile.queries` how many queries make a tile. What is a `tl.constexpr` here is compiled in.

Places. A head and a sequence have 64 bits, and so has every product of them, or of a query or a key, with a stride or a
length. What counts queries or keys themselves has 32: the launcher refuses more than LONGEST of them, so that the sum of
one and of a tile fits. Within a tile, a row times `Rows.step` has 32 bits too, since it comes in every loop: the launcher
asks whether the last number of a tile is fewer than 2^31 numbers from its first, and makes `tile.offset` 64 bits where not.

Not here: what is done with a tile; see `plain.py` and `general.py`. How large a tile is: `launch.py`.
"""

import math
from typing import Any, NamedTuple

import triton
import triton.language as tl

import kernels._launch  # noqa: F401 - decides, before a kernel is defined, whether it will be compiled or interpreted

LOG2E = tl.constexpr(math.log2(math.e))  # bits in one unit of a score: exp(x) is computed as 2^(x log2 e) anyway
LN2 = tl.constexpr(math.log(2))

LONGEST = 2**30  # queries, keys and features of a sequence

# --- arguments of kernels ---------------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """An array (B, S, H), or (N, H) of packed sequences. A row is a token, and its H features lie side by side."""

    ptr: Any
    batch: Any  # numbers from one sequence to the next; of packed sequences, from one token to the next
    step: Any  # numbers from one row to the next; None where it is H, so that arrays side by side share their offsets


class Statistics(NamedTuple):
    """Two numbers (B, h, S), or (h, N) of packed sequences, that forward saves of every row of scores."""

    lse: Any  # log-sum-exp, to base e
    rest: Any  # what rounding took from it


class Shape(NamedTuple):
    """How much there is of everything."""

    S: Any  # queries of a sequence; of packed sequences, of the longest
    T: Any  # keys of a sequence; of packed sequences, of the longest
    heads: Any
    tokens: Any  # N, of packed sequences
    D: tl.constexpr  # features of a head


class Mask(NamedTuple):
    """Who may look where, by place."""

    key_lengths: Any  # (B,): how many keys of each sequence are real; or None
    cu_seqlens: Any  # (sequences + 1,): where packed sequences begin and end; or None
    causal: tl.constexpr  # no key after the query


class Tile(NamedTuple):
    """How large a tile is, and in which types it is worked on."""

    queries: tl.constexpr
    keys: tl.constexpr
    features: tl.constexpr  # of a head, as a power of two
    whole_queries: tl.constexpr  # every block of queries is whole, in every sequence
    whole_keys: tl.constexpr  # every block of keys is whole and real, in every sequence
    acc: tl.constexpr  # the type in which everything is computed: float32, or float64 for checking
    lowest: tl.constexpr  # the lowest number of that type
    offset: tl.constexpr  # the type of offsets within a tile: int32 where they fit
    precision: tl.constexpr  # of products of float32
    exact: tl.constexpr  # lse is subtracted as two numbers; in half precision, where P is rounded far more, as one


# --- where a program works --------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """What a program owns: a block of the queries (or keys) of one head of one sequence."""

    block: Any
    head: Any
    sequence: Any


class Sequence(NamedTuple):
    """The sequence in which a program works."""

    index: Any  # what `Rows.batch` is multiplied by
    S: Any  # its queries
    T: Any  # its keys
    row: Any  # where the statistics of this head of it begin


class Head(NamedTuple):
    """One head of one sequence of an array: (rows, D)."""

    ptr: Any
    step: Any  # numbers from one row to the next


@triton.jit
def place_of(blocks, shape):
    """Programs are numbered block by block, head by head, sequence by sequence: neighbours read the same keys.

    Their number has 32 bits, as everything that counts programs; head and sequence have 64, since strides are multiplied
    by them.
    """
    program = tl.program_id(0)
    head, sequence = program // blocks % shape.heads, program // (blocks * shape.heads)
    return Place(program % blocks, head.to(tl.int64), sequence.to(tl.int64))


@triton.jit
def sequence_of(at, shape, mask):
    """The sequence of a place."""
    if mask.cu_seqlens is None:
        return Sequence(at.sequence, shape.S, shape.T, (at.sequence * shape.heads + at.head) * shape.S)
    else:
        start = tl.load(mask.cu_seqlens + at.sequence).to(tl.int64)
        length = (tl.load(mask.cu_seqlens + at.sequence + 1) - start).to(tl.int32)
        return Sequence(start, length, length, at.head * shape.tokens + start)


@triton.jit
def head_of(rows, at, sequence, shape):
    """The head of an array at a place."""
    ptr = rows.ptr + sequence.index * rows.batch + at.head * shape.D
    if rows.step is None:
        return Head(ptr, shape.heads * shape.D)
    else:
        return Head(ptr, rows.step)


# --- what is read and written -----------------------------------------------------------------------------------------


@triton.jit
def load_tile(head, first, rows, shape, tile, BLOCK: tl.constexpr, CHECK: tl.constexpr):
    """(BLOCK, features) of a head from row `first` on; zeros beyond `rows` (if CHECK) and beyond D."""
    row, feature = tl.arange(0, BLOCK)[:, None], tl.arange(0, tile.features)[None, :]
    address = head.ptr + tl.cast(first, tl.int64) * head.step + (row.to(tile.offset) * head.step + feature)
    if CHECK and tile.features > shape.D:
        return tl.load(address, mask=(first + row < rows) & (feature < shape.D), other=0)
    elif CHECK:
        return tl.load(address, mask=first + row < rows, other=0)
    elif tile.features > shape.D:
        return tl.load(address, mask=feature < shape.D, other=0)
    else:
        return tl.load(address)


@triton.jit
def store_tile(head, value, first, rows, shape, tile, BLOCK: tl.constexpr, CHECK: tl.constexpr):
    """The same way back: rows beyond `rows` (if CHECK) and features beyond D are not written."""
    row, feature = tl.arange(0, BLOCK)[:, None], tl.arange(0, tile.features)[None, :]
    address = head.ptr + tl.cast(first, tl.int64) * head.step + (row.to(tile.offset) * head.step + feature)
    value = value.to(head.ptr.dtype.element_ty)
    if CHECK and tile.features > shape.D:
        tl.store(address, value, mask=(first + row < rows) & (feature < shape.D))
    elif CHECK:
        tl.store(address, value, mask=first + row < rows)
    elif tile.features > shape.D:
        tl.store(address, value, mask=feature < shape.D)
    else:
        tl.store(address, value)


@triton.jit
def load_statistic(ptr, first, sequence, tile, CHECK: tl.constexpr):
    """(queries,) numbers of this head's rows of scores from query `first` on; zeros beyond the last (if CHECK)."""
    row = tl.arange(0, tile.queries)
    if CHECK:
        return tl.load(ptr + sequence.row + first + row, mask=first + row < sequence.S, other=0)
    else:
        return tl.load(ptr + sequence.row + first + row)


@triton.jit
def store_statistic(ptr, value, first, sequence, tile, CHECK: tl.constexpr):
    """The same way back."""
    row = tl.arange(0, tile.queries)
    if CHECK:
        tl.store(ptr + sequence.row + first + row, value, mask=first + row < sequence.S)
    else:
        tl.store(ptr + sequence.row + first + row, value)


# --- gradients of keys and values ---------------------------------------------------------------------------------------


class KeyGradients(NamedTuple):
    """What the owner of keys adds up: (keys, features) each."""

    dk: Any
    dv: Any


@triton.jit
def store_key_gradients(total, dk, dv, first_key, at, sequence, read, mask, shape, tile, CHECK: tl.constexpr):
    """Writes dk and dv of a block of keys, of which those before `read` were read.

    A key that was not gets 0, even where dy or a row of P is NaN.
    """
    dk_tile, dv_tile = total.dk * shape.D**-0.5, total.dv
    if mask.key_lengths is not None:
        was_read = first_key + tl.arange(0, tile.keys)[:, None] < read
        dk_tile, dv_tile = tl.where(was_read, dk_tile, 0), tl.where(was_read, dv_tile, 0)
    store_tile(head_of(dk, at, sequence, shape), dk_tile, first_key, sequence.T, shape, tile, tile.keys, CHECK)
    store_tile(head_of(dv, at, sequence, shape), dv_tile, first_key, sequence.T, shape, tile, tile.keys, CHECK)
