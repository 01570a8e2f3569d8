"""Greedy decoding and sampling: every text takes one token at a time, and none of them minds the others."""

import numpy as np

from minirembert.generation.next_token import NextToken
from minirembert.generation.scores import adjusted, draw, only_top_k, only_top_p, tempered
from minirembert.generation.settings import Plan
from minirembert.ops.array import Array


def token_by_token(next_token: NextToken, plan: Plan) -> Array:
    """(B * num_return_sequences, length) ids. A text that has ended is padded and costs no more work."""
    prompt, settings = next_token.prompt, plan.settings
    batch, length = prompt.ids.shape
    # each text draws from a stream of its own, so that what it becomes does not depend on the other prompts
    texts = batch * settings.num_return_sequences
    generators = generators_of(settings.seed, texts) if settings.do_sample else []
    came_from = np.repeat(np.arange(batch), settings.num_return_sequences)  # rows of the last call's logits
    sequences = np.full((texts, plan.max_length), plan.pad)
    sequences[:, :length] = prompt.ids[came_from]
    padding = prompt.padding[came_from]
    running = np.arange(texts)
    logits = next_token(prompt.ids)[came_from]
    while True:
        scores = adjusted(logits, sequences[running, :length], padding[running], plan)
        if settings.do_sample:
            scores = only_top_p(only_top_k(tempered(scores, settings.temperature), settings.top_k), settings.top_p)
            tokens = draw(scores, [generators[n] for n in running])
        else:
            tokens = scores.argmax(axis=1)
        sequences[running, length] = tokens
        length += 1
        going_on = np.flatnonzero(~np.isin(tokens, plan.eos))
        running, came_from = running[going_on], came_from[going_on]
        if len(running) == 0 or length == plan.max_length:
            return sequences[:, :length]
        logits = next_token(sequences[running, :length], came_from)
        came_from = np.arange(len(running))


def generators_of(seed: int | None, count: int) -> list[np.random.Generator]:
    """One stream of random numbers for each text, a function of (seed, the text's number)."""
    if seed is None:
        return list(np.random.default_rng().spawn(count))
    return [np.random.default_rng([int(seed), n]) for n in range(count)]
