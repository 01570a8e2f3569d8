"""What a run leaves on disk, and when: checkpoints that go on as if nothing had happened, records, what makes two runs one."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirembert.training.finetune import FinetuneSettings
from minirembert.training.finetune import _identity as finetune_identity
from minirembert.training.loop import Schedule, train
from minirembert.training.optimizer import AdamW
from minirembert.training.pretrain import PretrainSettings
from minirembert.training.pretrain import _identity as pretrain_identity
from minirembert.training.run_folder import RunFolder


class Backend:
    """As much of one as the loop asks for."""

    adamw = staticmethod(AdamW)

    @staticmethod
    def norm(gradients: Any) -> float:
        return float(np.sqrt(sum(np.vdot(g, g) for g in gradients)))


class Model:
    """Two arrays, and a gradient that depends on them, the batch and the dropout seed."""

    def __init__(self) -> None:
        self.backend = Backend()
        self.parameters = {"a": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}
        self.seen: list[tuple[int, int | None]] = []

    def loss_and_gradients(self, *, number: int, attention_mask: Any, dropout_seed: int | None) -> Any:
        self.seen.append((number, dropout_seed))
        rng = np.random.default_rng([number, dropout_seed or 0])
        gradients = {name: rng.normal(size=p.shape).astype(np.float32) + p for name, p in self.parameters.items()}
        return float(number), gradients


def run(path: Path, schedule: Schedule, stop_after: int | None = None, **settings: Any) -> Model:
    """A run, or one that is torn when a step begins; what was done by then stays on the disk."""
    model = Model()

    def batch_at(step: int) -> Any:
        if step == stop_after:
            raise KeyboardInterrupt
        return {"number": step, "attention_mask": np.ones((2, 5))}

    with RunFolder(path, {"run": 1}) as folder:
        train(model, batch_at, schedule, folder, **settings)  # type: ignore[arg-type]
    return model


SCHEDULE = Schedule(
    steps=9, learning_rate=0.1, warmup=3, weight_decay=0.3, clip=0.5, checkpoint_every=2, record_every=4
)


@pytest.mark.parametrize("stop_after", [2, 3, 4, 8])
@pytest.mark.parametrize("record_every", [1, 4])
def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path, stop_after: int, record_every: int) -> None:
    """Weights, moments and step come back, and the steps after them see the batches and seeds of those steps. What was
    recorded of steps after the checkpoint is recorded again, once."""
    schedule = dataclasses.replace(SCHEDULE, record_every=record_every)
    whole = run(tmp_path / "whole", schedule, dropout_seed=6)
    assert whole.seen == [(step, 6 * 2**32 + step) for step in range(9)]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "torn", schedule, stop_after, dropout_seed=6)
    assert RunFolder(tmp_path / "torn", {"run": 1}).latest_step() == stop_after // 2 * 2
    rest = run(tmp_path / "torn", schedule, dropout_seed=6)
    assert rest.seen == whole.seen[stop_after // 2 * 2 :]
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(rest.parameters[name], array)
    assert records(tmp_path / "torn") == records(tmp_path / "whole")
    finished = run(tmp_path / "torn", schedule, dropout_seed=6)
    assert not finished.seen
    np.testing.assert_array_equal(finished.parameters["a"], whole.parameters["a"])


def records(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]


def test_a_resumed_run_has_the_moments_of_each_array(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = ({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float32)} for _ in range(2))
    optimizer = AdamW(one)
    for _ in range(3):
        optimizer.step({name: rng.normal(size=p.shape).astype(np.float32) for name, p in one.items()}, 0.1)
    with RunFolder(tmp_path / "run", {}) as folder:
        folder.save(optimizer)
        again = AdamW(other)
        assert folder.restore(again) == 3
    assert again.step_count == 3
    for name in one:
        np.testing.assert_array_equal(other[name], one[name])
        np.testing.assert_array_equal(again.m[name], optimizer.m[name])
        np.testing.assert_array_equal(again.v[name], optimizer.v[name])
        assert (optimizer.m[name] != optimizer.v[name]).any()


def test_of_two_checkpoints_the_newest_counts(tmp_path: Path) -> None:
    """A kill between writing one and removing the one before it leaves both."""
    optimizer = AdamW({"a": np.zeros((2, 3), np.float32)})
    with RunFolder(tmp_path / "run", {}) as folder:
        for step in (1, 2):
            optimizer.step({"a": np.ones((2, 3), np.float32)}, 0.1)
            folder.save(optimizer)
            if step == 1:
                shutil.copytree(tmp_path / "run" / "checkpoints", tmp_path / "before")
        shutil.copytree(tmp_path / "before", tmp_path / "run" / "checkpoints", dirs_exist_ok=True)
        assert folder.latest_step() == 2
        again = AdamW({"a": np.zeros((2, 3), np.float32)})
        assert folder.restore(again) == again.step_count == 2
        np.testing.assert_array_equal(again.parameters["a"], optimizer.parameters["a"])


def test_when_something_is_written(tmp_path: Path) -> None:
    """At every N-th step, and always at the last."""
    schedule = dataclasses.replace(SCHEDULE, checkpoint_every=4, record_every=2, evaluate_every=3)
    saved: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        save = RunFolder.save
        patch.setattr(
            RunFolder, "save", lambda self, optimizer: (saved.append(optimizer.step_count), save(self, optimizer))
        )
        run(tmp_path / "run", schedule, evaluate=lambda: {"held_out": 1.5})
    assert saved == [4, 8, 9]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000009"]
    lines = records(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8, 9]
    assert [line for line in lines if "held_out" in line] == [{"step": step, "held_out": 1.5} for step in (3, 6, 9)]
    # Of the step that it names: the batch's number is the loss, steps are counted from 1.
    assert [line["loss"] for line in lines if "loss" in line] == [1, 3, 5, 7, 8]


# --- what makes two runs the same run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name in ("a.txt", "b.txt", "train.tsv", "test.tsv"):
        (folder / name).write_text(f"text\tlabel\n{name}\tx\n")
    for name in ("model", "other"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(name.encode())
    return folder


OTHER = {int: 3, float: 0.25, str: "float64"}
SAME_RUN = {"out", "checkpoint_every", "evaluate_every"}  # where it lies, and how often it is looked at


def _another(field: dataclasses.Field[Any], folder: Path) -> Any:
    named = {"out": "elsewhere",
             "corpus": (str(folder / "b.txt"),), "held_out": (str(folder / "b.txt"),), "tokenizer": "elsewhere",
             "evaluate": (str(folder / "test.tsv"),), "model": str(folder / "other"), "train": str(folder / "test.tsv"),
             "backend": "triton", "dtype": "float64"}  # fmt: skip
    return named.get(field.name, 8)


@pytest.mark.parametrize("field", dataclasses.fields(PretrainSettings), ids=lambda field: field.name)
def test_which_settings_make_another_pretraining(folder: Path, field: dataclasses.Field[Any]) -> None:
    base = PretrainSettings(out="run", corpus=(str(folder / "a.txt"),))
    value = {"dropout": 0.5, "alpha": 0.25, "initializer_range": 0.5}.get(field.name, _another(field, folder))
    changed = dataclasses.replace(base, **{field.name: value})
    assert (pretrain_identity(changed) == pretrain_identity(base)) == (field.name in SAME_RUN)


@pytest.mark.parametrize("field", dataclasses.fields(FinetuneSettings), ids=lambda field: field.name)
def test_which_settings_make_another_fine_tuning(folder: Path, field: dataclasses.Field[Any]) -> None:
    base = FinetuneSettings(model=str(folder / "model"), train=str(folder / "train.tsv"), out="run")
    changed = dataclasses.replace(base, **{field.name: _another(field, folder)})
    same = field.name in {*SAME_RUN, "evaluate"}  # scored anew each time
    assert (finetune_identity(changed) == finetune_identity(base)) == same


def test_a_run_is_another_when_its_files_have_changed(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.txt", "h.txt")]
    for file in files:
        file.write_text("one\n")
    settings = PretrainSettings(out="run", corpus=(str(files[0]),), held_out=(str(files[1]),))
    before = pretrain_identity(settings)
    assert pretrain_identity(settings) == before
    for file in files:
        file.write_text("two\n")
        assert pretrain_identity(settings) != before
        file.write_text("one\n")


def test_a_run_is_compared_setting_by_setting(tmp_path: Path) -> None:
    """Also a setting that only one of them has, in either direction."""
    RunFolder(tmp_path / "run", {"seed": 1, "old": 2})
    for settings, key in (
        ({"seed": 1}, "old"),
        ({"seed": 1, "old": 2, "new": 3}, "new"),
        ({"seed": 2, "old": 2}, "seed"),
    ):
        with pytest.raises(FileExistsError, match=f"another run: its {key} is"):
            RunFolder(tmp_path / "run", settings)
    RunFolder(tmp_path / "run", {"old": 2, "seed": 1})
