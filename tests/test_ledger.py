"""The ledger against what models have and do: every array of our classes, every FLOP that transformers spends."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirembert import RemBertConfig, RemBertForCausalLM, RemBertForMaskedLM, RemBertModel
from minirembert.lab.budget import count, finetuning_parameters, parameter_budget, pretraining_parameters
from minirembert.lab.conventions import FINETUNING, FOOTNOTE_11, HUGGING_FACE, PAPER, PHASES, PRETRAINING
from minirembert.lab.ledger import COMPONENTS, arrays, flops, masked_positions, memory, parameters, total
from minirembert.lab.sizes import HEADS, Sizes
from minirembert.model.base import RemBertPreTrainedModel

small = st.integers(1, 40)


@st.composite
def configurations(draw: st.DrawFn, **fixed: Any) -> RemBertConfig:
    heads = draw(st.integers(1, 5))
    names = ("vocab_size", "input_embedding_size", "output_embedding_size", "intermediate_size", "type_vocab_size")
    sizes = {name: draw(small) for name in names}
    return RemBertConfig(
        **sizes, num_attention_heads=heads, hidden_size=heads * draw(small), num_hidden_layers=draw(st.integers(0, 4)),
        max_position_embeddings=draw(small), **fixed,
    )  # fmt: skip


@st.composite
def any_sizes(draw: st.DrawFn) -> Sizes:
    """Coupled and decoupled, with every head."""
    tied, head = draw(st.booleans()), draw(st.sampled_from(HEADS))
    heads = draw(st.integers(1, 5))
    H = heads * draw(small)
    O = H if head == "none" else draw(small)  # noqa: E741
    E = O if tied else draw(small)
    layers = draw(st.integers(0, 4))
    return Sizes(
        draw(small), E, H, layers, heads, draw(small), O, draw(small), draw(small), draw(st.integers(0, layers)), tied, head,
        draw(st.booleans()), draw(st.booleans()),
    )  # fmt: skip


def expanded(sizes: Sizes, phase: Any, without: str) -> dict[str, tuple[int, ...]]:
    """The ledger's arrays one by one, with those of each block."""
    shapes = {}
    for array in arrays(sizes, phase):
        names = [array.name.replace("*", str(n)) for n in range(array.copies)] if "*" in array.name else [array.name]
        shapes.update({name: array.shape for name in names if without not in name})
    return shapes


def declared(model: type[RemBertPreTrainedModel], config: RemBertConfig) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix("rembert."): shape for name, shape in model.parameter_shapes(config).items()}


# --- parameters -------------------------------------------------------------------------------------------------------


@given(configurations())
def test_the_ledger_has_exactly_the_arrays_of_the_classes(config: RemBertConfig) -> None:
    sizes = Sizes.from_config(config)
    masked_lm, base = declared(RemBertForMaskedLM, config), declared(RemBertModel, config)
    assert expanded(sizes, PRETRAINING, without="pooler") == masked_lm
    assert expanded(sizes, FINETUNING, without="nothing") == base
    assert total(sizes, PRETRAINING) == pretraining_parameters(config) == count(masked_lm)
    assert total(sizes, FINETUNING) == finetuning_parameters(config) == count(base)


@given(configurations(is_decoder=True, add_cross_attention=True))
def test_a_decoder_s_cross_attention_is_counted(config: RemBertConfig) -> None:
    sizes = Sizes.from_config(config)
    causal = declared(RemBertForCausalLM, config)
    assert expanded(sizes, PRETRAINING, without="pooler") == causal
    assert total(sizes, PRETRAINING) == count(causal)
    learned = parameters(sizes, PRETRAINING)
    assert learned["cross-attention"] == learned["attention"]


def test_rembert_by_component() -> None:
    """Hugging Face's own numbers, which were read off a model on the meta device."""
    learned = parameters(Sizes(), PRETRAINING)
    assert learned == {
        "input embedding": 64_076_800, "positions, types, norm": 132_096, "input projection": 296_064,
        "attention": 170_016_768, "attention over S": 0, "cross-attention": 0, "feed-forward": 339_922_944,
        "norms": 147_456, "pooler": 0, "head dense": 1_918_592, "head norm": 3_328, "output embedding": 416_499_200,
        "output bias": 250_300,
    }  # fmt: skip
    assert sum(learned.values()) == 993_263_548
    assert parameters(Sizes(), FINETUNING)["pooler"] == 1_328_256
    assert total(Sizes(), FINETUNING) == 575_920_384
    assert total(Sizes(cross_attention=True), PRETRAINING) == 1_163_354_044


