"""No labels weigh nothing: a batch in which there is nothing to guess changes no mean, and what is written is JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_finetune import conllu

from minirembert import RemBertConfig, RemBertForMaskedLM
from minirembert.figures import save_loss_curve
from minirembert.ops.losses import IGNORE_INDEX
from minirembert.training.finetune import FinetuneSettings, finetune
from minirembert.training.pretrain import PretrainSettings, held_out_losses, pretrain

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

SIZES = {
    "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
    "input_embedding_size": 4, "output_embedding_size": 10,
}  # fmt: skip
TEXT = ["the red cat sees a dog", "no bird eats the blue fish", "four words make five"] * 4


def quietly(text: str) -> None:
    pass


def strict(text: str) -> Any:
    def refused(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refused)


def batch(labelled: int, rows: int = 2) -> dict[str, Any]:
    """Sequences of 6 tokens, of which `labelled` in the first are to be guessed."""
    ids = np.random.default_rng(labelled).integers(5, 40, (rows, 6))
    labels = np.full_like(ids, IGNORE_INDEX)
    labels[0, :labelled] = ids[0, :labelled]
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": labels}


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_a_batch_of_special_tokens_changes_no_mean() -> None:
    model = RemBertForMaskedLM(RemBertConfig(**SIZES), dtype="float64")
    some = [("a", batch(3)), ("a", batch(1)), ("b", batch(4))]
    with_nothing = [("a", batch(0)), *some, ("b", batch(0, rows=1)), ("c", batch(0))]
    losses = held_out_losses(model, with_nothing)
    assert losses == held_out_losses(model, some)
    one, other, third = (model.loss(**inputs) for _, inputs in some)
    np.testing.assert_allclose(losses["a"], (3 * one + other) / 4, rtol=1e-14)  # a sum of two in float64
    np.testing.assert_allclose(losses["all"], (3 * one + other + 4 * third) / 8, rtol=1e-14)  # of three
    assert "c" not in losses
    assert held_out_losses(model, [("a", batch(0))]) == {}


def write(folder: Path, name: str, lines: list[str]) -> str:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def settings(folder: Path, held_out: list[str], **changes: Any) -> PretrainSettings:
    corpus = tuple(write(folder, f"{name}.txt", TEXT) for name in ("a", "b"))
    (folder / "h").mkdir()
    files = tuple(
        write(folder / "h", f"{name}.txt", lines) for name, lines in zip("ab", ([*TEXT], held_out), strict=True)
    )
    return PretrainSettings(
        out=str(folder / "run"), corpus=corpus, held_out=files, sequence_length=12, steps=2, batch_size=2, evaluate_every=1,
        **{**SIZES, **changes},
    )  # fmt: skip


def test_held_out_text_with_nothing_to_guess(tmp_path: Path) -> None:
    """Special tokens that stand in a text are special there, too: nobody is asked to guess them."""
    said: list[str] = []
    result = pretrain(settings(tmp_path, ["[MASK]", "[SEP][MASK]"]), say=said.append)
    assert result.held_out_loss_by_language.keys() == {"a"}
    assert result.held_out_loss == result.held_out_loss_by_language["a"] > 0
    assert "b: the held-out text has nothing to guess, so it has no loss of its own" in said
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        strict(line)
    records = [record for record in result.metrics if "held_out_loss_all" in record]
    assert [record["step"] for record in records] == [1, 2] and not any(
        "held_out_loss_b" in record for record in records
    )


def test_one_batch_of_special_tokens_among_others(tmp_path: Path) -> None:
    result = pretrain(
        settings(tmp_path, ["[MASK]", "[SEP]", "the red cat sees a dog"], lines_per_sequence=1), say=quietly
    )
    assert all(np.isfinite(loss) for loss in result.held_out_loss_by_language.values())
    assert result.held_out_loss_by_language.keys() == {"a", "b"} and np.isfinite(result.unigram_loss_by_language)


def test_no_held_out_text_has_anything_to_guess(tmp_path: Path) -> None:
    changed = settings(tmp_path, ["[MASK]"])
    write(tmp_path / "h", "a.txt", ["[SEP]"])
    with pytest.raises(ValueError, match=r"the held-out text has nothing to guess: all its pieces are special ones"):
        pretrain(changed, say=quietly)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_a_training_batch_without_a_label(tmp_path: Path) -> None:
    """Here all tagged words of a sentence lie behind the longest example: its loss is written as null, and the run goes on."""
    write(tmp_path, "a.txt", [*TEXT, "the cat sees the dog"])
    sizes = {**SIZES, "vocab_size": 35, "held_out_every": 2, "sequence_length": 16}
    pretrain(
        PretrainSettings(out=str(tmp_path / "model"), corpus=(str(tmp_path / "a.txt"),), steps=1, **sizes), say=quietly
    )
    words = ["the", "the", "the", "the", "cat"]
    untagged = conllu([words]).replace("\tDET", "\t_")
    train = tmp_path / "train.conllu"
    train.write_text(untagged + "\n" + conllu([["the", "cat"]]), encoding="utf-8")
    result = finetune(
        FinetuneSettings(
            str(tmp_path / "model"), str(train), str(tmp_path / "out"), epochs=4, batch_size=1, max_length=6
        ),
        say=quietly,
    )
    records = [strict(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 8
    seen = [record["loss"] for record in records]
    assert None in seen or np.isfinite(seen).all()
    assert all(np.isfinite(array).all() for array in result.model.parameters.values())


def test_the_record_of_a_step_without_a_label(tmp_path: Path) -> None:
    from test_training_runs import Model

    from minirembert.training.loop import Schedule, train
    from minirembert.training.run_folder import RunFolder

    class Sometimes(Model):
        def loss_and_gradients(self, *, number: int, **rest: Any) -> Any:
            loss, gradients = super().loss_and_gradients(number=number, **rest)
            return (float("nan"), {name: 0 * g for name, g in gradients.items()}) if number == 1 else (loss, gradients)

    with RunFolder(tmp_path / "run", {}) as folder:
        train(
            Sometimes(),  # type: ignore[arg-type]
            lambda step: {"number": step, "attention_mask": np.ones((1, 2))},
            Schedule(steps=3, learning_rate=0.1, warmup=0, record_every=1),
            folder,
        )
        metrics = folder.metrics()
    assert [record["loss"] for record in metrics] == [0, None, 2]
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        strict(line)
    save_loss_curve(metrics, 3.0, 2.0, tmp_path / "loss.png")
    save_loss_curve([{"step": 1, "loss": None}], 3.0, 2.0, tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").stat().st_size > 1000
