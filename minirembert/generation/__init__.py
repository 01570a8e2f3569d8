"""Generating text with a decoder.

settings.py     what can be asked for, and what makes no sense
prompt.py       the prompts, checked
next_token.py   the model: sequences -> logits of the next token, with or without a cache
scores.py       temperature, top-k, top-p, drawing a token
sampling.py     greedy decoding and sampling
beams.py        beam search
"""

from dataclasses import dataclass
from typing import Any

from minirembert.generation.beams import beam_search
from minirembert.generation.next_token import NextToken
from minirembert.generation.prompt import read_prompt
from minirembert.generation.sampling import token_by_token
from minirembert.generation.settings import plan, read_settings
from minirembert.model.outputs import ModelOutput
from minirembert.ops.array import Array


@dataclass
class GenerationOutput(ModelOutput):
    """What `generate` returns with `return_dict_in_generate`."""

    sequences: Array | None = None  # (B * num_return_sequences, length) int64
    sequences_scores: Array | None = None  # (B * num_return_sequences,) float64, of beam search


def generate(model: Any, inputs: dict[str, Any], settings: dict[str, Any]) -> Array | GenerationOutput:
    """`RemBertForCausalLM.generate`, which describes it. `inputs`: the arguments of `read_prompt`."""
    config = model.config
    if not config.is_decoder:
        raise ValueError(
            "generate needs a decoder, in which no token sees those after it: load the model with is_decoder=True"
        )
    chosen = read_settings(settings)
    prompt = read_prompt(config, model.backend.host_dtype, chosen, **inputs)
    length = prompt.ids.shape[1]
    planned = plan(config, chosen, length, length - int(prompt.padding.min()))
    use_cache = config.use_cache if chosen.use_cache is None else chosen.use_cache
    if prompt.past is not None and not use_cache:
        raise ValueError("generate: past_key_values is of no use with use_cache=False")
    next_token = NextToken(model, prompt, use_cache)
    scores = None
    if chosen.num_beams > 1:
        sequences, scores = beam_search(next_token, planned)
    else:
        sequences = token_by_token(next_token, planned)
    return GenerationOutput(sequences, scores) if chosen.return_dict_in_generate else sequences
