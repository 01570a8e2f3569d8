"""The model on Triton against the model on NumPy: one set of weights, the same outputs, gradients and training steps.

There is one set of model files. What is compared here is everything under them: the op tables, the tape over them, dropout,
the optimizers, and the way of arrays in and out.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from checks import FLOOR, MULTIPLE, PARITY_FLOAT32, PARITY_GRADIENTS, PARITY_OUTPUTS, assert_within, largest_in_row
from models import TASKS, make_batch, make_model
from test_against_transformers import hugging_face, tensors
from test_training import SMALL, quietly, write_corpus

from kernels._launch import DEVICE, INTERPRETED
from minirembert import RemBertForMaskedLM, RemBertForTokenClassification
from minirembert.backend import load_backend
from minirembert.cli import main
from minirembert.tape import Tape
from minirembert.training.optimizer import clip_gradients
from minirembert.training.pretrain import PretrainSettings, pretrain

LIMIT = {"float64": PARITY_OUTPUTS, "float32": PARITY_FLOAT32}
GRADIENT_LIMIT = {"float64": PARITY_GRADIENTS, "float32": PARITY_FLOAT32}


def on_triton(model: Any, dtype: str | None = None) -> Any:
    """A model of the same class, configuration and weights, on the kernels."""
    twin = type(model)(model.config, dtype=dtype or str(model.dtype), backend="triton")
    twin.parameters = {name: twin.backend.array(array.copy()) for name, array in model.parameters.items()}
    return twin


def assert_close(model: Any, actual: Any, expected: np.ndarray, limit: float, what: str) -> None:
    """Equal to `limit`, relative to the largest entry along the last axis."""
    assert isinstance(actual, torch.Tensor), f"{what}: {type(actual)}"
    assert actual.dtype == model.dtype, f"{what}: {actual.dtype}"
    assert actual.device.type == DEVICE.type
    assert_within(model.backend.numpy(actual), expected, limit * largest_in_row(np.abs(expected)), what, None)


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in TASKS), ("masked lm", "float32"), ("multi label", "float32")]
)
def test_every_model_gives_the_same_outputs_and_gradients(name: str, dtype: str) -> None:
    model, batch = make_model(TASKS[name], dtype=dtype), make_batch(TASKS[name])
    twin = on_triton(model)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    ours, theirs = model(**batch, **wanted), twin(**batch, **wanted)
    assert list(ours.keys()) == list(theirs.keys())
    for field in ours:
        pairs = (
            [(ours[field], theirs[field])]
            if not isinstance(ours[field], tuple)
            else zip(ours[field], theirs[field], strict=True)
        )
        for layer, (expected, actual) in enumerate(pairs):
            if field == "loss":
                assert_within(float(actual), float(expected), LIMIT[dtype] * abs(float(expected)), "loss", None)
            else:
                assert_close(twin, actual, expected, LIMIT[dtype], f"{field} {layer}")
    if TASKS[name].labels:
        loss, expected_gradients = model.loss_and_gradients(**batch)
        twin_loss, gradients = twin.loss_and_gradients(**batch)
        assert_within(twin_loss, loss, LIMIT[dtype] * abs(loss), "loss", None)
        assert gradients.keys() == expected_gradients.keys() == twin.parameters.keys()
        assert_gradients(twin, gradients, expected_gradients, GRADIENT_LIMIT[dtype], np.finfo(dtype).eps)


def assert_gradients(model: Any, gradients: Any, expected: dict[str, np.ndarray], limit: float, eps: float) -> None:
    """Of every parameter. Some are zero in theory (a key's bias) and rounding noise in practice: no entry can be asked to
    be better than a few last places of the model's largest gradient."""
    noise = FLOOR * eps * max(np.abs(g).max() for g in expected.values())
    for name, gradient in gradients.items():
        assert gradient.dtype == model.dtype, f"gradient of {name}: {gradient.dtype}"
        allowed = max(limit * np.abs(expected[name]).max(), noise)
        assert_within(model.backend.numpy(gradient), expected[name], allowed, f"gradient of {name}", None)


def test_a_batch_that_is_padded_on_the_right_is_masked_by_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only such a batch: the kernels then skip the padding instead of reading a mask."""
    model, batch = make_model(TASKS["masked lm"]), make_batch(TASKS["masked lm"], with_labels=False)
    seen = []
    forward = model.ops["attention"].forward
    spy = model.ops["attention"]._replace(
        forward=lambda *a, **s: (seen.append((s["bias"] is None, s["key_lengths"])), forward(*a, **s))[1]
    )
    model.ops = {**model.ops, "attention": spy}
    model(**batch)
    right = {**batch, "attention_mask": (np.arange(17) < np.array([[17], [4], [0]])).astype(int)}
    model(**right)
    layers = model.config.num_hidden_layers
    assert seen[:layers] == [(False, None)] * layers
    assert all(no_bias and lengths.tolist() == [17, 4, 0] for no_bias, lengths in seen[layers:])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ten_training_steps_give_the_same_losses(dtype: str) -> None:
    """With dropout: both draw the same masks, from the seed and the element's number."""
    task = TASKS["masked lm"]
    model = make_model(task, size="head size 1", dtype=dtype, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    twin = on_triton(model)
    losses = []
    for each in (model, twin):
        optimizer = each.backend.adamw(each.parameters, weight_decay=0.01)
        trace = []
        for step in range(10):
            loss, gradients = each.loss_and_gradients(**make_batch(task, "head size 1", seed=step), dropout_seed=step)
            norm = clip_gradients(gradients, 1.0, each.backend.norm)
            optimizer.step(gradients, 0.01)
            trace.append((loss, norm))
        losses.append(np.array(trace))
    assert len(set(losses[0][:, 0])) == 10
    assert_within(losses[1], losses[0], LIMIT[dtype] * losses[0], "(loss, gradient norm) of ten steps", None)
    for name, array in twin.parameters.items():
        scale = LIMIT[dtype] * (1 + np.abs(model.parameters[name]).max())
        assert_within(twin.backend.numpy(array), model.parameters[name], scale, f"{name} after ten steps", None)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["masked lm", "question answering"])
def test_in_half_precision_it_is_as_good_as_transformers(name: str, dtype: str) -> None:
    """The truth is float64, of weights that half precision holds; transformers in half precision says what error is honest."""
    task = TASKS[name]
    exact, batch = make_model(task), make_batch(task)
    for array in exact.parameters.values():
        array[...] = torch.from_numpy(array).to(getattr(torch, dtype)).double().numpy()
    twin = on_triton(exact, dtype)
    baseline = hugging_face(exact).to(getattr(torch, dtype))
    truth, ours = exact(**batch), twin(**batch)
    theirs = baseline(**tensors(batch, dtype))
    theirs.loss.backward()
    eps = float(torch.finfo(getattr(torch, dtype)).eps)
    for field in (f for f in truth if f != "loss"):
        expected = truth[field]
        error = np.abs(theirs[field].detach().double().numpy() - expected).max()
        allowed = MULTIPLE * error + FLOOR * eps * np.abs(expected).max()
        assert_within(twin.backend.numpy(ours[field]), expected, allowed, f"{field} ({dtype})", None)
    loss, gradients = twin.loss_and_gradients(**batch)
    expected_loss, expected_gradients = exact.loss_and_gradients(**batch)
    error = abs(theirs.loss.item() - expected_loss)
    assert_within(loss, expected_loss, MULTIPLE * error + FLOOR * eps * abs(expected_loss), f"loss ({dtype})", None)
    assert ours.loss.dtype == torch.float32
    noise = FLOOR * eps * max(np.abs(g).max() for g in expected_gradients.values())
    for parameter_name, parameter in baseline.named_parameters():
        expected = expected_gradients[parameter_name]
        theirs_error = 0.0 if parameter.grad is None else np.abs(parameter.grad.double().numpy() - expected).max()
        allowed = MULTIPLE * theirs_error + FLOOR * eps * np.abs(expected).max() + noise
        got = twin.backend.numpy(gradients[parameter_name])
        assert_within(got, expected, allowed, f"gradient of {parameter_name} ({dtype})", None)


def test_the_tape_is_the_same_for_tensors() -> None:
    """An array used twice gets both gradients, one that is not used gets zeros: on tensors as on arrays."""
    backend = load_backend("triton", "float64")
    x, unused = backend.array(np.arange(6.0).reshape(2, 3)), backend.array(np.ones(2))
    tape = Tape(backend.ops)
    y = tape.add(tape.scale(x, 2.0), x)
    gradients = tape.gradients(y, backend.array(np.ones((2, 3))), of={"x": x, "unused": unused})
    assert backend.numpy(gradients["x"]).tolist() == [[3.0] * 3] * 2
    assert backend.numpy(gradients["unused"]).tolist() == [0.0, 0.0]


# --- files, training runs -----------------------------------------------------------------------------------------------


def test_weights_go_from_one_backend_to_the_other_through_a_folder(tmp_path: Any) -> None:
    task = TASKS["masked lm"]
    model, batch = make_model(task, dtype="float32"), make_batch(task, with_labels=False)
    model.save_pretrained(tmp_path / "numpy")
    twin = RemBertForMaskedLM.from_pretrained(tmp_path / "numpy", backend="triton", dtype="float32", device=str(DEVICE))
    assert_close(twin, twin(**batch).logits, model(**batch).logits, PARITY_FLOAT32, "logits")
    twin.save_pretrained(tmp_path / "triton")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "numpy" / name).read_bytes() == (tmp_path / "triton" / name).read_bytes()


