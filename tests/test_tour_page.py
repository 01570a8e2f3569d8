"""What the page of the tour says of numbers that a test makes up: on either side of each verdict."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertModel
from minirembert.tour import page
from minirembert.tour.page import FilledMask, GuessScore, Retrieval, TourResults
from minirembert.training.finetune import Score


def results(**changes: Any) -> TourResults:
    pretrained = SimpleNamespace(
        metrics=[{"step": 1, "loss": 7.0}, {"step": 2, "loss": 6.0, "held_out_loss_all": 6.5}], held_out_loss=4.0,
        unigram_loss=5.5, unigram_entropy=5.0, model=SimpleNamespace(num_parameters=lambda: 200_000),
    )  # fmt: skip
    tagged = SimpleNamespace(scores=[Score("en", 9, 0.9, 0.3, 0.5)], discarded_parameters=50_000)
    values: dict[str, Any] = dict(
        pretrained=pretrained, tagged=tagged, examples=[], filled=[], guesses=[], retrievals=[], chance=1 / 200
    )
    return TourResults(**values | changes)


def words(html: str) -> str:
    """Without tags and figures, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", re.sub(r"<figure>.*?</figure>", "", html, flags=re.S)))


@pytest.mark.parametrize(("loss", "said"), [
    (4.0, "It is 1.00 nats below that, so it has learned something about context."),
    (4.75, "It is 0.25 nats below that, so it has learned something about context."),
    (5.0, "It is not below that: no use of context is shown."),
    (5.25, "It is not below that: no use of context is shown."),
])  # fmt: skip
def test_a_loss_is_judged_by_the_entropy(loss: float, said: str) -> None:
    given = results()
    given.pretrained.held_out_loss = loss
    text = words(page.pretraining(given))
    assert said in text
    assert f"5.00 nats. This one scores {loss:.2f}" in text
    assert "200,000 parameters" in text


def test_only_the_right_guess_is_bold() -> None:
    guesses = (("\u2581dog", 0.5), ("\u2581cat", 0.25), ("<b>", 0.125))
    one = FilledMask("en", "The ", " sleeps & eats.", "\u2581cat", guesses)
    html = page.masks(results(filled=[[one]], guesses=[GuessScore("en", 0.25, 0.125), GuessScore("zh", 0.5, 0.0625)]))
    assert "dog 0.50, <b>cat</b> 0.25, &lt;b&gt; 0.12" in html
    assert "The <mark>cat</mark> sleeps &amp; eats." in html
    assert "<td>English</td><td>25%</td><td>12%</td>" in html
    assert "<td>Chinese</td><td>50%</td><td>6%</td>" in html


def scored(**accuracies: tuple[float, float, float]) -> TourResults:
    """Accuracy, most frequent tag, each word's most frequent tag."""
    given = results()
    given.tagged.scores = [Score(language, 9, *values) for language, values in accuracies.items()]
    return given


def test_transfer_is_more_than_both_baselines_in_another_language() -> None:
    shown = scored(en=(0.9, 0.3, 0.5), es=(0.6, 0.5, 0.3), hi=(0.6, 0.3, 0.5), eo=(0.56, 0.5, 0.2))
    assert "transfer is more than 5 points above both baselines in Spanish, Hindi, Esperanto." in words(
        page.tagging(shown)
    )
    one_is_not_enough = scored(en=(0.9, 0.3, 0.5), es=(0.45, 0.3, 0.5), hi=(0.45, 0.44, 0.1), zh=(0.5, 0.5, 0.1))
    text = words(page.tagging(one_is_not_enough))
    assert "transfer is shown in none of the other languages." in text
    assert "does worse" not in text  # below the lookup alone is no word of it
    assert "In Spanish, Chinese it does worse than always giving the most frequent tag" in words(
        page.tagging(scored(en=(0.9, 0.3, 0.5), es=(0.2, 0.3, 0.1), zh=(0.4, 0.5, 0.1), hi=(0.4, 0.3, 0.5)))
    )
    assert "50,000 parameters, 25% of this small model" in text


@pytest.mark.parametrize(("by_layer", "untrained", "clear", "most"), [
    ((0.1, 0.4, 0.3), (0.05, 0.2, 0.05), True, False),  # the best of each: 0.4 against 0.2
    ((0.1, 0.6, 0.3), (0.05, 0.2, 0.05), True, True),
    ((0.1, 0.29, 0.1), (0.05, 0.2, 0.05), False, False),  # a gain of 0.09
    ((0.55, 0.55, 0.55), (0.1, 0.54, 0.1), False, False),
    ((0.3, 0.3, 0.3), (0.35, 0.1, 0.1), False, False),
])  # fmt: skip
def test_translations_are_together_where_the_best_layer_is_clearly_better(
    by_layer: tuple[float, ...], untrained: tuple[float, ...], clear: bool, most: bool
) -> None:
    none = Retrieval("zh", (0.01, 0.01, 0.01), (0.01, 0.01, 0.01))
    text = words(page.meanings(results(retrievals=[Retrieval("es", by_layer, untrained), none])))
    assert ("beyond what an untrained model shows in Spanish" in text) is clear
    assert ("is not shown at this size" in text) is not clear
    assert ("even there most sentences are closer to a wrong neighbour" in text) is (clear and not most)
    assert "the nearest one among 200 in another language" in text


def test_the_budget_has_the_head_before_and_the_pooler_after() -> None:
    def millions(kind: Any) -> str:
        sizes = kind.parameter_shapes(RemBertConfig()).values()
        return f"{sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in sizes) / 1e6:,.0f} million"

    (axes,) = page.budget_figure().axes
    assert {text.get_text() for text in axes.texts} == {
        f"pre-training: {millions(RemBertForMaskedLM)}", f"fine-tuning: {millions(RemBertModel)}",
    }  # fmt: skip


def test_a_piece_is_shown_as_text() -> None:
    shown = {
        "\u2581cat": "cat",
        "s": "s",
        "\u2581": "\u2423",
        "<b>": "&lt;b&gt;",
        "\u2581\u2581": "\u2581",
        "&": "&amp;",
    }
    assert {piece: page.shown(piece) for piece in shown} == shown
