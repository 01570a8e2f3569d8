"""The rank of the head: limits that algebra sets, and a fit that reaches what it can."""

from dataclasses import replace

import numpy as np
import pytest

from minirembert.lab.jobs import Context
from minirembert.lab.rank_of_head import HeadExperiment

SMALL = HeadExperiment(hidden_size=4, vocab_size=64, contexts=80, steps=300, learning_rate=0.05)


def run(**changes):
    return replace(SMALL, **changes).run(Context())


def test_the_teacher_has_full_rank():
    teacher = SMALL.teacher()
    np.testing.assert_allclose(teacher.sum(axis=1), 1)
    assert np.linalg.matrix_rank(np.log(teacher)) == 64
    assert not np.array_equal(teacher, replace(SMALL, seed=1).teacher())


def test_only_the_nonlinearity_lifts_the_rank():
    """Ranks are exact: min(O, H) + 1 through a linear map, O through GELU and LayerNorm (one less by the mean, one more by
    the bias)."""
    none = run(head="none", output_embedding_size=4)
    linear = {width: run(head="linear", output_embedding_size=width) for width in (2, 4, 32)}
    gelu = {width: run(head="gelu_ln", output_embedding_size=width) for width in (2, 4, 32)}
    assert none["rank"] == 5
    assert {width: result["rank"] for width, result in linear.items()} == {2: 3, 4: 5, 32: 5}
    assert {width: result["rank"] for width, result in gelu.items()} == {2: 2, 4: 4, 32: 32}
    assert all(result["effective_rank"] <= result["rank"] for result in (none, *linear.values(), *gelu.values()))
    # and the rank is put to use
    assert gelu[32]["kl"] < linear[32]["kl"] / 2 < linear[2]["kl"] / 2


def test_a_wide_enough_model_fits_perfectly():
    """With H >= V nothing stands in the way, so a wrong gradient would show."""
    enough = {"head": "none", "hidden_size": 24, "output_embedding_size": 24, "vocab_size": 24, "contexts": 30}
    assert 0 <= run(**enough, steps=400)["kl"] < run(**enough, steps=1)["kl"] / 1000


def test_a_run_follows_from_its_settings():
    steps = []
    again = replace(SMALL, steps=7)
    first = again.run(Context(report=steps.append))
    assert first == again.run(Context()) and steps == [1] * 7
    assert first != replace(again, seed=1).run(Context())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contexts": 0}, "contexts must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"spread": -1.0}, "spread must be positive, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"head": "wide"}, "head must be one of gelu_ln, linear, none, got 'wide'"),
        ({"head": "none"}, r"output_embedding_size must be hidden_size \(4\), got 256"),
        ({"vocab_size": 0}, "vocab_size must be an integer of at least 1, got 0"),
    ],
)
def test_what_it_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)
