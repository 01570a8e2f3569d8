"""The tasks: the encoder, a head, a loss. Each class is short, because everything it needs has a file of its own.

Losses are Hugging Face's (4.34). Labels equal to -100 are ignored; with none left the loss is NaN.
"""

from typing import Any

import numpy as np

from minirembert.config import RemBertConfig
from minirembert.model.arguments import DECODER, ENCODER, FLAGS
from minirembert.model.arrays import integers, rectangular, require_shape
from minirembert.model.base import RemBertPreTrainedModel
from minirembert.model.forward_pass import ForwardPass, Parameters
from minirembert.model.output_head import output_head, output_head_shapes
from minirembert.model.outputs import BaseModelOutput, QuestionAnsweringOutput, TaskOutput
from minirembert.ops.array import Array
from minirembert.ops.losses import IGNORE_INDEX


class RemBertForMaskedLM(RemBertPreTrainedModel):
    """Fills masks: logits (B, S, V). `labels` (B, S): the true id where something was masked, -100 elsewhere."""

    arguments = (*ENCODER, *DECODER, "labels", *FLAGS)

    @classmethod
    def head_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """The output head, H -> O -> V."""
        return output_head_shapes(config)

    def score(self, run: ForwardPass, p: Parameters, x: Any) -> Any:
        """Hidden states (..., H) -> logits (..., V)."""
        return output_head(run, p, x)

    def run_forward(
        self, run: ForwardPass, for_loss_only: bool = False, labels: Any = None, **inputs: Any
    ) -> TaskOutput:
        """With labels and `for_loss_only` only labelled positions are scored, and the output has no logits."""
        base = self.encode(run, use_cache=False, **inputs)
        x = base.last_hidden_state
        assert x is not None
        p = Parameters(self.parameters)
        if labels is None:
            return _output(None, self.score(run, p, x), base)
        labels = class_labels(labels, x.shape[:2], self.config.vocab_size).reshape(-1)
        labelled = np.flatnonzero(labels != IGNORE_INDEX)
        if for_loss_only:
            # Scoring V pieces is 43% of RemBERT's work; the loss asks for it at 15% of the positions.
            logits = self.score(run, p, run.ops.select_rows(x, labelled))
            return _output(run.ops.cross_entropy(logits, labels[labelled]), None, base)
        logits = self.score(run, p, x)
        loss = run.ops.cross_entropy(run.ops.select_rows(logits, labelled), labels[labelled])
        return _output(loss, logits, base)


class RemBertForSequenceClassification(RemBertPreTrainedModel):
    """One answer for a sequence or a pair: logits (B, num_labels).

    `config.problem_type` decides the loss: "regression" (mean squared error; float labels (B,) or (B, num_labels)),
    "single_label_classification" (cross-entropy; int labels (B,)) or "multi_label_classification" (binary
    cross-entropy; float labels (B, num_labels)). Where it is None the first labels decide it, and the decision stays in
    the configuration: one label is a regression, integers are single labels, anything else is multi label.
    """

    has_pooler = True

    @classmethod
    def head_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """A linear map H -> num_labels."""
        return _classifier_shapes("classifier", config.num_labels, config)

    def run_forward(
        self, run: ForwardPass, for_loss_only: bool = False, labels: Any = None, **inputs: Any
    ) -> TaskOutput:
        """The logits come from the pooler. Labels may settle `config.problem_type`."""
        base = self.encode(run, use_cache=False, **inputs)
        logits = _classify(run, Parameters(self.parameters), base.pooler_output)
        return _output(None if labels is None else self._loss(run, logits, rectangular(labels, "labels")), logits, base)

    def _loss(self, run: ForwardPass, logits: Any, labels: Array) -> Any:
        batch, num_labels = logits.shape
        if self.config.problem_type is None:
            if num_labels == 1:
                self.config.problem_type = "regression"
            elif labels.dtype.kind in "iu":
                self.config.problem_type = "single_label_classification"
            else:
                self.config.problem_type = "multi_label_classification"
        if self.config.problem_type == "single_label_classification":
            return run.ops.cross_entropy(logits, class_labels(labels.reshape(-1), (batch,), num_labels))
        if num_labels == 1 and labels.shape == (batch,):
            labels = labels[:, None]
        require_shape(labels, (batch, num_labels), "labels")
        labels = labels.astype(self.backend.host_dtype)
        if self.config.problem_type == "regression":
            return run.ops.mse(logits, labels)
        return run.ops.bce_with_logits(logits, labels)


class RemBertForMultipleChoice(RemBertPreTrainedModel):
    """Which of C continuations fits: ids (B, C, S) -> logits (B, C). `labels` (B,): the number of the right one."""

    has_pooler = True
    ids_axes = 3

    @classmethod
    def head_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """A linear map H -> 1: the score of one choice."""
        return _classifier_shapes("classifier", 1, config)

    def run_forward(
        self, run: ForwardPass, for_loss_only: bool = False, labels: Any = None, **inputs: Any
    ) -> TaskOutput:
        """Every choice is a sequence of its own: B C of them pass the encoder.

        Raises ValueError where arrays disagree about B or C.
        """
        arrays = {name: rectangular(inputs[name], name) for name in CHOICE_AXES if inputs.get(name) is not None}
        _check_choices(arrays)
        # every choice becomes a sequence of its own
        flat = {name: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]) for name, a in arrays.items()}
        base = self.encode(run, use_cache=False, **inputs | flat)
        batch, choices = next(iter(arrays.values())).shape[:2]
        logits = run.ops.reshape(_classify(run, Parameters(self.parameters), base.pooler_output), (batch, choices))
        loss = None
        if labels is not None:
            labels = class_labels(integers(labels, "labels").reshape(-1), (batch,), choices)
            loss = run.ops.cross_entropy(logits, labels)
        return _output(loss, logits, base)