def test_half_precision_is_saved_as_float32(tmp_path: Any) -> None:
    """What NumPy can read; no digit is lost."""
    model = on_triton(make_model(TASKS["masked lm"], dtype="float32"), "bfloat16")
    model.save_pretrained(tmp_path)
    again = RemBertForMaskedLM.from_pretrained(tmp_path)
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], model.backend.numpy(array))


def test_the_same_seed_gives_the_same_fresh_weights() -> None:
    config = make_model(TASKS["masked lm"]).config
    ours, theirs = (RemBertForMaskedLM(config, seed=5, backend=name) for name in ("numpy", "triton"))
    for name, array in ours.parameters.items():
        np.testing.assert_array_equal(theirs.backend.numpy(theirs.parameters[name]), array)
    assert ours.num_parameters() == theirs.num_parameters()


def test_half_precision_trains_with_float32_master_weights() -> None:
    """Steps far smaller than the last place of a bfloat16 weight add up; the model's weights are the masters, rounded."""
    backend = load_backend("triton", "bfloat16")
    weights = {"w": backend.array(np.ones((3, 5), np.float32))}
    optimizer = backend.adamw(weights, weight_decay=0.0)
    gradient = backend.array(np.ones((3, 5), np.float32))
    for _ in range(40):
        optimizer.step({"w": gradient}, 1e-4)
    expected = 1 - 40 * 1e-4  # a constant gradient: every step is the learning rate
    assert weights["w"].dtype == torch.bfloat16
    eps = np.finfo(np.float32).eps
    assert_within(optimizer.weights()["w"], np.full((3, 5), expected), 40 * FLOOR * eps, "master", None)
    half = float(torch.finfo(torch.bfloat16).eps)
    assert_within(backend.numpy(weights["w"]), np.full((3, 5), expected), half, "weights", None)
    assert (backend.numpy(weights["w"]) < 1).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_optimizer_that_was_saved_goes_on_with_the_same_bits(dtype: str) -> None:
    backend = load_backend("triton", dtype)
    rng = np.random.default_rng(0)
    start = {"w": rng.standard_normal((4, 7)).astype(np.float32), "b": rng.standard_normal(3).astype(np.float32)}
    gradients = [{n: backend.array(rng.standard_normal(a.shape)) for n, a in start.items()} for _ in range(4)]

    def run(cut: bool) -> list[np.ndarray]:
        weights = {name: backend.array(a.copy()) for name, a in start.items()}
        optimizer = backend.adamw(weights)
        for i, gradient in enumerate(gradients):
            if cut and i == 2:
                saved = (
                    {n: a.copy() for n, a in optimizer.weights().items()},
                    {n: a.copy() for n, a in optimizer.state().items()},
                )
                weights = {name: backend.array(a * 0) for name, a in start.items()}
                optimizer = backend.adamw(weights)
                optimizer.load(*saved, step_count=2)
            optimizer.step(gradient, 0.1)
        return [backend.numpy(w).copy() for w in weights.values()] + list(optimizer.weights().values())

    for whole, cut in zip(run(False), run(True), strict=True):
        np.testing.assert_array_equal(whole, cut)


