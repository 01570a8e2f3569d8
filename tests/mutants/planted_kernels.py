"""Wrong kernels, each the right one with one line changed: the mistakes people make when they write them in Triton.

A mutant is an edit of one function of one file of `kernels/`: the text that is there, the text that is planted instead, and
what is wrong with it in words. Triton's interpreter works from the source of a kernel, and kernels call each other across
files, so the whole package is copied with the edit made, and the copy imported in its place for as long as that takes. The
copy's op then stands in the table of `impls.TRITON`.

Not here, because the interpreter cannot show them: races and a forgotten barrier (programs run one after the other), TF32 and
other reduced products (it multiplies exactly), sums in half
precision (the properties run in float32 and float64), launch settings that do not fit the chip. `test_compilation.py` and
the GPU see to some of these.
"""

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest import mock

from impls import TRITON, Impl, first_rung

from kernels import _launch
from minirembert.ops import OpTable

KERNELS = Path(_launch.__file__).parent

# The properties that most mutants are caught by, for saying which one to try first.
VALUE, GRADIENTS, TILES = "the value is right", "the gradients are right", "the blocks do not matter"
SHARED, SLICES = "nothing is changed or shared", "arrays may be slices of wider ones"
TILES_IN_A_ROW = "one two and three tiles"
PIECES = "rows may be taken in pieces and together"
SKIPPED, MANY = "tiles that are hidden may be skipped", "several tiles heads and sequences"


class KernelMutant(NamedTuple):
    op: str
    file: str
    function: str
    first: str  # the property that is tried first; if it sees nothing, the others are
    wrong: str
    old: str
    new: str

    @contextmanager
    def planted(self) -> Iterator[Impl]:
        """The Triton implementation with this mutant in the place of the op; or attention's first rung with it."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(KERNELS, Path(folder, "kernels"), ignore=shutil.ignore_patterns("__pycache__"))
            Path(folder, "kernels", f"{self.file}.py").write_text(self.edited(), encoding="utf-8")
            table, first = _imported_from(folder)
            name = f"{self.op}: {self.wrong}"
            if self.in_first_rung:
                yield replace(first_rung(first), name=name)
            else:
                yield replace(TRITON, name=name, ops={**TRITON.ops, self.op: table[self.op]})

    @property
    def in_first_rung(self) -> bool:
        return self.file == "attention/first"

    def edited(self) -> str:
        source = (KERNELS / f"{self.file}.py").read_text(encoding="utf-8")
        before, definition, rest = source.partition(f"def {self.function}(")
        body, end, after = rest.partition("\n\n\n")
        assert definition, f"{self.file}.py has no function {self.function}: move the mutant"
        assert body.count(self.old) == 1, (
            f"{self.function} has {self.old!r} {body.count(self.old)} times: move the mutant"
        )
        return before + definition + body.replace(self.old, self.new) + end + after


def _imported_from(folder: str) -> tuple[OpTable, ModuleType]:
    """The op table and attention's first rung of the package `kernels` in a folder. The real one is put back afterwards."""
    mine = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "kernels"}
    for name in mine:
        del sys.modules[name]
    try:
        with mock.patch.object(sys, "path", [folder, *sys.path]), mock.patch.object(sys, "dont_write_bytecode", True):
            table = importlib.import_module("kernels.table").OPS
            return table, importlib.import_module("kernels.attention.first")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "kernels"]:
            del sys.modules[name]
        sys.modules.update(mine)


def kernel_mutants(op: str, where: str, first: str, *rows: tuple[str, str, str]) -> list[KernelMutant]:
    file, function = where.split(".")
    return [KernelMutant(op, file, function, first, *row) for row in rows]


