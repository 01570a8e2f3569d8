"""The GPU benchmark where there is no GPU: that it says so, that all its sides compute the same, and what it makes of times."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu_model, gpu_table, gpu_timing, kernels_gpu
from benchmarks.gpu_peers import Inputs, Operation, Side, Sizes, operations
from benchmarks.gpu_table import GOALS, Goal
from benchmarks.gpu_timing import Protocol, Timed
from kernels import functional as K
from minirembert import RemBertConfig

TINY = Sizes(
    batches=((3, 20),), heads=2, head=16, tokens=6, hidden=24, output_embedding=40, intermediate=56,
    probabilities=(2, 3, 5, 24), vocabulary=(2, 17000),
)  # fmt: skip
TINY_OPERATIONS = {operation.name: operation for operation in operations(TINY)}
RATES = {"copy_bytes_per_second": 4.3e12, "matmul_flop_per_second": {"bfloat16": 790e12, "float32": 50e12}}


def test_without_a_gpu_it_says_so_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kernels_gpu.main(["--out", str(tmp_path / "results.json")]) == 0
    assert capsys.readouterr().out == kernels_gpu.NOTHING + "\n"
    assert list(tmp_path.iterdir()) == []


# --- right or wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY_OPERATIONS)
def test_all_sides_compute_the_same(name: str) -> None:
    operation = TINY_OPERATIONS[name]
    inputs = operation.inputs(0)
    right = kernels_gpu.truth(operation, inputs)
    for side in ("triton", "eager", "triton padded", "sdpa math", "torch nested"):
        if side in operation.sides:
            for direction in operation.costs:
                kernels_gpu.examined(operation.sides[side], direction, inputs, right, operation.dtype)


def changed(operation: Operation, change: Any) -> Side:
    ours = operation.sides["triton"]
    return ours._replace(function=lambda *arrays: change(ours.function(*arrays)))


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y * 1.001,
        lambda y: y + (torch.arange(y.numel(), device=y.device).reshape(y.shape) == 7),
        lambda y: y * float("nan"),
        lambda y: y.double(),
        lambda y: y[:-1],
    ],
    ids=["scaled", "one element", "NaN", "dtype", "shape"],
)
def test_what_is_wrong_is_refused(change: Any) -> None:
    operation = TINY_OPERATIONS["layer_norm, 6 x 24, float32"]
    inputs = operation.inputs(0)
    right = kernels_gpu.truth(operation, inputs)
    with pytest.raises(kernels_gpu.Wrong):
        kernels_gpu.examined(changed(operation, change), "forward", inputs, right, operation.dtype)


def test_a_wrong_gradient_is_refused() -> None:
    operation = TINY_OPERATIONS["layer_norm, 6 x 24, float32"]
    inputs = operation.inputs(0)
    right = kernels_gpu.truth(operation, inputs)
    detached = Side(lambda x, weight, bias: K.layer_norm(x, weight, bias * 0 + bias.detach(), 1e-12))
    kernels_gpu.examined(detached, "forward", inputs, right, operation.dtype)
    with pytest.raises(kernels_gpu.Wrong, match="result 2"):
        kernels_gpu.examined(detached, "backward", inputs, right, operation.dtype)


def test_what_is_captured_is_examined_too() -> None:
    operation = TINY_OPERATIONS["attention, 3 x 20, ragged, float32"]
    inputs = operation.inputs(0)
    right = kernels_gpu.truth(operation, inputs)
    ours = operation.sides["triton"]
    assert ours.captured is not None
    side = ours._replace(captured=lambda q, k, v: ours.captured(q, k, v) * 2)
    with pytest.raises(kernels_gpu.Wrong):
        kernels_gpu.examined(side, "forward", inputs, right, operation.dtype)


def test_rotated_inputs_differ() -> None:
    operation = TINY_OPERATIONS["softmax, 2 x 3 x 5 x 24, float32"]
    first, second = operation.inputs(0), operation.inputs(1)
    assert not torch.equal(first.arrays[0], second.arrays[0]) and not torch.equal(first.dy, second.dy)


# --- floors -----------------------------------------------------------------------------------------------------------


def floors(kernel: str, case: str, dtype: str = "bfloat16") -> dict[str, float]:
    (operation,) = (found for found in operations() if found.name == f"{kernel}, {case}, {dtype}")
    rows = (kernels_gpu.row_for("", "", d, operation.dtype, c, RATES) for d, c in operation.costs.items())
    return {row["direction"]: row["floor_us"] for row in rows}


def test_floors_are_what_one_computes_by_hand() -> None:
    # 4 S^2 d FLOPs for each of 288 heads, more than the 75.5 MB need; 10 S^2 d backward
    assert floors("attention", "16 x 512")["forward"] == pytest.approx(4 * 512**2 * 64 * 288 / 790e12 * 1e6)
    assert floors("attention", "16 x 512")["backward"] == pytest.approx(10 * 512**2 * 64 * 288 / 790e12 * 1e6)
    # memory: q, k, v and y
    assert floors("attention", "64 x 128")["forward"] == pytest.approx(4 * 8192 * 1152 * 2 / 4.3e12 * 1e6)
    # 18.9 MB an array; shared/spec of the numbers: 8.8, 13.2 and 22 us
    found = floors("layer_norm", "8192 x 1152")
    assert [round(found[d], 1) for d in ("forward", "backward", "forward + backward")] == [8.8, 13.2, 21.9]
    assert floors("softmax", "1024 x 250300", "float32")["forward"] == pytest.approx(2 * 4 * 1024 * 250300 / 4.3e6)


def test_ragged_batches_are_half_full() -> None:
    (padded,) = (found for found in operations() if found.name == "attention, 16 x 512, bfloat16")
    (ragged,) = (found for found in operations() if found.name == "attention, 16 x 512, ragged, bfloat16")
    assert ragged.costs["forward"].bytes == padded.costs["forward"].bytes / 2
    lengths = np.arange(16, 512, 32)
    share = (lengths**2).sum() / (16 * 512**2)
    assert ragged.costs["backward"].flops == pytest.approx(padded.costs["backward"].flops * share)


def test_every_goal_is_about_something_that_is_measured_even_quickly() -> None:
    quick = {(o.kernel, o.case, direction) for o in operations() if o.in_quick_run for direction in o.costs}
    assert {goal[:3] for goal in GOALS} <= quick
    assert {operation.kernel for operation in operations()} | {"model"} == set(kernels_gpu.KERNELS)


# --- timing, with a clock of our own ----------------------------------------------------------------------------------


class FakeTimed(Timed):
    """Takes as long as it is told to."""

    def __init__(self, launch: Any, runs: int, us: float = 10) -> None:
        super().__init__(launch, runs)
        self.us = us

    def microseconds(self) -> float:
        self.launch()
        return self.us


def test_sides_take_turns_and_every_round_is_kept() -> None:
    order: list[str] = []
    sides = {name: FakeTimed(lambda name=name: order.append(name), 4, us) for name, us in (("a", 10), ("b", 2500))}
    found = gpu_timing.in_turn(sides, Protocol(rounds=3, milliseconds=2))
    assert found == {"a": [10] * 3, "b": [2500] * 3}
    assert order[-6:] == ["a", "b"] * 3
    assert {name: timed.repeats for name, timed in sides.items()} == {"a": 50, "b": 1}


def test_inputs_go_round_until_they_are_out_of_the_cache() -> None:
    assert gpu_timing.sets_needed(bytes_of_one=20e6, l2=50_000_000) == 10
    assert gpu_timing.sets_needed(bytes_of_one=1e9, l2=50_000_000) == 3


def test_a_graph_ends_with_the_inputs_whose_answer_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [(torch.tensor([float(number)]),) for number in range(5)]
    order: list[int] = []

    def run(number: int) -> tuple[torch.Tensor, ...]:
        order.append(number)
        return results[number]

    def replay() -> None:
        results[0][0].fill_(42)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=replay))
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    graph = gpu_timing.Replay([lambda number=number: run(number) for number in range(5)])
    assert order == [1, 2, 3, 4, 0] * 4 and graph.runs == 20
    (found,) = graph.once()
    assert found.item() == 42
    monkeypatch.setattr(graph.graph, "replay", lambda: None)
    (found,) = graph.once()
    assert math.isnan(found.item())  # a graph that writes nothing is found out


class FakeReplay(FakeTimed):
    def __init__(self, runs: Any) -> None:
        super().__init__(runs[0], len(runs))

    def once(self) -> Any:
        return self.launch()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A GPU that everything takes 10 us on."""
    monkeypatch.setattr(kernels_gpu, "Timed", FakeTimed)
    monkeypatch.setattr(kernels_gpu, "Replay", FakeReplay)
    monkeypatch.setattr(kernels_gpu, "capturable", nullcontext)
    monkeypatch.setattr(kernels_gpu, "ceilings", lambda protocol: RATES)
    monkeypatch.setattr(kernels_gpu, "l2_bytes", lambda: 1000)
    monkeypatch.setattr(kernels_gpu, "device", lambda: {"name": "pretended"})
    monkeypatch.setattr(kernels_gpu, "INTERPRETED", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(kernels_gpu, "reason_not_to_capture", lambda run: None)
    monkeypatch.setattr(kernels_gpu, "with_compiled", lambda operation: operation.sides)
    return monkeypatch


def test_one_failure_is_recorded_and_the_run_goes_on(
    pretended: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    norm = TINY_OPERATIONS["layer_norm, 6 x 24, bfloat16"]
    wrong = {**norm.sides, "triton": changed(norm, lambda y: y * 1.1)}
    broken = Operation("gelu", "broken", norm.dtype, norm.costs, norm.sides, lambda seed: Inputs((), None), True)  # type: ignore[arg-type]
    last = TINY_OPERATIONS["softmax, 2 x 3 x 5 x 24, bfloat16"]
    tried = [Operation("gelu", "wrong", norm.dtype, norm.costs, wrong, norm.inputs, True), broken, last]
    pretended.setattr(kernels_gpu, "operations", lambda: tried)
    out = tmp_path / "results.json"
    assert kernels_gpu.main(["--kernels", "gelu", "softmax", "--quick", "--out", str(out)]) == 1

    record = json.loads(out.read_text())
    assert not record["complete"] and len(record["problems"]) == 4  # three wrong passes, and the broken one
    *failed, forward, backward = record["rows"]
    assert all("relative error" in row["failed"] and "cold_us" not in row["sides"]["triton"] for row in failed)
    assert (forward["kernel"], backward["direction"]) == ("softmax", "backward")
    for row in (forward, backward):
        assert row["sides"]["eager"]["cold_us"] == row["sides"]["triton"]["called_us"] == [10] * 5
        assert 0 < row["sides"]["triton"]["error"] < 2e-2
        assert "liger_kernel" in row["sides"]["liger"]["refused"]
    said = capsys.readouterr().out
    assert "FAILED" in said and "softmax forward" in said and "refused" in said and "not measured" in said


def test_what_cannot_be_captured_is_compared_as_it_is_called(pretended: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretended.setattr(kernels_gpu, "operations", lambda: [TINY_OPERATIONS["gelu, 6 x 40, bfloat16"]])
    pretended.setattr(kernels_gpu, "reason_not_to_capture", lambda run: "it waits")
    assert kernels_gpu.main(["--kernels", "gelu", "--out", str(tmp_path / "results.json")]) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["complete"]
    for row in record["rows"]:
        assert row["sides"]["triton"]["not_captured"] == "it waits"
        assert gpu_table.fair(row, "eager") == "called" and gpu_table.ratio(row, "eager") == 1


def test_time_that_has_run_out_is_a_problem(pretended: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretended.setattr(kernels_gpu, "operations", lambda: [TINY_OPERATIONS["gelu, 6 x 40, bfloat16"]])
    out = tmp_path / "results.json"
    assert kernels_gpu.main(["--kernels", "gelu", "--minutes", "-1", "--out", str(out)]) == 1
    assert "minutes were over" in json.loads(out.read_text())["problems"][0]


# --- the whole model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case() -> gpu_model.Case:
    sizes = dict(vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, input_embedding_size=8)
    config = RemBertConfig(**sizes, output_embedding_size=24, intermediate_size=40, max_position_embeddings=16)
    return gpu_model.Case(config, 2, 12)


def test_the_two_models_take_the_same_step(case: gpu_model.Case) -> None:
    batch = gpu_model.batch_of(case)
    model = gpu_model.our_model(case, "float32")
    ours, theirs = gpu_model.our_step(model, batch)(), gpu_model.their_step(case, model, batch)()
    assert all(apart < 1e-4 for apart in gpu_model.differences(ours, theirs).values())
    loss, gradients = ours
    half = {name: gradient / 2 for name, gradient in gradients.items()}
    assert gpu_model.differences((loss, half), theirs)["gradients"] == pytest.approx(0.5, rel=1e-3)

    # by hand: a layer's products, the projection of the embeddings, and the head at 3 positions; 24 tokens
    layer = 4 * 32 * 32 + 2 * 32 * 40 + 2 * 12 * 32
    moved, flops = gpu_model.cost(case, labelled=3)
    assert flops == 6 * (24 * (layer + 8 * 32) + 3 * (32 * 24 + 24 * 400))
    assert moved == 6 * model.num_parameters()


def test_a_step_that_differs_is_not_timed(pretended: pytest.MonkeyPatch, tmp_path: Path, case: gpu_model.Case) -> None:
    out = tmp_path / "results.json"
    call = ["--kernels", "model", "--out", str(out)]
    pretended.setattr(gpu_model, "rembert", lambda: case)
    pretended.setattr(kernels_gpu, "Timed", lambda launch, runs: FakeTimed(lambda: None, runs))
    assert kernels_gpu.main(call) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert gpu_table.ratio(row, "transformers") == 1 and row["sides"]["triton"]["apart"]["loss"] < 0.01

    pretended.setitem(gpu_model.LIMITS, "gradients", 1e-6)
    assert kernels_gpu.main(call) == 1
    (row,) = json.loads(out.read_text())["rows"]
    assert "apart by" in row["failed"] and "called_us" not in row["sides"]["triton"]


# --- what the times say -----------------------------------------------------------------------------------------------


def row(kernel: str, case: str, direction: str, floor_us: float, **sides: Any) -> dict[str, Any]:
    found = {name.replace("_", " "): side for name, side in sides.items()}
    place = {"kernel": kernel, "case": case, "direction": direction, "dtype": "bfloat16"}
    return {**place, "bytes": 1e6, "flops": 0, "floor_us": floor_us, "sides": found}


def record() -> dict[str, Any]:
    rows = [
        row(
            "attention", "16 x 512", "forward", 25.0,
            triton={"cold_us": [50.0, 51.0, 49.0], "warm_us": [40.0] * 3, "called_us": [60.0] * 3},
            eager={"cold_us": [500.0] * 3, "warm_us": [500.0] * 3, "called_us": [500.0] * 3},
            sdpa_flash={"cold_us": [60.0, 51.0, 70.0], "called_us": [61.0] * 3},
            sdpa_math={"cold_us": [400.0] * 3},
            sdpa_cudnn={"refused": "RuntimeError: no"},
            torch_nested={"called_us": [90.0] * 3},
        ),
        row("softmax", "16 x 18 x 512 x 512", "forward", 70.0, triton={"cold_us": [80.0]}, eager={"cold_us": [60.0]}),
        {**row("softmax", "16 x 18 x 512 x 512", "backward", 105.0, triton={}), "failed": "Wrong: a lot"},
    ]  # fmt: skip
    head = {"date": "2026-11-22T18:15:13+00:00", "commit": "abc1234", "versions": {"torch": "2.11", "liger": "absent"}}
    return {**head, "device": {"name": "a GPU"}, "ceilings": RATES, "rows": rows}


def test_ratios_are_of_medians_and_the_spread_is_of_rounds() -> None:
    first = record()["rows"][0]
    assert gpu_table.ratio(first, "sdpa flash") == pytest.approx(60 / 50)
    assert gpu_table.spread(first, "sdpa flash") == pytest.approx((1.0, 70 / 49))
    assert gpu_table.ratio(first, "torch nested") == pytest.approx(90 / 60)  # neither in a graph
    assert gpu_table.ratio(first, "sdpa cudnn") is None
    assert gpu_table.best_sdpa(first) == "sdpa flash"
    assert gpu_table.share(first) == pytest.approx(0.5)


def test_goals_are_met_or_not_or_not_measured() -> None:
    rows = record()["rows"]
    place = ("attention", "16 x 512", "forward")
    assert gpu_table.judged(Goal(*place, gpu_table.BEST_SDPA, 1.1), rows) == ("1.20", "met")
    assert gpu_table.judged(Goal(*place, gpu_table.BEST_SDPA, 1.3), rows) == ("1.20", "not met")
    assert gpu_table.judged(Goal(*place, "torch.compile", 1.0), rows) == ("", "not measured")
    softmax = ("softmax", "16 x 18 x 512 x 512")
    assert gpu_table.judged(Goal(*softmax, "forward", gpu_table.COPY, 0.93), rows) == ("0.88", "not met")
    assert gpu_table.judged(Goal(*softmax, "backward", gpu_table.COPY, 0.93), rows) == ("", "not measured")


def test_the_table_shows_wins_and_losses_alike() -> None:
    text = gpu_table.markdown(record())
    assert "a GPU, 2026-11-22, commit abc1234; torch 2.11." in text and "liger absent" not in text
    lines = text.splitlines()
    assert "| attention | 16 x 512 | forward | best sdpa | 1.10 | 1.20 | met |" in lines
    wanted = "| 25.0 | 50.0 | 50% | 40.0 | 10.00 |  | 1.20 (flash) |  | torch nested 1.50* |"
    assert f"| attention | 16 x 512 | forward | bfloat16 {wanted}" in lines
    assert any("| softmax |" in line and "| 70.0 | 80.0 | 88% |  | 0.75 |" in line for line in lines)
    assert any("| softmax |" in line and "| failed |" in line for line in lines)
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {8, 14}


def test_the_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "kernels.md"
    results.write_text(json.dumps(record()))
    page.write_text("# Kernels\n\nBefore.\n")
    gpu_table.regenerate(results, page)
    page.write_text(page.read_text() + "\nAfter.\n")
    once = page.read_text()
    gpu_table.regenerate(results, page)
    assert page.read_text() == once
    assert once.startswith("# Kernels\n\nBefore.\n") and once.endswith("\nAfter.\n") and "1.20 (flash)" in once


def test_without_results_no_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "kernels.md"
    assert gpu_table.main(["--results", str(tmp_path / "none.json"), "--page", str(page)]) == 1
    assert not page.exists()
