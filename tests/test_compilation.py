"""Every kernel, compiled as it would be launched, for GPUs that need not be there; see `kernels/inspect.py`.

The tests run kernels in an interpreter, which knows nothing of registers, shared memory or matrix instructions, so compiling
happens in a process of its own, once for all of pytest's workers.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
KERNELS = sorted(
    name
    for file in (ROOT / "kernels").rglob("*.py")
    for name in re.findall(r"^@triton\.jit\ndef (\w+_kernel)\(", file.read_text(), re.MULTILINE)
)

# What a block may have. CUDA Programming Guide, appendix "Compute Capabilities", maximum amount of shared memory per thread
# block: 163 KB and 227 KB. ROCm documentation, "AMD GPU specifications", gfx942: 64 KiB of LDS.
SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "gfx942": 64 * 1024}
MATRIX = {"sm_80": "mma.sync", "sm_90": "wgmma", "gfx942": "mfma"}
TARGETS = list(SHARED)

Reports = list[dict[str, Any]]


def once(tmp_path_factory: pytest.TempPathFactory, name: str, *command: str) -> Any:
    """The JSON that a command writes to the path after its last argument; run by one of pytest's workers for all."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    answer = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            call = [sys.executable, *command, str(answer)]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True)
            assert answer.exists(), done.stderr
    return json.loads(answer.read_text())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report on every kernel."""
    return once(tmp_path_factory, "kernels", "-m", "kernels.inspect", "--json")


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=KERNELS)
def reports(request: pytest.FixtureRequest, compiled: Any, target: str) -> Reports:
    """All of a kernel's specialisations for a chip."""
    return [entry for entry in compiled["kernels"] if (entry["kernel"], entry["target"]) == (request.param, target)]


def cases(reports: Reports, wrong: Any) -> list[str]:
    """Which of them are wrong."""
    return [entry["case"] for entry in reports if wrong(entry)]


def test_everything_compiles(compiled: Any) -> None:
    assert compiled["failures"] == []


def test_every_kernel_is_compiled_for_every_chip(reports: Reports) -> None:
    assert reports, "no workload of kernels/inspect.py launches it"


def test_nothing_spills(reports: Reports) -> None:
    assert cases(reports, lambda entry: entry["spilled"] > 0) == []


def test_shared_memory_fits(reports: Reports, target: str) -> None:
    assert cases(reports, lambda entry: entry["shared"] > SHARED[target]) == []


def test_nothing_is_added_atomically(reports: Reports) -> None:
    assert cases(reports, lambda entry: entry["atomics"] > 0) == []


def test_nothing_is_computed_in_float64(reports: Reports) -> None:
    assert cases(reports, lambda entry: entry["float64"] > 0) == []


def test_float32_is_not_rounded_to_tf32(reports: Reports) -> None:
    assert cases(reports, lambda entry: entry["tf32"] > 0) == []


@pytest.mark.parametrize("kernel", [name for name in KERNELS if name.startswith("attention") and "delta" not in name])
def test_attention_in_half_precision_uses_matrix_instructions(compiled: Any, kernel: str, target: str) -> None:
    reports = [e for e in compiled["kernels"] if (e["kernel"], e["target"], e["half"]) == (kernel, target, True)]
    assert reports
    assert cases(reports, lambda entry: not entry["products"] or not entry["matrix"].get(MATRIX[target])) == []


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])  # gfx942 prefetches into registers
@pytest.mark.parametrize(
    "kernel", [f"attention_{rung}_{what}kernel" for rung in ("plain", "general") for what in ("", "keys_", "queries_")]
)
def test_loops_over_tiles_copy_asynchronously(compiled: Any, kernel: str, target: str) -> None:
    reports = [
        e for e in compiled["kernels"] if (e["kernel"], e["target"]) == (kernel, target) and e["looped_products"]
    ]
    assert reports
    assert cases(reports, lambda entry: not entry["copies"]) == []


# --- the report sees what is wrong ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report on kernels that are wrong on purpose."""
    return once(tmp_path_factory, "wrong_kernels", "tests/wrong_kernels.py")


def test_a_good_product_is_reported_as_good(wrong: Any, target: str) -> None:
    report = wrong[target]["none"]
    assert report["problems"] == []
    assert report["spilled"] == report["atomics"] == report["float64"] == report["tf32"] == 0
    assert list(report["matrix"]) == [MATRIX[target]]
    assert report["products"] == report["looped_products"] == 1
    assert target == "gfx942" or report["copies"]["cp.async"] > 0


def test_spilling_is_reported(wrong: Any, target: str) -> None:
    report = wrong[target]["spills"]
    assert report["spilled"] > 0
    assert any("spills" in problem for problem in report["problems"])


def test_too_much_shared_memory_is_reported(wrong: Any, target: str) -> None:
    report = wrong[target]["shared memory"]
    assert report["shared"] > SHARED[target]
    assert any("shared memory" in problem for problem in report["problems"])


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
def test_unaligned_pointers_lose_the_asynchronous_copies(wrong: Any, target: str) -> None:
    report = wrong[target]["unaligned"]
    assert report["copies"] == {}
    assert report["unaligned"] == ["a_ptr", "b_ptr", "steps"]
    assert any("not pipelined" in problem for problem in report["problems"])


def test_a_tile_too_small_for_wgmma_is_reported(wrong: Any) -> None:
    report = wrong["sm_90"]["small tile"]
    assert "wgmma" not in report["matrix"]
    assert any("without wgmma" in problem for problem in report["problems"])


@pytest.mark.parametrize("flaw", ["tf32", "atomics", "float64"])
def test_instructions_that_must_not_occur_are_reported(wrong: Any, target: str, flaw: str) -> None:
    report = wrong[target][flaw]
    assert report[flaw] > 0
    assert len(report["problems"]) == 1
