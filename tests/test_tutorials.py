"""Every chapter runs from top to bottom, without a screen, and its assertions hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parent.parent / "tutorials"
CHAPTERS = sorted(TUTORIALS.glob("[0-9]*.py"))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_runs(chapter: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    result = subprocess.run(
        [sys.executable, str(chapter)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not list(tmp_path.iterdir()), "a chapter leaves no files behind"


def test_the_table_of_contents_names_every_chapter() -> None:
    contents = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert [chapter.name for chapter in CHAPTERS if chapter.name not in contents] == []
