"""Somebody's own kernels, put to the test: `pytest --kernel mine.py`.

`mine.py` is any Python file. A function that is called like one of our ops (`softmax`, `attention`; `kernels/table.py` has all
names) is tried with that op's properties, in the place of ours, and nothing else runs. It takes the op's arrays and settings,
by the same names, and gives (y, saved); with `softmax_backward(dy, saved)` beside it, which gives a tuple of gradients in the
order of the arrays, the gradients are tried too. `saved` may be anything; where it has fields called as ours (`lse`), these are
tried.

What a function has no argument for is not asked of it: `bias`, `key_lengths`, `causal`, `drop_prob` and `seed`, `block`. Each
property that is about such a thing is counted at the end as not tried. The file may also say

    ARRAYS = "numpy"        arrays are NumPy's; else they are tensors, on the GPU if there is one
    DTYPES = ("float64",)   in which the numbers come; else ("float32",)
    MULTIPLE = 64           queries, keys and features of a head are multiples of it; else any number
"""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from impls import TRITON, Impl, overlap, tiny_triton_blocks
from strict_interpreter import YOURS

from minirembert.ops import OPS, Op

NUMPY_OR_TENSORS = ("numpy", "tensors")
ALL_DTYPES = ("float64", "float32")


def impl_of(path: Path) -> Impl:
    """The implementation in a file. Raises ValueError, in a sentence, for one that has none or says what cannot be."""
    if not path.is_file():
        raise ValueError(f"--kernel {path}: there is no such file")
    module = _imported(path)
    ops = {name: Op(function, getattr(module, f"{name}_backward", None)) for name, function in _ops_in(module).items()}
    if not ops:
        raise ValueError(f"--kernel {path}: no function in it is called like an op, which are {', '.join(OPS)}")
    arrays, dtypes = getattr(module, "ARRAYS", "tensors"), tuple(getattr(module, "DTYPES", ("float32",)))
    multiple = getattr(module, "MULTIPLE", 1)
    if arrays not in NUMPY_OR_TENSORS:
        raise ValueError(f"--kernel {path}: ARRAYS is {arrays!r}, and may be one of {', '.join(NUMPY_OR_TENSORS)}")
    if not dtypes or not set(dtypes) <= set(ALL_DTYPES):
        raise ValueError(f"--kernel {path}: DTYPES is {dtypes!r}, and may hold {' and '.join(ALL_DTYPES)}")
    if type(multiple) is not int or not 1 <= multiple <= 128:
        raise ValueError(f"--kernel {path}: MULTIPLE is {multiple!r}, and may be 1 to 128")
    numpy = arrays == "numpy"
    return Impl(
        name=path.name,
        ops=ops,
        to_device=(lambda array: array) if numpy else TRITON.to_device,
        to_numpy=(lambda array: array) if numpy else TRITON.to_numpy,
        shares_memory=np.shares_memory if numpy else overlap,
        tiny_blocks=tiny_triton_blocks,
        dtypes=tuple(sorted(dtypes, key=ALL_DTYPES.index)),
        multiple=multiple,
        warnings_count=False,
    )


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(YOURS, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Triton looks for the source of a kernel there
    sys.path.insert(0, str(path.parent.resolve()))  # what it imports may lie beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"--kernel {path}: it cannot be imported, {type(error).__name__}: {error}") from error
    return module


def _ops_in(module: ModuleType) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if name in OPS and inspect.isroutine(value)}
