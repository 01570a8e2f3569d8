"""Makes Triton's interpreter quicker, for tests: it computes the same, in a third of the time.

Most of its time goes into saying, for every operation anew, of what type and shape the result is. Types are few, so what
can be known of one is worked out once here. And where an operation on integers is checked for overflow, which the
interpreter does in a dozen operations of its own and then forgets to say, NumPy does it in two, and it is said.
"""

import functools
from typing import Any

import numpy as np
from triton import language as tl
from triton.runtime import interpreter

from kernels._launch import INTERPRETED

UFUNCS = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


def make_quick() -> None:
    """For the rest of the process. Does nothing where kernels are compiled, or interpreted by a Triton older than 3.7."""
    if not INTERPRETED or not hasattr(interpreter, "_LangPatchScope"):
        return
    interpreter._get_np_dtype = _by_name(interpreter._get_np_dtype)
    interpreter._patch_attr = _patch_attr
    tl.core.block_type.__init__ = _init_block_type
    tl.core.tensor.__init__ = _init_tensor
    semantic = interpreter.TritonSemantic
    semantic.binary_op_sanitize_overflow_impl = _check_overflow
    semantic.computation_type_impl = _by_names(semantic.computation_type_impl)
    semantic.broadcast_impl_value = _unless_alike(semantic.broadcast_impl_value)
    semantic.cast = _unless_of_this_type(semantic.cast)
    # What the interpreter puts in the place of Triton's language stays there: at every launch it is the same.
    interpreter._patch_lang(_sees_the_language)
    interpreter._patch_lang = lambda fn: interpreter._LangPatchScope()


def _by_name(np_dtype: Any) -> Any:
    known: dict[str, np.dtype] = {}

    def of(dtype: Any) -> np.dtype:
        name = dtype.scalar.name
        if name not in known:
            known[name] = np_dtype(dtype)
        return known[name]

    return of


def _patch_attr(module: Any, name: str, member: Any, builder: Any, scope: Any) -> None:
    function = getattr(member, "__wrapped__", member)  # without asking whether there is a _semantic

    def with_semantic(*args: Any, **kwargs: Any) -> Any:
        kwargs["_semantic"] = interpreter.interpreter_semantic
        return function(*args, **kwargs)

    scope.set_attr(module, name, with_semantic)


@functools.lru_cache(maxsize=None, typed=True)  # a side must be an int, and 16.0 is none
def _shape(*sides: int) -> tuple[Any, int, Any, Any]:
    """(shape of the type, number of elements, that number and the shape of a tensor) for these sides."""
    numel = tl.core.validate_block_shape(list(sides))
    return tl.core.tuple(sides), numel, tl.constexpr(numel), tl.core.tuple([tl.constexpr(side) for side in sides])


@functools.lru_cache(maxsize=None, typed=True)
def _block(element: str, *sides: int) -> tuple[Any, int, str]:
    if not sides:
        raise TypeError("0d block_type is forbidden")
    shape, numel, *_ = _shape(*sides)
    return shape, numel, f"<{shape}, {element}>"


def _init_block_type(self: Any, element_ty: Any, shape: Any) -> None:
    self.element_ty = element_ty
    sides = [side.value if isinstance(side, tl.constexpr) else side for side in shape]
    self.shape, self.numel, self.name = _block(element_ty.name, *sides)


def _init_tensor(self: Any, handle: Any, type: Any) -> None:
    self.handle, self.type, self.dtype = handle, type, type.scalar
    _, _, self.numel, self.shape = _shape(*(type.shape.values if type.is_block() else ()))


def _by_names(computation_type: Any) -> Any:
    known: dict[tuple[Any, ...], Any] = {}

    def of(self: Any, a_ty: Any, a_is_scalar: bool, b_ty: Any, b_is_scalar: bool, div_or_mod: bool) -> Any:
        key = a_ty.name, a_is_scalar, b_ty.name, b_is_scalar, div_or_mod
        if key not in known:
            known[key] = computation_type(self, a_ty, a_is_scalar, b_ty, b_is_scalar, div_or_mod)
        return known[key]

    return of


def _unless_alike(broadcast: Any) -> Any:
    def to_a_common_shape(self: Any, left: Any, right: Any) -> Any:
        alike = getattr(left.type, "shape", None) is getattr(right.type, "shape", None)  # one for all of a shape
        return (left, right) if alike else broadcast(self, left, right)

    return to_a_common_shape


def _unless_of_this_type(cast: Any) -> Any:
    def to_type(self: Any, value: Any, dtype: Any, *rounding: Any, **how: Any) -> Any:
        return value if value.dtype is dtype.scalar else cast(self, value, dtype, *rounding, **how)

    return to_type


def _check_overflow(self: Any, left: Any, right: Any, operation: Any) -> None:
    """Raises AssertionError where a sum, difference or product does not fit its integer type of fewer than 64 bits."""
    dtype = left.type.scalar
    if dtype.int_bitwidth < 64:
        exact = UFUNCS[operation.__name__](left.handle.data.astype(np.int64), right.handle.data.astype(np.int64))
        fits = dtype.get_int_min_value() <= exact.min() and exact.max() <= dtype.get_int_max_value()
        assert fits, f"{dtype} overflows in {operation.__name__}: {exact.min()} to {exact.max()}"


def _sees_the_language() -> None:
    """What the interpreter prepares the language for: a function of a module that has both of these names."""


core = tl.core