@given(configurations())
def test_the_budget_is_the_ledger_in_four_parts(config: RemBertConfig) -> None:
    learned = parameters(Sizes.from_config(config), PRETRAINING)
    kept = parameters(Sizes.from_config(config), FINETUNING)
    assert parameter_budget(config) == {
        "input embedding": sum(learned[name] for name in COMPONENTS[:3]),
        "blocks": sum(learned[name] for name in COMPONENTS[3:8]),
        "pooler": kept["pooler"],
        "output head": sum(learned[name] for name in COMPONENTS[9:]),
    }


@given(any_sizes(), st.sampled_from([HUGGING_FACE, PAPER, FOOTNOTE_11]))
def test_untying_costs_one_matrix_and_nothing_else(sizes: Sizes, convention: Any) -> None:
    E = sizes.input_embedding_size
    width = {"hidden_size": E, "num_attention_heads": 1} if sizes.head == "none" else {}
    tied = replace(sizes, tied=True, output_embedding_size=E, **width)
    untied = replace(tied, tied=False)
    extra = {"output embedding": sizes.vocab_size * E}
    assert parameters(untied, PRETRAINING, convention) == {**parameters(tied, PRETRAINING, convention), **extra}
    assert parameters(untied, FINETUNING, convention) == parameters(tied, FINETUNING, convention)
    for phase in PHASES:
        assert flops(untied, phase, 1) == flops(tied, phase, 1)


@given(any_sizes(), st.data())
def test_dropped_layers_are_paid_for_in_pretraining_only(sizes: Sizes, data: st.DataObject) -> None:
    kept = replace(sizes, num_hidden_layers=sizes.num_hidden_layers - sizes.dropped_layers, dropped_layers=0)
    whole, S = replace(sizes, dropped_layers=0), data.draw(st.integers(1, sizes.max_position_embeddings))
    assert parameters(sizes, FINETUNING) == parameters(kept, FINETUNING)
    assert parameters(sizes, PRETRAINING) == parameters(whole, PRETRAINING)
    assert flops(sizes, FINETUNING, S) == flops(kept, FINETUNING, S)
    assert flops(sizes, PRETRAINING, S) == flops(whole, PRETRAINING, S)


@given(any_sizes())
def test_the_heads_differ_by_their_own_arrays(sizes: Sizes) -> None:
    H, O, V = sizes.hidden_size, sizes.outputs, sizes.vocab_size  # noqa: E741
    with_norm, linear = (replace(sizes, head=head) for head in HEADS[:2])
    assert total(with_norm, PRETRAINING) - total(linear, PRETRAINING) == 2 * O
    assert total(linear, PRETRAINING) - total(linear, PRETRAINING, PAPER) == H * O + O + V
    if O == H:
        assert total(linear, PRETRAINING) - total(replace(sizes, head="none"), PRETRAINING) == H * O + O
    assert total(sizes, PRETRAINING, FOOTNOTE_11) - total(sizes, PRETRAINING) == H * H + H
    projected = replace(sizes, square_projection=True)
    projection = 0 if sizes.has_input_projection else H * H + H
    assert total(projected, FINETUNING) - total(sizes, FINETUNING) == projection


@pytest.mark.parametrize("family", ["Bert", "Albert"])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_coupled_model_has_the_arrays_of_transformers_own(family: str, layers: int) -> None:
    """BERT is coupled with E = H. ALBERT is coupled with E < H, and its blocks share one set of arrays."""
    import transformers

    E, H = (30, 30) if family == "Bert" else (7, 30)
    sizes = Sizes(61, E, H, layers, 5, 53, max_position_embeddings=33, tied=True, square_projection=False)
    config, model = theirs(sizes, family)
    masked_lm = getattr(transformers, f"{family}ForMaskedLM")(config)
    counted = sizes if family == "Bert" else replace(sizes, num_hidden_layers=1)
    assert total(counted, PRETRAINING) == sum(p.numel() for p in masked_lm.parameters())
    assert total(counted, FINETUNING) == sum(p.numel() for p in model(config).parameters())
    assert counted_flops(masked_lm, 17) == 2 * 17 * sum(flops(sizes, PRETRAINING, 17).values())


