"""Wrong implementations, each the right one with one line changed: the mistakes people make with these formulas.

A mutant is an edit of an op's source: the text that is there, the text that is planted instead, and what is wrong with it
in words. The edited module is executed beside the real one and gives another entry for the op table.
"""

import inspect
import sys
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import numpy as np
from impls import Impl, tiny_numpy_blocks

from minirembert.ops import OPS, Op


class Mutant(NamedTuple):
    op: str
    wrong: str
    old: str
    new: str

    def planted_in(self, impl: Impl) -> Impl:
        """The NumPy implementation with this mutant in the place of the op."""
        module = self._edited()
        backward = getattr(module, f"{self.op}_backward", None)
        ops = {**impl.ops, self.op: Op(getattr(module, self.op), backward)}
        return replace(impl, name=f"{self.op}: {self.wrong}", ops=ops, tiny_blocks=tiny_numpy_blocks(module))

    def _edited(self) -> ModuleType:
        original = sys.modules[OPS[self.op].forward.__module__]
        source = inspect.getsource(original)
        assert source.count(self.old) == 1, (
            f"the source has {self.old!r} {source.count(self.old)} times: move the mutant"
        )
        module = ModuleType(original.__name__)
        module.__dict__["np"] = np  # an edit may use it where the file does not
        exec(compile(source.replace(self.old, self.new), f"<{self.op}: {self.wrong}>", "exec"), module.__dict__)
        return module


def mutants(op: str, *rows: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(op, *row) for row in rows]


