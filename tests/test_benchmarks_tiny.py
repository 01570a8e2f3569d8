"""Every benchmark runs: a tiny run of each, so that one that measures nothing any more does not keep its figures.

`test_benchmarks.py` tries the parts of the one that needs a GPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = {"__init__", "gpu_model", "gpu_peers", "gpu_table", "gpu_timing"}  # of kernels_gpu
TINY = {
    "encoder_layer_cpu": (["--tiny", "--rounds", "1", "--threads", "1"], "1 x 9: minirembert / transformers = "),
    "fit_erf": (["--degree", "2", "--points", "60", "--rounds", "3"], "largest error of erf: "),
    "kernels_gpu": (["--quick"], "There is no GPU here on which kernels are compiled, so nothing was measured"),
    "real_size_cpu": (["--tiny"], "times the weights"),
    "tokenizers_cpu": ([str(ROOT / "README.md"), "--tiny"], "lines with the same ids: "),
}


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    arguments, said = TINY[name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout, done.stdout + done.stderr


def test_every_benchmark_has_a_tiny_run() -> None:
    assert {file.stem for file in (ROOT / "benchmarks").glob("*.py")} == PARTS | TINY.keys()


@pytest.mark.parametrize("name", ["encoder_layer_cpu", "real_size_cpu", "tokenizers_cpu"])
def test_a_tiny_run_writes_no_figures(name: str, tmp_path: Path) -> None:
    texts = [str(ROOT / "README.md")] if name == "tokenizers_cpu" else []
    command = [sys.executable, "-m", f"benchmarks.{name}", *texts, "--tiny", "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--tiny measures nothing" in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_what_a_child_says_of_its_error_is_shown(tmp_path: Path) -> None:
    """A benchmark whose child fails fails, with the child's own words."""
    (tmp_path / "transformers.py").write_text("raise ImportError('no transformers in this test')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "benchmarks.encoder_layer_cpu", "--tiny", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "no transformers in this test" in done.stderr
