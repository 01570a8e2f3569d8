"""Mistakes outside ops and kernels: planted in a copy of the tree, where named tests must catch them.

An op is a function that can be called beside the right one; a training loop, a file format or a launcher is not. So the whole
tree is copied (as links, which costs nothing), one file of the copy is changed, and a test that is said to notice is run there,
in a process of its own. A mistake is planted by what it changes, not by a line's text: the old code is looked up in the
syntax tree of the function, so layout and comments may change freely.
"""

import ast
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("minirembert", "kernels", "benchmarks", "tutorials", "tests", "docs")
PATIENCE = 180  # seconds; a mistake that makes a test hang is nothing that a test has caught


class Mistake(NamedTuple):
    """One planted mistake outside ops and kernels."""

    file: str  # of the tree, "minirembert/training/loop.py"
    where: str  # the function or class in it that changes, "train" or "AdamW.load"; "" for the module itself
    wrong: str  # the mistake in words
    old: str  # an expression or statements that are there once
    new: str  # what is planted instead: the same kind of code
    caught_by: str  # the tests that are run: files or node ids below tests/, separated by spaces


def mistakes(file: str, *rows: tuple[str, str, str, str, str]) -> list[Mistake]:
    """Rows (where, wrong, old, new, caught_by) of one file."""
    return [Mistake(file, *row) for row in rows]


def edited(source: str, mistake: Mistake) -> str:
    """The source with the mistake in it. Raises AssertionError unless the old code stands there exactly once."""
    scope = _scope(source, mistake.where)
    old = ast.parse(textwrap.dedent(mistake.old)).body
    expression = _expression(old) if _expression(ast.parse(textwrap.dedent(mistake.new)).body) else None
    found = list(_statements(scope, old)) if expression is None else list(_expressions(scope, expression))
    place = f"{mistake.file}, {mistake.where or 'the module'}"
    assert len(found) == 1, f"{place} has {mistake.old!r} {len(found)} times: move the mistake"
    first, last = found[0]
    lines = source.encode().splitlines(keepends=True)
    before = b"".join(lines[: first.lineno - 1]) + lines[first.lineno - 1][: first.col_offset]
    after = lines[last.end_lineno - 1][last.end_col_offset :] + b"".join(lines[last.end_lineno :])
    new = textwrap.dedent(mistake.new).strip("\n")
    if expression is None:
        new = textwrap.indent(new, " " * first.col_offset).lstrip()
    else:
        new = f"({new})"
    return (before + new.encode() + after).decode()


@functools.lru_cache(maxsize=1)  # mistakes come file by file
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


@functools.lru_cache(maxsize=8)
def _scope(source: str, where: str) -> ast.AST:
    node: ast.AST = _parsed(source)
    for name in filter(None, where.split(".")):
        inside = [
            child
            for child in ast.walk(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name == name and child is not node
        ]
        assert inside, f"there is no {where}: move the mistake"
        node = inside[0]
    return node


def _expression(code: list[ast.stmt]) -> ast.expr | None:
    return code[0].value if len(code) == 1 and isinstance(code[0], ast.Expr) else None


def _expressions(scope: ast.AST, old: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    wanted = ast.dump(old)
    for node in ast.walk(scope):
        if type(node) is type(old) and ast.dump(node) == wanted:
            yield node, node


def _statements(scope: ast.AST, old: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    wanted = [ast.dump(statement) for statement in old]
    for node in ast.walk(scope):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if not isinstance(block, list):
                continue
            dumped = [ast.dump(statement) for statement in block]
            for start in range(len(block) - len(wanted) + 1):
                if dumped[start : start + len(wanted)] == wanted:
                    yield block[start], block[start + len(wanted) - 1]


@contextmanager
def tree_with(mistake: Mistake | None) -> Iterator[Path]:
    """A copy of the tree with this mistake in it, or with none."""
    with tempfile.TemporaryDirectory(
        prefix="mutant-", dir=ROOT.parent if os.access(ROOT.parent, os.W_OK) else None
    ) as name:
        root = Path(name)
        for folder in COPIED:
            shutil.copytree(ROOT / folder, root / folder, copy_function=_link)
        for file in ROOT.iterdir():
            if file.is_file():
                _link(str(file), str(root / file.name))
        if mistake is not None:
            target = root / mistake.file
            source = target.read_text("utf-8")
            target.unlink()  # the link: writing through it would change the original
            target.write_text(edited(source, mistake), "utf-8")
        yield root


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


class Outcome(NamedTuple):
    """What the named tests said of a tree."""

    caught_by: str | None  # the first test that failed
    broken: str | None  # why nothing can be said: the tests could not be run to their end


class Server:
    """Runs tests in copies of the tree: a process (`server.py`) that has the libraries in memory and forks for each run.

    The ops are in memory, too; with `fresh` they are those of the copy.
    """

    def __init__(self, fresh: bool = False) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), *(["fresh"] if fresh else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip

    def run(self, root: Path, tests: str) -> Outcome:
        """The outcome of `tests` (names below tests/) in the tree at `root`."""
        request = {"root": str(root), "tests": [f"tests/{test}" for test in tests.split()], "patience": PATIENCE}
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            self._log.seek(0)
            raise RuntimeError("the server of mutants died: " + self._log.read().decode(errors="replace")[-4000:])
        return Outcome(**json.loads(answer))

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._log.close()
