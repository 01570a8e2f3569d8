"""The operations RemBERT is made of, in NumPy, and the table that names them.

An op is a pair of pure functions:

    y, saved = forward(*arrays, *settings)
    *gradients, = backward(dy, saved)

The differentiable arrays come first among the arguments of `forward`, and `backward` returns one gradient for each of
them, in that order (None where an optional one was absent). `saved` is a NamedTuple of what the backward pass needs.
It holds the arrays that the
op was handed, not copies of them: nobody may write to them before the backward pass is done.
Ops know nothing of each other, of the model or of the tape, change none of their arguments, and keep float32 in float32.

The model is written over such a table, not over these functions: another table with the same names runs the same model
on other arrays.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minirembert.ops import activations, attention, dropout, embedding, layernorm, linear, losses, rows, softmax


class Op(NamedTuple):
    """An operation: its forward function and its backward one."""

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[[Any, Any], tuple[Any, ...]] | None  # None: for looking at, never differentiated


OpTable = Mapping[str, Op]


def ops_of(module: Any, *names: str) -> dict[str, Op]:
    """The ops of a module: each name's function with the function `<name>_backward` beside it."""
    return {name: Op(getattr(module, name), getattr(module, f"{name}_backward")) for name in names}


OPS: OpTable = {
    **ops_of(embedding, "embedding"),
    **ops_of(linear, "linear"),
    **ops_of(activations, "gelu", "gelu_new", "quick_gelu", "relu", "silu", "mish", "sigmoid", "tanh", "identity"),
    **ops_of(activations, "bias_gelu"),
    **ops_of(softmax, "softmax"),
    **ops_of(layernorm, "layer_norm", "residual_layer_norm"),
    **ops_of(attention, "attention", "attention_packed"),
    "attention_probabilities": Op(attention.attention_probabilities, None),
    **ops_of(dropout, "dropout"),
    **ops_of(rows, "add", "scale", "reshape", "select_rows", "select_feature", "concatenate"),
    **ops_of(losses, "cross_entropy", "mse", "bce_with_logits"),
}
