"""A claim about the tasks themselves, without which the others' transfer scores would say little."""

from minirembert.lab.claims.arms import COMPARED
from minirembert.lab.claims.claim import Claim, Column, panel
from minirembert.lab.claims.comparison import Comparison
from minirembert.lab.claims.margins import SEEDS, SEEDS_FOR_TRANSFER, WANTED
from minirembert.lab.claims.profiles import JUDGED

ALONE = f"{COMPARED}, one language"
BESIDE = ("majority", "words", "untrained", ALONE, COMPARED, "own language")


def _learned(minus: str) -> Comparison:
    return Comparison(f"learned language: minus {minus}", "in_language", COMPARED, minus, seeds=SEEDS)


def _other(minus: str, called: str) -> Comparison:
    return Comparison(f"other language: minus {called}", "transfer", COMPARED, minus, seeds=SEEDS_FOR_TRANSFER)


CLAIMS = (
    Claim(
        name="tasks",
        title="The tasks need what pre-training teaches, and carry over to a language they were not learned in",
        paper="The paper takes this for granted of XTREME, with good reason.",
        question="Do fine-tuned models beat what looks at single words, what was never pre-trained, and, in the other "
        "language, what has read one language only?",
        rule="Shown if, with E = H/4 and O = 4H, the mean score in the learned language is above those of a look-up of words "
        "and of an untrained model fine-tuned alike, and the mean score in the other language above those of the same two and "
        f"of a model that read the learned language alone. Beside it, deciding nothing: whether each task reaches {WANTED} "
        "where it is learned.",
        comparisons=(
            _learned("words"),
            _learned("untrained"),
            _other("words", "words"),
            _other("untrained", "untrained"),
            _other(ALONE, "one language read"),
            *(
                Comparison(f"{task}, learned language", f"{task}, learned", COMPARED, bound=WANTED, required=False)
                for task in JUDGED
            ),
        ),
        panels=(
            panel("in_language", *BESIDE),
            panel("transfer", *BESIDE),
            tuple(Column(COMPARED, f"{task}, {where}") for task in JUDGED for where in ("learned", "other")),
        ),
    ),
)
