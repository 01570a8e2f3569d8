"""What loading makes anew, and from which random numbers: the seed given, and nothing else that was there is touched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import TASKS, make_model
from test_decoder import CROSS

from minirembert import RemBertForCausalLM, RemBertForTokenClassification

pytestmark = pytest.mark.filterwarnings("ignore")  # of what is made anew; `test_bad_input.py` reads them


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    model = make_model(TASKS["masked lm"])
    model.save_pretrained(tmp_path)
    return tmp_path, model


def fresh_parts(model: Any, old: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the file did not have; everything else is as it was."""
    for name, array in model.parameters.items():
        if name in old:
            assert (array == old[name]).all(), name
    return {name: array for name, array in model.parameters.items() if name not in old}


@pytest.mark.parametrize(
    ("kind", "changes", "weights"),
    [(RemBertForTokenClassification, {"num_labels": 7}, 1), (RemBertForCausalLM, CROSS, 3 * 4)],
)
def test_what_a_file_lacks_is_drawn_from_the_seed(kind: Any, changes: dict[str, Any], weights: int, saved: Any) -> None:
    folder, model = saved
    made = [
        fresh_parts(kind.from_pretrained(folder, dtype="float64", seed=seed, **changes), model.parameters)
        for seed in (0, 1, 1)
    ]
    drawn = [name for name, array in made[0].items() if array.ndim > 1]
    assert len(drawn) == weights
    for name in drawn:
        assert (made[1][name] == made[2][name]).all(), name
        assert (made[0][name] != made[1][name]).mean() > 0.9, name
        assert 0 < np.abs(made[1][name]).max() < 6 * model.config.initializer_range, name


@pytest.mark.parametrize("rows", [50, 75])
def test_new_rows_are_drawn_from_the_seed_and_old_ones_stay(rows: int) -> None:
    old = make_model(TASKS["masked lm"])
    resized = []
    for seed in (0, 1, 1):
        resized.append(make_model(TASKS["masked lm"]))
        resized[-1].resize_token_embeddings(rows, seed=seed)
    for name in ("rembert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"):
        zero, one, again = (model.parameters[name] for model in resized)
        kept = min(rows, 61)
        assert (one[:kept] == old.parameters[name][:kept]).all()
        assert (one == again).all()
        assert rows == kept or (zero[kept:] != one[kept:]).mean() > 0.9
    assert {model.config.vocab_size for model in resized} == {rows}


def test_a_head_of_another_size_is_made_anew_where_that_is_asked_for(tmp_path: Path) -> None:
    model = make_model(TASKS["token classification"])
    model.save_pretrained(tmp_path)
    load = RemBertForTokenClassification.from_pretrained
    with pytest.raises(ValueError, match="classifier"):
        load(tmp_path, num_labels=9)
    made = [load(tmp_path, num_labels=9, dtype="float64", ignore_mismatched_sizes=True, seed=s) for s in (0, 1, 1)]
    weights = [model.parameters["classifier.weight"] for model in made]
    assert weights[0].shape == (9, 42)
    assert (weights[1] == weights[2]).all() and (weights[0] != weights[1]).any()
    for name, array in model.parameters.items():
        assert name.startswith("classifier.") or (made[0].parameters[name] == array).all()
