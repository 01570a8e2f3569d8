"""Beam search: the `num_beams` best beginnings of a text are continued side by side.

A text that has ended scores

    log P(its new tokens) / (how many they are, eos included) ** length_penalty

and competes with the other finished ones for `num_beams` places. The search of a prompt ends at max_length, or before:

    early_stopping=True      when all places are taken
    early_stopping=False     when, too, the best beginning scores no better than the worst place would, if it ended here
    early_stopping="never"   as False, but with the length in its favour: as if it ended at max_length, for a
                             length_penalty above 0

The rules are those of transformers 5 (Wu et al. 2016, "Google's neural machine translation system", section 7, has another
penalty). Each prompt is searched alone; only the model runs on all of them together.
"""

import numpy as np

from minirembert.generation.next_token import NextToken
from minirembert.generation.scores import adjusted, log_softmax
from minirembert.generation.settings import Plan
from minirembert.ops.array import Array


class Search:
    """The search of one prompt: k beams, and the places of what has finished."""

    def __init__(self, prompt: Array, plan: Plan) -> None:
        self.plan = plan
        self.prompt_length = len(prompt)
        self.sequences = prompt[None]  # (beams, t), best first: to begin with there is one
        self.scores = np.zeros(1)  # (beams,) log probabilities
        self.finished: list[tuple[float, Array]] = []  # (score, ids), best first, at most k
        self.done = False

    def step(self, log_probs: Array) -> Array:
        """Takes the log probabilities (beams, V) of each beam's next token. Returns the beams (k,) that were continued."""
        k, settings = self.plan.settings.num_beams, self.plan.settings
        # 1. the best continuations of all beams together: enough for k to go on, even if all that can end do
        totals = self.scores[:, None] + log_probs
        best = highest(totals.reshape(-1), max(2, 1 + len(self.plan.eos)) * k)
        beams, tokens = np.divmod(best, log_probs.shape[1])
        sequences = np.concatenate([self.sequences[beams], tokens[:, None]], axis=1)
        scores = totals[beams, tokens]
        new = sequences.shape[1] - self.prompt_length
        # 2. of the k best, those that end take a place if they are good enough
        at_the_limit = sequences.shape[1] == self.plan.max_length
        ends = np.isin(tokens, self.plan.eos) | at_the_limit
        arrived = [(float(scores[i]) / new**settings.length_penalty, sequences[i]) for i in np.flatnonzero(ends[:k])]
        self.finished = sorted(self.finished + arrived, key=lambda place: -place[0])[:k]
        # 3. the k best that do not end are the beams
        going_on = np.flatnonzero(~ends)[:k]
        self.sequences, self.scores = sequences[going_on], scores[going_on]
        self.done = at_the_limit or (len(self.finished) == k and self._nothing_better_comes(new))
        return beams[going_on]

    def _nothing_better_comes(self, new: int) -> bool:
        settings = self.plan.settings
        if settings.early_stopping is True:
            return True
        if settings.early_stopping == "never" and settings.length_penalty > 0:
            new = self.plan.max_length - self.prompt_length
        return bool(self.scores[0] / new**settings.length_penalty <= self.finished[-1][0])


def highest(values: Array, count: int) -> Array:
    """Where the `count` highest of (n,) are (all, if there are fewer), highest first."""
    count = min(count, len(values))
    places = np.sort(np.argpartition(values, len(values) - count)[len(values) - count :])
    return places[np.argsort(-values[places], kind="stable")]


def beam_search(next_token: NextToken, plan: Plan) -> tuple[Array, Array]:
    """Ids (B * num_return_sequences, length), the best of each prompt first, and their scores (B * num_return_sequences,)."""
    prompt = next_token.prompt
    searches = [Search(ids, plan) for ids in prompt.ids]
    running = list(range(len(searches)))  # the prompts whose search goes on
    logits = next_token(prompt.ids)
    while True:
        scores = adjusted(
            log_softmax(logits),
            np.concatenate([searches[n].sequences for n in running]),
            np.concatenate([np.repeat(prompt.padding[n], len(searches[n].sequences)) for n in running]),
            plan,
        )
        parents, first = [], 0
        for n in running:
            here = len(searches[n].sequences)
            continued = searches[n].step(scores[first : first + here])
            parents += [] if searches[n].done else [first + continued]
            first += here
        running = [n for n in running if not searches[n].done]
        if not running:
            break
        logits = next_token(np.concatenate([searches[n].sequences for n in running]), np.concatenate(parents))
    found = [place for search in searches for place in search.finished[: plan.settings.num_return_sequences]]
    sequences = np.full((len(found), max(len(ids) for _, ids in found)), plan.pad)
    for row, (_, ids) in zip(sequences, found, strict=True):
        row[: len(ids)] = ids
    return sequences, np.array([score for score, _ in found])
