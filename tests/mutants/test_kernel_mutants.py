"""The tests of the kernels are tested: every mistake planted in one must be caught by at least one property.

The properties run as they do in the suite, on the same cases, with the interpreter made strict. The one that most likely
sees the mistake goes first; where it does not, all others do.
"""

import collections
from collections.abc import Callable

import pytest
from impls import Impl
from planted_kernels import GRADIENTS, KERNEL_MUTANTS, KERNELS, TILES, VALUE, KernelMutant
from properties import PROPERTIES
from test_mutants import first_to_fail

from kernels._launch import INTERPRETED

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.skipif(not INTERPRETED, reason="a wrong kernel does no harm only where it is interpreted"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All of them with `--all-mutants` (`make mutants`), else one for each function of a kernel."""
    if "mutant" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-mutants")
        one_each = {(m.op, m.file, m.function): m for m in reversed(KERNEL_MUTANTS)}.values()
        names = lambda m: f"{m.op}: {m.file}.{m.function}: {m.wrong}"  # noqa: E731
        metafunc.parametrize("mutant", KERNEL_MUTANTS if every else list(one_each), ids=names)


def test_every_kernel_mutant_can_be_planted():
    """All of them, in `make test` too: code that moved takes its mistakes along."""
    for mutant in KERNEL_MUTANTS:
        compile(mutant.edited(), mutant.file, "exec")


def test_every_kernel_mutant_is_caught(mutant: KernelMutant, record_property: Callable[[str, object], None]):
    rules = [p for p in PROPERTIES if p.op == mutant.op]
    assert any(mutant.first in p.name for p in rules), f"no property of {mutant.op} is called {mutant.first!r}"
    likely = (mutant.first, VALUE, GRADIENTS, TILES)
    rules.sort(key=lambda p: [word not in p.name for word in likely])
    with mutant.planted() as impl:
        caught_by = first_to_fail(rules, impl)
    record_property("mutant", ("the kernels", mutant.op, f"{mutant.file}.{mutant.function}: {mutant.wrong}", caught_by))
    assert caught_by, f"{impl} survives all of {len(rules)} properties"


@pytest.mark.parametrize(
    "unharmed",
    [
        KernelMutant("softmax", "softmax", "softmax_kernel", "", "nothing", "row < rows", "row < 0 + rows"),
        KernelMutant("layer_norm", "layernorm", "layer_norm_kernel", "", "nothing", "y *= rstd", "y *= 1 * rstd"),
        KernelMutant("layer_norm", "_column_sums", "column_sums_kernel", "", "nothing", "< parts", "< 1 * parts"),
        KernelMutant("bias_gelu", "activations", "_gelu", "", "nothing", "0.5 * x", "x * 0.5"),
        KernelMutant("dropout", "random", "keep_fours", "", "nothing", "factor, 0.0", "1 * factor, 0.0"),
        KernelMutant("dropout", "dropout", "dropout_kernel", "", "nothing", "first + tl", "1 * first + tl"),
        KernelMutant("attention", "attention/first", "tile_of", "", "nothing", "+ first", "+ 1 * first"),
        KernelMutant("attention", "attention/plain", "attend", "", "nothing", "online.m - m", "online.m - 1 * m"),
        KernelMutant("attention", "attention/general", "attend", "", "nothing", "online.m - m", "online.m - 1 * m"),
        KernelMutant(
            "attention", "attention/tiles", "place_of", "", "nothing", "program % blocks", "1 * program % blocks"
        ),
    ],
    ids=lambda m: m.file,
)
def test_an_edit_of_a_kernel_that_changes_nothing_is_not_caught(unharmed: KernelMutant):
    """What mutants are caught by is their mistake, not the way they are planted."""
    likely = [p for p in PROPERTIES if p.op == unharmed.op and any(w in p.name for w in (VALUE, GRADIENTS, TILES))]
    with unharmed.planted() as impl:
        assert first_to_fail(likely, impl, every=4) is None


def test_every_file_with_kernels_has_mutants():
    """But for the optimizer, which is no op: `test_backends.py` holds it to NumPy's."""
    files = {
        str(file.relative_to(KERNELS).with_suffix(""))
        for file in KERNELS.rglob("*.py")
        if "@triton.jit" in file.read_text(encoding="utf-8")
    }
    assert {mutant.file for mutant in KERNEL_MUTANTS} == files - {"_launch", "optimizer"} | {"attention/launch"}
    count = collections.Counter((m.op, m.file, m.function, m.wrong) for m in KERNEL_MUTANTS)
    assert not [mutant for mutant, times in count.items() if times > 1]


def test_the_real_kernels_are_back_afterwards():
    import kernels.softmax

    with KERNEL_MUTANTS[0].planted() as impl:
        assert isinstance(impl, Impl)
        assert impl.ops["softmax"].forward is not kernels.softmax.softmax
    import kernels.softmax as again

    assert again is kernels.softmax