# The axes of each input of multiple choice. The first that is given says how many examples and choices there are.
CHOICE_AXES = {"input_ids": 3, "inputs_embeds": 4, "attention_mask": 3, "token_type_ids": 3, "position_ids": 3}


def _check_choices(arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        if array.ndim != CHOICE_AXES[name]:
            raise ValueError(
                f"{name} must have {CHOICE_AXES[name]} axes, (batch, choice, ...), got shape {array.shape}"
            )
        first, reference = next(iter(arrays.items()))
        for_all = name == "position_ids" and array.shape[:2] == (1, 1)
        if array.shape[:2] != reference.shape[:2] and not for_all:
            raise ValueError(
                f"{name} has shape {array.shape} and {first} {reference.shape}: "
                "their first two axes, (batch, choice), must be equal"
            )


class RemBertForTokenClassification(RemBertPreTrainedModel):
    """A tag for every token: logits (B, S, num_labels). `labels` (B, S), -100 where no tag is asked for."""

    @classmethod
    def head_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """A linear map H -> num_labels."""
        return _classifier_shapes("classifier", config.num_labels, config)

    def run_forward(
        self, run: ForwardPass, for_loss_only: bool = False, labels: Any = None, **inputs: Any
    ) -> TaskOutput:
        """The logits come from each token's last hidden state."""
        base = self.encode(run, use_cache=False, **inputs)
        logits = _classify(run, Parameters(self.parameters), base.last_hidden_state)
        loss = None
        if labels is not None:
            labels = class_labels(labels, logits.shape[:2], logits.shape[-1]).reshape(-1)
            loss = run.ops.cross_entropy(run.ops.reshape(logits, (-1, logits.shape[-1])), labels)
        return _output(loss, logits, base)


class RemBertForQuestionAnswering(RemBertPreTrainedModel):
    """Where an answer starts and ends: start_logits and end_logits (B, S).

    `start_positions` and `end_positions` (B,); one past the end of the sequence is ignored, a negative one counts as 0.
    The loss is the mean of the two cross-entropies.
    """

    arguments = (*ENCODER, "start_positions", "end_positions", *FLAGS)

    @classmethod
    def head_shapes(cls, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
        """A linear map H -> num_labels, of which there must be 2: a start and an end."""
        return _classifier_shapes("qa_outputs", config.num_labels, config)

    def run_forward(
        self,
        run: ForwardPass,
        for_loss_only: bool = False,
        start_positions: Any = None,
        end_positions: Any = None,
        **inputs: Any,
    ) -> QuestionAnsweringOutput:
        """There is a loss where both positions are given. Raises ValueError unless num_labels is 2."""
        if self.config.num_labels != 2:
            raise ValueError(f"question answering needs num_labels = 2 (start and end), got {self.config.num_labels}")
        base = self.encode(run, use_cache=False, **inputs)
        logits = run.linear(base.last_hidden_state, Parameters(self.parameters).at("qa_outputs"))
        start, end = run.ops.select_feature(logits, 0), run.ops.select_feature(logits, 1)
        loss = None
        if start_positions is not None and end_positions is not None:
            start_loss = self._position_loss(run, start, start_positions, "start_positions")
            end_loss = self._position_loss(run, end, end_positions, "end_positions")
            loss = run.ops.scale(run.ops.add(start_loss, end_loss), 0.5)
        return QuestionAnsweringOutput(loss, start, end, base.hidden_states, base.attentions)

    @staticmethod
    def _position_loss(run: ForwardPass, logits: Any, positions: Any, name: str) -> Any:
        batch, length = logits.shape
        positions = integers(positions, name).reshape(-1)
        require_shape(positions, (batch,), name)
        return run.ops.cross_entropy(logits, np.clip(positions, 0, length), ignore_index=length)


def class_labels(values: Any, shape: tuple[int, ...], classes: int) -> Array:
    """`values` as class numbers. The op would refuse a wrong one too, but cannot say where in the caller's array it is."""
    labels = integers(values, "labels")
    require_shape(labels, shape, "labels")
    outside = ((labels < 0) | (labels >= classes)) & (labels != IGNORE_INDEX)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise IndexError(
            f"labels{list(where)} is {int(labels[where])}, "
            f"but labels are 0 to {classes - 1}, or {IGNORE_INDEX} to be ignored"
        )
    return labels


def _classifier_shapes(name: str, num_labels: int, config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (num_labels, config.hidden_size), f"{name}.bias": (num_labels,)}


def _classify(run: ForwardPass, p: Parameters, x: Any) -> Any:
    return run.linear(run.dropout(x, run.config.classifier_dropout_prob), p.at("classifier"))


def _output(loss: Any, logits: Any, base: BaseModelOutput) -> TaskOutput:
    return TaskOutput(loss, logits, base.hidden_states, base.attentions)
