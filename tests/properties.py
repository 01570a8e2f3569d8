"""How a property becomes a test.

    @holds_for("softmax")
    def check_a_constant_added_to_a_row_changes_nothing(impl, case): ...

    test_softmax = property_tests()

A property is a plain function of an implementation and a case, so it can be run on a wrong implementation as well: the
mutants in `mutants/` do that. `property_tests` makes one test of each property, over every implementation, on cases drawn from
`strategies.py`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from impls import TRITON, Impl
from strategies import EVERY_KIND, Case, cases

from kernels._launch import INTERPRETED

Check = Callable[[Impl, Case], None]

CASES = 20  # for a property, unless one searches for new failures


class Property(NamedTuple):
    op: str
    check: Check
    values: tuple[str, ...]  # the kinds of values it holds for
    enough: int  # interpreted cases: few, where the check takes long or brings along what it looks for

    @property
    def name(self) -> str:
        return f"{self.op}: {self.check.__name__.removeprefix('check_').replace('_', ' ')}"

    def test(self, impl: Impl) -> None:
        """Runs the check over cases of the op; raises AssertionError where it fails."""
        _for_every_case(self.op, self.values, self._examples(impl), lambda case: self.check(impl, case))

    def cases(self, impl: Impl) -> list[Case]:
        """Those that `test` tries, the smallest first."""
        return _smallest_first(self.op, self.values, self._examples(impl))

    def _examples(self, impl: Impl) -> int:
        every = settings.default.max_examples
        interpreted = INTERPRETED and impl.to_device is TRITON.to_device  # or a mutant of it
        return min(every, self.enough) if interpreted and every == CASES else every


def _for_every_case(op: str, values: tuple[str, ...], examples: int, use: Callable[[Case], None], **more: Any) -> None:
    @settings(max_examples=examples, **more)
    @given(case=cases(op, values))
    def on_every_case(case: Case) -> None:
        use(case)

    on_every_case()


def draw_cases(op: str, values: tuple[str, ...], examples: int) -> list[Case]:
    """Those that a property with so many examples is tried on."""
    drawn: list[Case] = []
    _for_every_case(op, values, examples, drawn.append, phases=(Phase.generate,))
    return drawn


@functools.lru_cache(maxsize=8)
def _smallest_first(*which: Any) -> list[Case]:
    return sorted(draw_cases(*which), key=lambda case: sum(a.size for a in case.arrays if a is not None))


PROPERTIES: list[Property] = []
_untested: list[Property] = []


def holds_for(*ops: str, values: tuple[str, ...] = EVERY_KIND, enough: int = CASES) -> Callable[[Check], Check]:
    """Registers a check as a property of these ops, for values of these kinds; of interpreted cases so many are enough."""

    def register(check: Check) -> Check:
        new = [Property(op, check, values, enough) for op in ops]
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
