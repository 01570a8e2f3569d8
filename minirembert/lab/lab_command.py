"""The command `minirembert lab`: runs claims, lists them, and draws what came out."""

import argparse
import tempfile
import textwrap
from pathlib import Path

from minirembert.files import no_file
from minirembert.lab.claims import CLAIMS, Claim, find
from minirembert.lab.claims.profiles import PROFILES
from minirembert.lab.claims.results import COMMITTED, jobs_of, load, run_claim, save
from minirembert.lab.runs import records

ALL = "all"
INDENT, LINE = 7 * " ", 110  # of what `list` prints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions run, report and list, each with its options and, as `act`, the function that does it."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    run = actions.add_parser("run", help="run a claim's experiments and judge them by its rule")
    run.add_argument("claim", metavar="CLAIM", help=f"{', '.join(CLAIMS)}, or {ALL}")
    _profile_argument(run)
    run.add_argument(
        "--cache", type=Path, default=Path("lab-runs"), metavar="DIR",
        help="folder where every run is kept as soon as it is done, and is not run again (default: lab-runs)",
    )  # fmt: skip
    run.add_argument(
        "--results", type=Path, default=Path("lab-results"), metavar="DIR",
        help="folder for the verdicts (default: lab-results)",
    )  # fmt: skip
    run.add_argument("--processes", type=int, metavar="N", help="runs at once (default: one for each processor)")
    run.set_defaults(act=_run)

    report = actions.add_parser("report", help="draw the results: figures for slides, and a page")
    report.add_argument("claim", nargs="?", default=ALL, metavar="CLAIM", help="only this claim's figures, no page")
    _profile_argument(report)
    _results_argument(report)
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for figures and page")
    report.set_defaults(act=_report)

    listing = actions.add_parser("list", help="the claims, the rule for each, and the verdicts where there are results")
    _profile_argument(listing)
    _results_argument(listing)
    listing.set_defaults(act=_list)


def run(arguments: argparse.Namespace) -> None:
    """Does what was asked. Raises ValueError or OSError, with a sentence, for what cannot be done."""
    arguments.act(arguments)


def _profile_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", choices=PROFILES, default="lesson",
        help="size of the experiments: smoke takes seconds and claims nothing, paper needs a GPU (default: lesson)",
    )  # fmt: skip


def _results_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=COMMITTED, metavar="DIR",
        help="folder that `lab run` wrote (default: the results that come with minirembert)",
    )  # fmt: skip


def _chosen(name: str) -> list[Claim]:
    return list(CLAIMS.values()) if name == ALL else [find(name)]


def _run(arguments: argparse.Namespace) -> None:
    claims, profile = _chosen(arguments.claim), PROFILES[arguments.profile]
    _make(arguments.results / profile.name, "results need")
    _make(arguments.cache, "the lab's cache needs")
    records(jobs_of(claims, profile), arguments.cache, arguments.processes, f"lab, {profile.name}")
    for claim in claims:
        result = run_claim(claim, profile, arguments.cache, arguments.processes)
        path = save(result, arguments.results)
        print(f"claim {claim.name}: {result.judgement}\n  {claim.title}\n  {path}")
    print(
        f"for figures: minirembert lab report --profile {profile.name} --results {arguments.results} --out lab-report"
    )


def _report(arguments: argparse.Namespace) -> None:
    from minirembert.lab.report import write_figures, write_page

    folder = _folder(arguments)
    results = [
        load(folder, claim) for claim in _chosen(arguments.claim) if arguments.claim != ALL or _has(folder, claim)
    ]
    if not results:
        raise FileNotFoundError(
            f"{folder} has no results: `minirembert lab run all --profile {arguments.profile}` makes them"
        )
    _make(arguments.out, "figures need")
    for result in results:
        for path in write_figures(result, arguments.out):
            print(f"written: {path}")
    if arguments.claim == ALL:
        print(f"written: {write_page(results, arguments.out)}")


def _list(arguments: argparse.Namespace) -> None:
    folder, damaged = _folder(arguments), []
    for claim in CLAIMS.values():
        try:
            verdict = str(load(folder, claim).judgement) if _has(folder, claim) else "no result"
        except (ValueError, OSError) as error:
            verdict = f"cannot be read: {error}"
            damaged.append(claim.name)
        rule = textwrap.fill(claim.rule, LINE, initial_indent=INDENT, subsequent_indent=INDENT)
        print(f"{claim.name:<{len(INDENT)}}{claim.title}\n{rule}\n{INDENT}-> {verdict}")
    if damaged:
        raise ValueError(f"{folder} has results that cannot be read: {', '.join(damaged)}")


def _folder(arguments: argparse.Namespace) -> Path:
    results: Path = arguments.results
    if not results.is_dir():
        raise NotADirectoryError(
            f"{results} is a file: results need a folder" if results.exists() else no_file(results)
        )
    return results / arguments.profile


def _make(folder: Path, what: str) -> None:
    """Makes a folder and tries to write in it, so that one that refuses is found before hours of training and not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file: {what} a folder") from error
        raise OSError(f"{folder} cannot be written: {error.strerror}") from error


def _has(folder: Path, claim: Claim) -> bool:
    return (folder / f"claim_{claim.name}.json").exists()
