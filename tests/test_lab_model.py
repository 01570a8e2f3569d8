"""The lab's model: what is tied, what the three heads compute, and what makes two models a pair."""

import math
from zlib import crc32

import numpy as np
import pytest

from minirembert import RemBertForMaskedLM, RemBertForTokenClassification, RemBertModel
from minirembert.lab.conventions import FINETUNING, PRETRAINING
from minirembert.lab.ledger import total
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING, LabModel
from minirembert.lab.sizes import HEADS, Sizes
from minirembert.lab.variant import Variant

KINDS = [(head, tied) for head in HEADS for tied in (False, True)]


def sizes(head: str = "gelu_ln", tied: bool = False, **changes: int) -> Sizes:
    values = {
        "vocab_size": 31, "input_embedding_size": 9, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
        "output_embedding_size": 9 if tied else 17, "max_position_embeddings": 11,
    }  # fmt: skip
    if head == "none":
        values["output_embedding_size"] = 12
        if tied:
            values["input_embedding_size"] = 12
    return Sizes(**{**values, **changes}, head=head, tied=tied)


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 31, (3, 7))
    labels = np.where(rng.random(ids.shape) < 0.4, ids, -100)
    labels[0, 0] = 5
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": labels}


def scrambled(model: LabModel, seed: int = 3) -> LabModel:
    """Weights far from the fresh ones, whose small size would hide a wrong scale."""
    rng = np.random.default_rng(seed)
    for array in model.parameters.values():
        array += 0.3 * rng.standard_normal(array.shape)
    return model


@pytest.mark.parametrize(("head", "tied"), KINDS)
def test_the_ledger_counts_what_is_there(head, tied):
    it = sizes(head, tied)
    assert LabModel(it).num_parameters() == total(it, PRETRAINING)
    assert LabModel(it).task_model(RemBertModel).num_parameters() == total(it, FINETUNING)


@pytest.mark.parametrize(("head", "tied"), KINDS)
def test_what_the_head_computes(head, tied):
    """Against the formula, written out on the last hidden states."""
    model = scrambled(LabModel(sizes(head, tied), dtype="float64"))
    inputs = batch()
    output = model(**inputs, output_hidden_states=True)
    x, p = output.hidden_states[-1], model.parameters
    if head != "none":
        x = x @ p["cls.predictions.dense.weight"].T + p["cls.predictions.dense.bias"]
    if head == "gelu_ln":
        x = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
        centred = x - x.mean(-1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + model.config.layer_norm_eps)
        x = x * p["cls.predictions.LayerNorm.weight"] + p["cls.predictions.LayerNorm.bias"]
    matrix = p[INPUT_EMBEDDING] if tied else p[OUTPUT_EMBEDDING]
    expected = x @ matrix.T + p["cls.predictions.decoder.bias"]
    # a few dozen roundings: sums of at most 17 products, LayerNorm, erf
    np.testing.assert_allclose(output.logits, expected, rtol=0, atol=64 * np.finfo(float).eps * np.abs(expected).max())


@pytest.mark.parametrize("head", HEADS)
def test_a_tied_gradient_is_the_sum_of_both_uses(head):
    """An untied model with two equal matrices computes the same; its two gradients add up to the tied one."""
    tied = scrambled(LabModel(sizes(head, True), dtype="float64"))
    untied = LabModel(sizes(head, False, output_embedding_size=tied.sizes.outputs, input_embedding_size=tied.sizes.outputs),
                      dtype="float64")  # fmt: skip
    for name, array in untied.parameters.items():
        array[...] = tied.parameters[INPUT_EMBEDDING if name == OUTPUT_EMBEDDING else name]
    loss, gradients = tied.loss_and_gradients(**batch())
    other_loss, others = untied.loss_and_gradients(**batch())
    assert loss == other_loss
    assert set(others) - set(gradients) == {OUTPUT_EMBEDDING}
    both = others.pop(OUTPUT_EMBEDDING) + others[INPUT_EMBEDDING]
    limit = 16 * np.finfo(float).eps
    np.testing.assert_allclose(gradients.pop(INPUT_EMBEDDING), both, rtol=limit, atol=limit * np.abs(both).max())
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[name], err_msg=name)


