"""What every part of the model is handed: the parameters it owns, and the forward pass it takes part in."""

import hashlib
from collections.abc import Mapping
from typing import Any

from minirembert.config import RemBertConfig
from minirembert.ops.activations import HIDDEN_ACT
from minirembert.scalars import as_integer
from minirembert.tape import Forward


class Parameters:
    """The arrays of one part of the model, under their names inside that part.

    `Parameters(state).at("encoder.layer.3")["output.dense.weight"]` is `state["encoder.layer.3.output.dense.weight"]`.
    """

    def __init__(self, state: Mapping[str, Any], prefix: str = "") -> None:
        self.state = state
        self.prefix = prefix

    def __getitem__(self, name: str) -> Any:
        return self.state[self.prefix + name]

    def at(self, part: str) -> "Parameters":
        """The arrays of a part of this part: of those whose names begin with `part` and a dot."""
        return Parameters(self.state, f"{self.prefix}{part}.")


class ForwardPass:
    """One run through the model: the ops to run it with, the configuration, and the dropout of this run.

    `ops` is a `Forward` or a `Tape`. With `dropout_seed=None` nothing is dropped; otherwise each place that drops
    draws from its own stream, numbered in the order of the run. See `dropout_key`.
    """

    def __init__(self, ops: Forward, config: RemBertConfig, dropout_seed: int | None = None) -> None:
        self.ops = ops
        self.config = config
        self._dropout_seed = None if dropout_seed is None else as_integer("dropout_seed", dropout_seed)
        self._dropout_places = 0

    def linear(self, x: Any, p: Parameters) -> Any:
        """(..., in) -> (..., out), with the part's weight (out, in) and bias."""
        return self.ops.linear(x, p["weight"], p["bias"])

    def layer_norm(self, x: Any, p: Parameters) -> Any:
        """With the part's weight and bias, and the configuration's eps."""
        return self.ops.layer_norm(x, p["weight"], p["bias"], self.config.layer_norm_eps)

    def residual_layer_norm(self, x: Any, residual: Any, p: Parameters) -> Any:
        """LayerNorm of x + residual, with the part's weight and bias, and the configuration's eps."""
        return self.ops.residual_layer_norm(x, residual, p["weight"], p["bias"], self.config.layer_norm_eps)

    def linear_activation(self, x: Any, p: Parameters) -> Any:
        """The activation of a linear map; with GELU, the bias is added on the way through the activation."""
        activation = HIDDEN_ACT[self.config.hidden_act]
        if activation == "gelu":
            return self.ops.bias_gelu(self.ops.linear(x, p["weight"]), p["bias"])
        return getattr(self.ops, activation)(self.linear(x, p))

    def dropout(self, x: Any, prob: float) -> Any:
        """x with a share `prob` of its elements dropped; x itself where this run drops nothing."""
        settings = self.dropout_settings(prob)
        return self.ops.dropout(x, **settings) if settings else x

    def dropout_settings(self, prob: float) -> dict[str, Any]:
        """`drop_prob` and `seed` for an op that drops; empty when it should not."""
        if self._dropout_seed is None or prob == 0:
            return {}
        self._dropout_places += 1
        return {"drop_prob": prob, "seed": dropout_key(self._dropout_seed, self._dropout_places)}


def dropout_key(seed: int, place: int) -> int:
    """The 64-bit Philox key of one place in one run: the first 8 bytes of BLAKE2b over "seed place", in decimal.

    A seed may be any integer (training makes (run's seed << 32) + step), so no arithmetic packs it and the place into 64
    bits: shifting it to make room drops its upper bits, and runs whose seeds differ only there would drop alike.
    """
    digest = hashlib.blake2b(f"{seed} {place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
