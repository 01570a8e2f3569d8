"""The command `minirembert lab`: all claims in the smoke profile, and its sentence when something is wrong."""

import errno
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lab_records
import pytest

from minirembert.cli import main
from minirembert.lab import lab_command, report
from minirembert.lab.claims import CLAIMS, find
from minirembert.lab.claims.profiles import PROFILES
from minirembert.lab.claims.results import jobs_of, save


def test_every_claim_runs_and_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, results = tmp_path / "runs", tmp_path / "results"
    folders = ["--profile", "smoke", "--results", str(results)]
    assert main(["lab", "run", "all", "--cache", str(cache), "--processes", "1", *folders]) == 0
    printed = capsys.readouterr().out
    for claim in CLAIMS.values():
        content = json.loads((results / "smoke" / f"claim_{claim.name}.json").read_text())
        assert f"claim {claim.name}: {content['verdict']}" in printed
        assert content["verdict"] == ("shown" if claim.name == "0" else "not shown"), "smoke claims nothing"
        assert content["note"].startswith("too few seeds: 1 of ") or claim.name == "0"
        assert content["rule"] == claim.rule and content["provenance"]["commit"]
        assert set(content["runs"]) == set(claim.columns) or claim.name == "0"
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert main(["lab", "run", "4", "--cache", str(cache), *folders]) == 0
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before, "what is there is not run again"
    capsys.readouterr()
    assert main(["lab", "list", *folders]) == 0
    listed = capsys.readouterr().out
    assert all(claim.title in listed for claim in CLAIMS.values()) and listed.count("too few seeds") == len(CLAIMS) - 1
    assert main(["lab", "report", "4", *folders, "--out", str(tmp_path / "slide")]) == 0
    names = ["claim_4.png", "claim_4.svg", "claim_4_paper.png", "claim_4_paper.svg"]
    assert sorted(path.name for path in (tmp_path / "slide").iterdir()) == names
    monkeypatch.setattr("minirembert.lab.report.write_figures", lambda result, folder: [])  # drawn above
    for claim in list(CLAIMS.values())[3:]:
        (results / "smoke" / f"claim_{claim.name}.json").unlink()
    assert main(["lab", "report", *folders, "--out", str(tmp_path / "all")]) == 0
    page = (tmp_path / "all" / "index.html").read_text()
    assert [claim.title in page for claim in CLAIMS.values()] == [True] * 3 + [False] * (len(CLAIMS) - 3)


