"""Claims about the width of the output embedding, and about the last blocks."""

from minirembert.lab.claims.claim import Claim, Column, panel
from minirembert.lab.claims.comparison import Comparison
from minirembert.lab.claims.margins import (
    LOSS_BAND,
    RETRIEVAL_BAND,
    SEEDS_FOR_TRANSFER,
    TRANSFER_BAND,
    loss,
    transfer,
)

WIDTHS = ("H/4-H/4", "H/4-H", "H/4-4H")
_NAMES = dict(zip(WIDTHS, ("O = H/4", "O = H", "O = 4H"), strict=True))


def _last_minus_middle(arm: str) -> Comparison:
    return Comparison(
        f"{_NAMES[arm]}: retrieval, last block minus middle", "last_minus_middle", arm,
        claimed="below", band=RETRIEVAL_BAND, seeds=SEEDS_FOR_TRANSFER,
    )  # fmt: skip


def _part_of_last(arm: str, minus: str, required: bool = True) -> Comparison:
    what = f"{_NAMES[arm]} minus {_NAMES[minus].removeprefix('O = ')}: part of the last"
    return Comparison(what, "part_of_last", arm, minus, seeds=SEEDS_FOR_TRANSFER, required=required)


CLAIMS = (
    Claim(
        name="3",
        title="A wider output embedding improves masked language modelling",
        paper="Table 8, words guessed right with E 128: 59.0% with O 128, 60.7% with O 768, 62.3% with O 3072.",
        question="Does held-out loss fall when O grows, below H and beyond it?",
        rule="Shown if held-out loss falls at both steps, O = H/4 to H and H to 4H, with E = H/4; equal if both differences "
        f"lie within ±{LOSS_BAND} nats.",
        comparisons=(
            loss("O = H minus H/4: loss", "H/4-H", "H/4-H/4", claimed="below"),
            loss("O = 4H minus H: loss", "H/4-4H", "H/4-H", claimed="below"),
        ),
        panels=(panel("loss", *WIDTHS), panel("accuracy", *WIDTHS)),
    ),
    Claim(
        name="3b",
        title="A wider output embedding improves transfer, though fine-tuning does without it",
        paper="Table 4, average on XTREME with E 128: 56.6 with O 128, 60.2 with O 768, 61.8 with O 3072.",
        question="Does transfer rise when O grows, below H and beyond it?",
        rule="Shown if transfer rises at both steps, O = H/4 to H and H to 4H, with E = H/4; equal if both differences lie "
        f"within ±{TRANSFER_BAND}.",
        comparisons=(
            transfer("O = H minus H/4: transfer", "H/4-H", "H/4-H/4"),
            transfer("O = 4H minus H: transfer", "H/4-4H", "H/4-H"),
        ),
        panels=(panel("transfer", *WIDTHS), panel("in_language", *WIDTHS)),
    ),
    Claim(
        name="4",
        title="The last block over-specialises",
        paper="Figure 2: English to German retrieval falls from 72-73% after block 6 to 64% (O 3072), 50% (O 768) and 44% "
        "(O 128) after block 12.",
        question="Do fewer sentences find their translation after the last block than after the middle one?",
        rule="Shown if retrieval after block L is below retrieval after block L/2 in each of the three arms, E = H/4 and "
        f"O = H/4, H, 4H; equal if all three differences lie within ±{RETRIEVAL_BAND}. Both blocks are fixed beforehand: "
        "the best of several would be above the last by chance alone.",
        comparisons=tuple(_last_minus_middle(arm) for arm in WIDTHS),
        panels=tuple(panel("retrieval", arm) for arm in WIDTHS),
    ),
    Claim(
        name="4b",
        title="The last block can be dropped before fine-tuning where O is small, less so where it is large",
        paper="Figure 1, XNLI with 11 and with 12 of 12 blocks: 68.5 and 68.3 with O 128, 70.6 and 71.1 with O 3072.",
        question="What does transfer win or lose when the last block is left out before fine-tuning?",
        rule=f"Shown if, with O = H/4, dropping the last block costs less than {TRANSFER_BAND} of transfer, and if it gains "
        "more (or costs less) with O = H/4 than with O = 4H.",
        comparisons=(
            Comparison(
                "O = H/4: gain of dropping", "gain_of_dropping", "H/4-H/4",
                bound=-TRANSFER_BAND, seeds=SEEDS_FOR_TRANSFER,
            ),
            Comparison(
                "O = H/4 minus 4H: gain of dropping", "gain_of_dropping", "H/4-H/4", "H/4-4H",
                band=TRANSFER_BAND, seeds=SEEDS_FOR_TRANSFER,
            ),
            Comparison(
                "O = 4H: gain of dropping", "gain_of_dropping", "H/4-4H",
                claimed="below", band=TRANSFER_BAND, seeds=SEEDS_FOR_TRANSFER, required=False,
            ),
        ),
        panels=(panel("gain_of_dropping", *WIDTHS), panel("transfer", *WIDTHS)),
    ),
    Claim(
        name="4c",
        title="A wider output embedding keeps the last block closer to the middle one",
        paper="Figure 2: retrieval after block 12 is 61% of that after block 6 with O 128, 69% with O 768, 88% with O 3072; "
        "as parts of both together, 0.38, 0.41 and 0.47.",
        question="Does the last block lose less of what the middle one has when O grows?",
        rule="Shown if retrieval after block L, divided by the sum of that and retrieval after block L/2, is larger with O = "
        "4H than with O = H/4, E = H/4 in both. Beside it, deciding nothing: the two steps.",
        comparisons=(
            _part_of_last("H/4-4H", "H/4-H/4"),
            _part_of_last("H/4-H", "H/4-H/4", required=False),
            _part_of_last("H/4-4H", "H/4-H", required=False),
        ),
        panels=(panel("part_of_last", *WIDTHS), tuple(Column(arm, "retrieval") for arm in WIDTHS)),
    ),
)  # fmt: skip
