"""Whose arrays a model is made of, and who computes with them.

A backend has an op table, brings NumPy arrays into its own form and back, and takes the optimizer's steps. The model, the
tape and the training loop ask it for these and know no more: `backend="triton"` runs the same model files on the kernels in
`kernels/`. NumPy's backend is here; Triton's is `kernels/backend.py` and is imported only when it is asked for.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from minirembert.ops import OPS, OpTable
from minirembert.ops.array import Array

NAMES = ("numpy", "triton")


class Backend(Protocol):
    """What a model asks of whoever computes: an op table, arrays brought in and back, an optimizer."""

    name: str
    ops: OpTable
    dtype: Any  # of weights and activations, in the backend's own words
    device: str
    host_dtype: np.dtype[Any]  # the same for NumPy: float32 where NumPy has no such type

    def array(self, values: Any) -> Any:
        """Weights or activations, NumPy's or already its own: in the backend's dtype, where it computes.

        May share memory with `values`.
        """

    def input(self, values: Array) -> Any:
        """Ids, masks, lengths: moved to where the backend computes, and otherwise as they are."""

    def numpy(self, array: Any) -> Array:
        """An array of the backend's, as NumPy has it: half precision becomes float32. May share memory."""

    def norm(self, arrays: Iterable[Any]) -> float:
        """The Euclidean norm of all entries together."""

    def adamw(self, parameters: Mapping[str, Any], **settings: Any) -> Any:
        """An optimizer like `training.optimizer.AdamW`, for parameters of this backend."""


def load_backend(name: str, dtype: str, device: str | None = None) -> Backend:
    """Raises ValueError for a name, dtype or device that it does not have, ImportError where Triton is not installed."""
    if name == "numpy":
        return NumpyBackend(dtype, device)
    if name != "triton":
        raise ValueError(f"backend must be one of {', '.join(NAMES)}, got {name!r}")
    try:
        import torch  # noqa: F401
        import triton  # noqa: F401
    except ImportError as error:
        missing = f"backend 'triton' needs torch and triton: pip install torch triton ({error})"
        raise ImportError(missing) from error
    from kernels.backend import TritonBackend

    return TritonBackend(dtype, device)


class NumpyBackend:
    """The reference: NumPy arrays, on the processor."""

    name = "numpy"
    device = "cpu"
    ops = OPS
    DTYPES = ("float32", "float64")

    def __init__(self, dtype: str = "float32", device: str | None = None) -> None:
        if str(dtype) not in self.DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(self.DTYPES)} with backend 'numpy', got {dtype!r}")
        if device not in (None, "cpu"):
            raise ValueError(f"backend 'numpy' computes on the cpu, got device {device!r}")
        self.dtype = self.host_dtype = np.dtype(dtype)

    def array(self, values: Any) -> Array:
        """In the backend's dtype; `values` itself where it is such an array already."""
        return np.asarray(values, self.dtype)

    def input(self, values: Array) -> Array:
        """`values` itself: it is where the backend computes."""
        return values

    def numpy(self, array: Array) -> Array:
        """`array` itself."""
        return array

    def norm(self, arrays: Iterable[Array]) -> float:
        """As `numpy_norm` adds it up: array by array, in the arrays' own dtype, then in float64."""
        return numpy_norm(arrays)

    def adamw(self, parameters: Mapping[str, Array], **settings: Any) -> Any:
        """A `training.optimizer.AdamW` of these parameters."""
        from minirembert.training.optimizer import AdamW  # who loads a model to use it needs no optimizer

        return AdamW(parameters, **settings)


def numpy_norm(arrays: Iterable[Array]) -> float:
    """The Euclidean norm of all entries of all arrays together."""
    return math.sqrt(sum(float(np.vdot(a, a)) for a in arrays))