def test_what_comes_with_the_package_is_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_command, "COMMITTED", tmp_path)
    assert main(["lab", "list"]) == 0
    assert capsys.readouterr().out.count("no result") == len(CLAIMS)
    save(lab_records.result(find("2b")), tmp_path)
    assert main(["lab", "list"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("no result") == len(CLAIMS) - 1 and "not shown (the interval contains 0)" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "3d"], "there is no claim '3d': the claims are 0, 0b, 1, 1b,"),
        (["run", "claim_3b"], "did you mean 3b?"),
        (["run", "3", "--profile", "smoke", "--processes", "0"], "processes must be at least 1, got 0"),
        (
            ["run", "3", "--profile", "smoke", "--cache", "{dir}/file"],
            "{dir}/file is a file: the lab's cache needs a folder",
        ),
        (["run", "3", "--profile", "smoke", "--results", "{dir}/file"], "{dir}/file is a file: results need a folder"),
        (
            ["report", "--results", "{dir}", "--out", "{dir}/out"],
            "{dir}/lesson has no results: `minirembert lab run all --profile lesson` makes",
        ),
        (["report", "4", "--results", "{dir}", "--out", "{dir}/out"], "claim_4.json does not exist: run it with"),
        (["report", "9", "--results", "{dir}", "--out", "{dir}/out"], "there is no claim '9'"),
        (
            ["report", "--profile", "smoke", "--results", "{dir}", "--out", "{dir}/out"],
            "the verdict here is 'shown (0 of 2 comparisons",
        ),
        (["list", "--profile", "smoke", "--results", "{dir}"], "{dir}/smoke has results that cannot be read: 3"),
        (["list", "--results", "{dir}/none"], "{dir}/none does not exist"),
        (["list", "--results", "{dir}/file"], "{dir}/file is a file: results need a folder"),
        (["report", "--results", "{dir}/none", "--out", "{dir}/out"], "{dir}/none does not exist"),
        (
            ["report", "0", "--profile", "smoke", "--results", "{dir}", "--out", "{dir}/file"],
            "{dir}/file is a file: figures need a folder",
        ),
    ],
)
def test_one_sentence_when_something_is_wrong(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    save(lab_records.result(find("0"), "smoke"), tmp_path)
    forged = save(lab_records.result(find("3"), "smoke"), tmp_path)
    forged.write_text(forged.read_text().replace('"verdict": "not shown"', '"verdict": "shown"'))
    assert main(["lab", *(argument.format(dir=tmp_path) for argument in arguments)]) == 1
    error = capsys.readouterr().err
    assert message.format(dir=tmp_path) in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--results", "--cache"])
@pytest.mark.parametrize("folder", ["file", "file/deep", "full"])
def test_a_folder_that_cannot_be_written_is_found_before_training(
    option: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(dir: Path) -> Any:
        if "full" in dir.parts:
            raise OSError(errno.EROFS, "Read-only file system", str(dir))
        return nullcontext()

    monkeypatch.setattr("tempfile.TemporaryFile", probe)
    monkeypatch.setattr(lab_command, "records", lambda *_: pytest.fail("it trained"))
    (tmp_path / "file").write_text("")
    folders = {"--results": tmp_path / "results", "--cache": tmp_path / "cache", option: tmp_path / folder}
    assert main(["lab", "run", "3", *(str(word) for pair in folders.items() for word in pair)]) == 1
    error = capsys.readouterr().err
    wrong = "cannot be written: Read-only file system" if folder == "full" else f"{tmp_path / 'file'} is a file: "
    assert wrong in error and str(tmp_path / folder.split("/")[0]) in error and error.count("\n") == 1


def test_a_list_has_rules_and_goes_on_after_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("3", "4", "tasks"):
        save(lab_records.result(find(name)), tmp_path)
    damaged = tmp_path / "lesson" / "claim_4.json"
    damaged.write_text("{")
    assert main(["lab", "list", "--results", str(tmp_path)]) == 1
    out, error = capsys.readouterr()
    blocks = re.split(r"\n(?=\S)", out)
    assert len(blocks) == len(CLAIMS) and max(len(line) for line in out.splitlines() if "->" not in line) <= 110
    for block, claim in zip(blocks, CLAIMS.values(), strict=True):
        assert re.match(rf"{claim.name} +(?=\S)", block).end() == 7  # type: ignore[union-attr]
        assert claim.title in block and claim.rule in " ".join(block.split())
        said = (
            f"cannot be read: {damaged} is not"
            if claim.name == "4"
            else "not shown"
            if claim.name in ("3", "tasks")
            else "no result"
        )
        assert f"\n       -> {said}" in block
    assert error.count("\n") == 1 and f"{tmp_path}/lesson has results that cannot be read: 4" in error


@pytest.mark.parametrize("arguments", [[], ["run"], ["draw"], ["run", "3", "--profile", "large"], ["report", "3"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["lab", *arguments])
    assert stop.value.code == 2 and capsys.readouterr().err


def test_every_option_of_a_run_is_handed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims, profile, cache, processes and results; by default the lesson, in folders beside the caller."""
    asked: list[Any] = []
    monkeypatch.setattr(lab_command, "records", lambda *given: asked.append(given))

    def run_claim(claim: Any, profile: Any, cache: Path, processes: Any) -> Any:
        asked.append((claim.name, profile, cache, processes))
        return lab_records.result(claim, profile.name, seeds=1)

    monkeypatch.setattr(lab_command, "run_claim", run_claim)
    monkeypatch.chdir(tmp_path)
    folders = ["--cache", "kept", "--results", "found", "--processes", "3", "--profile", "smoke"]
    assert main(["lab", "run", "2b", *folders]) == 0
    smoke, lesson = PROFILES["smoke"], PROFILES["lesson"]
    assert asked == [
        (jobs_of([find("2b")], smoke), Path("kept"), 3, "lab, smoke"),
        ("2b", smoke, Path("kept"), 3),
    ]
    assert sorted(str(path) for path in Path().rglob("*.json")) == ["found/smoke/claim_2b.json"]
    printed = capsys.readouterr().out
    assert "claim 2b: not shown (too few seeds: 1 of 8)" in printed and "--profile smoke --results found" in printed
    asked.clear()
    assert main(["lab", "run", "all"]) == 0
    assert asked[0] == (jobs_of(CLAIMS.values(), lesson), Path("lab-runs"), None, "lab, lesson")
    assert asked[1:] == [(name, lesson, Path("lab-runs"), None) for name in CLAIMS]
    assert {path.name for path in Path("lab-results/lesson").iterdir()} == {f"claim_{name}.json" for name in CLAIMS}


def test_every_option_of_a_report_is_handed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One claim and no page, or all that have results and a page; of the profile that is asked for, by default the lesson."""
    drawn: list[Any] = []
    monkeypatch.setattr(
        report, "write_figures", lambda result, folder: drawn.append((result.claim.name, result.profile, folder)) or []
    )
    monkeypatch.setattr(report, "write_page", lambda results, folder: drawn.append([r.claim.name for r in results]))
    for name, profile in (("1", "smoke"), ("2", "lesson"), ("3", "lesson")):
        save(lab_records.result(find(name), profile), tmp_path / "found")
    results, out = ["--results", str(tmp_path / "found")], tmp_path / "out"
    assert main(["lab", "report", "3", *results, "--out", str(out)]) == 0
    assert drawn == [("3", "lesson", out)]
    drawn.clear()
    assert main(["lab", "report", *results, "--out", str(out)]) == 0
    assert drawn == [("2", "lesson", out), ("3", "lesson", out), ["2", "3"]]
    drawn.clear()
    assert main(["lab", "report", "--profile", "smoke", *results, "--out", str(out)]) == 0
    assert drawn == [("1", "smoke", out), ["1"]]
    capsys.readouterr()
    for profile, verdicts in (("smoke", ["1"]), ("lesson", ["2", "3"]), ("paper", [])):
        assert main(["lab", "list", "--profile", profile, *results]) == 0
        blocks = re.split(r"\n(?=\S)", capsys.readouterr().out)
        assert [block.split()[0] for block in blocks if "no result" not in block] == verdicts
