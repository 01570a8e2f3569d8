"""The tour, made small enough for a test: every step runs and the page has everything in it."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from minirembert import tour
from minirembert.corpus import LANGUAGES, split_of
from minirembert.tour.page import NAMES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        tour.tour(folder)
    return folder


def shrink(patch: pytest.MonkeyPatch) -> None:
    pretraining, finetuning = tour.pretraining_settings, tour.finetuning_settings
    small = {"steps": 4, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
             "input_embedding_size": 8, "output_embedding_size": 16, "vocab_size": 2500, "evaluate_every": 2}  # fmt: skip
    patch.setattr(tour, "SENTENCES", 1500)
    patch.setattr(tour, "GUESSED", 20)
    patch.setattr(tour, "RETRIEVED", 20)
    patch.setattr(tour, "pretraining_settings", lambda *a: dataclasses.replace(pretraining(*a), **small))
    patch.setattr(tour, "finetuning_settings", lambda *a: dataclasses.replace(finetuning(*a), batch_size=256))


def test_the_page_needs_nothing_but_itself(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    outside = [u for u in re.findall(r"https?://[^\s\"'<>]+", page) if "w3.org" not in u and "purl.org" not in u]
    # matplotlib names its home and two vocabularies in the metadata of an SVG; nothing of that is fetched.
    assert [u for u in outside if "matplotlib.org" not in u and "creativecommons.org" not in u] == []
    assert "<script" not in page and "<img" not in page and "<link" not in page
    assert page.count("<svg") == 4


def test_the_page_shows_every_language(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    for language in LANGUAGES:
        assert NAMES[language] in page
        assert f"lang={language}" in page


def test_started_again_it_trains_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = (folder / "pretrained" / "model.safetensors").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        tour.tour(folder)
    assert "step 1" not in capsys.readouterr().err
    assert (folder / "pretrained" / "model.safetensors").read_bytes() == weights


def test_the_sentences_of_the_page_were_in_no_training_text(folder: Path) -> None:
    assert {split_of(meaning) for meaning in tour.unseen_meanings(50)} == {"test"}
    assert tour.unseen_meanings(5) == tour.unseen_meanings(50)[:5]


def test_nearest_neighbours_are_found_whatever_the_shift_between_the_languages() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200, 8))
    assert tour.nearest_neighbour_accuracy(a, a + 100 + 0.01 * rng.standard_normal(a.shape)) == 1.0
    assert tour.nearest_neighbour_accuracy(a, rng.standard_normal(a.shape)) < 0.1
