"""What is counted when a model's parameters are: nobody says it, everybody does it differently.

Each is a value, so that a count can say under which one it was made. They differ by a few million of RemBERT's parameters,
which is as much as many of the differences that papers report.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Phase = Literal["pre-training", "fine-tuning"]
PRETRAINING: Final = "pre-training"  # with the output side
FINETUNING: Final = "fine-tuning"  # without it: what goes on to a task, before the task's own head
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class Convention:
    """Which components count, and how the sum becomes millions."""

    name: str
    pooler: tuple[Phase, ...]  # in which phases
    positions: bool  # the tables of positions and token types, and the LayerNorm after them
    head_projection: bool  # what stands before the output embedding
    output_bias: bool
    rounding: Literal["rounded", "cut"]

    def counts(self, component: str, phase: Phase) -> bool:
        """Whether the parameters of a component count in a phase; a component that no field is about always does."""
        if component == "pooler":
            return phase in self.pooler
        switches = {
            "positions, types, norm": self.positions,
            "head dense": self.head_projection,
            "head norm": self.head_projection,
            "output bias": self.output_bias,
        }
        return switches.get(component, True)

    def millions(self, parameters: int) -> int:
        """As it would be printed: 177,611,264 -> 177 cut, 178 rounded (a half goes up)."""
        return (parameters + (500_000 if self.rounding == "rounded" else 0)) // 1_000_000


HUGGING_FACE = Convention("huggingface", (FINETUNING,), True, True, True, "rounded")  # RemBertForMaskedLM, RemBertModel
# The paper's tables 2 to 6 and 12: neither pooler nor head nor bias, and the millions are cut, not rounded; table 13 rounds.
PAPER = Convention("paper", (), True, False, False, "cut")
PAPER_ROUNDED = Convention("paper, rounded", (), True, False, False, "rounded")
# The paper's RemBERT: everything in pre-training; pooler and output side are discarded after it (footnote 11).
FOOTNOTE_11 = Convention("paper, footnote 11", (PRETRAINING,), True, True, True, "rounded")

CONVENTIONS = {convention.name: convention for convention in (HUGGING_FACE, PAPER)}
