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
        "commit": (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if _git("status", "--porcelain", "-uno") else ""),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {package: _version(package) for package in packages},
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
