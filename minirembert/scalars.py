"""What counts as an integer, a number and a switch, decided in one place.

Python's own and NumPy's scalars are taken alike (`numbers.Integral`, `numbers.Real`, `np.bool_`), since what an array holds
is what a caller hands on: `config.num_labels = labels.max() + 1`, `seed=rng.integers(2**63)`. Python's True is 1; here a
switch is not a number, and a number not a switch. `as_integer`, `as_number` and `as_switch` give Python's own types back:
these can be written into JSON and handed to a kernel, and they do not widen float32 as a NumPy float64 scalar would.
"""

import math
import numbers
from contextlib import suppress
from typing import Any

import numpy as np


def is_integer(value: Any) -> bool:
    """Whether it is an integer, Python's or NumPy's. True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a finite real number that a float can hold. True and False are not."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # 10**400
        return False


def is_switch(value: Any) -> bool:
    """Whether it is True or False, Python's or NumPy's."""
    return isinstance(value, bool | np.bool_)


def as_integer(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """`value` as Python's int. Raises TypeError unless it is an integer, ValueError outside [least, most]; both name `name`."""
    if not is_integer(value):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{name} must be an integer {_between(least, most)}, got {value!r}")
    return int(value)


def as_number(name: str, value: Any) -> float:
    """`value` as Python's float. Raises TypeError for anything but a number, ValueError for one that is not finite."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not is_number(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def as_switch(name: str, value: Any) -> bool:
    """`value` as Python's bool. Raises TypeError, naming `name`, for anything else."""
    if not is_switch(value):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def plain(value: Any) -> Any:
    """NumPy's scalars, also those in a tuple, as Python's own int, float, bool and str; anything else as it is."""
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(plain, value))
    if is_switch(value):
        return bool(value)
    if is_integer(value):
        return int(value)
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, numbers.Real):
        with suppress(OverflowError):  # a fraction that no float can hold: who checks it says so
            return float(value)
    return value


def _between(least: int | None, most: int | None) -> str:
    if most is None:
        return f"of at least {least}"
    return f"of at most {most}" if least is None else f"from {least} to {most}"
