"""The op table of these kernels: the names of `minirembert.ops.OPS`, for the model to run on.

What computes row by row is Triton. Matrix products are torch's, and so is what only moves or picks numbers, and the losses.
"""

from kernels import activations, attention, dropout, embedding, layernorm, linear, losses, rows, softmax
from minirembert.ops import Op, OpTable, ops_of

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
