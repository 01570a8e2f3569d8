"""The configuration of a model and the settings of generation: each field alone, and what it does to a small model."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from cases import Changes, ChangesNothing, Refused, Settings
from models import randomised
from test_generation import prompts, sharp_speaker, some_eos

from minirembert import (
    RemBertConfig,
    RemBertForCausalLM,
    RemBertForMaskedLM,
    RemBertForSequenceClassification,
    RemBertModel,
)
from minirembert.generation.settings import GenerationSettings
from minirembert.model.forward_pass import ForwardPass
from minirembert.ops import OPS
from minirembert.tape import Forward

# --- the configuration ----------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = dict(
    vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, input_embedding_size=6,
    output_embedding_size=10, intermediate_size=12, max_position_embeddings=16, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
IDS = np.array([[4, 5, 6, 7, 8, 9], [9, 3, 0, 11, 12, 13]])
TYPES = np.array([[0, 0, 1, 1, 1, 1]] * 2)
FLOAT_LABELS = np.array([[0.25, 1.0], [0.5, 0.0]])
ALWAYS = 9  # what the decoder below says


class Heard(Forward):
    """Runs ops, and notes how many rows at a time the feed-forward halves take."""

    def __init__(self) -> None:
        super().__init__(OPS)
        self.rows: set[int] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        run = super().__getattr__(name)

        def heard(*inputs: Any, **settings: Any) -> Any:
            if name == "bias_gelu":
                self.rows.add(int(np.prod(inputs[0].shape[:-1])))
            return run(*inputs, **settings)

        return heard


class OfAConfig:
    """What a configuration makes of small models. Each part is worked out when a case asks for it."""

    def __init__(self, changed: Mapping[str, Any]) -> None:
        self.changed = changed
        self.config = RemBertConfig(**SMALL | dict(changed))
        RemBertModel(self.config)  # refuses what a model cannot be

    def of(self, kind: type) -> Any:
        model = kind(RemBertConfig(**SMALL | dict(self.changed)), dtype="float64")
        randomised(model.parameters, np.random.default_rng(0))
        return model

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**RemBertForMaskedLM.parameter_shapes(self.config), **RemBertModel.parameter_shapes(self.config)}

    @functools.cached_property
    def fresh(self) -> dict[str, np.ndarray]:
        return RemBertForMaskedLM(self.config, seed=1).parameters

    def all_of(self, **settings: Any) -> Any:
        asked = {"output_hidden_states": True, "output_attentions": True, "return_dict": True}
        return self.of(RemBertForMaskedLM)(IDS, token_type_ids=TYPES, **asked, **settings)

    @functools.cached_property
    def plain(self) -> Any:
        return self.all_of()

    @functools.cached_property
    def dropped(self) -> Any:
        return self.all_of(dropout_seed=3)

    @functools.cached_property
    def classified(self) -> tuple[np.ndarray, np.ndarray]:
        """Logits of a classifier without dropout and with."""
        model = self.of(RemBertForSequenceClassification)
        return tuple(model(IDS, dropout_seed=seed, return_dict=True).logits for seed in (None, 3))

    @functools.cached_property
    def loss(self) -> float:
        return float(self.of(RemBertForSequenceClassification)(IDS, labels=FLOAT_LABELS).loss)

    @functools.cached_property
    def word_gradient(self) -> np.ndarray:
        """Whether each row of the input embedding learns."""
        _, gradients = self.of(RemBertForMaskedLM).loss_and_gradients(IDS, labels=IDS)
        return gradients["rembert.embeddings.word_embeddings.weight"].any(axis=1)

    @functools.cached_property
    def longest(self) -> int:
        model = self.of(RemBertForMaskedLM)
        for length in range(1, 40):
            try:
                model(np.full((1, length), 4))
            except ValueError:
                return length - 1
        raise AssertionError("no sequence is too long")

    @functools.cached_property
    def sees_the_future(self) -> bool:
        other = IDS.copy()
        other[:, -1] = 14
        model = self.of(RemBertForMaskedLM)
        return bool((model(IDS).logits[:, 0] != model(other).logits[:, 0]).any())

    @functools.cached_property
    def rows(self) -> set[int]:
        heard = Heard()
        self.of(RemBertForMaskedLM).run_forward(ForwardPass(heard, self.config), input_ids=IDS)
        return heard.rows - {IDS.size} if self.config.chunk_size_feed_forward else heard.rows  # the head takes all

    @functools.cached_property
    def said(self) -> list[int]:
        """A text of three tokens without a prompt, from a decoder that says one word."""
        model = RemBertForCausalLM(RemBertConfig(**SMALL | dict(self.changed) | {"is_decoder": True}), dtype="float64")
        randomised(model.parameters, np.random.default_rng(0))
        model.parameters["cls.predictions.decoder.bias"][ALWAYS] += 1000
        return model.generate(max_new_tokens=3)[0].tolist()

    @functools.cached_property
    def called(self) -> Any:
        """What a call gives that asks for nothing: the kind, and the names of its parts."""
        output = self.of(RemBertForCausalLM)(IDS)
        return tuple if type(output) is tuple else (type(output).__name__, *output)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def widths(field: str, to: int, *names: str) -> Changes:
    """The axes of that width, and no others, have another: those of each parameter, told by three prime sizes."""

    def how(before: OfAConfig, after: OfAConfig) -> bool:
        was = SMALL[field]
        expected = {n: tuple(to if size == was else size for size in shape) for n, shape in before.shapes.items()}
        return after.shapes == expected != before.shapes and all(
            to in after.shapes[name] and was in before.shapes[name] for name in names
        )

    return Changes(to, how)


WORDS, DECODER = "rembert.embeddings.word_embeddings.weight", "cls.predictions.decoder"

CONFIG = Settings(
    RemBertConfig,
    tuple(RemBertConfig.__dataclass_fields__),
    OfAConfig,
    {
        "vocab_size": widths("vocab_size", 24, WORDS, f"{DECODER}.weight", f"{DECODER}.bias"),
        "hidden_size": widths("hidden_size", 14, "pooler.dense.weight"),
        "input_embedding_size": widths("input_embedding_size", 5, WORDS),
        "output_embedding_size": widths("output_embedding_size", 11, f"{DECODER}.weight"),
        "intermediate_size": widths("intermediate_size", 13, "encoder.layer.1.intermediate.dense.weight"),
        "max_position_embeddings": (
            widths("max_position_embeddings", 17, "embeddings.position_embeddings.weight"),
            Changes(17, lambda before, after: (before.longest, after.longest) == (16, 17)),
        ),
        "num_hidden_layers": Changes(
            3,
            lambda before, after: {name for name in after.shapes if name not in before.shapes}
            == {name.replace("layer.1", "layer.2") for name in before.shapes if "layer.1" in name}
            and len(after.plain.hidden_states) == 4,
        ),
        "num_attention_heads": Changes(
            4,
            lambda before, after: before.shapes == after.shapes
            and [o.plain.attentions[0].shape for o in (before, after)] == [(2, 2, 6, 6), (2, 4, 6, 6)],
        ),
        "type_vocab_size": Changes(
            3,
            lambda before, after: [
                name for name in before.shapes if before.shapes[name] != after.shapes[name]
            ] == [f"{prefix}embeddings.token_type_embeddings.weight" for prefix in ("rembert.", "")]
            and after.shapes["embeddings.token_type_embeddings.weight"] == (3, 6),
        ),
        "hidden_act": Changes(
            "relu",
            lambda before, after: same(before.plain.hidden_states[0], after.plain.hidden_states[0])
            and not same(before.plain.hidden_states[1], after.plain.hidden_states[1]),
        ),
        "layer_norm_eps": Changes(
            1.0, lambda before, after: not same(before.plain.hidden_states[0], after.plain.hidden_states[0])
        ),
        "hidden_dropout_prob": Changes(
            0.5,
            lambda before, after: same(before.dropped.logits, before.plain.logits)
            and same(after.plain.logits, before.plain.logits)
            and not same(after.dropped.hidden_states[0], after.plain.hidden_states[0]),
        ),
        "attention_probs_dropout_prob": Changes(
            0.5,
            lambda before, after: same(after.plain.logits, before.plain.logits)
            and (before.dropped.attentions[0] > 0).all()
            and 0 < (after.dropped.attentions[0] == 0).mean() < 1
            and same(after.dropped.hidden_states[0], after.plain.hidden_states[0]),
        ),
        "classifier_dropout_prob": Changes(
            0.0,
            lambda before, after: not same(before.classified[1], before.classified[0])
            and same(after.classified[1], after.classified[0])
            and same(after.classified[0], before.classified[0]),
        ),
        "initializer_range": Changes(
            0.04,
            lambda before, after: all(
                same(after.fresh[name], array * (2 if array.ndim > 1 else 1)) for name, array in before.fresh.items()
            ),
        ),
        "pad_token_id": (
            Changes(
                4,
                lambda before, after: [row for row in range(20) if not before.fresh[WORDS][row].any()] == [0]
                and [row for row in range(20) if not after.fresh[WORDS][row].any()] == [4],
            ),
            Changes(
                4,
                lambda before, after: (before.word_gradient[[0, 4]].tolist(), after.word_gradient[[0, 4]].tolist())
                == ([False, True], [True, False]),
            ),
            Changes(None, lambda before, after: after.fresh[WORDS][0].any() and after.word_gradient[0]),
        ),
        "bos_token_id": Changes(
            3, lambda before, after: (before.said, after.said) == ([1, *[ALWAYS] * 3], [3, *[ALWAYS] * 3])
        ),
        "eos_token_id": Changes(ALWAYS, lambda before, after: (len(before.said), after.said) == (4, [1, ALWAYS])),
        "is_decoder": Changes(True, lambda before, after: before.sees_the_future and not after.sees_the_future),
        "add_cross_attention": (
            Changes(
                True,
                lambda before, after: {name for name in after.shapes if name not in before.shapes}
                == {name for name in after.shapes if ".crossattention." in name},
                {"is_decoder": True},
            ),
            Refused(True, "is_decoder"),
        ),
        "use_cache": (
            Changes(
                False,
                lambda before, after: (before.called, after.called)
                == (("CausalOutput", "logits", "past_key_values"), ("CausalOutput", "logits")),
                {"is_decoder": True},
            ),
            Changes(False, lambda before, after: before.called == after.called == ("CausalOutput", "logits")),
        ),
        "chunk_size_feed_forward": Changes(
            3,
            lambda before, after: (before.rows, after.rows) == ({12}, {6})
            and np.allclose(before.plain.logits, after.plain.logits, rtol=1e-12),
        ),
        "problem_type": Changes(
            "regression",
            lambda before, after: np.isclose(after.loss, ((after.classified[0] - FLOAT_LABELS) ** 2).mean())
            and not np.isclose(before.loss, after.loss),
        ),
        "id2label": Changes(
            {2: "maybe", 0: "no", 1: "yes"},
            lambda before, after: (before.config.num_labels, after.classified[0].shape) == (2, (2, 3))
            and after.config.label2id == {"no": 0, "yes": 1, "maybe": 2},
        ),
        "output_hidden_states": Changes(
            True, lambda before, after: (before.called[2:], after.called[2:]) == ((), ("hidden_states",))
        ),
        "output_attentions": Changes(
            True, lambda before, after: (before.called[2:], after.called[2:]) == ((), ("attentions",))
        ),
        "return_dict": Changes(False, lambda before, after: after.called is tuple is not before.called),
        "extra": Changes(
            {"note": 7},
            lambda before, after: after.config.note == after.config.to_dict()["note"] == 7
            and not hasattr(before.config, "note"),
        ),
    },
)  # fmt: skip

# --- generation -----------------------------------------------------------------------------------------------------------


@functools.cache
def speaker() -> tuple[Any, np.ndarray, tuple[int, ...]]:
    """A decoder, four prompts of five tokens, and two ids that end its texts in different places."""
    model, ids = sharp_speaker(), prompts(1, batch=4)
    model.config.bos_token_id = 7
    return model, ids, tuple(some_eos(model, ids, num_beams=2))


class Generated:
    def __init__(self, changed: Mapping[str, Any]) -> None:
        """`eos_token_id` is None, unless a case says something else: "these" for the two that end texts."""
        model, ids, eos = speaker()
        settings: dict[str, Any] = {"eos_token_id": None, "pad_token_id": 3} | dict(changed)
        if settings["eos_token_id"] == "these":
            settings["eos_token_id"] = eos
        asked: list[int] = []

        class Counting(RemBertForCausalLM):
            def __call__(self, *inputs: Any, **named: Any) -> Any:
                asked.append(named["input_ids"].shape[1])
                return super().__call__(*inputs, **named)

        counting = Counting.__new__(Counting)
        counting.__dict__.update(model.__dict__)
        self.output = counting.generate(ids, **settings)
        self.asked = [*asked]
        self.as_output = not isinstance(self.output, np.ndarray)
        self.ids = self.output.sequences if self.as_output else self.output
        self.scores = self.output.sequences_scores if self.as_output else None
        self.new = self.ids[:, ids.shape[1] :]
        self.eos = eos
        small = {name: value for name, value in settings.items() if name in ("bos_token_id", "eos_token_id")}
        self.from_nothing = model.generate(max_new_tokens=1, **small)[0].tolist()
        self.settings = settings

    def ends(self) -> list[int]:
        """How many tokens stand before the first that ends a text, in each."""
        return [int(np.argmax(row)) if row.any() else len(row) for row in np.isin(self.new, self.eos)]

    def filled(self) -> set[int]:
        """What stands after the ends."""
        return {int(i) for row, end in zip(self.new, self.ends(), strict=True) for i in row[end + 1 :]}

    def repeats(self) -> int:
        return sum(len(row) - len(set(row)) for row in self.ids.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Generated) and same(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]


def greedy() -> Generated:
    return Generated({})


SAMPLED = {"do_sample": True, "seed": 4, "temperature": 3.0}
BEAMS = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 14, "return_dict_in_generate": True}
ENDING = {"eos_token_id": "these"}


def log_likelihood(generated: Generated) -> np.ndarray:
    model, ids, _ = speaker()
    logits = model(generated.ids).logits
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p[:, :-1], generated.ids[:, 1:, None], axis=2)[..., 0]
    return picked[:, ids.shape[1] - 1 :].sum(axis=1)


GENERATION = Settings(
    GenerationSettings,
    tuple(GenerationSettings.__dataclass_fields__),
    Generated,
    {
        "max_length": Changes(9, lambda before, after: before.ids.shape == (4, 20) and same(after.ids, before.ids[:, :9])),
        "max_new_tokens": Changes(9, lambda before, after: same(after.ids, before.ids[:, :14])),
        "min_length": Changes(
            12,
            lambda before, after: min(before.ends()) < 7 and min(after.ends()) >= 7
            and all(a == b for a, b in zip(after.ends(), before.ends(), strict=True) if b >= 7),
            ENDING,
        ),
        "min_new_tokens": Changes(
            7,
            lambda before, after: after == Generated(ENDING | {"min_length": 12}) and before != after,
            ENDING,
        ),
        "eos_token_id": Changes(
            "these",
            lambda before, after: before.ends() == after.ends()
            and all((row[end + 1 :] == 3).all() for row, end in zip(after.new, after.ends(), strict=True))
            and min(after.ends()) < after.new.shape[1] - 1,
        ),
        "pad_token_id": Changes(
            0,
            lambda before, after: (before.filled(), after.filled()) == ({3}, {0}) and before.ends() == after.ends(),
            ENDING,
        ),
        "bos_token_id": Changes(8, lambda before, after: (before.from_nothing[0], after.from_nothing[0]) == (7, 8)),
        "do_sample": Changes(True, lambda before, after: before != after, {"seed": 4}),
        "temperature": Changes(
            1e-6, lambda before, after: before != greedy() == after, {"do_sample": True, "seed": 4, "top_k": 0}
        ),
        "top_k": Changes(1, lambda before, after: before != greedy() == after, SAMPLED),
        "top_p": Changes(1e-9, lambda before, after: before != greedy() == after, SAMPLED),
        "seed": (
            Changes(5, lambda before, after: before != after and before == Generated(SAMPLED), SAMPLED),
            ChangesNothing(5, "nothing is drawn"),
        ),
        "num_beams": Changes(
            3,
            lambda before, after: before != after and (log_likelihood(after) >= log_likelihood(before)).all()
            and after.asked == before.asked,
        ),
        "length_penalty": Changes(
            2.0,
            lambda before, after: before == after and np.allclose(after.scores * 14, before.scores)
            and np.allclose(before.scores * 14, log_likelihood(before)),
            BEAMS,
        ),
        "early_stopping": (
            Changes(True, lambda before, after: before != after, BEAMS | ENDING),
            Changes("never", lambda before, after: before != after, BEAMS | ENDING),
        ),
        "num_return_sequences": (
            Changes(2, lambda before, after: same(after.ids[::2, :5], before.ids[:, :5]) and len(after.ids) == 8, SAMPLED),
            Changes(2, lambda before, after: same(after.ids[::2], before.ids), {"num_beams": 3}),
        ),
        "repetition_penalty": Changes(1.5, lambda before, after: after.repeats() < before.repeats()),
        "use_cache": Changes(
            False,
            lambda before, after: before == after and before.asked == [5, *[1] * 14] and after.asked == [*range(5, 20)],
        ),
        "return_dict_in_generate": Changes(
            True,
            lambda before, after: before == after and (before.as_output, after.as_output) == (False, True)
            and after.scores.shape == (4,),
            {"num_beams": 3},
        ),
    },
)  # fmt: skip

SETTINGS = [CONFIG, GENERATION]

OUTPUT = "what a model returns"
PART = "a part of a sentence's meaning, in the generated corpus"
NO_SETTINGS: dict[str, str] = {
    "ModelOutput": OUTPUT,
    "BaseModelOutput": OUTPUT,
    "TaskOutput": OUTPUT,
    "CausalOutput": OUTPUT,
    "QuestionAnsweringOutput": OUTPUT,
    "GenerationOutput": OUTPUT,
    "NounPhrase": PART,
    "Event": PART,
    "Meaning": PART,
    "Concept": "an entry of the corpus's inventory",
    "VerbFrame": "an entry of the corpus's inventory",
}

COMMANDS: dict[str, type] = {}

HERE = "test_command_options.py"
OPTIONS: dict[str, str] = {
    "tour --out": f"{HERE}::test_the_tour_goes_where_it_is_told",
    "tokenizer --corpus": f"{HERE}::test_each_option_of_tokenizer",
    "tokenizer --vocab-size": f"{HERE}::test_each_option_of_tokenizer",
    "tokenizer --character-coverage": f"{HERE}::test_each_option_of_tokenizer",
    "tokenizer --out": f"{HERE}::test_each_option_of_tokenizer",
    "fill-mask --model": f"{HERE}::test_each_option_of_fill_mask",
    "fill-mask --top": f"{HERE}::test_each_option_of_fill_mask",
    "fill-mask text": f"{HERE}::test_each_option_of_fill_mask",
    "embed --model": f"{HERE}::test_each_option_of_embed",
    "embed --layer": f"{HERE}::test_each_option_of_embed",
    "embed --file": f"{HERE}::test_each_option_of_embed",
    "embed --out": f"{HERE}::test_each_option_of_embed",
    "embed text": f"{HERE}::test_each_option_of_embed",
    "convert source": f"{HERE}::test_each_option_of_convert",
    "convert target": f"{HERE}::test_each_option_of_convert",
    "convert --format": f"{HERE}::test_each_option_of_convert",
    "convert --dtype": f"{HERE}::test_each_option_of_convert",
    "convert --max-shard-size": f"{HERE}::test_each_option_of_convert",
}
