"""Which code, libraries and machine made a result."""

import datetime
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def provenance(*packages: str) -> dict[str, object]:
    """Date, commit, Python, platform and the versions of `packages`, for the head of a result file."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {package: _version(package) for package in packages},
    }


def _commit() -> str:
    """The commit, with "+changes" where files differ from it; "unknown" where this file is in no repository."""
    if not _git("ls-files", __file__):
        return "unknown"
    return _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain", "-uno") else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # no git here
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
