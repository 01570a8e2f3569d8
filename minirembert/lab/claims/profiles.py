"""How large the lab's experiments are: the constants, in one place. Rules do not depend on them.

smoke     seconds; says whether everything runs, and too few seeds to claim anything
lesson    hours on two cores for all claims, from which the committed results are
paper     for a GPU: wider, deeper, more words
"""

from dataclasses import dataclass

from minirembert.lab.experiment import Finetuning, Training
from minirembert.lab.rank_of_head import HeadExperiment
from minirembert.lab.variant import Variant
from minirembert.lab.world import World

# What claims are judged on. Not paraphrase: with one word for each concept nothing helps but comparing word by word, and models
# as small as a lesson's learn that too slowly for hundreds of runs.
JUDGED = ("inference", "tags", "questions")


@dataclass(frozen=True)
class Profile:
    """`variant` gives H, L and h; the arms set the rest. Claim 2c has `wide_world`, and `deeper_layers` such that with
    E = H / 4 as many parameters are fine-tuned there as with E = H, tied, and L blocks. What fine-tuning drops is the arms'
    business too.
    """

    name: str
    seeds: int
    variant: Variant
    world: World
    wide_world: World
    deeper_layers: int
    training: Training
    finetuning: Finetuning
    head: HeadExperiment


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            seeds=1,
            variant=Variant(hidden_size=32, num_hidden_layers=2, num_attention_heads=2),
            world=World(breadth=0, sentences=200, held_out=40),
            wide_world=World(breadth=0, sentences=200, held_out=40, synonyms=2),
            deeper_layers=5,
            training=Training(steps=5, batch_size=16),
            finetuning=Finetuning(tasks=JUDGED, steps=2, batch_size=8, examples=40, scored=20),
            head=HeadExperiment(steps=5),
        ),
        Profile(
            name="lesson",
            seeds=8,
            variant=Variant(hidden_size=48, num_hidden_layers=4, num_attention_heads=3),
            world=World(),
            wide_world=World(synonyms=7),
            deeper_layers=7,
            training=Training(),
            finetuning=Finetuning(tasks=JUDGED),
            head=HeadExperiment(),
        ),
        Profile(
            name="paper",
            seeds=10,
            variant=Variant(hidden_size=256, num_hidden_layers=12, num_attention_heads=4),
            world=World(breadth=0, synonyms=8, sentences=100_000),
            wide_world=World(breadth=0, synonyms=16, sentences=100_000),
            deeper_layers=15,
            training=Training(
                steps=20_000, batch_size=256, learning_rate=5e-4, warmup=1000, backend="triton", dtype="bfloat16"
            ),
            finetuning=Finetuning(tasks=JUDGED, steps=1000, learning_rate=3e-4, examples=10_000, scored=1000),
            head=HeadExperiment(),
        ),
    )
}
