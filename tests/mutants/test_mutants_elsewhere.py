"""Every mistake planted outside ops and kernels must be caught by the tests that are named beside it.

`make test` tries one for each module, `make mutants` (`--all-mutants`) all of them.
"""

import collections
import importlib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from planting import ROOT, Mistake, Server, edited, tree_with

ROOMS = sorted(file.stem for file in Path(__file__).parent.glob("planted_*.py") if file.stem != "planted_kernels")
MODULES = [importlib.import_module(room) for room in ROOMS]
MISTAKES: list[Mistake] = [mistake for module in MODULES for mistake in module.MISTAKES]
NO_LOGIC: dict[str, str] = {file: why for module in MODULES for file, why in module.NO_LOGIC.items()}


BELOW_OPS = ("minirembert/scalars.py",)  # what the ops import


def _name(mistake: Mistake) -> str:
    return f"{mistake.file.removesuffix('.py')}: {mistake.wrong}"


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[bool], Server]]:
    """A server with the ops in memory, and one that takes them from the copy; each started when it is wanted."""
    started: dict[bool, Server] = {}

    def server(fresh: bool) -> Server:
        if fresh not in started:
            started[fresh] = Server(fresh)
        return started[fresh]

    yield server
    for each in started.values():
        each.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mistake" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-mutants")
        chosen = MISTAKES if every else list({mistake.file: mistake for mistake in reversed(MISTAKES)}.values())
        metafunc.parametrize("mistake", chosen, ids=_name)


def test_every_mistake_is_caught(
    mistake: Mistake, servers: Callable[[bool], Server], record_property: Callable[[str, object], None]
):
    with tree_with(mistake) as root:
        outcome = servers(mistake.file in BELOW_OPS).run(root, mistake.caught_by)
    record_property("mutant", ("the rest", mistake.file, mistake.wrong, outcome.caught_by))
    assert not outcome.broken, f"{_name(mistake)}: {outcome.broken}"
    assert outcome.caught_by, f"{_name(mistake)}: {mistake.caught_by} did not notice"


@pytest.mark.parametrize("fresh", [False, True])
def test_a_tree_without_a_mistake_passes(servers: Callable[[bool], Server], fresh: bool):
    """The other half of the claim: what a test catches is the mistake, not the way it is planted."""
    with tree_with(None) as root:
        assert servers(fresh).run(root, MISTAKES[0].caught_by) == (None, None)


def test_every_mistake_can_be_planted():
    """All of them, in `make test` too: code that moved takes its mistakes along."""
    for mistake in MISTAKES:
        source = (ROOT / mistake.file).read_text("utf-8")
        planted = edited(source, mistake)
        assert planted != source
        compile(planted, mistake.file, "exec")
    assert len(MISTAKES) == len({_name(mistake) for mistake in MISTAKES})


def test_old_code_is_found_by_its_syntax():
    mistake = Mistake("some.py", "C.f", "wrong", "x + g( y )", "x - g(y)", "")
    source = textwrap.dedent("""\
        def f(x, y):
            return x + g(y)

        class C:
            def f(self, x, y):
                return (x  # why
                    + g(y)) * 2
    """)
    changed = edited(source, mistake)
    assert changed.startswith("def f(x, y):\n    return x + g(y)\n")  # the other f stays
    assert "return ((x - g(y))) * 2" in changed
    statement = Mistake("some.py", "h", "wrong", "a = 1; b = 2", "b = 3", "")
    assert edited("def h():\n    if c:\n        a = 1\n        b = 2  # b\n", statement).endswith(
        "        b = 3  # b\n"
    )
    call = Mistake("some.py", "h", "wrong", "g(x)", "pass", "")
    assert edited("def h():\n    g(x)\n", call).endswith("    pass\n")  # a statement, though its code is an expression
    with pytest.raises(AssertionError, match="0 times"):
        edited("def h():\n    a = 1\n", statement)


def test_every_module_with_logic_has_mistakes():
    """At least five each. Ops have their own (`planted.py`), the kernels themselves too (`planted_kernels.py`)."""
    count = collections.Counter(mistake.file for mistake in MISTAKES)
    files = {str(file.relative_to(ROOT)) for room in ("minirembert", "kernels") for file in (ROOT / room).rglob("*.py")}
    files -= {file for file in files if file.startswith("minirembert/ops/")}
    assert not set(count) - files and not set(NO_LOGIC) - files and not set(NO_LOGIC) & set(count)
    assert {file: count[file] for file in files - set(NO_LOGIC) if count[file] < 5} == {}
