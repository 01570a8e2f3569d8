"""Claims about counts, heads, tying, and the width of the input embedding."""

from minirembert.lab.claims.arms import TWINS
from minirembert.lab.claims.claim import Claim, Column, panel
from minirembert.lab.claims.comparison import Comparison
from minirembert.lab.claims.counts import EveryCount
from minirembert.lab.claims.margins import KL_BAND, LOSS_BAND, SMALL_COST, TRANSFER_BAND, loss, transfer

_HEAD_ARMS = [f"{head} {width}" for head in ("linear", "gelu_ln") for width in ("H", "4H", "16H")]
_NARROW = ("H/16-H", "H/4-H", "H-H")

CLAIMS = (
    Claim(
        name="0",
        title="The paper's parameter counts follow from its sizes",
        paper="Tables 1 to 6, 12 and 13 print a count for each model, in millions, without a convention for what is counted.",
        question="Does every printed figure follow from the sizes printed beside it?",
        rule="Shown if our own count, under the convention of its table, meets every printed figure, or its row says why not.",
        comparisons=(EveryCount("figures neither met nor explained", "unexplained", 0),),
        panels=(),
    ),
    Claim(
        name="0b",
        title="An output embedding wider than H adds rank through the head's non-linearity only",
        paper="Footnote 3 puts a linear map before the output embedding; the released model has dense, GELU and LayerNorm. "
        "The two are not compared.",
        question="With free vectors in place of an encoder: which head fits a full-rank teacher better when O grows past H?",
        rule=f"Shown if, with a linear head, O = 4H and 16H change the divergence from O = H by less than {KL_BAND} nats and "
        "the rank of the logits stays at H + 1 at most; and if, with GELU and LayerNorm, the divergence falls at both steps "
        "and the rank at O = 16H is above H + 1.",
        comparisons=(
            Comparison("linear, O = 4H minus H: KL", "kl", "linear 4H", "linear H", "equal", band=KL_BAND),
            Comparison("linear, O = 16H minus H: KL", "kl", "linear 16H", "linear H", "equal", band=KL_BAND),
            Comparison("linear, O = 16H: rank beyond H + 1", "rank_over_limit", "linear 16H", None, "below", 1),
            Comparison("gelu_ln, O = 4H minus H: KL", "kl", "gelu_ln 4H", "gelu_ln H", "below"),
            Comparison("gelu_ln, O = 16H minus 4H: KL", "kl", "gelu_ln 16H", "gelu_ln 4H", "below"),
            Comparison("gelu_ln, O = 16H: rank beyond H + 1", "rank_over_limit", "gelu_ln 16H", None, "above"),
        ),
        panels=(panel("kl", *_HEAD_ARMS), panel("rank", *_HEAD_ARMS)),
    ),
    Claim(
        name="1",
        title="Untying the embeddings at equal sizes changes little",
        paper="Table 2: 62.3 coupled, 62.7 decoupled with the same widths (the average on XTREME).",
        question="Is a model with two matrices of width H as good as one that uses a single matrix twice?",
        rule=f"Equal if, over paired seeds, untied minus tied lies within ±{LOSS_BAND} nats of held-out loss and within "
        f"±{TRANSFER_BAND} of transfer.",
        comparisons=(
            loss("untied minus tied: loss", "H-H", "tied H", claimed="equal"),
            transfer("untied minus tied: transfer", "H-H", "tied H", claimed="equal"),
        ),
        panels=(panel("loss", "tied H", "H-H"), panel("transfer", "tied H", "H-H")),
    ),
    Claim(
        name="1b",
        title="A tied matrix follows its output side",
        paper="Not in the paper; Press and Wolf (2017) saw it in LSTMs: the tied matrix evolves like an output embedding.",
        question="Of an untied model's two matrices, which does the tied one resemble, and which use of it has the larger "
        "gradient?",
        rule="Shown if the tied matrix has a larger CKA with the untied model's output embedding than with its input "
        "embedding, and if, in the first 200 steps, the mean norm of its gradient is larger from scoring than from reading.",
        comparisons=(
            Comparison("CKA, output minus input", "cka_output_minus_input", TWINS),
            Comparison("log2 of the gradients' ratio, scoring over reading", "gradient_ratio", "tied H"),
        ),
        panels=(
            tuple(Column(TWINS, f"cka_{name}") for name in ("input", "output", "chance")),
            (Column("tied H", "gradient_input"), Column("tied H", "gradient_output")),
        ),
    ),
    Claim(
        name="2",
        title="A narrow input embedding costs little, down to a cliff",
        paper="Decoupled, E 768 to 128 costs 2.5 points (62.7 to 60.2, tables 2 and 3) and saves 77 of 177 million parameters. "
        "No narrower one is tried.",
        question="How much held-out loss does E = H/4 cost, and is there a width at which it costs more?",
        rule=f"Shown if E = H/4 costs less than {SMALL_COST} nats of held-out loss beside E = H, and E = H/16 more than that. "
        f"Beside it, deciding nothing: transfer, within ±{TRANSFER_BAND}.",
        comparisons=(
            loss("E = H/4 minus H: loss", "H/4-H", "H-H", claimed="below", bound=SMALL_COST),
            loss("E = H/16 minus H: loss", "H/16-H", "H-H", claimed="above", bound=SMALL_COST),
            transfer("E = H/4 minus H: transfer", "H/4-H", "H-H", claimed="equal", required=False),
        ),
        panels=(panel("loss", *_NARROW), panel("transfer", *_NARROW)),
    ),
    Claim(
        name="2b",
        title="Narrow in and wide out is better than wide in and narrow out",
        paper="Table 3, at 192 million in pre-training: 60.2 with E 128, O 768; 60.1 with E 768, O 128.",
        question="At one size in pre-training: on which side is the width worth more?",
        rule="Shown if transfer is higher with E = H/4, O = H than with E = H, O = H/4; equal if the difference lies within "
        f"±{TRANSFER_BAND}. Beside it, deciding nothing: held-out loss.",
        comparisons=(
            transfer("narrow in minus narrow out: transfer", "H/4-H", "H-H/4"),
            loss("narrow in minus narrow out: loss", "H/4-H", "H-H/4", claimed="below", required=False),
        ),
        panels=(panel("loss", "H/4-H", "H-H/4"), panel("transfer", "H/4-H", "H-H/4")),
    ),
    Claim(
        name="2c",
        title="What a narrow input embedding saves is better spent on blocks",
        paper="Table 6, at 177 to 178 million in fine-tuning: 62.3 coupled, 12 blocks; 66.2 with E 128, O 768, 23 blocks.",
        question="Where words are most of a model: tied with E = H, or E = H/4 and as many more blocks as that pays for?",
        rule="Shown if transfer is higher with E = H/4, O = H and more blocks than with one tied matrix, at equal parameters "
        f"in fine-tuning; equal if the difference lies within ±{TRANSFER_BAND}. Beside it, deciding nothing: held-out loss.",
        comparisons=(
            transfer("reinvested minus tied: transfer", "H/4-H, many words, deeper", "tied H, many words"),
            loss(
                "reinvested minus tied: loss", "H/4-H, many words, deeper", "tied H, many words",
                claimed="below", required=False,
            ),
        ),
        panels=(
            panel("loss", "tied H, many words", "H/4-H, many words, deeper"),
            panel("transfer", "tied H, many words", "H/4-H, many words, deeper"),
            panel("parameters_finetuning", "tied H, many words", "H/4-H, many words, deeper"),
        ),
    ),
)  # fmt: skip
