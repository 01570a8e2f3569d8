"""Training: the optimizer against PyTorch's, and runs that survive everything a run can meet."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checks import PARITY_OUTPUTS

from minirembert import RemBertForMaskedLM, RemBertTokenizer
from minirembert.training.optimizer import AdamW, clip_gradients, learning_rate_at
from minirembert.training.pretrain import PretrainSettings, pretrain
from minirembert.training.run_folder import RunFolder

SMALL = {
    "vocab_size": 45, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "input_embedding_size": 8, "output_embedding_size": 20, "sequence_length": 16, "batch_size": 4, "warmup": 2,
}  # fmt: skip


def write_corpus(folder: Path) -> tuple[str, ...]:
    """Two small languages with some regularity in them."""
    rng = random.Random(0)
    words = {
        "a": ["the", "red", "blue", "cat", "dog", "sees", "eats", "likes", "big", "small", "fish", "bird"],
        "b": ["der", "rote", "blaue", "kater", "hund", "sieht", "frisst", "mag", "klein", "gross", "fisch", "vogel"],
    }
    files = []
    for language, lexicon in words.items():
        lines = (" ".join(rng.choice(lexicon) for _ in range(rng.randint(3, 9))) for _ in range(80))
        (folder / f"{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        files.append(str(folder / f"{language}.txt"))
    return tuple(files)


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[str, ...]:
    return write_corpus(tmp_path)


def settings(corpus: tuple[str, ...], out: Path, **changes: object) -> PretrainSettings:
    return PretrainSettings(out=str(out), corpus=corpus, **{**SMALL, "steps": 12, "checkpoint_every": 3, **changes})


def quietly(text: str) -> None:
    pass


# --- optimizer -------------------------------------------------------------------------------------------------------


def test_adamw_takes_the_steps_of_pytorch() -> None:
    rng = np.random.default_rng(3)
    ours = {"weight": rng.normal(size=(5, 7)), "cube": rng.normal(size=(2, 3, 4)), "bias": rng.normal(size=9)}
    theirs = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in ours.items()}
    decayed, free = [theirs["weight"], theirs["cube"]], [theirs["bias"]]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": free, "weight_decay": 0.0}]
    oracle = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-6)
    optimizer = AdamW(ours, weight_decay=0.1)
    for step in range(20):
        rate = 0.1 / (1 + step)
        gradients = {name: rng.normal(size=array.shape) * 10.0 ** rng.integers(-6, 3) for name, array in ours.items()}
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(gradients[name].copy())
        for group in oracle.param_groups:
            group["lr"] = rate
        oracle.step()
        optimizer.step(gradients, rate)
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name].detach().numpy(), rtol=PARITY_OUTPUTS)


def test_clipping_scales_all_gradients_alike_and_leaves_small_ones_alone() -> None:
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert clip_gradients(gradients, 5.0) == 5.0
    assert gradients["a"][0] == 3.0
    assert clip_gradients(gradients, 2.5) == 5.0
    np.testing.assert_array_equal(gradients["a"], [1.5, 0.0])
    np.testing.assert_array_equal(gradients["b"], [[2.0]])
    assert clip_gradients(gradients, 0.5) == 2.5  # a limit below 1
    np.testing.assert_array_equal(gradients["a"], [1.5 * (0.5 / 2.5), 0.0])
    assert clip_gradients(gradients, 0.4) == 0.5  # and a norm below 1
    np.testing.assert_array_equal(gradients["b"], [[2.0 * (0.5 / 2.5) * (0.4 / 0.5)]])


def _arrays(make: Callable[[Any], Any]) -> dict[str, Any]:
    """Parameters of many shapes as `make` lays them in memory."""
    rng = np.random.default_rng(5)
    return {str(shape): make(rng.normal(size=shape)) for shape in [(), (3,), (0, 4), (2, 3), (2, 3, 4), (2, 1, 3, 2)]}


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "as C has it": np.array,
    "as Fortran has it": np.asfortranarray,
    "with other axes first": lambda a: (
        a.transpose(np.argsort(np.arange(a.ndim)[::-1])).copy().T if a.ndim else a.copy()
    ),
    "every second number": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a.copy(),
    "backwards": lambda a: np.array(a[..., ::-1])[..., ::-1] if a.ndim else a.copy(),
    "a part of something": lambda a: np.pad(a, 1)[(slice(1, -1),) * a.ndim] if a.ndim else a.copy(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_adamw_updates_whatever_the_layout(layout: str) -> None:
    """Also the gradients may lie as they like. The oracle: the same numbers, contiguous, each array by itself in PyTorch."""
    ours = _arrays(LAYOUTS[layout])
    assert all(array.base is not None or array.ndim < 2 or layout.startswith("as") for array in ours.values())
    theirs = {name: torch.nn.Parameter(torch.from_numpy(np.array(array))) for name, array in ours.items()}
    groups = [{"params": [p], "weight_decay": 0.1 if p.ndim > 1 else 0.0} for p in theirs.values()]
    oracle = torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.999), eps=1e-6)
    optimizer = AdamW(ours, weight_decay=0.1)
    before = {name: np.array(array) for name, array in ours.items()}
    rng = np.random.default_rng(6)
    for _ in range(3):
        gradients = {name: rng.normal(size=array.shape) for name, array in ours.items()}
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(np.array(gradients[name]))
        oracle.step()
        optimizer.step({name: LAYOUTS[layout](np.array(g)) for name, g in gradients.items()}, 0.1)
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name].detach().numpy(), rtol=PARITY_OUTPUTS)
        assert array.size == 0 or (array != before[name]).all(), "every number has moved"

    again = {name: np.array(array) for name, array in before.items()}
    other = AdamW(again, weight_decay=0.1)
    other.load(optimizer.weights(), optimizer.state(), optimizer.step_count)
    for name, array in again.items():
        np.testing.assert_array_equal(array, ours[name])
        np.testing.assert_array_equal(other.v[name], optimizer.v[name])


@pytest.mark.parametrize(
    ("parameter", "error", "message"),
    [
        (np.arange(3), TypeError, "AdamW: w must be a NumPy array of floating-point numbers, got int64"),
        ([1.0], TypeError, "w must be a NumPy array of floating-point numbers, got list"),
        (np.float32(1), TypeError, "w must be a NumPy array of floating-point numbers, got float32"),
        (np.broadcast_to(np.ones(3), (2, 3)), ValueError, r"w cannot be written to \(shape \(2, 3\)\): pass a copy"),
        (np.lib.stride_tricks.as_strided(np.ones(3), (2, 3), (0, 8)), ValueError, r"w overlaps itself .*\(0, 8\)"),
        (np.lib.stride_tricks.as_strided(np.ones(4), (2, 3), (8, 8)), ValueError, r"w overlaps itself .*\(8, 8\)"),
    ],
)
def test_adamw_refuses_what_it_cannot_update(parameter: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        AdamW({"w": parameter})


def test_adamw_names_a_gradient_that_does_not_fit_and_writes_nothing() -> None:
    parameters = {"a": np.ones((2, 3)), "b": np.ones(3)}
    good = {name: np.ones_like(array) for name, array in parameters.items()}
    optimizer = AdamW(parameters)
    for gradients, message in (
        ({"a": good["a"]}, "there is no gradient for b"),
        ({**good, "b": np.ones(1)}, r"the gradient of b has shape \(1,\), expected \(3,\)"),
        ({**good, "c": np.ones(3)}, "there is a gradient for c, which is none of the parameters"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.step(gradients, 0.1)
    for weights, state, message in (
        ({"a": good["a"]}, optimizer.state(), "there is no saved array for b"),
        (good, {**optimizer.state(), "v.b": np.ones(1)}, r"the saved array of v.b has shape \(1,\), expected \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.load({name: 7 * array for name, array in weights.items()}, state, 1)
    assert optimizer.step_count == 0 and all((array == 1).all() for array in parameters.values())


def test_clipping_names_what_it_cannot_scale() -> None:
    good, scalar, fixed = np.ones(3), np.float32(3), np.ones(2)
    fixed.flags.writeable = False
    for bad in (scalar, fixed):
        with pytest.raises(TypeError, match="the gradient of b cannot be scaled in place"):
            clip_gradients({"a": good, "b": bad}, 0.5)
    for limit in (0.0, -1.0, float("nan"), True):
        with pytest.raises(ValueError, match=f"max_norm must be above 0, got {limit}"):
            clip_gradients({"a": good}, limit)
    assert (good == 1).all()
    point = np.array(3.0)
    assert clip_gradients({"a": point, "b": np.array([[0.0, 4.0]]).T}, 2.5) == 5
    assert point == 1.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_stops_the_run_and_is_named(bad: float) -> None:
    with pytest.raises(FloatingPointError, match="first in head"):
        clip_gradients({"body": np.ones(2), "head": np.array([1.0, bad])}, 1.0)


def test_the_learning_rate_rises_and_falls_in_straight_lines() -> None:
    rates = [learning_rate_at(step, peak=2.0, warmup=4, total=12) for step in range(12)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]


# --- resuming --------------------------------------------------------------------------------------------------------


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def command(corpus: tuple[str, ...], out: Path, steps: int = 40) -> list[str]:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    return [
        sys.executable, "-m", "minirembert", "pretrain", "--corpus", *corpus, f"--out={out}", f"--steps={steps}",
        "--checkpoint-every=2", "--evaluate-every=7", *options,
    ]  # fmt: skip


ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def test_killed_ten_times_it_ends_with_the_same_bits(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    start = time.perf_counter()
    subprocess.run(command(corpus, whole), check=True, capture_output=True, env=ENVIRONMENT)
    duration = time.perf_counter() - start

    rng = random.Random(os.environ.get("KILL_SEED", "kill"))
    kills = 0
    while kills < 10:
        process = subprocess.Popen(
            command(corpus, torn), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=rng.uniform(0.1, 0.9) * duration)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert process.returncode == 0
        if kills < 10:  # it finished: start over, so that ten runs really are killed
            assert weights(torn) == weights(whole)
            torn = tmp_path / f"torn-{kills}"
    finished = subprocess.run(command(corpus, torn), capture_output=True, text=True, env=ENVIRONMENT)
    assert finished.returncode == 0, finished.stderr
    assert weights(torn) == weights(whole)

    # The metrics, too, are those of one run: every step once, in order, with the same losses.
    records = [json.loads(line) for line in (torn / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    for record in records + expected:
        record.pop("tokens_per_second", None)
    assert records == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_the_same_command_goes_on(
    tmp_path: Path, corpus: tuple[str, ...], number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(corpus, out, steps=2000), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "the same command goes on" in stderr
    (checkpoint,) = out.glob("checkpoints/step-*")
    step = int(checkpoint.name.removeprefix("step-"))
    assert f"after step {step} of 2000" in stderr
    assert not (out / "model.safetensors").exists(), "an unfinished run must not look finished"


def test_a_finished_run_can_be_run_again_and_changes_nothing(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    first = pretrain(settings(corpus, tmp_path / "run"), say=quietly)
    before = weights(tmp_path / "run")
    said: list[str] = []
    second = pretrain(settings(corpus, tmp_path / "run"), say=said.append)
    assert weights(tmp_path / "run") == before
    assert said.count(f"already finished: {tmp_path / 'run'} has all 12 steps") == 1
    assert first.held_out_loss == second.held_out_loss


def test_how_often_a_checkpoint_is_written_does_not_change_the_result(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    pretrain(settings(corpus, tmp_path / "often", checkpoint_every=1, evaluate_every=2), say=quietly)
    pretrain(settings(corpus, tmp_path / "seldom", checkpoint_every=100, evaluate_every=100), say=quietly)
    assert weights(tmp_path / "often") == weights(tmp_path / "seldom")


def test_dropout_resumes_to_the_same_bits(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    pretrain(settings(corpus, whole, dropout=0.2), say=quietly)

    def stop_at_evaluation(self: RunFolder, **values: object) -> None:
        if "held_out_loss_all" in values:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "record", stop_at_evaluation)
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings(corpus, torn, dropout=0.2, evaluate_every=7), say=quietly)
    assert not (torn / "model.safetensors").exists()
    pretrain(settings(corpus, torn, dropout=0.2), say=quietly)
    assert weights(torn) == weights(whole)
    without = tmp_path / "without"
    pretrain(settings(corpus, without), say=quietly)
    assert weights(without) != weights(whole)


# --- folders that are not ours ---------------------------------------------------------------------------------------


def test_a_folder_with_another_run_is_refused_and_left_alone(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    out = tmp_path / "run"
    pretrain(settings(corpus, out), say=quietly)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="another run: its seed is 0, this one's is 5"):
        pretrain(settings(corpus, out, seed=5), say=quietly)
    Path(corpus[0]).write_text("some other text\n" * 50, encoding="utf-8")
    with pytest.raises(FileExistsError, match="another run: its content"):
        pretrain(settings(corpus, out), say=quietly)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_with_anything_else_is_refused(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    out = tmp_path / "home"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a run of minirembert"):
        pretrain(settings(corpus, out), say=quietly)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_run_killed_while_it_wrote_its_first_file_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.123.tmp").write_text("{")
    RunFolder(tmp_path / "run", {"a": 1})
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.json", ".lock"}


def strangers(run: Path) -> dict[Path, bytes | None]:
    """Puts into a run's folders what people and systems leave there. Path -> content, None for a folder."""
    checkpoints = run / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    (ours,) = [path for path in checkpoints.iterdir() if path.is_dir()] or [None]
    copy = checkpoints / "step-000002-backup"
    shutil.copytree(ours, copy) if ours else copy.mkdir()
    for name in ("step-2", "step-x", "step-", "step-000009.bak", "step-0000009", "step-000011 copy", "old"):
        shutil.copytree(copy, checkpoints / name)
    (checkpoints / "step-000010").mkdir()  # a name of ours, and nothing in it
    for name in (
        "step-000007",
        ".DS_Store",
        "._step-000002",
        "step-000002.tmp",
        "step-٠٠٠٠٠٩",
        "notes.tmp",
        ".mine.tmp",
    ):
        (checkpoints / name).write_bytes(b"not ours")
    (checkpoints / "step-000008").symlink_to(copy, target_is_directory=True)
    (checkpoints / ".link.1.tmp").symlink_to(copy, target_is_directory=True)
    (checkpoints / "step-000005").symlink_to("nowhere")
    for name in (
        ".DS_Store",
        "._run.json",
        ".mine.tmp",
        "model-00001-of-00002.safetensors.bak",
        "model (copy).safetensors",
    ):
        (run / name).write_bytes(b"not ours")
    return {
        path: None if path.is_dir() else str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for path in run.rglob("*")
        if ours is None or not path.is_relative_to(ours)
        if path.name not in ("run.json", "metrics.jsonl", ".lock")
    }


