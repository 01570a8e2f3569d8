"""The arms that claims compare: what each name means in a profile, and the job that follows from it and a seed.

Widths are multiples of the profile's H, so that a rule reads the same in every profile: "H/4-4H" is untied, with E = H / 4
and O = 4 H.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from minirembert.lab.claims.profiles import Profile
from minirembert.lab.experiment import Baseline, Experiment, Twins
from minirembert.lab.jobs import Job
from minirembert.lab.tasks.baselines import BASELINES
from minirembert.lab.variant import Variant


@dataclass(frozen=True)
class Arm:
    """A pre-trained model. `wide`: in the world with many words; `deeper`: with the blocks that a narrow E pays for there;
    `dropping`: fine-tuned without its last block too; `alone`: it reads the first language only.
    """

    input: Fraction
    output: Fraction
    tied: bool = False
    wide: bool = False
    deeper: bool = False
    dropping: bool = False
    alone: bool = False

    def variant(self, profile: Profile) -> Variant:
        """Raises ValueError where the profile's H does not divide so."""
        base = profile.variant
        widths = [base.hidden_size * share for share in (self.input, self.output)]
        if any(width.denominator > 1 for width in widths):
            raise ValueError(
                f"profile {profile.name}: H = {base.hidden_size} has no whole {self.input} and {self.output}"
            )
        layers = profile.deeper_layers if self.deeper else base.num_hidden_layers
        return replace(
            base,
            input_embedding_size=int(widths[0]),
            output_embedding_size=int(widths[1]),
            num_hidden_layers=layers,
            tied=self.tied,
        )

    def experiment(self, profile: Profile, seed: int) -> Experiment:
        """The job that the arm stands for in a profile, with this seed. Raises ValueError as `variant` does."""
        world = profile.wide_world if self.wide else profile.world
        if self.alone:
            world = replace(world, silent=world.languages - 1)
        finetuning = replace(profile.finetuning, dropped=(0, 1) if self.dropping else (0,))
        return Experiment(self.variant(profile), world, profile.training, finetuning, seed)


WHOLE, QUARTER, SIXTEENTH = (Fraction(1, n) for n in (1, 4, 16))
ARMS = {
    "tied H": Arm(WHOLE, WHOLE, tied=True),
    "H-H": Arm(WHOLE, WHOLE),
    "H/16-H": Arm(SIXTEENTH, WHOLE),
    "H/4-H": Arm(QUARTER, WHOLE, dropping=True),
    "H-H/4": Arm(WHOLE, QUARTER),
    "H/4-H/4": Arm(QUARTER, QUARTER, dropping=True),
    "H/4-4H": Arm(QUARTER, Fraction(4), dropping=True),
    "H/4-4H, one language": Arm(QUARTER, Fraction(4), alone=True),
    "tied H, many words": Arm(WHOLE, WHOLE, tied=True, wide=True),
    "H/4-H, many words, deeper": Arm(QUARTER, WHOLE, wide=True, deeper=True),
}
COMPARED = "H/4-4H"  # the arm whose task scores are set beside BASELINES, which are arms too
TWINS = "tied H against H-H"  # two models, compared array by array
_FACTORS = {"H": 1, "4H": 4, "16H": 16}
HEADS = {f"{head} {name}": (head, factor) for head in ("linear", "gelu_ln") for name, factor in _FACTORS.items()}


def job(arm: str, profile: Profile, seed: int) -> Job:
    """The run of an arm with a seed. Raises ValueError for an arm that there is not."""
    if arm not in {*ARMS, TWINS, *HEADS, *BASELINES}:
        raise ValueError(f"there is no arm {arm!r}: those of models are in ARMS, to which others may be added")
    if arm == TWINS:
        return Twins(ARMS["tied H"].experiment(profile, seed), ARMS["H-H"].experiment(profile, seed))
    if arm in HEADS:
        head, factor = HEADS[arm]
        outputs = profile.head.hidden_size * factor
        return replace(profile.head, head=head, output_embedding_size=outputs, seed=seed)
    if arm in BASELINES:
        of = replace(ARMS[COMPARED], dropping=False).experiment(profile, seed)
        return Baseline(of.variant, of.world, of.training, of.finetuning, of.seed, name=arm)
    return ARMS[arm].experiment(profile, seed)


def label(arm: str, profile: Profile) -> str:
    """The arm in numbers: "12-192", or "tied 48"; the blocks where they are other than the profile's."""
    if arm == TWINS:
        return f"{label('tied H', profile)} / {label('H-H', profile)}"
    if arm in HEADS:
        head, factor = HEADS[arm]
        return f"{head}, O {profile.head.hidden_size * factor}"
    if arm in BASELINES:
        return arm
    of = ARMS[arm].variant(profile)
    widths = f"tied {of.input_embedding_size}" if of.tied else f"{of.input_embedding_size}-{of.output_embedding_size}"
    if ARMS[arm].alone:
        return f"{widths}, one language"
    return widths + (f", L {of.num_hidden_layers}" if ARMS[arm].wide else "")