MUTANTS = [
    *mutants(
        "layer_norm",
        ("unbiased variance", "/ x.shape[-1]\n    rstd", "/ max(1, x.shape[-1] - 1)\n    rstd"),
        ("eps outside the root", "1 / np.sqrt(var + eps)", "1 / (np.sqrt(var) + eps)"),
        ("no eps", "1 / np.sqrt(var + eps)", "1 / np.sqrt(np.maximum(var, 1e-38))"),
        ("no root", "1 / np.sqrt(var + eps)", "1 / (var + eps)"),
        (
            "variance in one pass",
            "np.vecdot(y, y)[..., None] / x.shape[-1]",
            "np.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0)",
        ),
        ("no centring", "y = x - mean", "y = x - 0 * mean"),
        (
            "one mean for all rows",
            "mean = x.mean(axis=-1, keepdims=True)",
            "mean = x.mean(axis=-1, keepdims=True) * 0 + x.mean()",
        ),
        ("weight and bias swapped", "y *= weight\n    y += bias", "y *= bias\n    y += weight"),
        (
            "float64 on the way",
            "mean = x.mean(axis=-1, keepdims=True)",
            "mean = x.mean(axis=-1, keepdims=True, dtype=np.float64)",
        ),
        ("x overwritten", "y = x - mean", "y = np.subtract(x, mean, out=x if x.flags.writeable else None)"),
        ("mean and rstd saved in each other's place", "mean[..., 0], rstd[..., 0]", "rstd[..., 0], mean[..., 0]"),
        ("dx without the term along the mean", "dx -= along_mean", "dx -= 0 * along_mean"),
        ("dx without the term along xhat", "xhat *= along_xhat", "xhat *= 0 * along_xhat"),
        (
            "a sum for the mean in dx",
            "along_mean = dx.mean(axis=-1, keepdims=True)",
            "along_mean = dx.sum(axis=-1, keepdims=True)",
        ),
        (
            "a sum for the mean along xhat",
            "np.vecdot(dx, xhat)[..., None] / x.shape[-1]",
            "np.vecdot(dx, xhat)[..., None]",
        ),
        ("the term along xhat from dy", "np.vecdot(dx, xhat)", "np.vecdot(dy, xhat)"),
        (
            "dx without the weight",
            "dx = np.multiply(dy, weight, dtype=x.dtype)",
            "dx = np.multiply(dy, 1, dtype=x.dtype)",
        ),
        ("dx without rstd", "dx *= rstd[..., None]\n    return", "return"),
        ("dweight without xhat", "dweight = (dy * xhat)", "dweight = dy.copy()"),
        ("dweight with x for xhat", "dweight = (dy * xhat)", "dweight = (dy * x)"),
        ("dweight with the weight in it", "dweight = (dy * xhat)", "dweight = (dy * xhat * weight)"),
        ("dbias with the weight in it", "dbias = dy.reshape", "dbias = (dy * weight).reshape"),
        ("dbias as a mean", "dbias = dy.reshape(rows).sum(axis=0)", "dbias = dy.reshape(rows).mean(axis=0)"),
    ),
    *mutants(
        "residual_layer_norm",
        ("the difference for the sum", "layer_norm(x + residual,", "layer_norm(x - residual,"),
        ("both terms share one gradient", "return dx, dx.copy(), dweight, dbias", "return dx, dx, dweight, dbias"),
        ("no gradient for the residual", "return dx, dx.copy(), dweight, dbias", "return dx, dx * 0, dweight, dbias"),
        (
            "dy added to the residual's gradient",
            "return dx, dx.copy(), dweight, dbias",
            "return dx, dx + dy, dweight, dbias",
        ),
    ),
    *mutants(
        "softmax",
        ("the sum over the wrong axis", "y /= y.sum(axis=-1, keepdims=True)", "y /= y.sum(axis=0, keepdims=True)"),
        ("no maximum taken off", "m = x.max(axis=-1, keepdims=True)", "m = x.max(axis=-1, keepdims=True) * 0"),
        ("one maximum for all rows", "m = x.max(axis=-1, keepdims=True)", "m = np.full_like(x[..., :1], x.max())"),
        ("a hidden row divided by zero", "y += empty", "y += 0"),
        ("backward without delta", "dx -= saved.y * delta", "dx -= 0 * delta"),
        ("delta not weighted", "dx -= saved.y * delta", "dx -= delta"),
        ("a mean for delta", "dx.sum(axis=-1, keepdims=True)", "dx.mean(axis=-1, keepdims=True)"),
        ("the diagonal of the Jacobian alone", "dx -= saved.y * delta", "dx -= saved.y * saved.y * dy"),
    ),
    *mutants(
        "attention",
        ("no scale", "scores *= 1 / math.sqrt(heads_q.shape[-1])", "scores *= 1"),
        ("scaled by d", "scores *= 1 / math.sqrt(heads_q.shape[-1])", "scores *= 1 / heads_q.shape[-1]"),
        (
            "multiplied by the root of d",
            "scores *= 1 / math.sqrt(heads_q.shape[-1])",
            "scores *= math.sqrt(heads_q.shape[-1])",
        ),
        ("the bias scaled, too", "scores += bias[part]", "scores += bias[part] / math.sqrt(heads_q.shape[-1])"),
        ("the bias with the wrong sign", "scores += bias[part]", "scores -= np.maximum(bias[part], -1e30)"),
        ("no bias", "scores += bias[part]", "scores += 0"),
        ("no row maximum", "m = s.max(axis=-1, keepdims=True)", "m = s.max(axis=-1, keepdims=True) * 0"),
        ("lse without the maximum", "row_lse = m + log_total", "row_lse = log_total"),
        (
            "heads interleaved",
            "(batch, length, num_heads, width // num_heads).transpose(0, 2, 1, 3)",
            "(batch, length, width // num_heads, num_heads).transpose(0, 3, 1, 2)",
        ),
        (
            "only the first head of a split block",
            "yield slice(sequence, sequence + 1), heads",
            "yield slice(sequence, sequence + 1), slice(0, 1)",
        ),
        ("the scale left out of backward", "scale = 1 / math.sqrt(heads_q.shape[-1])", "scale = 1"),
        ("no delta", "np.subtract(dp, delta, out=dp)", "np.subtract(dp, 0 * delta, out=dp)"),
        (
            "delta from the queries",
            "np.vecdot(heads_dy[part], heads_y[part])",
            "np.vecdot(heads_dy[part], heads_q[part])",
        ),
        ("the diagonal of the Jacobian alone", "np.subtract(dp, delta, out=dp)", "np.multiply(dp, 1 - p, out=dp)"),
        ("dV without the dropout mask", "kept = p * keep", "kept = p"),
        ("dP without the dropout mask", "dp *= keep", "dp *= 1"),
        ("another dropout mask in backward", "saved.seed), saved.lse", "saved.seed + 1), saved.lse"),
        (
            "dropout counted from the start of each block",
            "return keep_mask(shape, self.prob, self.seed, start)",
            "return keep_mask(shape, self.prob, self.seed, self.first)",
        ),
        (
            "dropout renormalised",
            "np.divide(p @ heads_v[part], total, out=heads_y[part])",
            "np.divide(p @ heads_v[part], np.maximum(p.sum(axis=-1, keepdims=True), 1e-30), out=heads_y[part])",
        ),
        (
            "dropout without rescaling",
            "return keep_mask(shape, self.prob, self.seed, start)",
            "return (keep_mask(shape, self.prob, self.seed, start) > 0)",
        ),
        ("what rounding takes from lse is lost", "np.subtract(s, lse_rest[part][..., None], out=s)", "s"),
        ("lse_rest counted twice", "np.subtract(s, lse_rest[part]", "np.subtract(s, 2 * lse_rest[part]"),
        ("-inf kept in the bias", "np.maximum(bias, lowest)", "bias"),
        (
            "a boolean mask says who is hidden",
            "hidden, bias = hidden | ~bias, None",
            "hidden, bias = hidden | bias, None",
        ),
        (
            "lengths one too long",
            "np.arange(keys) >= key_lengths.reshape(batch, 1, 1, 1)",
            "np.arange(keys) > key_lengths.reshape(batch, 1, 1, 1)",
        ),
        (
            "the first sequence's length for all",
            "np.arange(keys) >= key_lengths.reshape(batch, 1, 1, 1)",
            "np.arange(keys) >= key_lengths[0]",
        ),
        (
            "a query does not see itself",
            "np.arange(keys) > np.arange(queries)[:, None]",
            "np.arange(keys) >= np.arange(queries)[:, None]",
        ),
        ("causal from the top left", "np.arange(queries)[:, None] + (keys - queries)", "np.arange(queries)[:, None]"),
        (
            "backward forgets that it was causal",
            "saved.key_lengths, saved.causal, heads[0]",
            "saved.key_lengths, False, heads[0]",
        ),
        (
            "backward forgets the lengths",
            "_total_bias(saved.bias, saved.key_lengths, saved.causal,",
            "_total_bias(saved.bias, None, saved.causal,",
        ),
        (
            "dq written to q",
            'dq, dk, dv = (np.empty_like(x, order="C") for x in (saved.q, saved.k, saved.v))\n    heads',
            "dq, dk, dv = (x if x.flags.carray else x.copy() for x in (saved.q, saved.k, saved.v))\n    heads",
        ),
        (
            "dv without the probabilities",
            "np.matmul(kept.swapaxes(-1, -2), heads_dy[part], out=heads_dv[part])",
            "np.matmul(np.ones_like(kept).swapaxes(-1, -2), heads_dy[part], out=heads_dv[part])",
        ),
    ),
    *mutants(
        "attention_packed",
        (
            "dropout numbered afresh in each sequence",
            "draw = _Dropout(drop_prob, seed, first)",
            "draw = _Dropout(drop_prob, seed)",
        ),
        (
            "numbers counted as if there were one head",
            "first += num_heads * (stop - start) ** 2",
            "first += (stop - start) ** 2",
        ),
        (
            "another mask in backward",
            "_Dropout(saved.drop_prob, saved.seed, first)",
            "_Dropout(saved.drop_prob, saved.seed)",
        ),
        (
            "never causal",
            "_total_bias(None, None, causal, heads_q, heads_k)",
            "_total_bias(None, None, False, heads_q, heads_k)",
        ),
        (
            "backward forgets that it was causal",
            "_total_bias(None, None, saved.causal, heads[0], heads[1])",
            "_total_bias(None, None, False, heads[0], heads[1])",
        ),
        (
            "one token too many in each sequence",
            "yield slice(start, stop), first",
            "yield slice(max(0, start - 1), stop), first",
        ),
        ("statistics of the wrong tokens", "saved.lse[None, :, tokens]", "saved.lse[None, :, tokens][..., ::-1]"),
    ),
    *mutants(
        "attention_probabilities",
        ("before dropout", "p *= keep_mask(p.shape, drop_prob, seed).astype(p.dtype, copy=False)", "p *= 1"),
        (
            "without the bias",
            "softmax(_scores(heads_q, heads_k, total_bias, everything))",
            "softmax(_scores(heads_q, heads_k, None, everything))",
        ),
    ),
    *mutants(
        "bias_gelu",
        (
            "the bias after the activation",
            "rows_y[block] = _gelu(shifted)",
            "rows_y[block] = _gelu(rows_x[block]) + bias",
        ),
        (
            "no bias",
            "shifted = np.add(rows_x[block], bias, dtype=x.dtype)\n        # 2. the activation",
            "shifted = rows_x[block]\n        # 2. the activation",
        ),
        (
            "no bias in backward",
            "shifted = np.add(rows_x[block], bias, dtype=x.dtype)\n        # 2. through",
            "shifted = rows_x[block]\n        # 2. through",
        ),
        (
            "dbias without the slope",
            "return dx, rows_dx.sum(axis=0)",
            "return dx, dy.reshape(rows_dx.shape).sum(axis=0)",
        ),
        ("dbias as a mean", "return dx, rows_dx.sum(axis=0)", "return dx, rows_dx.mean(axis=0)"),
        ("dbias of the first rows only", "return dx, rows_dx.sum(axis=0)", "return dx, rows_dx[:2].sum(axis=0)"),
    ),
    *mutants(
        "gelu",
        (
            "the tanh approximation for erf",
            "_activation(_gelu, _gelu_slope,",
            "_activation(_gelu_new, _gelu_new_slope,",
        ),
        ("erf of x, not x / sqrt 2", "y = erf(x * SQRT_HALF)", "y = erf(x)"),
        ("the slope without the density", "cdf += density", "cdf += 0 * density"),
        ("the density without its norm", "density *= INV_SQRT_2PI", "density *= 1"),
        ("the density of x, not of x^2 / 2", "density *= -0.5", "density *= -1"),
        (
            "the slope without dy",
            "np.multiply(slope(rows_x[block]), rows_dy[block], out=rows_dx[block])",
            "np.multiply(slope(rows_x[block]), 1, out=rows_dx[block])",
        ),
        (
            "the last row of a block left out",
            "rows_y[block] = value(rows_x[block])",
            "rows_y[block] = 0; rows_y[block][:-1] = value(rows_x[block])[:-1]",
        ),
    ),
    *mutants(
        "gelu_new",
        ("the cubic term's derivative without its 3", "(1 + 3 * 0.044715 * x * x)", "(1 + 0.044715 * x * x)"),
        ("the exact one", "_activation(_gelu_new, _gelu_new_slope,", "_activation(_gelu, _gelu_slope,"),
    ),
    *mutants("quick_gelu", ("1.7 for 1.702", "return x * _sigmoid(1.702 * x)", "return x * _sigmoid(1.7 * x)")),
    *mutants("relu", ("slope 1 at zero", "(x > 0).astype", "(x >= 0).astype")),
    *mutants(
        "silu",
        ("the slope without x", "return s * (1 + x * (1 - s))", "return s * (1 + (1 - s))"),
        ("the slope of the gate alone", "return s * (1 + x * (1 - s))", "return s"),
    ),
    *mutants(
        "mish",
        (
            "softplus that overflows",
            "return x * np.tanh(np.logaddexp(0, x))",
            "return x * np.tanh(np.log(1 + np.exp(x)))",
        ),
        ("the slope without the sigmoid", "t + x * (1 - t * t) * _sigmoid(x)", "t + x * (1 - t * t)"),
    ),
    *mutants(
        "sigmoid",
        ("an exponential that overflows", "return 0.5 * (1 + np.tanh(0.5 * x))", "return 1 / (1 + np.exp(-x))"),
    ),
    *mutants("tanh", ("slope 1 - t", "return 1 - t * t\n\n\ndef _mish(", "return 1 - t\n\n\ndef _mish(")),
    *mutants("identity", ("dy handed on as it is", "return (dy.copy(),)", "return (dy,)")),
    *mutants(
        "embedding",
        (
            "a repeated id overwrites",
            "dweight[rows] = np.add.reduceat(dy.reshape(-1, width)[order], starts, axis=0)",
            "dweight[saved.ids.reshape(-1)] = dy.reshape(-1, width)",
        ),
        ("gradients not sorted with their ids", "dy.reshape(-1, width)[order]", "dy.reshape(-1, width)"),
        ("the padding row learns", "dweight[saved.padding_idx] = 0", "dweight[saved.padding_idx] += 0"),
        ("padding row 0 taken for none", "if saved.padding_idx is not None:", "if saved.padding_idx:"),
        ("the padding row read as zeros", "y = weight[ids]", "y = weight[ids] * (ids != padding_idx)[..., None]"),
        (
            "the mean over repeats",
            "starts, axis=0)",
            "starts, axis=0) / np.bincount(ids)[rows][:, None].astype(dy.dtype)",
        ),
    ),
    *mutants(
        "linear",
        ("dbias over the wrong axis", "dbias = dy_rows.sum(axis=0)", "dbias = dy_rows.sum(axis=1)"),
        ("dbias over the first axis alone", "dbias = dy_rows.sum(axis=0)", "dbias = dy.sum(axis=0)"),
        ("dbias as a mean", "dbias = dy_rows.sum(axis=0)", "dbias = dy_rows.mean(axis=0)"),
        (
            "dweight transposed",
            "dweight = dy_rows.T @ x.reshape(-1, x.shape[-1])",
            "dweight = (x.reshape(-1, x.shape[-1]).T @ dy_rows).reshape(weight.shape)",
        ),
        (
            "dweight as a mean over the rows",
            "dweight = dy_rows.T @ x.reshape(-1, x.shape[-1])",
            "dweight = dy_rows.T @ x.reshape(-1, x.shape[-1]) / len(dy_rows)",
        ),
        ("no bias", "y += bias", "y += 0"),
        (
            "inputs rounded to eleven bits",
            "y = x.reshape(-1, x.shape[-1]) @ weight.T",
            "y = np.ldexp(*(lambda m, e: (np.round(m * 2048) / 2048, e))(*np.frexp(x))).reshape(-1, x.shape[-1]) @ weight.T",
        ),
        (
            "float64 through float32",
            "y = x.reshape(-1, x.shape[-1]) @ weight.T",
            "y = (x.astype('f4').reshape(-1, x.shape[-1]) @ weight.T.astype('f4')).astype(x.dtype)",
        ),
        (
            "a bias where there was none",
            "dbias = dy_rows.sum(axis=0) if has_bias else None",
            "dbias = dy_rows.sum(axis=0)",
        ),
    ),
    *mutants(
        "dropout",
        (
            "without rescaling",
            "keep_mask(x.shape, drop_prob, seed)",
            "(keep_mask(x.shape, drop_prob, seed) > 0)",
        ),
        (
            "half as often",
            "keep_mask(x.shape, drop_prob, seed)",
            "keep_mask(x.shape, drop_prob / 2, seed)",
        ),
        ("another mask in backward", "saved.drop_prob, saved.seed)", "saved.drop_prob, saved.seed + 1)"),
        (
            "nothing dropped in backward",
            "dy * keep_mask(dy.shape, saved.drop_prob, saved.seed).astype(dy.dtype, copy=False)",
            "dy.copy()",
        ),
        (
            "a mask that goes with the shape",
            "keep_mask(x.shape, drop_prob, seed)",
            "keep_mask(x.shape[::-1], drop_prob, seed).T",
        ),
        ("the seed ignored", "keep_mask(x.shape, drop_prob, seed)", "keep_mask(x.shape, drop_prob, 0)"),
        (
            "float64 from the mask",
            "drop_prob, seed).astype(x.dtype, copy=False))",
            "drop_prob, seed).astype('f8'))",
        ),
    ),
    *mutants(
        "add",
        ("a mean over repeats", "dy.sum(axis=axes)", "dy.mean(axis=axes)"),
        ("dy handed on as it is", "else dy.copy()", "else dy"),
    ),
    *mutants(
        "scale",
        ("the gradient not scaled", "(_times(dy, saved.factor),)", "(_times(dy, 1),)"),
        ("one factor for all", "np.asarray(x * factor)", "np.asarray(x * np.ravel(factor)[:1].reshape(()))"),
    ),
    *mutants(
        "reshape",
        ("columns first", "x.reshape(shape), ReshapeSaved", "x.reshape(shape, order='F'), ReshapeSaved"),
        ("a view of dy", "dy.reshape(saved.x_shape).copy()", "dy.reshape(saved.x_shape)"),
    ),
    *mutants(
        "select_rows",
        (
            "a repeated row overwrites",
            "(dx,) = embedding_backward(dy, EmbeddingSaved(saved.rows, count, None))",
            "dx = np.zeros((count, dy.shape[-1]), dy.dtype); dx[saved.rows] = dy",
        ),
        ("row 0 taken for padding", "EmbeddingSaved(saved.rows, count, None)", "EmbeddingSaved(saved.rows, count, 0)"),
    ),
    *mutants(
        "select_feature",
        ("the last feature gets it", "dx[..., saved.feature] = dy", "dx[..., -1] = dy"),
        ("all features get it", "dx[..., saved.feature] = dy", "dx[...] = dy[..., None]"),
    ),
    *mutants(
        "concatenate",
        ("the parts in the opposite order", "np.concatenate(parts, axis=1)", "np.concatenate(parts[::-1], axis=1)"),
        ("the first part's gradient for all", "dy[:, end - length : end].copy()", "dy[:, :length].copy()"),
        ("views of dy", "dy[:, end - length : end].copy()", "dy[:, end - length : end]"),
    ),
    *mutants(
        "cross_entropy",
        (
            "divided by all rows",
            "return _mean(losses)",
            "return np.asarray(losses.sum() / logits.dtype.type(len(labels)))",
        ),
        ("summed", "return _mean(losses)", "return np.asarray(losses.sum())"),
        ("zero for no labels", "terms.size else np.nan", "terms.size else 0"),
        ("no row maximum", "m = logits.max(axis=-1, keepdims=True)", "m = logits.max(axis=-1, keepdims=True) * 0"),
        ("lse without the maximum", "lse = m[:, 0] + np.log", "lse = 0 * m[:, 0] + np.log"),
        ("the gradient divided by all rows", "max(1, len(rows))", "len(labels)"),
        ("the gradient without the label", "dlogits[rows, labels[rows]] -= 1", "dlogits[rows, labels[rows]] -= 0"),
        ("ignored rows learn", "dlogits[labels == ignore_index] = 0", "dlogits[labels == ignore_index] += 0"),
        ("dy ignored", "dlogits *= float(dy) / max(1, len(rows))", "dlogits *= 1 / max(1, len(rows))"),
    ),
    *mutants(
        "mse",
        ("the gradient without its 2", "(2 * float(dy) / max(1, x.size))", "(float(dy) / max(1, x.size))"),
        ("half of the square", "_mean(difference * difference)", "_mean(difference * difference / 2)"),
        ("the gradient divided by the rows", "(2 * float(dy) / max(1, x.size))", "(2 * float(dy) / max(1, len(x)))"),
        ("the gradient with the wrong sign", "((x - _like(x, target)) * (2", "((_like(x, target) - x) * (2"),
    ),
    *mutants(
        "bce_with_logits",
        ("an exponential that overflows", "np.logaddexp(0, x, dtype=x.dtype)", "np.log(1 + np.exp(x))"),
        (
            "the target twice in the gradient",
            "(probability - _like(x, target))",
            "(probability - 2 * _like(x, target))",
        ),
        ("no sigmoid in the gradient", "probability = 0.5 * (1 + np.tanh(0.5 * x))", "probability = x"),
        ("the target's sign", "- _like(x, target) * x)", "+ _like(x, target) * x)"),
    ),
]
