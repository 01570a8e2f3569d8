"""Which code made a result: told of a repository made for the purpose, in which the module is a file like any other."""

import importlib.util
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minirembert.provenance
from minirembert.provenance import provenance

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copyfile(minirembert.provenance.__file__, folder / "stamp.py")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def commit_said(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("stamp", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.provenance()["commit"]


def test_the_commit_is_that_of_the_code_not_of_where_one_stands(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert commit_said(repository / "stamp.py") == git(repository, "rev-parse", "--short", "HEAD")


def test_files_that_differ_from_the_commit_are_said_and_new_ones_are_not(repository: Path) -> None:
    here = git(repository, "rev-parse", "--short", "HEAD")
    (repository / "notes.txt").write_text("mine")
    assert commit_said(repository / "stamp.py") == here
    with (repository / "stamp.py").open("a") as file:
        file.write("# changed\n")
    assert commit_said(repository / "stamp.py") == f"{here}+changes"


def test_code_that_is_in_no_repository(repository: Path, tmp_path: Path) -> None:
    """Installed inside somebody's repository it is not a part of it: that one's commit would say nothing."""
    shutil.copytree(repository, repository / "site-packages", ignore=shutil.ignore_patterns(".git"))
    assert commit_said(repository / "site-packages" / "stamp.py") == "unknown"
    shutil.copyfile(repository / "stamp.py", tmp_path / "stamp.py")
    assert commit_said(tmp_path / "stamp.py") == "unknown"


def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance()["commit"] == "unknown"


def test_versions_and_the_time() -> None:
    said = provenance("numpy", "pytest", "no-such-package")
    assert said["versions"] == {"numpy": np.__version__, "pytest": pytest.__version__, "no-such-package": "absent"}
    when = datetime.fromisoformat(str(said["date"]))
    assert when.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - when) < timedelta(hours=1) or os.environ.get("TZ")
