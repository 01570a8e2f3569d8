"""Where a kernel runs, and what it is handed: the one file that knows about devices, the interpreter and NumPy.

Triton decides when a kernel is *defined* whether it will be compiled or interpreted, so the choice is made here, before any
kernel is: compiled where there is a GPU, interpreted where there is none. TRITON_INTERPRET=1 or 0 in the environment
overrules it. The interpreter runs each program of a grid in NumPy, one after the other: right for seeing what a kernel
computes, blind to races, to TF32 and to the size of shared memory, and slow.

A launcher (the function beside each kernel) is written for torch tensors. `@launcher` lets it take NumPy arrays as well:
they are lent to torch without a copy where there is no GPU, and what comes out is NumPy again. What a launcher saves for the
backward pass is what it was handed, not a copy: writing to it in between changes the gradients. `functional.py` keeps
copies of masks and lengths in NumPy, and torch watches over tensors.
"""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

if "TRITON_INTERPRET" not in os.environ:
    os.environ["TRITON_INTERPRET"] = "0" if torch.cuda.is_available() else "1"

import triton
import triton.language as tl

from minirembert.scalars import is_integer

INTERPRETED: bool = triton.knobs.runtime.interpret
INTERPRET = tl.constexpr(INTERPRETED)  # the same, for kernels to ask
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
HAS_GPU = torch.cuda.is_available()
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
    array of another kind than floating point in the first place, ValueError for one that is not where the kernels run,
    RuntimeError for tensors whose gradient PyTorch would look for in vain.
    """
    name = function.__name__
    parameters = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def launch(*values: Any, **settings: Any) -> Any:
        if not INTERPRETED and DEVICE.type == "cuda" and not HAS_GPU:
            raise RuntimeError("TRITON_INTERPRET=0 asks for compiled kernels, but there is no GPU: unset it")
        first = values[0] if values else settings.get(parameters[0])
        from_numpy = isinstance(first, np.ndarray)
        values = tuple(_to_tensors(value) for value in values)
        settings = {key: _to_tensors(value) for key, value in settings.items()}
        if "block" in settings:
            settings["block"] = _python_s(settings["block"])
        first = values[0] if values else settings.get(parameters[0])
        _check(name, parameters[0], first)
        if torch.is_grad_enabled() and any(getattr(v, "requires_grad", False) for v in (*values, *settings.values())):
            raise RuntimeError(
                f"kernels' {name} keeps no graph, so a gradient would be lost: use kernels.functional, or torch.no_grad()"
            )
        if INTERPRETED:
            sizes: dict[int, int] = {}
            values = tuple(_apart(value, sizes) for value in values)
            out = function(*values, **{key: _apart(value, sizes) for key, value in settings.items()})
        else:
            with torch.cuda.device_of(first):
                out = function(*values, **settings)
        return _to_numpy(out) if from_numpy else out

    return launch  # type: ignore[return-value]


def _python_s(block: Any) -> Any:
    """The sides of a tile as Python's integers: Triton does not take NumPy's. Anything else stays, to be refused later."""
    if isinstance(block, (tuple, list)):
        return type(block)(_python_s(side) for side in block)
    return int(block) if is_integer(block) else block


def _apart(value: Any, sizes: dict[int, int]) -> Any:
    """Copies what the interpreter would take for another array. `sizes`: the bytes that begin at each address, so far.

    The interpreter knows memory by where it begins, and loses its way where arrays of different size begin at the same
    place, as views of one NumPy array may: all but the first of them are copied.
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_apart(item, sizes) for item in value))
    if isinstance(value, torch.Tensor) and value.numel():
        storage = value.untyped_storage()
        if sizes.setdefault(storage.data_ptr(), storage.nbytes()) != storage.nbytes():
            return value.clone()
    return value


