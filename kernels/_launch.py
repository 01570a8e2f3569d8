"""Where a kernel runs, and what it is handed: the one file that knows about devices, the interpreter and NumPy.

Triton decides when a kernel is *defined* whether it will be compiled or interpreted, so the choice is made here, before any
kernel is: compiled where there is a GPU, interpreted where there is none. TRITON_INTERPRET=1 or 0 in the environment
overrules it. The interpreter runs each program of a grid in NumPy, one after the other: right for seeing what a kernel
computes, blind to races, to TF32 and to the size of shared memory, and slow.

A launcher (the function beside each kernel) is written for torch tensors. `@launcher` lets it take NumPy arrays as well:
they are lent to torch without a copy where there is no GPU, and what comes out is NumPy again.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

if "TRITON_INTERPRET" not in os.environ:
    os.environ["TRITON_INTERPRET"] = "0" if torch.cuda.is_available() else "1"

import triton
import triton.language as tl

INTERPRETED: bool = triton.knobs.runtime.interpret
INTERPRET = tl.constexpr(INTERPRETED)  # the same, for kernels to ask
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # float64 is for checking

F = TypeVar("F", bound=Callable[..., Any])


def _prepare_interpreter() -> None:
    """Raises ImportError for the pair of versions whose interpreter cannot work."""
    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    if version < (3, 7) and np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        raise ImportError(
            f"the interpreter of triton {triton.__version__} does not work with numpy {np.__version__}: "
            "use triton 3.7 or newer, or numpy below 2.4"
        )
    from triton.runtime import interpreter
    from triton.runtime.jit import JITFunction

    # tl.sum and its like are kernels themselves. If somebody (transformers, say) imported Triton before us, they were
    # defined for a compiler, which without a GPU nobody can use.
    for module in (tl, tl.core, tl.math, tl.standard, tl.random):
        for name, member in list(vars(module).items()):
            if isinstance(member, JITFunction):
                setattr(module, name, interpreter.InterpretedFunction(member.fn))

    # Whenever a kernel calls a function, the interpreter prepares all of `tl` for it again, though it did so when the
    # kernel was launched, and never undoes what it did to the modules behind `tl`. Once for each module of functions
    # is enough, and saves more than half of the time.
    prepared: set[int] = set()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        module = id(self.fn.__globals__)
        if module not in prepared:
            prepared.add(module)
            interpreter._patch_lang(self.fn)
        return self.rewrite()(*args, **kwargs)

    interpreter.InterpretedFunction.__call__ = call


if INTERPRETED:
    _prepare_interpreter()


# --- arrays in, arrays out ------------------------------------------------------------------------------------------


def launcher(function: F) -> F:
    """Lets a function of tensors take NumPy arrays: if its first argument (or what that holds) is one, NumPy comes out.

    Other arguments may be NumPy arrays in any case (ids, masks); they follow to the device. Raises TypeError for an
    array of another kind than floating point in the first place, ValueError for one that is not where the kernels run.
    """

    @functools.wraps(function)
    def launch(first: Any, *rest: Any, **settings: Any) -> Any:
        from_numpy = isinstance(first, np.ndarray)
        first = to_tensor(first)
        _check(function.__name__, first)
        rest = tuple(_to_tensors(value) for value in rest)
        settings = {name: to_tensor(value) for name, value in settings.items()}
        if INTERPRETED:
            out = function(first, *rest, **settings)
        else:
            with torch.cuda.device_of(first):
                out = function(first, *rest, **settings)
        return _to_numpy(out) if from_numpy else out

    return launch  # type: ignore[return-value]


def to_tensor(value: Any) -> Any:
    """A NumPy array as a tensor where the kernels run (sharing memory if it can); anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    shareable = value.flags.writeable and all(stride >= 0 for stride in value.strides)
    tensor = torch.from_numpy(value if shareable else value.copy()).to(DEVICE)
    if tensor.is_cuda:
        tensor.on_host = value  # see `on_host`
    return tensor


def on_host(tensor: torch.Tensor) -> np.ndarray:
    """Ids, labels or lengths where Python can look at them. What came as a NumPy array is there still; what has only ever
    been on a GPU must be fetched, and whoever fetches waits for all that was launched before."""
    value = getattr(tensor, "on_host", None)
    return tensor.cpu().numpy() if value is None else value


def _to_tensors(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # what an op saved
        return type(value)(*(to_tensor(item) for item in value))
    return to_tensor(value)


def _to_numpy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, tuple):
        items = (_to_numpy(item) for item in value)
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def _check(name: str, x: Any) -> None:
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} takes a NumPy array or a torch tensor, got {type(x).__name__}")
    if x.dtype not in DTYPES:
        raise TypeError(f"{name} computes in float16, bfloat16, float32 or float64, got {x.dtype}")
    if not INTERPRETED and x.device.type != DEVICE.type:
        raise ValueError(f"{name} runs on {DEVICE}, but its first array is on {x.device}: move it with .to({DEVICE})")


# --- what launchers have in common -------------------------------------------------------------------------------------


def rows_of(x: torch.Tensor) -> torch.Tensor:
    """(..., C) as (rows, C) with the entries of a row side by side in memory; a view where it can be one."""
    rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
    return rows if rows.stride(-1) == 1 or rows.shape[-1] == 1 else rows.contiguous()


def accumulator(x: torch.Tensor) -> Any:
    """The type a kernel computes in: float32, whatever came in; float64 for float64."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def statistics_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype of saved statistics: what `accumulator` says, in torch's words."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def input_precision() -> str:
    """How float32 matrix products in kernels treat their inputs: exactly, unless torch was asked for TF32."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


@triton.jit
def dot(a, b, acc, INPUT_PRECISION: tl.constexpr):
    """acc + a b, accumulated in acc's type. The interpreter multiplies raw bits of bfloat16, so there it is widened first."""
    if INTERPRET:
        a = a.to(acc.dtype)
        b = b.to(acc.dtype)
    return tl.dot(a, b, acc, input_precision=INPUT_PRECISION, out_dtype=acc.dtype)