def test_pretraining_and_finetuning_on_triton_from_the_command_line(tmp_path: Any) -> None:
    corpus = write_corpus(tmp_path)
    metrics = {}
    for backend in ("numpy", "triton"):
        settings = {**SMALL, "steps": 3, "dropout": 0.1, "backend": backend, "dtype": "float32"}
        result = pretrain(PretrainSettings(out=str(tmp_path / backend), corpus=corpus, **settings), say=quietly)
        lines = (tmp_path / backend / "metrics.jsonl").read_text().splitlines()
        metrics[backend] = [json.loads(line) for line in lines] + [{"held_out_loss": result.held_out_loss}]
    assert len(metrics["numpy"]) == len(metrics["triton"]) > 1
    for ours, theirs in zip(metrics["numpy"], metrics["triton"], strict=True):
        for name, value in ours.items():
            if name not in ("step", "tokens_per_second"):
                assert_within(theirs[name], value, PARITY_FLOAT32 * abs(value), name, None)
    train = tmp_path / "train.tsv"
    train.write_text("text\tlabel\n" + "the red cat sees\tcat\nbig dog eats\tdog\n" * 4, encoding="utf-8")
    arguments = ["--model", str(tmp_path / "triton"), "--train", str(train), "--evaluate", str(train), "--epochs=1"]
    scores = {}
    for backend in ("numpy", "triton"):
        out = tmp_path / f"finetuned-{backend}"
        options = ["--out", str(out), "--backend", backend, "--dtype", "float32"]
        assert main(["finetune", *arguments, *options]) == 0
        scores[backend] = json.loads((out / "scores.json").read_text())
    assert scores["numpy"] == scores["triton"]


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "cuda"}, "backend must be one of numpy, triton, got 'cuda'"),
        ({"dtype": "bfloat16"}, "dtype must be one of float32, float64 with backend 'numpy', got 'bfloat16'"),
        ({"device": "cuda"}, "backend 'numpy' computes on the cpu, got device 'cuda'"),
        ({"backend": "triton", "dtype": "int8"}, "dtype must be one of .*, float64 with backend 'triton', got 'int8'"),
        (
            {"backend": "triton", "device": "cuda" if INTERPRETED else "cpu"},
            "backend 'triton' computes on (cpu|cuda) because they are .*, got device",
        ),
    ],
)
def test_a_backend_that_does_not_exist(settings: dict[str, str], message: str) -> None:
    config = make_model(TASKS["masked lm"]).config
    with pytest.raises(ValueError, match=message):
        RemBertForTokenClassification(config, **settings)


def test_triton_that_is_not_installed_is_said_in_one_sentence() -> None:
    import subprocess
    import sys

    program = (
        "import sys; sys.modules['triton'] = None\n"
        "from minirembert.backend import load_backend\n"
        "try: load_backend('triton', 'float32')\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert said.startswith("backend 'triton' needs torch and triton: pip install torch triton")