def still_there(before: dict[Path, bytes | None]) -> bool:
    return all(
        path.is_dir() if content is None
        else str(path.readlink()).encode() == content if path.is_symlink()
        else path.read_bytes() == content
        for path, content in before.items()
    )  # fmt: skip


def test_a_run_leaves_alone_what_is_not_its_own(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    """Stopped, joined by strangers, gone on with, finished, and started again."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    pretrain(settings(corpus, whole), say=quietly)
    wanted = weights(whole)

    def stop(self: RunFolder, optimizer: AdamW) -> None:
        save(self, optimizer)
        if optimizer.step_count == 6:
            raise KeyboardInterrupt

    save = RunFolder.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings(corpus, out), say=quietly)
    before = strangers(out)
    pretrain(settings(corpus, out), say=quietly)
    assert weights(out) == wanted
    said: list[str] = []
    pretrain(settings(corpus, out), say=said.append)
    assert said.count(f"already finished: {out} has all 12 steps") == 1
    assert weights(out) == wanted
    assert still_there(before)
    with RunFolder(tmp_path / "new", {"a": 1}) as folder:
        before = strangers(tmp_path / "new")
        assert folder.latest_step() == 0
    RunFolder(tmp_path / "new", {"a": 1})
    assert still_there(before)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_stands_in_the_place_of_a_checkpoint_is_named_before_the_first_step(
    tmp_path: Path, corpus: tuple[str, ...], kind: str
) -> None:
    out = tmp_path / "run"
    pretrain(settings(corpus, out, checkpoint_every=12), say=quietly)
    place = out / "checkpoints" / "step-000012"
    shutil.rmtree(place)
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder":
        (place / "mine").mkdir(parents=True)
    else:
        place.symlink_to(corpus[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemBertForMaskedLM, "loss_and_gradients", None)
        with pytest.raises(FileExistsError, match="step-000012 is no checkpoint of this run, and one has to go there"):
            pretrain(settings(corpus, out, checkpoint_every=12), say=quietly)
    assert place.is_symlink() or place.exists()


def test_a_checkpoint_of_which_half_is_gone_is_named(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    """It is not taken for a stranger: the run would begin again without a word."""
    pretrain(settings(corpus, tmp_path / "run"), say=quietly)
    (tmp_path / "run" / "checkpoints" / "step-000012" / "optimizer.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"step-000012/optimizer\.safetensors does not exist"):
        pretrain(settings(corpus, tmp_path / "run"), say=quietly)


def test_a_run_writes_nothing_that_is_no_json(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    made_of = {"clip": float("inf"), "path": Path("a"), "many": (1, np.int64(2)), "switch": np.bool_(True)}
    for _ in range(2):  # the second time, it is the same run
        with RunFolder(tmp_path / "run", made_of) as folder:
            folder.record(step=np.int64(1), loss=float("nan"), rate=np.float32(0.5))
    text = (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == {"clip": "inf", "path": "a", "many": [1, 2], "switch": True}
    for line in folder.metrics_path.read_text(encoding="utf-8").splitlines():
        assert json.loads(line, parse_constant=refuse) == {"step": 1, "loss": None, "rate": 0.5}
    folder.path.joinpath("run.json").write_text(text.replace('"inf"', "Infinity"), encoding="utf-8")
    RunFolder(tmp_path / "run", made_of)  # as older versions wrote it
    with pytest.raises(ValueError, match=r"scores\.json\.de\.accuracy is nan"):
        folder.write_json("scores.json", {"de": {"accuracy": float("nan")}})
    assert not (tmp_path / "run" / "scores.json").exists()
    folder.write_json(
        "scores.json", {"\udcff": 1, "字": 2}
    )  # the first is how Python spells a file's name that is not UTF-8
    assert json.loads((tmp_path / "run" / "scores.json").read_bytes()) == {"\udcff": 1, "字": 2}
    folder.metrics_path.write_text('{"step": 1, "step": 2}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1 is damaged: not JSON \(the key 'step' stands there twice"):
        folder.metrics()


def test_the_generated_corpus_has_its_own_files_only(tmp_path: Path) -> None:
    from minirembert.corpus import LANGUAGES, write_corpus
    from minirembert.training.pretrain import _with_generated_corpus

    write_corpus(tmp_path / "corpus", 40, seed=0)
    for name in ("._en.txt", ".hidden.txt", "en (copy).txt", "notes.txt"):
        (tmp_path / "corpus" / "train" / name).write_bytes(b"\x00\x05\xff")
    made = _with_generated_corpus(settings((), tmp_path / "run"), tmp_path / "corpus", quietly)
    assert made.corpus == tuple(str(tmp_path / "corpus" / "train" / f"{name}.txt") for name in sorted(LANGUAGES))


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run", {"a": 1})
    with pytest.raises(BlockingIOError, match="another process is training in"):
        RunFolder(tmp_path / "run", {"a": 1})
    del first
    RunFolder(tmp_path / "run", {"a": 1})


def test_a_disk_that_fills_up_leaves_the_previous_checkpoint(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    """A real one: the process may not write files beyond a size that the second checkpoint passes."""
    out = tmp_path / "run"
    pretrain(settings(corpus, out, steps=12), say=quietly)
    before = weights(out)
    (checkpoint,) = out.glob("checkpoints/step-*")
    program = f"""
import json, resource, signal, sys
from pathlib import Path
from minirembert import RemBertForMaskedLM
from minirembert.training.optimizer import AdamW
from minirembert.training.run_folder import RunFolder

out = Path({str(out)!r})
model = RemBertForMaskedLM.from_pretrained(out)
optimizer = AdamW(model.parameters)
folder = RunFolder(out, json.loads((out / "run.json").read_text()))
assert folder.restore(optimizer) == 12
optimizer.step_count = 13
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for save in (lambda: folder.save(optimizer), lambda: model.save_pretrained(out)):
    try:
        save()
    except OSError as error:
        print(error)
    else:
        sys.exit("the disk was not full")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("could not write") == 2
    assert [path.name for path in out.glob("checkpoints/*")] == [checkpoint.name]
    assert not list(out.glob("checkpoints/.*")) and not list(out.glob(".*.tmp"))
    assert weights(out) == before


# --- input that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no text"),
        (b" \n\t\n", "has no text"),
        ("ein Satz\nGrüße\n".encode("latin-1"), r"not UTF-8: byte 11 \(line 2\) is 0xfc"),
        (b"one line\n", "too few to hold out"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_before_anything_is_written(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        pretrain(settings((str(tmp_path / "x.txt"),), tmp_path / "run"), say=quietly)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"warmup": 12}, "warmup must lie between 0 and steps - 1 = 11, got 12"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0.0"),
        ({"sequence_length": 2}, "sequence_length must be at least 3"),
        ({"num_attention_heads": 3}, r"hidden_size must be a multiple of num_attention_heads \(3\), got 16"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"alpha": float("nan")}, "alpha must be at least 0 and finite, got nan"),
        ({"alpha": float("inf")}, "alpha must be at least 0 and finite, got inf"),
        ({"alpha": -1.0}, "alpha must be at least 0 and finite, got -1.0"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0 and finite, got inf"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0 and finite, got nan"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0 and finite, got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1.0"),
        ({"initializer_range": float("nan")}, "initializer_range must be above 0 and finite, got nan"),
        ({"initializer_range": -1.0}, "initializer_range must be above 0 and finite, got -1.0"),
        ({"initializer_range": 0.0}, "initializer_range must be above 0 and finite, got 0.0"),
        ({"clip": float("nan")}, "clip must be above 0, got nan"),
        ({"dropout": float("nan")}, "dropout must be at least 0 and below 1, got nan"),
        ({"tokenizer": "nowhere"}, "nowhere"),
        ({"vocab_size": 4000}, "vocab_size 4000 is too large"),
    ],
)
def test_settings_that_make_no_sense_are_named(
    tmp_path: Path, corpus: tuple[str, ...], change: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        pretrain(settings(corpus, tmp_path / "run", **change), say=quietly)
    assert not (tmp_path / "run").exists(), "the corrected command must find a free folder"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 50, "num_attention_heads": 4}, r"hidden_size must be a multiple of num_attention_heads \(4\)"),
        ({"vocab_size": 3}, "vocab_size must be an integer above 5, the special tokens, got 3"),
        ({"character_coverage": 0.5}, "character_coverage must be between 0.98 and 1, got 0.5"),
        ({"intermediate_size": 0}, "intermediate_size must be a positive integer, got 0"),
    ],
)
def test_sizes_are_looked_at_before_any_work(tmp_path: Path, change: dict[str, object], message: str) -> None:
    said: list[str] = []
    with pytest.raises(ValueError, match=message):  # no corpus: the generated one would be written first
        pretrain(settings((), tmp_path / "run", **change), say=said.append)
    assert said == []


