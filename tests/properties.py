"""How a property becomes a test.

    @holds_for("softmax")
    def check_a_constant_added_to_a_row_changes_nothing(impl, case): ...

    test_softmax = property_tests()

A property is a plain function of an implementation and a case, so it can be run on a wrong implementation as well: the
mutants in `mutants/` do that. `property_tests` makes one test of each property, over every implementation that has the op,
on cases drawn from `strategies.py`.

A failure says first, in a sentence, what does not hold; then what was off on the smallest case; then what to read.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from impls import IMPLS, TRITON, Impl, NotTried
from strategies import EVERY_KIND, Case, cases

from kernels._launch import INTERPRETED

Check = Callable[[Impl, Case], None]

CASES = 20  # for a property, unless one searches for new failures
ENOUGH_OF_ATTENTION = 10  # where it is interpreted, which takes long

# What explains an op: the chapter that derives it, and the one that makes kernels of it.
CHAPTERS = {
    **dict.fromkeys(
        ("attention", "attention_packed", "attention_probabilities"), "04_attention.py and 11_attention_as_kernels.py"
    ),
    **dict.fromkeys(
        ("layer_norm", "residual_layer_norm"),
        "05_layer_norm_and_feed_forward.py and 10_layer_norm_and_the_padding_bug.py",
    ),
    "bias_gelu": "05_layer_norm_and_feed_forward.py",
    "gelu": "05_layer_norm_and_feed_forward.py",
    "embedding": "03_factorized_embedding.py",
    "linear": "07_backpropagation_with_the_tape.py",
    "softmax": "09_softmax_online.py",
    "cross_entropy": "06_output_head.py",
}


class Property(NamedTuple):
    op: str
    check: Check
    values: tuple[str, ...]  # the kinds of values it holds for
    enough: int  # interpreted cases: few, where the check takes long or brings along what it looks for
    hint: str = ""  # what is most often wrong where it fails

    @property
    def name(self) -> str:
        return f"{self.op}: {self.check.__name__.removeprefix('check_').replace('_', ' ')}"

    def test(self, impl: Impl) -> None:
        """Runs the check over cases of the op.

        Fails where it does not hold, and is skipped, with what is missing, where nothing of it could be tried.
        """
        __tracebackhide__ = True
        tried, missing = 0, ""

        def on_a_case(case: Case) -> None:
            nonlocal tried, missing
            __tracebackhide__ = True
            try:
                with warnings.catch_warnings():
                    if not impl.warnings_count:
                        warnings.simplefilter("ignore", RuntimeWarning)
                    self.check(impl, impl.fit(replace(case)))  # with random numbers that begin anew
                tried += 1
            except NotTried as what:
                missing = str(what)

        said = ""
        try:
            self._on_every_case(impl, on_a_case)
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None:  # what happens in a kernel, the interpreter wraps
                cause = cause.__cause__
            if not isinstance(cause, (AssertionError, RuntimeWarning)):
                raise
            said = self._said(impl, cause, getattr(error, "__notes__", []))
        if said:
            pytest.fail(said, pytrace=False)
        if not tried:
            pytest.skip(f"{NOT_TRIED}{missing}")

    def cases(self, impl: Impl) -> list[Case]:
        """Those that `test` tries, the smallest first."""
        return _smallest_first(self.op, self.values, self._examples(impl))

    def _on_every_case(self, impl: Impl, use: Callable[[Case], None]) -> None:
        """On cases that other rules have drawn and solved already; where one fails, once more to find the smallest."""
        __tracebackhide__ = True
        which = self.op, self.values, self._examples(impl)
        failure = None
        if settings.default.derandomize:
            try:
                for case in _drawn(*which):
                    use(case)
                return
            except Exception as error:
                failure = error
                if self.enough <= 4:  # such a rule brings along what it looks for: no case is smaller
                    raise
        _for_every_case(*which, use)
        if failure is not None:  # it passes on cases of its own: somebody changes those that are shared
            raise failure

    def _examples(self, impl: Impl) -> int:
        every = settings.default.max_examples
        interpreted = INTERPRETED and impl.to_device is TRITON.to_device  # or a mutant of it
        if not interpreted or every != CASES:
            return every
        return min(self.enough, ENOUGH_OF_ATTENTION if self.op.startswith("attention") else CASES)

    def _said(self, impl: Impl, error: BaseException, notes: list[str]) -> str:
        found = f"a floating-point warning, {error}" if isinstance(error, RuntimeWarning) else str(error)
        case = [note for line in notes for note in line.splitlines() if note.strip().startswith("case=")]
        lines = [
            f"{impl} breaks a rule. {self.name}.",
            *(["The rule: " + " ".join(self.check.__doc__.split())] if self.check.__doc__ else []),
            f"Found: {found}",
            *(
                f"On: {line.strip().removeprefix('case=').split('],')[0]}]"
                for line in case[:1]
                if f"{self.op}[" not in found
            ),
            *([f"Often: {self.hint}."] if self.hint else []),
        ]
        if self.op in CHAPTERS:
            lines.append(f"Explained in tutorials/{CHAPTERS[self.op]}.")
        return "\n".join(lines)


NOT_TRIED = "not tried: "


def _for_every_case(op: str, values: tuple[str, ...], examples: int, use: Callable[[Case], None], **more: Any) -> None:
    __tracebackhide__ = True

    @settings(max_examples=examples, **more)
    @given(case=cases(op, values))
    def on_every_case(case: Case) -> None:
        __tracebackhide__ = True
        use(case)

    on_every_case()


def draw_cases(op: str, values: tuple[str, ...], examples: int) -> list[Case]:
    """Those that a property with so many examples is tried on."""
    drawn: list[Case] = []
    _for_every_case(op, values, examples, drawn.append, phases=(Phase.generate,))
    return drawn


@functools.lru_cache(maxsize=8)
def _drawn(*which: Any) -> list[Case]:
    return draw_cases(*which)


@functools.lru_cache(maxsize=8)
def _smallest_first(*which: Any) -> list[Case]:
    return sorted(_drawn(*which), key=lambda case: sum(a.size for a in case.arrays if a is not None))


PROPERTIES: list[Property] = []
_untested: list[Property] = []


def holds_for(
    *ops: str, values: tuple[str, ...] = EVERY_KIND, enough: int = CASES, hint: str = ""
) -> Callable[[Check], Check]:
    """Registers a check as a property of these ops, for values of these kinds; of interpreted cases so many are enough."""

    def register(check: Check) -> Check:
        new = [Property(op, check, values, enough, hint) for op in ops]
        PROPERTIES.extend(new)
        _untested.extend(new)
        return check

    return register


def property_tests() -> Any:
    """A test function that tries every property registered above it in the file."""
    mine = _untested.copy()
    _untested.clear()
    one_by_one = sorted(mine, key=lambda rule: (rule.op, rule.values))  # rules that have their cases in common
    pairs = [(impl, rule) for rule in one_by_one for impl in IMPLS if rule.op in impl.ops]

    @pytest.mark.parametrize(("impl", "rule"), pairs, ids=[f"{impl.name}-{rule.name}" for impl, rule in pairs])
    @pytest.mark.filterwarnings("error::RuntimeWarning")  # nothing overflows or divides by zero on the way
    def test(impl: Impl, rule: Property) -> None:
        __tracebackhide__ = True
        rule.test(impl)

    return test
