"""RemBERT as a decoder that predicts the next token."""

from typing import Any

import numpy as np

from minirembert.backend import Backend
from minirembert.config import RemBertConfig
from minirembert.model.arguments import DECODER, ENCODER, FLAGS
from minirembert.model.arrays import integers
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.output_head import output_head, output_head_shapes
from minirembert.model.outputs import CausalOutput
from minirembert.model.tasks import class_labels
from minirembert.ops.array import Array
from minirembert.ops.losses import IGNORE_INDEX


class RemBertForCausalLM(RemBertPreTrainedModel):
    """Predicts the next token: logits (B, S, V). `labels` (B, S): usually the ids again, -100 where nothing is asked.

    Set `config.is_decoder`: otherwise every token sees those after it, and there is nothing to predict. The logits at s are
    compared with the label at s + 1; labels[:, 0] count for nothing. `logits_to_keep`: only that many last positions are
    scored (0: all), or those in an array of positions. See `RemBertModel` for the cache and for cross-attention, and
    `generate` for text.
    """

    arguments = (
        *ENCODER, *DECODER, "past_key_values", "labels", "use_cache", *FLAGS, "logits_to_keep",
    )  # fmt: skip

    def _prepare(self, config: RemBertConfig, backend: Backend) -> None:
        super()._prepare(config, backend)
        if not config.is_decoder:
            self._warn(
                "is_decoder is not set, so every token sees those after it: a causal model needs is_decoder = True"
            )

    @classmethod
    def head_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """The output head, H -> O -> V."""
        return output_head_shapes(config)

    def run_forward(
        self,
        run: ForwardPass,
        for_loss_only: bool = False,
        labels: Any = None,
        logits_to_keep: Any = 0,
        **inputs: Any,
    ) -> CausalOutput:
        """Labels are shifted here: position s answers for label s + 1.

        With labels and `for_loss_only` only the positions that answer for a label are scored, and the output is the loss alone.
        Raises ValueError for labels where `logits_to_keep` leaves positions out.
        """
        if for_loss_only:
            inputs["use_cache"] = False
        base = self.encode(run, **inputs)
        x = base.last_hidden_state
        assert x is not None
        p = Parameters(self.parameters)
        batch, length, _ = x.shape
        answering = next_labels = None
        if labels is not None:
            # position s of a sequence answers for label s + 1
            next_labels = class_labels(labels, (batch, length), self.config.vocab_size)[:, 1:]
            sequence, position = np.nonzero(next_labels != IGNORE_INDEX)
            answering, next_labels = sequence * length + position, next_labels[sequence, position]
        if for_loss_only and answering is not None:
            # scoring V pieces is most of the work: only where the loss asks for it
            loss = run.ops.cross_entropy(output_head(run, p, run.ops.select_rows(x, answering)), next_labels)
            return CausalOutput(loss)
        kept = _positions(logits_to_keep, length)
        if len(kept) < length:
            rows = np.arange(batch)[:, None] * length + kept
            x = run.ops.reshape(run.ops.select_rows(x, rows.reshape(-1)), (batch, len(kept), -1))
        logits, loss = output_head(run, p, x), None
        if answering is not None:
            if len(kept) < length:
                raise ValueError(f"labels need all logits, but logits_to_keep leaves {len(kept)} of {length}")
            loss = run.ops.cross_entropy(run.ops.select_rows(logits, answering), next_labels)
        return CausalOutput(
            loss, logits, base.past_key_values, base.hidden_states, base.attentions, base.cross_attentions
        )

    def generate(
        self,
        input_ids: Any = None,
        *,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: Any = None,
        **settings: Any,
    ) -> Any:
        """Continues prompts: ids (B, S) -> ids (B * num_return_sequences, length) int64, the prompt included.

            model.generate(**tokenizer("Once", return_tensors="np"), max_new_tokens=20)      the likeliest token each time
            model.generate(ids, do_sample=True, temperature=0.7, top_p=0.9, seed=0)          tokens drawn
            model.generate(ids, num_beams=4)                                                 beam search

        `settings` are the fields of `minirembert.generation.settings.GenerationSettings`, which says what each does. A text
        ends with `eos_token_id`, after which it is padded, or at `max_length` (20 by default, the prompt included).

        Prompts of different length are padded on the left and have an `attention_mask`; each then continues as it does
        alone. Without a mask, `pad_token_id` counts as padding. New tokens have the type of the prompt's last. Without
        `input_ids` a text begins with `bos_token_id`.

        With `seed`, text n of the result draws from a stream that is a function of (seed, n): the other prompts have no
        influence on it. `past_key_values`: the cache of the prompt's first tokens, which need no more work; it is not
        changed. `encoder_hidden_states` as in a call of the model.

        With `return_dict_in_generate=True` the result has `sequences` and, from beam search, `sequences_scores`.

        Raises ValueError for a model that is not a decoder, a setting that makes no sense or has no effect, padding that is
        not on the left, and a text that does not fit into `max_position_embeddings`, before any work is done.
        """
        from minirembert.generation import generate  # who trains a model needs none of it

        prompt = dict(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
        )
        return generate(self, prompt, settings)


def _positions(logits_to_keep: Any, length: int) -> Array:
    """0: all positions; n: the last n; an array: those."""
    kept = integers(logits_to_keep, "logits_to_keep")
    if kept.ndim == 0:
        if not 0 <= kept <= length:
            raise ValueError(f"logits_to_keep must be 0 (all) to {length}, the number of tokens, got {int(kept)}")
        return np.arange(length)[-int(kept) :]
    if kept.ndim != 1 or kept.size == 0 or kept.min() < 0 or kept.max() >= length:
        raise ValueError(f"logits_to_keep must hold positions from 0 to {length - 1}, got {kept.tolist()}")
    return kept
