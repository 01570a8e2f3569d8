"""The model as a search sees it: sequences in, the logits of their next token out."""

from typing import Any

import numpy as np

from minirembert.generation.prompt import Prompt
from minirembert.model.cache import reorder
from minirembert.ops.array import Array


class NextToken:
    """Logits of the token after each of N sequences, all of which continue prompts of one batch.

    Holds the cache between the calls, if there is one. Positions count a prompt's own tokens, so that it continues as it
    would without the padding on its left.
    """

    def __init__(self, model: Any, prompt: Prompt, use_cache: bool) -> None:
        self.model = model
        self.prompt = prompt
        self.use_cache = use_cache
        self.cache = prompt.past
        self.cached = prompt.past_length  # tokens
        self.origin = np.arange(len(prompt.ids))  # which prompt each sequence of the last call continues

    def __call__(self, sequences: Array, parents: Array | None = None) -> Array:
        """(N, t) ids -> (N, V) float64. `parents` (N,): which sequence of the last call each of these continues.

        The first call takes the prompts, one row each. Raises ValueError where the highest logit is not finite.
        """
        if parents is not None and not np.array_equal(parents, np.arange(len(self.origin))):
            self.origin = self.origin[parents]
            if self.cache is not None:
                self.cache = reorder(self.cache, parents)
        inputs = self._inputs(sequences)
        output = self.model(
            **inputs,
            past_key_values=self.cache,
            use_cache=self.use_cache,
            logits_to_keep=1,
            output_attentions=False,
            output_hidden_states=False,
            return_dict=True,
        )
        if self.use_cache:
            self.cache, self.cached = output.past_key_values, sequences.shape[1]
        logits = self.model.backend.numpy(output.logits)[:, 0].astype(np.float64)
        highest = logits.max(axis=1)
        if not np.isfinite(highest).all():  # -inf may well be among them: a token that somebody ruled out
            row = int(np.argmax(~np.isfinite(highest)))
            where = f"token {sequences.shape[1]} after prompt {self.origin[row]}"
            raise ValueError(f"generate: the highest of the model's logits for {where} is {highest[row]}")
        return logits

    def _inputs(self, sequences: Array) -> dict[str, Any]:
        """What the model needs of the tokens that are not in the cache."""
        prompt, start = self.prompt, self.cached
        length = sequences.shape[1]
        types = prompt.token_type_ids[self.origin]  # new tokens are of the last one's type
        types = np.concatenate([types, np.repeat(types[:, -1:], length - types.shape[1], axis=1)], axis=1)
        inputs: dict[str, Any] = {"input_ids": sequences[:, start:], "token_type_ids": types[:, start:]}
        padding = prompt.padding[self.origin][:, None]
        if padding.any():
            inputs["attention_mask"] = np.arange(length) >= padding
            inputs["position_ids"] = np.maximum(np.arange(start, length) - padding, 0)
        if prompt.encoder_hidden_states is not None and (self.cache is None or not self._crossed()):
            inputs["encoder_hidden_states"] = prompt.encoder_hidden_states[self.origin]
        if prompt.encoder_attention_mask is not None:
            inputs["encoder_attention_mask"] = prompt.encoder_attention_mask[self.origin]
        return inputs

    def _crossed(self) -> bool:
        """Whether the encoder's keys and values are in the cache."""
        return len(self.cache) > 0 and len(self.cache[0]) == 4
