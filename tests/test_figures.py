"""The loss curve: what is drawn where, read back from the drawing; and files of the kind that was asked for."""

from pathlib import Path

import numpy as np
import pytest

from minirembert import figures
from minirembert.figures import draw_loss_curve, new_figure, save_figure, save_loss_curve

METRICS = [
    {"step": 10, "loss": 7.5},
    {"step": 20, "loss": 6.5, "held_out_loss_all": 6.75},
    {"step": 30, "loss": 6.0},
    {"step": 40, "held_out_loss_all": 6.25},  # a record of the evaluation alone
]


def test_each_curve_is_where_its_label_says() -> None:
    _, axes = new_figure(4, 3)
    draw_loss_curve(axes, METRICS, 5.5, 4.5)
    drawn = {line.get_label(): line for line in axes.lines}
    points = {label: [tuple(map(float, point)) for point in np.c_[line.get_data()]] for label, line in drawn.items()}
    assert points["training batches"] == [(10, 7.5), (20, 6.5), (30, 6.0)]
    assert points["held out"] == [(20, 6.75), (40, 6.25)]
    assert {y for _, y in points["frequencies only, held out"]} == {5.5}
    assert {y for _, y in points["entropy of the held-out pieces"]} == {4.5}
    assert axes.get_ylim()[0] == 0
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 4  # told apart in grey
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(drawn)


def test_a_run_that_was_never_scored_has_a_curve(tmp_path: Path) -> None:
    _, axes = new_figure(4, 3)
    draw_loss_curve(axes, METRICS[:1], 5.5, 4.5)
    assert "held out" not in [line.get_label() for line in axes.lines]


def test_the_file_has_the_two_lines_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(figures, "draw_loss_curve", lambda axes, *values: given.append(values))
    save_loss_curve(METRICS, 5.5, 4.5, tmp_path / "loss.png")
    assert given == [(METRICS, 5.5, 4.5)]
    assert (tmp_path / "loss.png").is_file()


def test_a_figure_has_the_size_and_the_panels_asked_for() -> None:
    figure, axes = new_figure(6.0, 2.5, rows=2, columns=3)
    assert tuple(figure.get_size_inches()) == (6.0, 2.5)
    assert axes.shape == (2, 3)
    assert not any(one.spines[side].get_visible() for one in axes.flat for side in ("top", "right"))
    assert all(one.spines[side].get_visible() for one in axes.flat for side in ("left", "bottom"))


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_suffix_says_what_kind_of_file(suffix: str, start: bytes, tmp_path: Path) -> None:
    figure, _ = new_figure(2, 1)
    save_figure(figure, tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