def theirs(sizes: Sizes, family: str) -> tuple[Any, Any]:
    """transformers' configuration with these sizes, and the class without a head."""
    import transformers

    narrow = {
        "RemBert": {"input_embedding_size": sizes.input_embedding_size, "output_embedding_size": sizes.outputs},
        "Bert": {},
        "Albert": {"embedding_size": sizes.input_embedding_size},
    }
    config = getattr(transformers, f"{family}Config")(
        vocab_size=sizes.vocab_size, hidden_size=sizes.hidden_size, num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.heads, intermediate_size=sizes.intermediate, bos_token_id=1, eos_token_id=2,
        max_position_embeddings=sizes.max_position_embeddings, attn_implementation="eager", **narrow[family],
        **({"is_decoder": True, "add_cross_attention": True} if sizes.cross_attention else {}),
    )  # fmt: skip
    return config, getattr(transformers, f"{family}Model")


# --- FLOPs ------------------------------------------------------------------------------------------------------------


def counted_flops(model: Callable[..., Any], length: int, backward: bool = False, **inputs: Any) -> int:
    """What PyTorch counts while two sequences go through a model, and back."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        y = model(torch.ones(2, length, dtype=torch.int64), **inputs)
        if backward:  # the operations are counted; the gradients themselves are looked at by nobody
            (y["logits"] if "logits" in y else y["pooler_output"]).sum().backward()
    return counter.get_total_flops()


SIZES = (
    Sizes(61, 10, 42, 3, 6, 53, 26, 33),
    Sizes(37, 9, 5, 2, 1, 7, 3, 19, 3),
    Sizes(29, 8, 8, 1, 2, 11, 40, 18),
)


@pytest.mark.parametrize("length", [1, 17])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_flop_is_one_that_transformers_spends(sizes: Sizes, length: int) -> None:
    import transformers

    config, model = theirs(sizes, "RemBert")
    for phase, theirs_ in ((PRETRAINING, transformers.RemBertForMaskedLM(config)), (FINETUNING, model(config))):
        ours = round(2 * length * sum(flops(sizes, phase, length).values()))
        assert counted_flops(theirs_, length) == ours
        assert counted_flops(theirs_, length, backward=True) == (1 + 2) * ours


def test_every_flop_of_a_decoder_that_looks_at_an_encoder() -> None:
    import torch
    import transformers

    sizes = replace(SIZES[0], cross_attention=True)
    model = transformers.RemBertForCausalLM(theirs(sizes, "RemBert")[0])
    states = torch.zeros(2, 17, sizes.hidden_size)
    ours = round(2 * 17 * sum(flops(sizes, PRETRAINING, 17).values()))
    assert counted_flops(model, 17, encoder_hidden_states=states, use_cache=False) == ours


@given(any_sizes(), st.data())
def test_positions_that_are_not_scored_cost_no_head(sizes: Sizes, data: st.DataObject) -> None:
    S = data.draw(st.integers(1, sizes.max_position_embeddings))
    scored = data.draw(st.integers(0, S))
    some, every = flops(sizes, PRETRAINING, S, scored), flops(sizes, PRETRAINING, S)
    head = ("head dense", "output embedding")
    for name in COMPONENTS:
        assert round(S * some[name]) == round(S * every[name]) * (scored if name in head else S) // S
    assert round(every["output embedding"]) == 2 * sizes.vocab_size * sizes.outputs


def test_a_token_of_rembert() -> None:
    every, some = flops(Sizes(), PRETRAINING), flops(Sizes(), PRETRAINING, scored=masked_positions(512))
    assert sum(every.values()) == 2 * 966_067_712
    assert every["output embedding"] == 2 * 416_499_200 and every["attention over S"] == 2 * 37_748_736
    assert masked_positions(512) == 77 and masked_positions(1) == 1
    assert some["output embedding"] == every["output embedding"] * 77 / 512


# --- memory -----------------------------------------------------------------------------------------------------------


@given(any_sizes(), st.integers(1, 9))
def test_a_parameter_that_trains_takes_sixteen_bytes(sizes: Sizes, batch_size: int) -> None:
    S = sizes.max_position_embeddings
    for phase in PHASES:
        for dtype, width in (("float32", 4), ("bfloat16", 2), ("float16", 2)):
            kept = memory(sizes, phase, batch_size, S, dtype=dtype)
            logits = batch_size * S * sizes.vocab_size * width if phase == PRETRAINING else 0
            assert kept.pop("logits") == logits
            assert sum(kept.values()) == 16 * total(sizes, phase)
            assert kept["weights"] == kept["gradients"] == width * total(sizes, phase)


def test_the_logits_of_rembert() -> None:
    assert memory(Sizes(), PRETRAINING)["logits"] == 512_614_400
    assert memory(Sizes(), PRETRAINING, 8, 512, 77)["logits"] == 8 * 77 * 250_300 * 4


# --- sizes ------------------------------------------------------------------------------------------------------------


@given(configurations())
def test_sizes_and_configuration_are_the_same_model(config: RemBertConfig) -> None:
    sizes = Sizes.from_config(config)
    assert Sizes.from_config(sizes.to_config()) == sizes
    for name, value in vars(sizes).items():
        assert value == getattr(config, name, value)


def test_a_decoder_without_cross_attention_has_none() -> None:
    for crossed in (False, True):
        config = RemBertConfig(is_decoder=True, add_cross_attention=crossed)
        assert Sizes.from_config(config).cross_attention is crossed
        assert Sizes.from_config(config).to_config().add_cross_attention is crossed


def test_what_is_left_out_follows() -> None:
    assert Sizes.from_config(RemBertConfig()) == Sizes()
    sizes = Sizes(1000, 96, 640, 3, tied=True)
    assert (sizes.heads, sizes.intermediate, sizes.outputs) == (10, 2560, 96)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be an integer of at least 1, got 0"),
        ({"input_embedding_size": 2.0}, "input_embedding_size must be an integer of at least 1, got 2.0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers must be an integer of at least 0, got -1"),
        ({"num_hidden_layers": True}, "num_hidden_layers must be an integer of at least 0, got True"),
        (
            {"hidden_size": 700},
            "hidden_size 700 is no multiple of 64, so num_attention_heads has no default: give it too",
        ),
        ({"num_attention_heads": 5}, r"hidden_size must be a multiple of num_attention_heads \(5\), got 1152"),
        ({"num_attention_heads": 0}, "num_attention_heads must be an integer of at least 1, got 0"),
        ({"dropped_layers": 33}, "there are 32 layers, so dropped_layers cannot be 33"),
        ({"tied": True, "output_embedding_size": 255}, r"must be input_embedding_size \(256\), got 255"),
        ({"tied": "yes"}, "tied must be true or false, got 'yes'"),
        ({"head": "none"}, r"output_embedding_size must be hidden_size \(1152\), got 1664"),
        ({"head": "relu"}, "head must be one of gelu_ln, linear, none, got 'relu'"),
    ],
)
def test_sizes_that_no_model_has(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sizes(**wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: flops(Sizes(), PRETRAINING, 513),
            r"sequence_length must be 1 to 512 \(max_position_embeddings\), got 513",
        ),
        (lambda: flops(Sizes(), PRETRAINING, 0), "sequence_length must be 1 to 512"),
        (lambda: flops(Sizes(), PRETRAINING, 9, 10), r"scored must be 0 to 9 \(sequence_length\), got 10"),
        (lambda: memory(Sizes(), PRETRAINING, 0), "batch_size must be at least 1, got 0"),
        (
            lambda: memory(Sizes(), PRETRAINING, dtype="int8"),
            "dtype must be one of float32, bfloat16, float16, got 'int8'",
        ),
    ],
)
def test_batches_that_are_none(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