def test_a_decoupled_lab_model_is_rembert(tmp_path):
    """The same logits from RemBERT's own class, on what the lab's model saved."""
    model = scrambled(LabModel(sizes(), dtype="float64"))
    model.save_pretrained(tmp_path)
    again = RemBertForMaskedLM.from_pretrained(tmp_path, dtype="float64")
    inputs = batch()
    np.testing.assert_array_equal(again(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize(("head", "tied"), [kind for kind in KINDS if kind != ("gelu_ln", False)])
def test_what_no_class_of_rembert_could_read_is_not_saved(head, tied, tmp_path):
    with pytest.raises(ValueError, match="no class of RemBERT could read this model back"):
        LabModel(sizes(head, tied)).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_models_of_one_seed_are_a_pair():
    """The same first weights where name and shape agree, whatever else differs; other seeds, other weights; no two alike."""
    one = LabModel(sizes(), seed=4).parameters
    for other in (sizes(tied=True), sizes(output_embedding_size=29), sizes(num_hidden_layers=4), sizes("linear")):
        for name, array in LabModel(other, seed=4).parameters.items():
            if name in one and array.shape == one[name].shape:
                np.testing.assert_array_equal(array, one[name], err_msg=name)
    drawn = {name: array for name, array in one.items() if array.std() > 0}
    for name, array in LabModel(sizes(), seed=5).parameters.items():
        assert name not in drawn or not np.array_equal(array, drawn[name])
    firsts = [array.reshape(-1)[-1] for array in drawn.values()]
    assert len(set(firsts)) == len(firsts) > 10


@pytest.mark.parametrize("hidden_size", [12, 48])
def test_fresh_weights_grow_as_models_get_narrow(hidden_size):
    """Their variance times H is that of RemBERT, whose standard deviation is 0.02 at H = 1152; of a fresh head too."""
    model = LabModel(sizes(vocab_size=400, hidden_size=hidden_size))
    tagger = model.task_model(RemBertForTokenClassification, num_labels=50)
    for array in (model.parameters[INPUT_EMBEDDING], tagger.parameters["classifier.weight"]):
        drawn = array[array.any(axis=1)]  # the row of [PAD] is 0
        # the mean of n squares of normal numbers has a relative deviation of sqrt(2 / n)
        assert (drawn**2).mean() * hidden_size == pytest.approx(0.02**2 * 1152, rel=5 * (2 / drawn.size) ** 0.5)


def test_fine_tuning_starts_from_a_copy():
    model = scrambled(LabModel(sizes(tied=True)))
    before = {name: array.copy() for name, array in model.parameters.items()}
    tagger = model.task_model(RemBertForTokenClassification, kept_layers=1, seed=2, num_labels=6)
    assert tagger.config.num_hidden_layers == 1 and tagger.parameters["classifier.weight"].shape == (6, 12)
    encoder = {name for name in model.parameters if name.startswith("rembert.") and "layer.1." not in name}
    assert {name for name in tagger.parameters if not name.startswith("classifier")} == encoder
    for name in encoder:
        np.testing.assert_array_equal(tagger.parameters[name], before[name])
    for array in tagger.parameters.values():
        array += 1
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(array, before[name])


def test_what_it_refuses():
    with pytest.raises(ValueError, match="square_projection = True, got False"):
        LabModel(sizes().__class__(**{**vars(sizes()), "square_projection": False}))
    with pytest.raises(ValueError, match="dropped_layers = 0, got 1"):
        LabModel(sizes(dropped_layers=1))
    with pytest.raises(ValueError, match="kept_layers must lie between 0 and 2, got 3"):
        LabModel(sizes()).task_model(RemBertModel, kept_layers=3)
    with pytest.raises(TypeError, match="built from Sizes"):
        LabModel.from_pretrained("model")
    with pytest.raises(TypeError, match="fixed by its Sizes"):
        LabModel(sizes()).resize_token_embeddings(40)


@pytest.mark.parametrize("backend", ["numpy", "triton"])
def test_fine_tuning_computes_where_and_as_pre_training_did(backend):
    """The same backend and dtype; a head of its own seed, whatever the model's; no block left where none is kept."""
    model = LabModel(sizes(), seed=4, dtype="float64", backend=backend)
    tagger = model.task_model(RemBertForTokenClassification, 0, seed=2, num_labels=6)
    assert tagger.backend.name == backend and tagger.backend.host_dtype == np.float64
    assert tagger.config.num_hidden_layers == 0 and not any(".layer." in name for name in tagger.parameters)
    found = tagger.backend.numpy(tagger.parameters["classifier.weight"])
    drawn = np.random.default_rng([2, crc32(b"classifier.weight")]).standard_normal((6, 12), np.float32)
    np.testing.assert_array_equal(found, drawn.astype(np.float64) * (0.02 * math.sqrt(1152) / math.sqrt(12)))
    other = LabModel(sizes(), seed=5, dtype="float64", backend=backend)
    again = other.task_model(RemBertForTokenClassification, 0, seed=2, num_labels=6)
    np.testing.assert_array_equal(again.backend.numpy(again.parameters["classifier.weight"]), found)
    third = model.task_model(RemBertForTokenClassification, 0, seed=3, num_labels=6)
    assert (third.backend.numpy(third.parameters["classifier.weight"]) != found).all()
    assert model.task_model(RemBertForTokenClassification, num_labels=6).config.num_hidden_layers == 2


def test_what_is_saved_is_as_exact_as_the_model(tmp_path):
    """Every bit of float64, which float32 has not."""
    model = scrambled(LabModel(sizes(), dtype="float64"))
    model.save_pretrained(tmp_path)
    again = RemBertForMaskedLM.from_pretrained(tmp_path, dtype="float64")
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array, err_msg=name)
        assert not array.any() or (array != array.astype(np.float32)).any()


def test_a_variant_is_its_sizes():
    """Each field in its place, with RemBERT's I = 4 H, and room for two sentences of 18 words and three specials."""
    variant = Variant(6, 10, 24, 5, 4, False, "linear")
    assert variant.sizes(77) == Sizes(
        vocab_size=77, input_embedding_size=6, output_embedding_size=10, hidden_size=24, num_hidden_layers=5,
        num_attention_heads=4, intermediate_size=96, max_position_embeddings=40, type_vocab_size=2, tied=False, head="linear",
    )  # fmt: skip
    assert Variant(10, 10, 24, 5, 4, True, "gelu_ln").sizes(77).tied
    assert Variant() == Variant(48, 48, 48, 4, 3, False, "gelu_ln")