KERNEL_MUTANTS = [
    *kernel_mutants(
        "softmax",
        "softmax.softmax_kernel",
        VALUE,
        ("no row maximum", "tl.exp(x - tl.where(empty, 0, m))", "tl.exp(x)"),
        ("lanes beyond the row loaded as 0", 'other=-float("inf")', "other=0"),
        ("a load without the mask of the columns", "mask=inside, other=", "mask=row < rows, other="),
        ("a store without the mask of the columns", "mask=inside)", "mask=row < rows)"),
        ("a store without the mask of the rows", "mask=inside)", "mask=column < width)"),
        ("the sum over the rows", "tl.sum(y, axis=1, keep_dims=True)", "tl.sum(y, axis=0, keep_dims=True)"),
        (
            "exponentials in float32",
            "tl.exp(x - tl.where(empty, 0, m))",
            "tl.exp((x - tl.where(empty, 0, m)).to(tl.float32)).to(ACC)",
        ),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.softmax_kernel",
        PIECES,
        ("a row too far down", "tl.program_id(0).to(tl.int64) * ROWS", "tl.program_id(0).to(tl.int64)"),
        ("the last row left out", "row < rows", "row < rows - 1"),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.softmax_kernel",
        "everything hidden",
        (
            "lanes beyond the row share an empty one",
            "(empty & (column < width)).to(ACC)",
            "empty.to(ACC)",
        ),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.softmax_kernel",
        "a row with a NaN",
        (
            "NaN beside hidden scores counted as hidden",
            "y += (empty & (column < width)).to(ACC)",
            "y = tl.where(empty, (column < width).to(ACC), y)",
        ),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.softmax_backward_kernel",
        GRADIENTS,
        ("no delta", "dx = y * (dy - delta)", "dx = y * dy"),
        ("delta not weighted", "tl.sum(dy * y,", "tl.sum(dy,"),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.split_softmax_statistics_kernel",
        PIECES,
        ("lanes beyond the row loaded as 0", 'other=-float("inf")', "other=0"),
        ("splits that overlap by a column", "split * BLOCK", "split * (BLOCK - 1)"),
        ("sums of one row stored in the next", "total_ptr + row * splits + split", "total_ptr + row + split"),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.split_softmax_statistics_kernel",
        "a hidden score gets nothing",
        ("a split that is all hidden", 'tl.where(m == -float("inf"), 0, m)', "m"),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.split_softmax_kernel",
        PIECES,
        ("sums of splits not rescaled", "totals * tl.exp(ms - m)", "totals"),
        (
            "its own split's sum",
            "tl.sum(totals * tl.exp(ms - m), axis=0)",
            "tl.sum(tl.where(other == split, totals, 0), axis=0)",
        ),
        (
            "the first split's maximum",
            "m = tl.max(ms, axis=0)",
            "m = tl.max(tl.where(other == 0, ms, -float('inf')), axis=0)",
        ),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.split_softmax_kernel",
        "everything hidden",
        ("an empty row as its exponentials", "tl.exp(x - m) + empty.to(ACC)", "tl.exp(x - m)"),
        ("an empty row shared among the splits", "tl.where(empty, width,", "tl.where(empty, splits,"),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.split_softmax_kernel",
        "a row with a NaN",
        (
            "NaN beside hidden scores counted as hidden",
            "tl.sum(totals * tl.exp(ms - m), axis=0) + tl.where(empty, width, 0)",
            "tl.where(empty, width, tl.sum(totals * tl.exp(ms - m), axis=0))",
        ),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.split_softmax_backward_kernel",
        PIECES,
        (
            "each split its own delta",
            "delta_ptr + row * splits + other, mask=other < splits",
            "delta_ptr + row * splits + other, mask=other == split",
        ),
        ("the last split's delta left out", "mask=other < splits, other=0", "mask=other < splits - 1, other=0"),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.softmax",
        SLICES,
        ("rows as far apart as they are wide", "y, rows, width, rows_x.stride(0)", "y, rows, width, width"),
    ),
    *kernel_mutants(
        "softmax",
        "softmax.softmax",
        PIECES,
        (
            "a grid without the last tile",
            'softmax_kernel[(triton.cdiv(rows, tile["ROWS"]),)]',
            'softmax_kernel[(max(1, rows // tile["ROWS"]),)]',
        ),
        ("no split for what is left", 'blocks_of("softmax", width, split["BLOCK"])', 'max(1, width // split["BLOCK"])'),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm.layer_norm_kernel",
        VALUE,
        ("padded lanes in the variance", "tl.where(inside, x - mean, 0)", "x - mean"),
        ("padded lanes loaded as 1", "mask=inside, other=0).to(ACC)\n    if", "mask=inside, other=1).to(ACC)\n    if"),
        ("the mean over the tile", "keep_dims=True) / width\n    # 2.", "keep_dims=True) / BLOCK\n    # 2."),
        (
            "the variance over the tile",
            "tl.sum(y * y, axis=1, keep_dims=True) / width",
            "tl.sum(y * y, axis=1, keep_dims=True) / BLOCK",
        ),
        (
            "unbiased variance",
            "tl.sum(y * y, axis=1, keep_dims=True) / width",
            "tl.sum(y * y, axis=1, keep_dims=True) / tl.maximum(width - 1, 1)",
        ),
        (
            "variance as E[x^2] - mean^2",
            "var = tl.sum(y * y, axis=1, keep_dims=True) / width",
            "var = tl.maximum(tl.sum(x * x, axis=1, keep_dims=True) / width - mean * mean, 0)",
        ),
        ("a mean over the rows", "tl.sum(x, axis=1, keep_dims=True)", "tl.sum(x, axis=0, keep_dims=True)"),
        ("eps outside the root", "1 / tl.sqrt(var + EPS)", "1 / (tl.sqrt(var) + EPS)"),
        ("the root in float32", "1 / tl.sqrt(var + EPS)", "1 / tl.sqrt((var + EPS).to(tl.float32)).to(ACC)"),
        ("weight and bias swapped", "y * weight + bias", "y * bias + weight"),
        (
            "the weight read beyond its end",
            "weight_ptr + column, mask=column < width",
            "weight_ptr + column, mask=column < BLOCK",
        ),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm.layer_norm_kernel",
        "the statistics are what their names say",
        ("the variance stored for its root", "tl.store(rstd_ptr + row, rstd,", "tl.store(rstd_ptr + row, var + EPS,"),
        ("statistics of the first tile of rows alone", "mean, mask=row < rows)", "mean, mask=row < ROWS)"),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm.layer_norm_backward_kernel",
        GRADIENTS,
        ("no term along the mean", "dx - along_mean - xhat * along_xhat", "dx - xhat * along_xhat"),
        ("no term along xhat", "dx - along_mean - xhat * along_xhat", "dx - along_mean"),
        (
            "a sum for the mean",
            "along_mean = tl.sum(dx, axis=1, keep_dims=True) / width",
            "along_mean = tl.sum(dx, axis=1, keep_dims=True)",
        ),
        (
            "the mean along xhat over the tile",
            "tl.sum(dx * xhat, axis=1, keep_dims=True) / width",
            "tl.sum(dx * xhat, axis=1, keep_dims=True) / BLOCK",
        ),
        ("dx without rstd", "dx *= rstd", "dx *= 1"),
        ("dweight without xhat", "dweight += dy * xhat", "dweight += dy"),
        ("dbias after the weight", "dbias += dy", "dbias += dy * weight"),
        ("dbias stored over dweight", "tl.store(part + width,", "tl.store(part,"),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm.layer_norm_backward_kernel",
        PIECES,
        (
            "the first tile of rows alone",
            "tl.program_id(0).to(tl.int64) * ROWS, rows,",
            "tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(0) * ROWS + ROWS,",
        ),
        ("sums of the last tile alone", "dweight += dy * xhat", "dweight = dy * xhat"),
        ("rows dealt out twice", "tl.num_programs(0) * ROWS", "ROWS"),
        (
            "partial sums in each other's place",
            "tl.program_id(0).to(tl.int64) * 2 * width",
            "tl.program_id(0).to(tl.int64) * width",
        ),
        ("along xhat read where the mean is", "along_ptr + rows + row", "along_ptr + row"),
        ("the first block of columns alone", "tl.program_id(1) * BLOCK", "0 * BLOCK"),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm.layer_norm_along_kernel",
        PIECES,
        ("the last block's part alone", "along_mean += dx", "along_mean = dx"),
        ("the last block left out", "range(0, width, BLOCK)", "range(0, width // BLOCK * BLOCK, BLOCK)"),
        ("the mean over a block", "tl.sum(along_xhat, axis=0) / width", "tl.sum(along_xhat, axis=0) / BLOCK"),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm._forward",
        VALUE,
        ("the stride of the weight ignored", "weight.contiguous()", "weight"),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm._forward",
        GRADIENTS,
        ("mean and rstd saved in each other's place", "total, weight, mean, rstd)", "total, weight, rstd, mean)"),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm.layer_norm_backward",
        SHARED,
        (
            "dx written over x",
            "dx = torch.empty(saved.x.shape, dtype=saved.x.dtype, device=saved.x.device)",
            "dx = saved.x.contiguous()",
        ),
    ),
    *kernel_mutants(
        "residual_layer_norm",
        "layernorm._forward",
        GRADIENTS,
        ("x saved for the sum", "LayerNormSaved(total,", "LayerNormSaved(x,"),
    ),
    *kernel_mutants(
        "residual_layer_norm",
        "layernorm.layer_norm_backward_kernel",
        GRADIENTS,
        (
            "dy for the residual's gradient",
            "dx.to(dresidual_ptr.dtype.element_ty)",
            "dy.to(dresidual_ptr.dtype.element_ty)",
        ),
    ),
    *kernel_mutants(
        "residual_layer_norm",
        "layernorm.residual_layer_norm_backward",
        SHARED,
        ("both terms share one gradient", "return dx, dresidual,", "return dx, dx,"),
    ),
    *kernel_mutants(
        "layer_norm",
        "_column_sums.column_sums_kernel",
        GRADIENTS,
        ("the last program's sums left out", "part < parts", "part < parts - 1"),
        ("dweight and dbias swapped", "if which == 0", "if which == 1"),
    ),
    *kernel_mutants(
        "layer_norm",
        "_column_sums.column_sums_kernel",
        PIECES,
        ("the first tile of parts alone", "range(0, parts, ROWS)", "range(0, ROWS, ROWS)"),
        ("parts of both sums mixed", "(part * sums + which)", "(part + which)"),
    ),
    *kernel_mutants(
        "bias_gelu",
        "_column_sums.column_sums",
        GRADIENTS,
        ("the first columns alone", "triton.cdiv(width, COLUMNS)", "1"),
    ),
    *kernel_mutants(
        "bias_gelu",
        "activations.bias_gelu_kernel",
        VALUE,
        ("the bias after the activation", "y = _gelu(shifted)", "y = _gelu(x) + bias"),
        ("the axes of the grid swapped", "tl.program_id(1) * BLOCK", "tl.program_id(0) * BLOCK"),
    ),
    *kernel_mutants(
        "bias_gelu",
        "activations.bias_gelu_backward_kernel",
        GRADIENTS,
        ("no bias", "shifted = x + bias", "shifted = x"),
        ("dbias without the slope", "dbias += dx", "dbias += dy"),
        (
            "lanes beyond the last row loaded as 1",
            "dy_stride + column, mask=inside, other=0",
            "dy_stride + column, mask=inside, other=1",
        ),
    ),
    *kernel_mutants(
        "bias_gelu",
        "activations.bias_gelu_backward_kernel",
        TILES,
        ("all programs write one partial sum", "tl.program_id(0).to(tl.int64) * width", "0 * width"),
    ),
    *kernel_mutants(
        "gelu",
        "activations._gelu",
        VALUE,
        ("erf of x, not x / sqrt 2", "tl.erf(x * SQRT_HALF)", "tl.erf(x)"),
        ("the sigmoid approximation", "0.5 * x * (1 + tl.erf(x * SQRT_HALF))", "x * _sigmoid(1.702 * x)"),
        ("a constant of eight digits", "SQRT_HALF", "0.70710678"),
    ),
    *kernel_mutants(
        "gelu",
        "activations._gelu_slope",
        GRADIENTS,
        ("the slope without the density", "cdf + x * density", "cdf"),
    ),
    *kernel_mutants(
        "gelu",
        "activations.activation_kernel",
        VALUE,
        ("the last number left out", "element_ty), mask=at < size", "element_ty), mask=at < size - 1"),
        ("one number too many", "element_ty), mask=at < size", "element_ty), mask=at <= size"),
    ),
    *kernel_mutants(
        "gelu",
        "activations.activation_backward_kernel",
        GRADIENTS,
        ("the slope at dy", "SLOPE(x) * dy", "SLOPE(dy) * x"),
    ),
    *kernel_mutants(
        "gelu",
        "activations._activation",
        GRADIENTS,
        ("dy read as it lies in memory", "dy.contiguous()", "dy"),
    ),
    *kernel_mutants(
        "gelu",
        "activations._activation",
        TILES,
        (
            "a grid without the last tile",
            "activation_kernel[(triton.cdiv(x.numel(), numbers),)]",
            "activation_kernel[(max(1, x.numel() // numbers),)]",
        ),
    ),
    *kernel_mutants(
        "gelu_new",
        "activations._gelu_new_slope",
        GRADIENTS,
        ("the cubic term's derivative without its 3", "1 + 3 * 0.044715", "1 + 0.044715"),
    ),
    *kernel_mutants(
        "quick_gelu",
        "activations._quick_gelu_slope",
        GRADIENTS,
        ("the inner derivative forgotten", "_sigmoid_slope(1.702 * x) * 1.702", "_sigmoid_slope(1.702 * x)"),
    ),
    *kernel_mutants("relu", "activations._relu_slope", GRADIENTS, ("slope 1 at zero", "x > 0", "x >= 0")),
    *kernel_mutants(
        "silu", "activations._silu_slope", GRADIENTS, ("the slope without the gate", "_sigmoid(x) + x", "x")
    ),
    *kernel_mutants("mish", "activations._mish_gate", VALUE, ("t for its square", "2 * t * t", "2 * t")),
    *kernel_mutants("sigmoid", "activations._sigmoid", VALUE, ("an exponential that overflows", "-tl.abs(x)", "-x")),
    *kernel_mutants("tanh", "activations._tanh_slope", GRADIENTS, ("half of the slope", "4 *", "2 *")),
    *kernel_mutants(
        "softmax",
        "softmax.softmax_backward_kernel",
        SLICES,
        ("the rows of dy as far apart as those of y", "row * dy_stride", "row * width"),
    ),
    *kernel_mutants(
        "layer_norm",
        "layernorm.layer_norm_backward_kernel",
        SLICES,
        ("the rows of x as far apart as those of dy", "x_ptr + row * x_stride", "x_ptr + row * dy_stride"),
    ),
    *kernel_mutants(
        "residual_layer_norm",
        "layernorm.layer_norm_kernel",
        SLICES,
        ("the residual's rows as far apart as those of x", "row * residual_stride", "row * x_stride"),
    ),
    *kernel_mutants(
        "bias_gelu",
        "activations.bias_gelu_kernel",
        TILES,
        ("rows counted in numbers", "tl.program_id(0).to(tl.int64) * ROWS", "tl.program_id(0).to(tl.int64) * BLOCK"),
    ),
    *kernel_mutants(
        "bias_gelu",
        "activations.bias_gelu_backward_kernel",
        TILES,
        ("dbias of the last tile alone", "dbias += dx", "dbias = dx"),
    ),
    *kernel_mutants(
        "dropout",
        "random.keep_fours",
        VALUE,
        (
            "words out of order",
            "tl.interleave(word0, word2), tl.interleave(word1, word3)",
            "tl.interleave(word0, word1), tl.interleave(word2, word3)",
        ),
        ("what should be dropped is kept", ">= drop_prob", "< drop_prob"),
        ("not scaled up", "factor, 0.0", "1.0, 0.0"),
    ),
    *kernel_mutants(
        "dropout",
        "random.uniform",
        VALUE,
        ("numbers up to 2", "(bits >> 1)", "bits"),
    ),
    *kernel_mutants(
        "dropout",
        "dropout.dropout_kernel",
        TILES,
        ("counters that begin anew in every tile", "first // 4 + tl.arange", "tl.arange"),
        ("counters that count programs", "first // 4", "tl.program_id(0)"),
    ),
    *kernel_mutants(
        "dropout",
        "dropout.dropout_backward",
        GRADIENTS,
        ("another mask in backward", "saved.seed", "saved.seed + 1"),
        ("nothing dropped in backward", "saved.drop_prob", "0.0"),
    ),
    *kernel_mutants(
        "dropout",
        "dropout._times_mask",
        VALUE,
        ("x read as it lies in memory", "x.contiguous()", "x"),
    ),
    *kernel_mutants(
        "dropout",
        "dropout._times_mask",
        "another seed another",
        ("the upper half of the seed lost", "seed & SEED_BITS", "seed & 0xFFFFFFFF"),
    ),
    *kernel_mutants(
        "attention",
        "attention/first.tile_of",
        TILES_IN_A_ROW,
        ("every head the first", "head * length + first", "first"),
        ("rows as far apart as there are tiles", "row * D", "row * BLOCK"),
    ),
    *kernel_mutants(
        "attention",
        "attention/first.attention_first_kernel",
        TILES_IN_A_ROW,
        ("not scaled", '"ieee") * D**-0.5', '"ieee")'),
        ("the average not rescaled", "y * shrink[:, None]", "y"),
        ("the sum not rescaled", "total * shrink + tl.sum", "total + tl.sum"),
        ("the maximum of the last tile alone", "tl.maximum(m, tl.max(s, axis=1))", "tl.max(s, axis=1)"),
        ("the maximum never updated", "m = new_m\n", "m = m\n"),
        ("no row maximum", "s - new_m[:, None]", "s"),
        ("the first tile of keys alone", "tl.range(0, T, BLOCK_K)", "tl.range(0, BLOCK_K, BLOCK_K)"),
        ("not divided by the row sum", "y / total[:, None]", "y"),
        ("probabilities of the columns", "tl.sum(p, axis=1)", "tl.sum(p, axis=0)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/first.attention_first_kernel",
        "lse is the log",
        ("lse without the maximum", "m + tl.log(total)", "tl.log(total)"),
        ("all heads' lse in one place", "lse_ptr + head * S + first_query", "lse_ptr + first_query"),
    ),
    *kernel_mutants(
        "attention",
        "attention/first.attention_first_delta_kernel",
        TILES_IN_A_ROW,
        ("delta from dy alone", "tl.sum(y * dy, axis=1)", "tl.sum(dy, axis=1)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/first.attention_first_queries_kernel",
        TILES_IN_A_ROW,
        ("no delta", "(dp - delta[:, None])", "dp"),
        ("dq not scaled", "(dp - delta[:, None]) * D**-0.5", "(dp - delta[:, None])"),
        ("the sum started anew in every tile", "ds.to(k.dtype), k, dq,", "ds.to(k.dtype), k, dq * 0,"),
        ("dP from the keys", "dot(dy, tl.trans(v)", "dot(dy, tl.trans(k)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/first.attention_first_keys_kernel",
        TILES_IN_A_ROW,
        ("another row's lse", "lse[None, :]", "lse[None, :] * 0"),
        ("dv from the scores' gradient", "dot(p.to(dy.dtype), dy, dv", "dot((p * 2).to(dy.dtype), dy, dv"),
        ("the last tile of queries left out", "tl.range(0, S, BLOCK_Q)", "tl.range(0, S - BLOCK_Q, BLOCK_Q)"),
        ("dk written over dv", "tile_of(dv_ptr, head", "tile_of(dk_ptr, head"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.place_of",
        VALUE,
        ("heads times strides in 32 bits", "head.to(tl.int64)", "head"),
        ("sequences times strides in 32 bits", "sequence.to(tl.int64)", "sequence"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.sequence_of",
        MANY,
        ("statistics of one head over another's", "(at.sequence * shape.heads + at.head)", "(at.sequence + at.head)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.head_of",
        MANY,
        ("the first head for all", " + at.head * shape.D", ""),
        ("the first sequence for all", " + sequence.index * rows.batch", ""),
        ("rows as far apart as a head is wide", "shape.heads * shape.D", "shape.D"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.head_of",
        SLICES,
        ("rows of slices as far apart as they are long", "Head(ptr, rows.step)", "Head(ptr, shape.heads * shape.D)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.load_tile",
        TILES_IN_A_ROW,
        ("every tile the first", "tl.cast(first, tl.int64) * head.step", "tl.cast(first, tl.int64) * 0 * head.step"),
        ("rows times strides in 32 bits", "tl.cast(first, tl.int64)", "first"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.load_tile",
        MANY,
        ("the next head's features read along", "(first + row < rows) & (feature < shape.D)", "(first + row < rows)"),
        ("rows beyond the last read along", "(first + row < rows) & (feature < shape.D)", "feature < shape.D"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.store_tile",
        MANY,
        ("written over the next head", "(first + row < rows) & (feature < shape.D)", "first + row < rows"),
        ("written over the next sequence", "(first + row < rows) & (feature < shape.D)", "feature < shape.D"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.load_statistic",
        MANY,
        ("the first block's statistics for all", "first + row, mask=", "row, mask="),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.store_statistic",
        "lse is the log",
        (
            "all heads' statistics in one place",
            "ptr + sequence.row + first + row, value, mask",
            "ptr + first + row, value, mask",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.sight_of",
        SKIPPED,
        ("the first sequence's length for all", "mask.key_lengths + at.sequence", "mask.key_lengths"),
        ("without keys nobody sees any", "length == 0", "length < 0"),
        ("without keys scores count", "tl.where(blind, 0, 1)", "tl.where(blind, 1, 1)"),
        (
            "without keys, as if there were one fewer",
            "tl.where(blind, sequence.T, length)",
            "tl.where(blind, sequence.T - 1, length)",
        ),
        (
            "without keys, but causal",
            "tl.where(blind, sequence.T - 1, sequence.T - sequence.S)",
            "sequence.T - sequence.S",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.sight_of",
        SKIPPED,
        ("causal from the top left", "Sight(sequence.T, sequence.T - sequence.S, shape", "Sight(sequence.T, 0, shape"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.keys_seen",
        SKIPPED,
        (
            "a block on the edge taken for a whole one",
            "first_sees // tile.keys * tile.keys",
            "tl.cdiv(first_sees, tile.keys) * tile.keys",
        ),
        (
            "the first query's own key hidden from the others",
            "first_query + 1 + sight.ahead",
            "first_query + 17 + sight.ahead",
        ),
        (
            "the last query's own key not visited",
            "sequence.S) + sight.ahead)",
            "sequence.S) + sight.ahead - 1)",
        ),
        ("a sequence without keys has whole blocks", "tl.where(sight.blind, 0, whole)", "whole"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.queries_that_see",
        SKIPPED,
        (
            "the first block of queries left out",
            "tl.maximum(first_key - sight.ahead, 0) // tile.queries",
            "tl.cdiv(tl.maximum(first_key - sight.ahead, 0), tile.queries)",
        ),
        (
            "queries from above the diagonal taken for whole",
            "first_key + tile.keys - 1 - sight.ahead",
            "first_key - sight.ahead",
        ),
        ("a sequence without keys in whole blocks", "tl.where(sight.blind, end, whole)", "whole"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.scores",
        TILES_IN_A_ROW,
        ("log2 e forgotten", "shape.D**-0.5 * LOG2E", "shape.D**-0.5"),
        ("not scaled", "shape.D**-0.5 * LOG2E", "LOG2E"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.scores",
        SKIPPED,
        ("lengths one too long", "key < sight.keys", "key <= sight.keys"),
        ("a query does not see itself", "key <= query", "key < query"),
        (
            "padded keys have a score of 0",
            'tl.where(visible, s * sight.bits, -float("inf"))',
            "tl.where(visible, s * sight.bits, 0.0)",
        ),
        ("scores on the edge not in bits", "s * sight.bits, -float", "s, -float"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attend",
        TILES_IN_A_ROW,
        ("the average not rescaled", "online.y * shrink[:, None]", "online.y"),
        ("the sum not rescaled", "online.total * shrink + total", "online.total + total"),
        ("the maximum of the last block alone", "tl.maximum(online.m, m)", "m + 0 * online.m"),
        ("no row maximum", "scored.s * scored.bits - m[:, None]", "scored.s * scored.bits"),
        ("to base e", "tl.math.exp2(scored", "tl.exp(scored"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attention_plain_kernel",
        TILES_IN_A_ROW,
        ("the first block of keys left out", "tl.range(0, whole, tile.keys)", "tl.range(tile.keys, whole, tile.keys)"),
        ("not divided by the row sum", "online.y / online.total[:, None]", "online.y"),
        (
            "the first query of the sequence for all blocks",
            "first_query = at.block * tile.queries",
            "first_query = at.block * 0",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attention_plain_kernel",
        SKIPPED,
        ("a last block of one key left out", "tl.range(whole, end, tile.keys)", "tl.range(whole, end - 1, tile.keys)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attention_plain_kernel",
        "lse is the log",
        ("lse without the maximum", "online.m * LN2 + log_total", "log_total"),
        ("lse in bits", "online.m * LN2 + log_total", "online.m + log_total"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attention_plain_kernel",
        "lse rest",
        ("where nothing is seen lse is log T", "lse == lse), tile.lowest, lse)", "lse == lse), lse, lse)"),
        ("where nothing is seen there is no rest", "lse == lse), log_total, rest)", "lse == lse), rest, rest)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.load_lse",
        SKIPPED,
        (
            "the lowest number taken for a logarithm",
            "sight.blind & (lse == lse), 0, lse)",
            "sight.blind & (lse == lse), lse, lse)",
        ),
        ("lse not in bits", "Lse(lse * LOG2E,", "Lse(lse,"),
        ("lse_rest left out", "rest * LOG2E)", "rest * 0)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.probabilities",
        SKIPPED,
        ("what rounding took added", "exponent - rest", "exponent + rest"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.through_queries",
        TILES_IN_A_ROW,
        ("no delta", "p * (dp - delta[:, None])", "p * dp"),
        ("the sum started anew in every block", "k, dq, tile", "k, dq * 0, tile"),
        ("dP from the keys", "dot(dy, tl.trans(v)", "dot(dy, tl.trans(k)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attention_plain_queries_kernel",
        TILES_IN_A_ROW,
        ("delta from dy alone", "dy_tile.to(tile.acc) * y_tile.to(tile.acc)", "dy_tile.to(tile.acc)"),
        ("delta left for nobody", "store_statistic(delta_ptr, delta,", "store_statistic(delta_ptr, delta * 0,"),
        ("dq not scaled", "total * shape.D**-0.5", "total"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.through_keys",
        TILES_IN_A_ROW,
        ("no delta", "p * (dp - delta[None, :])", "p * dp"),
        ("dv from dP", "dot(p.to(dy.dtype), dy,", "dot(q.to(dy.dtype), dy,"),
        ("dk of the last block alone", "q, total.dk,", "q, total.dk * 0,"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attention_plain_keys_kernel",
        SKIPPED,
        (
            "a last block of one query left out",
            "tl.cdiv(walk.last - walk.end, tile.queries)",
            "(walk.last - walk.end) // tile.queries",
        ),
        ("the diagonal left out", "(walk.whole - walk.start) // tile.queries", "walk.whole * 0"),
        ("the same queries again after the whole ones", "walk.end + (i - before)", "walk.start + (i - before)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/tiles.store_key_gradients",
        TILES_IN_A_ROW,
        ("dk not scaled", "total.dk * shape.D**-0.5", "total.dk"),
        ("dk divided by d", "total.dk * shape.D**-0.5", "total.dk / shape.D"),
        ("dk and dv swapped", "head_of(dv, at", "head_of(dk, at"),
    ),
    *kernel_mutants(
        "attention",
        "attention/plain.attention_plain_head_kernel",
        GRADIENTS,
        ("delta from the queries", "* y_tile.to(tile.acc)", "* q_tile.to(tile.acc)"),
        (
            "dV from the scores' gradient",
            "tl.trans(p.to(dy_tile.dtype))",
            "tl.trans((p * delta[:, None]).to(dy_tile.dtype))",
        ),
        ("scaled twice", "dq_tile * shape.D**-0.5", "dq_tile / shape.D"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.sight_of",
        "heads do not talk",
        ("the first head's bias for all", " + at.head * bias.head", ""),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.keys_of",
        TILES,
        ("the first sequence's length for all", "mask.key_lengths + at.sequence", "mask.key_lengths"),
        ("causal, with more queries than keys, nobody is blind", "(sequence.S > sequence.T)", "(sequence.S < 0)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.draws_of",
        MANY,
        ("all sequences draw the same", "(at.sequence * shape.heads + at.head)", "at.head"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.keys_seen",
        SKIPPED,
        ("a query that sees nothing visits no key", "tl.where(first_sees <= 0, sequence.T, last_sees)", "last_sees"),
        (
            "a block on the edge taken for a whole one",
            "tl.maximum(first_sees, 0) // tile.keys",
            "tl.cdiv(tl.maximum(first_sees, 0), tile.keys)",
        ),
        ("the last query's own key not visited", "sequence.S) + sight.ahead)", "sequence.S) + sight.ahead - 1)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.queries_that_see",
        SKIPPED,
        ("causal, with more queries than keys, nobody is blind", "(sequence.S > sequence.T)", "(sequence.S < 0)"),
        (
            "queries from above the diagonal taken for whole",
            "first_key + tile.keys - 1 - sight.ahead",
            "first_key - sight.ahead",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.scores",
        VALUE,
        ("log2 e forgotten", "(shape.D**-0.5 * LOG2E)", "(shape.D**-0.5)"),
        ("scaled by d where there is a bias", "s = s * shape.D**-0.5", "s = s / shape.D"),
        ("the sign of the bias", "s + tl.maximum(value", "s - tl.maximum(value"),
        (
            "the strides of the bias swapped",
            "query.to(tl.int64) * bias.query + key.to(tl.int64) * bias.key",
            "query.to(tl.int64) * bias.key + key.to(tl.int64) * bias.query",
        ),
        (
            "padded keys share a row that sees nothing",
            'tl.where(key < sequence.T, hide(s, visible, tile), -float("inf"))',
            "hide(s, visible, tile)",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.scores",
        "however a mask is said",
        ("a boolean mask says who is hidden", "hide(s, value, tile)", "hide(s, ~value, tile)"),
        (
            "-inf kept in the bias",
            "tl.maximum(value.to(tile.acc), tile.lowest, propagate_nan=tl.PropagateNan.ALL)",
            "value.to(tile.acc)",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.scores",
        SLICES,
        ("the stride of the bias ignored", "bias.query + key.to(tl.int64) * bias.key", "bias.query + key.to(tl.int64)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.scores",
        SKIPPED,
        ("a query does not see itself", "key <= query", "key < query"),
        ("causal from the top left", "query + sight.ahead", "query"),
        ("lengths one too long", "key < sight.keys", "key <= sight.keys"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.log_sum_exp",
        "lse is the log",
        ("lse without the maximum, beside a bias", "lse = m + log_total", "lse = log_total"),
        ("lse without the maximum", "tl.where(blind, 0, m) * LN2 + log_total", "log_total"),
        ("lse in bits", "tl.where(blind, 0, m) * LN2", "tl.where(blind, 0, m)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.log_sum_exp",
        "lse rest",
        ("what rounding takes from lse is lost", "(m - in_bits(lse, tile)) * LN2 + log_total", "lse * 0"),
        ("what rounding takes from lse is lost, beside a bias", "(m - lse) + log_total", "lse * 0"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.log_sum_exp",
        "however large its scores",
        (
            "roundings between bits and base e forgotten",
            "(m - in_bits(lse, tile)) * LN2",
            "(tl.where(blind, tile.lowest, m * LN2) - lse)",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.probabilities",
        "a query that sees nothing",
        ("lse_rest left out", "(s - lse) - rest", "s - lse"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.attend",
        MANY,
        ("the average not rescaled", "online.y * shrink[:, None]", "online.y"),
        ("the sum not rescaled", "online.total * shrink + total", "online.total + total"),
        ("the maximum of the last block alone", "tl.maximum(online.m, m)", "m + 0 * online.m"),
        ("dropout numbered afresh in every tile", "keep(seed, query, first_key,", "keep(seed, query, 0,"),
        (
            "the sum of what dropout kept",
            "total = tl.sum(p, axis=1)",
            "total = tl.sum(p * keep(seed, query, first_key, sequence, sight, dropout, tile), axis=1)",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.attention_general_kernel",
        MANY,
        ("the first block of keys left out", "tl.range(0, whole, tile.keys)", "tl.range(tile.keys, whole, tile.keys)"),
        ("not divided by the row sum", "online.y / online.total[:, None]", "online.y"),
        ("a last block of one key left out", "tl.range(whole, end, tile.keys)", "tl.range(whole, end - 5, tile.keys)"),
    ),
    *kernel_mutants(
        "attention",
        "random.keep_each",
        MANY,
        ("an element's number for its counter", "element >> 2", "element"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.through_queries",
        MANY,
        ("dP without the dropout mask", "dp = dp * keep(", "dp = dp + 0 * keep("),
        ("delta added", "dp - delta[:, None]", "dp + delta[:, None]"),
        ("the sum started anew in every block", "k, dq, tile", "k, dq * 0, tile"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.attention_general_queries_kernel",
        MANY,
        ("delta from dy alone", "dy_tile.to(tile.acc) * y_tile.to(tile.acc)", "dy_tile.to(tile.acc)"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.through_keys",
        MANY,
        ("no delta", "p * (dp - delta[None, :])", "p * dp"),
        ("dv without the dropout mask", "kept = p * factor", "kept = p"),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.attention_general_keys_kernel",
        MANY,
        (
            "a last block of one query left out",
            "tl.range(whole, sequence.S, tile.queries)",
            "tl.range(whole, sequence.S - 1, tile.queries)",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/general.attention_general_head_kernel",
        GRADIENTS,
        ("delta from the queries", "* y_tile.to(tile.acc)", "* q_tile.to(tile.acc)"),
        ("dV with what dropout took", "kept = p * factor", "kept = p"),
        ("scaled twice", "dq_tile * shape.D**-0.5", "dq_tile / shape.D"),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.is_plain",
        VALUE,
        ("a bias is nothing special", "problem.bias.ptr is None", "True"),
        ("dropout is nothing special", "problem.drop_prob == 0", "True"),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.is_plain",
        SKIPPED,
        (
            "queries before the first key are nothing special",
            "(problem.causal and problem.shape.S > problem.shape.T)",
            "(problem.causal and problem.shape.S < 0)",
        ),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.choose_tile",
        SKIPPED,
        ("half a block of queries taken for a whole one", "not packed and shape.S % queries == 0", "not packed"),
        ("padding taken for keys", " and mask.key_lengths is None,", ","),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.forward",
        SKIPPED,
        ("one block of keys for all", "launch.key_blocks <= 1", "True"),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.problem_of",
        MANY,
        ("four keys to a counter in rows of any length", "T % 4 == 0 and cu_seqlens is None", "cu_seqlens is None"),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.attention_backward",
        SKIPPED,
        ("forgets that it was causal", "s.causal", "False"),
        ("forgets the lengths", "s.key_lengths", "None"),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.attention_backward",
        MANY,
        ("another dropout mask", "s.seed", "s.seed + 1"),
    ),
    *kernel_mutants(
        "attention",
        "attention/launch.backward",
        SHARED,
        ("the gradients written over q, k, v", "torch.empty(x.shape, dtype=x.dtype, device=x.device)", "x"),
    ),
    *kernel_mutants(
        "attention_packed",
        "attention/tiles.sequence_of",
        MANY,
        (
            "one token too many in each sequence",
            "mask.cu_seqlens + at.sequence + 1) - start",
            "mask.cu_seqlens + at.sequence + 1) - start + 1",
        ),
        ("statistics counted from the start of the sequence", "shape.tokens + start", "shape.tokens"),
    ),
    *kernel_mutants(
        "attention_packed",
        "attention/general.draws_of",
        MANY,
        ("dropout numbered afresh in each sequence", "tl.load(dropout.firsts + at.sequence) + at.head", "at.head"),
    ),
    *kernel_mutants(
        "attention_packed",
        "attention/plain.attention_plain_kernel",
        GRADIENTS,
        (
            "programs of longer sequences write beyond shorter ones",
            "if first_query >= sequence.S:",
            "if first_query < 0:",
        ),
    ),
    *kernel_mutants(
        "attention_packed",
        "attention/launch.problem_of",
        MANY,
        ("numbers counted as if there were one head", "num_heads * (np.cumsum", "1 * (np.cumsum"),
    ),
    *kernel_mutants(
        "attention_packed",
        "attention/launch.attention_packed_backward",
        GRADIENTS,
        ("forgets that it was causal", "s.causal", "False"),
    ),
    *kernel_mutants(
        "attention_probabilities",
        "attention/general.attention_probabilities_kernel",
        MANY,
        (
            "rows as far apart as there are queries",
            "(sequence.row + query) * sequence.T",
            "(sequence.row + query) * sequence.S",
        ),
        ("before dropout", "p = p * keep(", "p = p + 0 * keep("),
    ),
]
