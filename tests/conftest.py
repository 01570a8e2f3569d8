"""Set before anything of ours is imported: shapes in signatures are checked, and the same cases are drawn on every run."""

import collections
import gc
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from jaxtyping import install_import_hook

# Every function of these modules checks its arguments and its result against the shapes in its signature.
install_import_hook("minirembert.ops", "beartype.beartype")

import torch  # noqa: E402
from hypothesis.internal.conjecture import providers  # noqa: E402
from impls import IMPLS, NUMPY, TRITON, Impl  # noqa: E402
from kernel_of_yours import impl_of  # noqa: E402
from properties import CASES, NOT_TRIED, Property  # noqa: E402
from quick_interpreter import make_quick  # noqa: E402
from strict_interpreter import make_strict  # noqa: E402

from kernels._launch import INTERPRETED  # noqa: E402

torch.set_num_threads(1)  # the arrays are tiny
make_strict()
make_quick()

# Of the numbers that hypothesis draws, it takes some from the constants of whatever modules of ours happen to be imported:
# other cases then in another order of tests, or on another number of workers. It shall see none of them.
providers.is_local_module_file = lambda path: False

# `pytest --hypothesis-profile search` looks for new failures; the default tries the same cases every time.
hypothesis.settings.register_profile(
    "default", max_examples=CASES, deadline=None, derandomize=True, database=None, report_multiple_bugs=False
)
hypothesis.settings.register_profile(
    "search", max_examples=500, deadline=None, database=None, report_multiple_bugs=False
)
hypothesis.settings.load_profile("default")


# Each leg, and in which tests' names one sees that it ran.
LEGS = {
    "triton,": (
        "interpreted, one program after the other: shows what they compute; cannot see races or TF32"
        if INTERPRETED
        else "on a GPU, " + torch.cuda.get_device_name() + ": shows what they compute there"
    ),
    "test_compilation": "compiled ahead of time for sm_80, sm_90 and gfx942: shows registers, spills, shared memory and "
    "instructions; cannot see numbers",
}
NO_GPU = "on a GPU (pytest tests -m gpu): not run, there is none"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel", metavar="FILE", help="try the properties on the functions of this file, and nothing else"
    )
    parser.addoption(
        "--all-mutants", action="store_true", help="plant every mistake, not one for each module or kernel"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Before any test is collected: what the properties run over."""
    path = config.getoption("--kernel")
    if path is not None:
        try:
            IMPLS[:] = [impl_of(Path(config.invocation_params.dir, path))]
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Which leg ran, and what it cannot see; and how many of the mutants were caught, if they ran."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    legs = [what for where, what in LEGS.items() if any(where in report.nodeid for report in reports)]
    if legs:
        terminalreporter.section("kernels ran")
        for leg in [*legs, *([NO_GPU] if INTERPRETED else [])]:
            terminalreporter.write_line(leg)
    reasons = collections.Counter(
        report.longrepr[2].split(NOT_TRIED, 1)[1]
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, (tuple, list)) and NOT_TRIED in report.longrepr[2]
    )
    if reasons:
        terminalreporter.section("not tried")
        for reason, times in reasons.most_common():
            terminalreporter.write_line(f"{reason}: {times} {'property' if times == 1 else 'properties'}")
    found = [tuple(value) for report in reports for name, value in report.user_properties if name == "mutant"]
    if found:
        terminalreporter.section("mutants")
        for line in about_mutants(found, one_by_one=terminalreporter.config.get_verbosity() >= 0):
            terminalreporter.write_line(line)


def about_mutants(found: list[tuple[str, str, str, str | None]], one_by_one: bool) -> list[str]:
    """What is said of mutants, given as (where, op, what is wrong, the property that caught it first)."""

    def score(*selected: str) -> str:
        caught = [caught_by is not None for *of, _, caught_by in found if tuple(of[: len(selected)]) == selected]
        return f"{sum(caught)} of {len(caught)}"

    places = sorted({where for where, *_ in found})
    lines = ["mutants: " + ", ".join(f"{score(where)} in {where}" for where in places) + " caught"]
    for op in sorted({op for _, op, *_ in found}):
        here = [where for where in places if any(m[:2] == (where, op) for m in found)]
        lines.append(f"  {op:24} " + ", ".join(f"{score(where, op)} in {where}" for where in here))
        for where, _, wrong, caught_by in sorted(m for m in found if m[1] == op and one_by_one):
            lines.append(f"    {where}, {wrong}  <-  {caught_by or 'NOTHING'}")
    return lines


# What mostly waits for processes of its own. First, so that the tests that are left at the end are short, and no worker idles.
LONG = ("test_compilation", "test_tutorials", "test_tour", "test_training")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests first; and on a GPU, whatever runs compiled kernels is a GPU test. With `--kernel` the properties alone."""
    if config.getoption("--kernel"):
        others = [item for item in items if not _is_property(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _is_property(item)]
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    if INTERPRETED:
        return
    for item in items:
        parameters = getattr(item, "callspec", None)
        if parameters and parameters.params.get("impl") is TRITON:
            item.add_marker(pytest.mark.gpu)
        if item.path.stem in ("test_backends", "test_half_precision", "test_functional"):
            item.add_marker(pytest.mark.gpu)


def pytest_collection_finish() -> None:
    """Whoever looks for garbage later shall not look through torch and transformers every time."""
    gc.collect()
    gc.freeze()


def _is_property(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    return parameters is not None and isinstance(parameters.params.get("rule"), Property)


@pytest.fixture(scope="session", params=[NUMPY, TRITON], ids=lambda impl: impl.name)
def impl(request: pytest.FixtureRequest) -> Impl:
    """Every whole implementation in turn."""
    return request.param
