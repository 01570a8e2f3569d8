"""Every parameter count that the paper prints is ours, or has a reason and our figure beside it."""

from dataclasses import replace
from typing import Any

import pytest

from minirembert.lab.conventions import (
    CONVENTIONS,
    FINETUNING,
    FOOTNOTE_11,
    HUGGING_FACE,
    PAPER,
    PAPER_ROUNDED,
    PHASES,
    PRETRAINING,
    Convention,
)
from minirembert.lab.ledger import total
from minirembert.lab.paper import ROWS, XTREME_TASKS, Printed, Row, average
from minirembert.lab.sizes import Sizes

# Every printed count that is not ours: what ours is, under the row's convention.
DISAGREEMENTS = {
    "XLM-R Base": (278_295_186, 278_043_648),
    "XLM-R Large": (560_142_482, 559_890_432),
    "reinvested in H 1024": (258_872_832, 166_712_832),
    "English, coupled, E 768": (108_490_752, 108_490_752),
    "English BERT Base": (108_490_752, 108_490_752),
    "RemBERT, as printed": (961_867_664, 574_515_328),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_printed_count_is_ours_or_has_a_reason(row: Any) -> None:
    assert row.agrees == (row.name not in DISAGREEMENTS) == (not row.why)
    if row.why:
        assert tuple(row.parameters(phase) for phase in PHASES) == DISAGREEMENTS[row.name]
    else:
        assert row.recount() == row.printed


def test_the_rows_are_those_of_the_paper() -> None:
    assert {table for row in ROWS for table in row.tables} >= {1, 2, 3, 4, 5, 6, 12, 13}
    assert sum(figure is not None for row in ROWS for figure in row.printed) == 47
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_what_the_reasons_say() -> None:
    rows = {row.name: row for row in ROWS}
    released, printed = rows["RemBERT, as released"], rows["RemBERT, as printed"]
    assert total(released.sizes, PRETRAINING, FOOTNOTE_11) == 994_591_804
    assert (released.sizes.outputs, printed.sizes.outputs) == (1664, 1536)
    # The row that reinvests in H is counted as Hugging Face does it.
    wider = rows["reinvested in H 1024"]
    assert [HUGGING_FACE.millions(total(wider.sizes, phase)) for phase in PHASES] == list(wider.printed[:2])
    # "BERT's own release", quoted for the English models
    assert rows["BERT Base"].parameters(PRETRAINING) == 109_514_298
    # Tables 2 to 6 cut where table 13 rounds: each way one row of the other would be wrong.
    for name, other in (("coupled baseline", PAPER_ROUNDED), ("English, O 128", PAPER)):
        row = rows[name]
        assert other.millions(row.parameters(PRETRAINING)) != row.printed.pretraining


@pytest.mark.parametrize("row", [row for row in ROWS if set(row.tables) & set(range(2, 7))], ids=lambda row: row.name)
def test_the_scores_have_the_printed_average(row: Any) -> None:
    assert len(row.scores) == 3 * 3 + 1
    assert round(average(row.scores), 1) == row.scores["average"]


def test_the_scores_of_rembert_have_the_printed_averages() -> None:
    (scores,) = (row.scores for row in ROWS if row.name == "RemBERT, as released")
    answers = average({task: 0 for task in XTREME_TASKS} | scores) * 6 - sum(scores[t] for t in XTREME_TASKS[:3])
    classes, structure = (scores["XNLI"] + scores["PAWS-X"]) / 2, (scores["POS"] + scores["NER"]) / 2
    assert round((2 * classes + 2 * structure + answers) / 7, 1) == scores["average of tasks"]
    assert abs((classes + structure + answers / 3) / 3 - scores["average"]) < 0.05 + 1e-9


def test_cut_or_rounded() -> None:
    assert [PAPER.millions(n) for n in (999_999, 1_000_000, 1_999_999)] == [0, 1, 1]
    assert [PAPER_ROUNDED.millions(n) for n in (499_999, 500_000, 1_499_999, 1_500_000)] == [0, 1, 1, 2]


def test_what_each_convention_counts() -> None:
    """Each switch alone adds its own components, in the phases that it names, and no others."""
    nothing = Convention("nothing", (), False, False, False, "cut")
    sizes = Sizes(vocab_size=100, hidden_size=64, num_hidden_layers=2)
    position = (512 + 2) * 256 + 2 * 256
    pooler, head = 64 * 64 + 64, (64 * 1664 + 1664) + 2 * 1664
    for change, more in (
        ({"positions": True}, (position, position)),
        ({"head_projection": True}, (head, 0)),
        ({"output_bias": True}, (100, 0)),
        ({"pooler": (PRETRAINING,)}, (pooler, 0)),
        ({"pooler": (FINETUNING,)}, (0, pooler)),
        ({"pooler": PHASES}, (pooler, pooler)),
        ({"rounding": "rounded"}, (0, 0)),
    ):
        convention = replace(nothing, **change)  # type: ignore[arg-type]
        for phase, extra in zip(PHASES, more, strict=True):
            assert total(sizes, phase, convention) - total(sizes, phase, nothing) == extra, change
    assert (HUGGING_FACE.pooler, PAPER.pooler, FOOTNOTE_11.pooler) == ((FINETUNING,), (), (PRETRAINING,))
    assert [(name, of.name) for name, of in CONVENTIONS.items()] == [("huggingface",) * 2, ("paper",) * 2]


def test_a_row_s_share_by_hand() -> None:
    """A model of 16 numbers, whose embedding has three: 18.75 percent, which is 19."""
    row = Row((9,), "r", Sizes(vocab_size=3, input_embedding_size=1, hidden_size=1, num_hidden_layers=0, num_attention_heads=1,
                               output_embedding_size=1, max_position_embeddings=1, type_vocab_size=1, tied=True),
              Printed(0, 0, 0, 0), HUGGING_FACE, {})  # fmt: skip
    # V E; positions, types, norm; projection; pooler, of fine-tuning; head dense, head norm, bias
    everything = 3 + (1 + 1 + 2) + (1 + 1) + (1 + 1) + 2 + 3
    assert row.parameters(PRETRAINING) == everything == 16 and row.parameters(FINETUNING) == 3 + 4 + 2 + 2
    assert row.recount() == Printed(0, 0, 0, 19) and not row.agrees
    shares = {r.name: (r.printed.share, r.recount().share) for r in ROWS if r.printed.share is not None}
    assert shares["mBERT"] == (52, 52) and shares["BERT Large"] == (9, 9)