def test_characters_for_which_there_is_no_room(tmp_path: Path) -> None:
    """The message names an option, and following it helps."""
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 30)))
    (tmp_path / "x.txt").write_text("the cat sees the dog\n" * 200 + rare + "\n", encoding="utf-8")
    corpus = (str(tmp_path / "x.txt"),)
    with pytest.raises(ValueError, match=r"raise it, or lower character_coverage \(now 0.9995\)"):
        pretrain(settings(corpus, tmp_path / "run", vocab_size=18, steps=3), say=quietly)
    changed = settings(corpus, tmp_path / "run", vocab_size=18, steps=3, character_coverage=0.98)
    assert len(pretrain(changed, say=quietly).tokenizer) == 18


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_fails_before_its_first_checkpoint_leaves_no_folder(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    wild = {"learning_rate": 1e38, "initializer_range": 1e3, "warmup": 0}
    with pytest.raises(FloatingPointError):
        pretrain(settings(corpus, tmp_path / "run", **wild, checkpoint_every=12), say=quietly)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("run.json", b'{"seed": ', "run.json is damaged: not JSON"),
        ("run.json", b"\xff", "run.json is damaged: not JSON"),
        ("run.json", b"[1]", "run.json is damaged: it should hold a JSON object, found list"),
        ("metrics.jsonl", b'{"step": 1}\nnonsense\n', "metrics.jsonl, line 2 is damaged: not JSON"),
        ("metrics.jsonl", b'{"loss": 1}\n', "metrics.jsonl, line 1 is damaged: it has no step"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    tmp_path: Path, corpus: tuple[str, ...], name: str, damage: bytes, message: str
) -> None:
    pretrain(settings(corpus, tmp_path / "run", steps=3), say=quietly)
    (tmp_path / "run" / name).write_bytes(damage)
    with pytest.raises(ValueError, match=message):
        pretrain(settings(corpus, tmp_path / "run", steps=3), say=quietly)
    assert (tmp_path / "run" / name).read_bytes() == damage


# --- what comes out --------------------------------------------------------------------------------------------------


def test_a_run_with_the_tokenizer_of_another_run(
    tmp_path: Path, corpus: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Its limit is that of the other model. Lines are joined and cut here, so a long one is nothing to warn of."""
    for tokenizer, length in ((None, 12), (str(tmp_path / "run-12"), 16)):
        out = tmp_path / f"run-{length}"
        pretrain(settings(corpus, out, steps=3, tokenizer=tokenizer, sequence_length=length), say=quietly)
        assert RemBertTokenizer.from_pretrained(out).model_max_length == length
    assert not caplog.records


def test_the_result_loads_and_scores_the_loss_it_was_given(tmp_path: Path, corpus: tuple[str, ...]) -> None:
    result = pretrain(settings(corpus, tmp_path / "run", steps=100), say=quietly)
    model = RemBertForMaskedLM.from_pretrained(tmp_path / "run")
    tokenizer = RemBertTokenizer.from_pretrained(tmp_path / "run")
    for name, array in result.model.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], array)
    assert len(tokenizer) == model.config.vocab_size
    assert len(tokenizer("the red cat " * 20, truncation=True)["input_ids"]) == model.config.max_position_embeddings
    assert (tmp_path / "run" / "loss.png").stat().st_size > 1000
    assert result.held_out_loss < np.log(len(tokenizer)), "a hundred steps beat guessing"
    assert set(result.held_out_loss_by_language) == {"a", "b"}
    last = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["held_out_loss_all"] == result.held_out_loss
