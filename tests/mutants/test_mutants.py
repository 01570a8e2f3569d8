"""The tests are tested: every planted mistake must be caught by at least one property.

A mutant that survives means that the suite has a hole. Found a mistake in an op that no test saw? Plant it here first.
"""

import collections
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import test_op_activations
import test_op_attention
import test_op_dropout
import test_op_embedding
import test_op_layernorm
import test_op_linear
import test_op_losses
import test_op_rows
import test_op_softmax
import test_ops
from impls import NUMPY, Impl, NotTried
from planted import MUTANTS, Mutant
from properties import PROPERTIES, Property

from minirembert.ops import OPS

FILES = [  # importing them has registered their properties
    test_op_activations, test_op_attention, test_op_dropout, test_op_embedding, test_op_layernorm, test_op_linear,
    test_op_losses, test_op_rows, test_op_softmax, test_ops,
]  # fmt: skip


LIKELY = ("gradients are right", "blocks do not matter")  # tried first: most mutants die here

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def fails(rule: Property, impl: Impl, every: int = 1) -> bool:
    """Whether the property notices, on the cases it has in the suite (or on every so many of them), which are drawn and solved
    once for all mutants. A floating-point warning counts, as it does in the suite. Any other error does not."""
    for case in rule.cases(impl)[::every]:
        arrays = [value for value in (*case.arrays, *case.settings.values()) if isinstance(value, np.ndarray)]
        before = [array.copy() for array in arrays]
        try:
            rule.check(impl, impl.fit(replace(case)))  # with random numbers that begin anew
        except NotTried:
            continue
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None:  # what happens in a kernel, the interpreter wraps
                cause = cause.__cause__
            if not isinstance(cause, (AssertionError, RuntimeWarning)):
                raise
            return True
        finally:
            for array, values in zip(arrays, before, strict=True):
                array[...] = values  # a mutant may write where it should read
    return False


def first_to_fail(rules: list[Property], impl: Impl, every: int = 1) -> str | None:
    """The name of the first property that notices."""
    return next((rule.name for rule in rules if fails(rule, impl, every)), None)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.op}: {m.wrong}")
def test_every_mutant_is_caught(mutant: Mutant, record_property: Callable[[str, object], None]):
    impl = mutant.planted_in(NUMPY)
    rules = [p for p in PROPERTIES if p.op == mutant.op]
    rules.sort(key=lambda p: not any(word in p.name for word in LIKELY))
    caught_by = first_to_fail(rules, impl)
    record_property("mutant", ("the NumPy ops", mutant.op, mutant.wrong, caught_by))
    assert caught_by, f"{impl} survives all of {len(rules)} properties"


def test_an_edit_that_changes_nothing_is_not_caught():
    """The other half of the claim: what the mutants are caught by is their mistake, not the way they are planted."""
    unharmed = Mutant("layer_norm", "nothing", "y *= rstd", "y *= 1 * rstd").planted_in(NUMPY)
    assert not any(fails(rule, unharmed) for rule in PROPERTIES if rule.op == "layer_norm")


def test_every_op_has_mutants():
    count = collections.Counter(mutant.op for mutant in MUTANTS)
    assert set(count) == set(OPS)
    assert len(MUTANTS) == len({(m.op, m.wrong) for m in MUTANTS})
    assert len(FILES) == len({file.__name__ for file in FILES})
