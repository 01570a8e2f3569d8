"""The two embeddings, the rank of the logits, and all probes together."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_cases import LIMIT, SEEDS, corpus, model, normal, readings

from minirembert.corpus.concepts import CONCEPTS
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING
from minirembert.lab.probes import measure
from minirembert.lab.readings import read
from minirembert.lab.retrieval import retrieval_by_layer, word_translation
from minirembert.lab.sides import (
    classes_of_nouns,
    embeddings,
    logit_rank,
    masked_states,
    relations,
    side_gradients,
    untied,
)
from minirembert.lab.zero_shot import zero_shot_by_layer


@given(SEEDS, st.integers(2, 4))
def test_relations_in_loops(seed, width):
    rows = normal(seed, 9, width)
    classes = {1: "dish", 7: "dish", 4: "tool", 8: "tool", 3: "plant", 0: "dish"}
    pairs = list(combinations(classes, 2))
    related = [float(classes[a] == classes[b]) for a, b in pairs]
    middle = {value: (1 + related.count(0) * value) + (related.count(value) - 1) / 2 for value in (0, 1)}
    for name, value in (("dot", lambda a, b: a @ b), ("cosine", lambda a, b: a @ b / np.sqrt((a @ a) * (b @ b)))):
        similar = np.array([value(rows[a], rows[b]) for a, b in pairs])
        places = [1 + (similar < one).sum() for one in similar]
        expected = np.corrcoef(places, [middle[yes] for yes in related])[0, 1]
        assert relations(rows, classes)[name] == pytest.approx(expected, abs=LIMIT)


def test_classes_of_nouns():
    it, own = corpus(), readings()["a"]
    found = classes_of_nouns(own)
    assert len(found) > 10
    for id, noun_class in found.items():
        concept = it.pieces.words[id].removeprefix("a:")
        assert CONCEPTS[concept].kind == "noun" and CONCEPTS[concept].noun_class == noun_class
    tokens = [token._replace(concept="lion" if n % 2 else "apple") for n, token in enumerate(own.tokens)]
    assert classes_of_nouns(own._replace(ids=np.zeros_like(own.ids), tokens=tokens)) == {}  # a word of two classes


@pytest.mark.parametrize("head", ["gelu_ln", "linear"])
@pytest.mark.parametrize("tied", [True, False])
def test_side_gradients(head, tied):
    """The two matrices' gradients, whose sum is the tied one's; and the model stays as it is."""
    it = corpus()
    one = model(it, head=head, tied=tied, input_embedding_size=10)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, len(it.pieces), (4, 9))
    batch = {"input_ids": ids, "labels": np.where(rng.random(ids.shape) < 0.5, ids, -100)}
    before = {name: array.copy() for name, array in one.parameters.items()}
    loss, gradients = one.loss_and_gradients(**batch)
    apart_loss, apart = untied(one).loss_and_gradients(**batch)
    assert apart_loss == loss
    if tied:
        both = apart[INPUT_EMBEDDING] + apart[OUTPUT_EMBEDDING]
        np.testing.assert_allclose(gradients[INPUT_EMBEDDING], both, rtol=0, atol=LIMIT * np.abs(both).max())
    assert (OUTPUT_EMBEDDING in one.parameters) != tied and one.sizes.tied == tied
    reading, scoring = side_gradients(one, batch)
    assert reading == pytest.approx(np.sqrt((apart[INPUT_EMBEDDING] ** 2).sum()))
    assert scoring == pytest.approx(np.sqrt((apart[OUTPUT_EMBEDDING] ** 2).sum()))
    unread = np.setdiff1d(np.arange(len(it.pieces)), ids)
    assert not apart[INPUT_EMBEDDING][unread].any() and apart[OUTPUT_EMBEDDING][unread].any(axis=1).all()
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("head", "width", "least", "most"),
    [("linear", 10, 11, 11), ("linear", 20, 12, 12), ("gelu_ln", 10, 10, 10), ("gelu_ln", 20, 13, 20)],
)
def test_logit_rank(head, width, least, most):
    """With a linear head min(O, H - 1) + 1: the encoder's last LayerNorm takes one of the H = 12 directions, the bias of the
    words gives one. With GELU and LayerNorm up to O. Though the states are float32."""
    it = corpus()
    found = logit_rank(model(it, "float32", head=head, output_embedding_size=width), it)
    assert least <= found["rank"] <= most and 1 < found["effective_rank"] < most and found["contexts"] == 48
    assert logit_rank(model(it), it, contexts=10)["contexts"] == 10


def test_contexts_are_masked_words():
    """Each is the state of some one word of its sentence with [MASK] in its place."""
    it, one = corpus(), model(corpus())
    found = masked_states(one, it, "b", 10)
    assert found.shape == (5, 12)
    for line, state in zip(it.encode(it.test[:5], "b"), found, strict=True):
        masked = np.array([[1, *line, 2]] * len(line))
        places = np.arange(len(line))
        masked[places, places + 1] = it.pieces.mask_token_id
        states = one(masked, output_hidden_states=True).hidden_states[-1][places, places + 1]
        assert np.abs(states - state).max(axis=1).min() < LIMIT


def test_embeddings():
    it, own = corpus(), readings()
    tied = embeddings(model(it, tied=True, output_embedding_size=8), it, own)
    assert tied["input"] == tied["output"] and tied["cka"] == pytest.approx(1) and tied["cka_chance"] < 0.5
    one = model(it)
    found = embeddings(one, it, own)
    assert found["input"] != found["output"]
    assert 0 < found["cka_chance"] < 1 and abs(found["cka"] - found["cka_chance"]) < found["cka_chance"]  # unrelated
    classes = classes_of_nouns(own["a"]), classes_of_nouns(own["b"])
    rows = one.parameters[OUTPUT_EMBEDDING]
    assert found["output"]["dot"] == pytest.approx(np.mean([relations(rows, c)["dot"] for c in classes]))
    assert found["output"]["translation"] == word_translation(rows, it)
    rows[it.pieces.all_special_ids] += 9  # no words
    assert embeddings(one, it, own) == found


@pytest.mark.parametrize(
    "changes", [{}, {"languages": 1}, {"languages": 3, "synonyms": 2, "order": "mixed"}, {"track": "real"}], ids=str
)
def test_everything_is_measured_and_is_json(changes):
    it = corpus(**changes)
    one = model(it, "float32", tied=bool(changes), output_embedding_size=8)
    found = measure(one, it)
    assert json.loads(json.dumps(found, allow_nan=False)) == found == measure(one, it)
    assert (found["retrieval"] is None) == (changes == {"languages": 1})
    assert (found["embeddings"]["input"]["translation"] is None) == ("track" in changes or it.world.languages == 1)
    rows = [*found["isotropy"].values(), *(probe["in_language"] for probe in found["zero_shot"].values())]
    assert all(len(row) == 3 for row in rows)
    names = it.world.language_names
    fitted = {name: read(one, it, it.validation, name) for name in names}
    scored = {name: read(one, it, it.test, name) for name in names}
    assert found["zero_shot"] == zero_shot_by_layer(fitted[names[0]], scored, it)
    assert len(names) == 1 or found["retrieval"] == retrieval_by_layer(fitted, scored, it)
    for probe in found["zero_shot"].values():
        assert (probe["transfer"] is None) == (it.world.languages == 1)