def to_tensor(value: Any) -> Any:
    """A NumPy array as a tensor where the kernels run (sharing memory if it can); anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    shareable = value.flags.writeable and all(stride >= 0 for stride in value.strides)
    tensor = torch.from_numpy(value if shareable else value.copy()).to(DEVICE)
    if tensor.is_cuda and value.dtype.kind in "iu":
        tensor.on_host = (
            value.copy()
        )  # see `on_host`; the caller's own may be refilled before the backward pass asks again
    return tensor


def own(value: np.ndarray) -> torch.Tensor:
    """`lent`, in memory that nobody else can write to. On a GPU the way there makes the copy."""
    return lent(value, copy=DEVICE.type != "cuda")


def lent(value: Any, copy: bool = False) -> Any:
    """`to_tensor` for what is only read: axes along which the array is repeated stay so, in memory and on the way."""
    if not isinstance(value, np.ndarray):
        return value
    once = value[(*(slice(None, 1) if stride == 0 else slice(None) for stride in value.strides), ...)]
    tensor = to_tensor(once.copy() if copy else once)
    return tensor if tensor.shape == value.shape else tensor.expand(value.shape)


def on_host(tensor: torch.Tensor) -> np.ndarray:
    """Ids, labels or lengths where Python can look at them.

    What came as a NumPy array is there still. What has only ever been on a GPU must be fetched, which waits for all that was
    launched before.
    """
    value = getattr(tensor, "on_host", None)
    return tensor.cpu().numpy() if value is None else value


def _to_tensors(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # what an op saved
        return type(value)(*(lent(item) for item in value))
    return lent(value)


def _to_numpy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, tuple):
        items = (_to_numpy(item) for item in value)
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


# --- what is refused --------------------------------------------------------------------------------------------------

# A kernel reads where its pointers lead, so a shape that nobody compared is memory that belongs to somebody else.


def _check(op: str, name: str, x: Any) -> None:
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{op}: {name} must be a NumPy array or a torch tensor, got {type(x).__name__}")
    if x.dtype not in DTYPES:
        raise TypeError(f"{op} computes in float16, bfloat16, float32 or float64, got {x.dtype} for {name}")
    if not INTERPRETED and x.device.type != DEVICE.type:
        raise ValueError(f"{op} runs on {DEVICE}, but {name} is on {x.device}: move it with .to({DEVICE})")


def require(op: str, name: str, x: Any, shape: Sequence[int], dtype: torch.dtype | None = None) -> None:
    """Raises TypeError unless x is a floating-point tensor (of `dtype`, if given), ValueError unless it has this shape."""
    _check(op, name, x)
    if dtype is not None and x.dtype != dtype:
        raise TypeError(f"{op}: {name} is {x.dtype}, expected {dtype} as the arrays before it")
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{op}: {name} has shape {tuple(x.shape)}, expected {tuple(shape)}")


def integers(op: str, name: str, values: Any, length: int | None = None) -> torch.Tensor:
    """`values` (a list, an array, a tensor) as a tensor of integers; of shape (length,) if a length is given.

    Raises TypeError for another kind of numbers, ValueError for another shape.
    """
    if not isinstance(values, torch.Tensor):
        values = to_tensor(np.asarray(values))
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{op}: {name} must hold integers, got {values.dtype}")
    if length is not None and tuple(values.shape) != (length,):
        raise ValueError(f"{op}: {name} has shape {tuple(values.shape)}, expected ({length},)")
    if values.device.type != DEVICE.type:  # lengths are often kept on the host: that is where they are looked at, too
        moved = values.to(DEVICE)
        moved.on_host = on_host(values).copy()
        return moved
    return values


def require_saved(op: str, saved: Any, kind: type) -> None:
    """Raises TypeError unless `saved` is what the forward half of this op saves."""
    if not isinstance(saved, kind):
        raise TypeError(f"{op}: saved is a {type(saved).__name__}, expected the {kind.__name__} of the forward pass")


def require_power_of_two(op: str, name: str, value: Any, least: int) -> None:
    """Raises ValueError for a side that a tile cannot have."""
    if not is_integer(value) or value < least or value & (value - 1):
        raise ValueError(f"{op}: {name} must be a power of two from {least} up, got {value!r}")


# --- what launchers have in common -------------------------------------------------------------------------------------


def rows_of(x: torch.Tensor) -> torch.Tensor:
    """(..., C) as (rows, C) with the entries of a row side by side in memory; a view where it can be one."""
    rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
    return rows if rows.stride(-1) == 1 or rows.shape[-1] == 1 else rows.contiguous()


MOST_BLOCKS = 65535  # along any axis of a grid but the first


def blocks_of(op: str, width: int, block: int) -> int:
    """Into how many blocks of columns a row is cut. Raises ValueError for more than a grid can have."""
    blocks = triton.cdiv(width, block)
    if blocks > MOST_BLOCKS:
        raise ValueError(
            f"{op}: rows of {width} numbers in blocks of {block} are {blocks} blocks, but a grid has at most {MOST_BLOCKS}"
        )
    return blocks


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
    """acc + a b, accumulated in acc's type. The interpreter multiplies raw bits of bfloat16, so there it is widened first.

    float64 is multiplied element by element: triton 3.6 has no product of it for sm_90.
    """
    if INTERPRET:
        a = a.to(acc.dtype)
        b = b.to(acc.dtype)
    elif acc.dtype == tl.float64:
        return acc + tl.sum(a[:, :, None] * b[None, :, :], axis=1)
    return tl.dot(a, b, acc, input_precision=INPUT_PRECISION, out_dtype=acc.dtype)
