"""What counts as an integer, a number and a switch: Python's own and NumPy's scalars alike, and nothing that only looks so."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from minirembert.scalars import as_integer, as_number, as_switch, is_integer, is_number, is_switch

INTEGERS = [0, -3, 10**400, *(kind(5) for kind in (np.int8, np.uint8, np.int64, np.uint64))]
FRACTIONS = [0.5, -1e300, Fraction(1, 3), np.float16(0.5), np.float32(0.5), np.float64(0.5)]
NOT_FINITE = [float("nan"), float("inf"), -float("inf"), np.float32("inf"), np.float64("nan")]
SWITCHES = [True, False, np.True_, np.False_]
NOTHING = [None, "1", "True", 1j, np.array(1), np.array([1]), [1], Decimal(1)]


def test_each_value_is_of_one_kind() -> None:
    for value in INTEGERS:
        assert is_integer(value) and not is_switch(value), repr(value)
        assert is_number(value) is bool(value != 10**400), repr(value)  # no float holds that one
    for value in FRACTIONS:
        assert is_number(value) and not is_integer(value) and not is_switch(value), repr(value)
    for value in SWITCHES:
        assert is_switch(value) and not is_integer(value) and not is_number(value), repr(value)
    for value in [*NOT_FINITE, *NOTHING]:
        assert not is_number(value) and not is_integer(value) and not is_switch(value), repr(value)


def test_python_s_own_types_come_back() -> None:
    for value in INTEGERS:
        assert type(as_integer("n", value)) is int and as_integer("n", value) == value
    for value in [*FRACTIONS, *INTEGERS[:2]]:
        assert type(as_number("x", value)) is float and as_number("x", value) == float(value)
    for value in SWITCHES:
        assert type(as_switch("b", value)) is bool and as_switch("b", value) == value


@pytest.mark.parametrize(("least", "most", "said"), [
    (2, None, "of at least 2"), (None, 5, "of at most 5"), (2, 5, "from 2 to 5"),
])  # fmt: skip
def test_the_limits_belong_to_what_is_allowed(least: int | None, most: int | None, said: str) -> None:
    inside = range(2 if least is None else least, 1 + (5 if most is None else most))
    assert [as_integer("n", n, least, most) for n in inside] == [*inside]
    for outside in [*([] if least is None else [least - 1]), *([] if most is None else [most + 1])]:
        with pytest.raises(ValueError, match=rf"n must be an integer {said}, got {outside}"):
            as_integer("n", outside, least, most)


@pytest.mark.parametrize(("read", "wrong", "kind", "said"), [
    (as_integer, [*FRACTIONS, *SWITCHES, *NOTHING], TypeError, "it must be an integer, got "),
    (as_number, [*SWITCHES, *NOTHING], TypeError, "it must be a number, got "),
    (as_number, [*NOT_FINITE, 10**400], ValueError, "it must be a finite number, got "),
    (as_switch, [*INTEGERS, *FRACTIONS, *NOTHING], TypeError, "it must be True or False, got "),
])  # fmt: skip
def test_what_is_none_is_named(read: Any, wrong: list[Any], kind: type[Exception], said: str) -> None:
    for value in wrong:
        with pytest.raises(kind) as error:
            read("it", value)
        assert str(error.value) == said + repr(value)
