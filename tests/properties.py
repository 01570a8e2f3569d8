"""How a property becomes a test.

    @holds_for("softmax")
    def check_a_constant_added_to_a_row_changes_nothing(impl, case): ...

    test_softmax = property_tests()

A property is a plain function of an implementation and a case, so it can be run on a wrong implementation as well: the
mutants in `mutants/` do that. `property_tests` makes one test of each property, over every implementation, on cases drawn from
`strategies.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from impls import TRITON, Impl
from strategies import EVERY_KIND, Case, cases

from kernels._launch import INTERPRETED

Check = Callable[[Impl, Case], None]


class Property(NamedTuple):
    op: str
    check: Check
    values: tuple[str, ...]  # the kinds of values it holds for

    @property
    def name(self) -> str:
        return f"{self.op}: {self.check.__name__.removeprefix('check_').replace('_', ' ')}"

    def test(self, impl: Impl, **changes: Any) -> None:
        """Runs the check over cases of the op; raises AssertionError where it fails. `changes` are hypothesis settings."""

        @settings(**{"max_examples": self._examples(impl), **changes})
        @given(case=cases(self.op, self.values))
        def on_every_case(case: Case) -> None:
            self.check(impl, case)

        on_every_case()

    def _examples(self, impl: Impl) -> int:
        """Interpreted, attention takes a hundred times as long as anything else: three cases for every five."""
        every = settings.default.max_examples
        slow = INTERPRETED and impl is TRITON and self.op.startswith("attention")
        return every * 3 // 5 if slow else every


PROPERTIES: list[Property] = []
_untested: list[Property] = []


def holds_for(*ops: str, values: tuple[str, ...] = EVERY_KIND) -> Callable[[Check], Check]:
    """Registers a check as a property of these ops, for values of these kinds."""

    def register(check: Check) -> Check:
        new = [Property(op, check, values) for op in ops]
        PROPERTIES.extend(new)
        _untested.extend(new)
        return check

    return register


def property_tests() -> Any:
    """A test function that tries every property registered above it in the file."""
    mine = _untested.copy()
    _untested.clear()

    @pytest.mark.parametrize("rule", mine, ids=[p.name for p in mine])
    @pytest.mark.filterwarnings("error::RuntimeWarning")  # nothing overflows or divides by zero on the way
    def test(impl: Impl, rule: Property) -> None:
        rule.test(impl)

    return test
