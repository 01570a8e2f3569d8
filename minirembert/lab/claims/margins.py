"""What counts as a difference, and how many paired seeds a statement needs. Chosen before any run that is judged by them."""

from typing import Any

from minirembert.lab.claims.comparison import Comparison

LOSS_BAND = 0.05  # nats for each masked word
TRANSFER_BAND = 0.03  # of a score between 0 and 1
RETRIEVAL_BAND = 0.03  # of a share of sentences
KL_BAND = 0.05  # nats
SMALL_COST = 0.1  # nats: what a narrow input embedding may cost, and what the cliff must
WANTED = 0.85  # of a task, in the language that it is learned in: neither hopeless nor done
SEEDS = 3
SEEDS_FOR_TRANSFER = 8  # what happens between languages differs more from seed to seed


def loss(what: str, arm: str, minus: str, **rest: Any) -> Comparison:
    """A comparison of held-out losses. The band is for those that claim no bound of their own."""
    band = None if rest.get("bound") else LOSS_BAND
    return Comparison(what, "loss", arm, minus, band=band, seeds=SEEDS, **rest)


def transfer(what: str, arm: str, minus: str, **rest: Any) -> Comparison:
    """A comparison of transfer scores, which lie between 0 and 1."""
    return Comparison(what, "transfer", arm, minus, band=TRANSFER_BAND, seeds=SEEDS_FOR_TRANSFER, **rest)
