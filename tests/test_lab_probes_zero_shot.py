"""Classifiers on word states: the closed form against least squares, and states that give the answer away."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_cases import SEEDS, corpus, normal, readings

from minirembert.corpus.concepts import CONCEPTS
from minirembert.lab.zero_shot import PENALTY, PROBES, ridge_classifier, zero_shot_by_layer


@given(SEEDS, st.integers(2, 30), st.integers(1, 5), st.integers(2, 4))
def test_ridge_against_least_squares(seed, rows, width, classes):
    """The same minimum by an augmented system: a row of the penalty's root for each weight, none for the intercept."""
    x = normal(seed, rows, width) * 3 + 1
    x[:, 0] = 4  # a feature that never changes
    labels = np.random.default_rng(seed).integers(classes, size=rows)
    spread = np.where(np.arange(width) == 0, 1, x.std(0))
    z = (x - x.mean(0)) / spread
    system = np.block([[z, np.ones((rows, 1))], [np.sqrt(PENALTY * rows) * np.eye(width), np.zeros((width, 1))]])
    target = np.concatenate([np.eye(classes)[labels], np.zeros((width, classes))])
    solution = np.linalg.lstsq(system, target, rcond=None)[0]
    classify = ridge_classifier(x, labels, classes)
    fresh = normal(seed + 1, 7, width)
    expected = (fresh - x.mean(0)) / spread @ solution[:-1] + solution[-1]
    np.testing.assert_allclose(fresh @ classify.weight + classify.bias, expected, rtol=0, atol=1e-9)  # cond is < 1e3
    assert classify(fresh).tolist() == expected.argmax(1).tolist()


def test_a_classifier_needs_examples():
    with pytest.raises(ValueError, match="needs examples, got none"):
        ridge_classifier(np.ones((0, 2)), np.ones(0, np.int64), 2)


def test_zero_shot_on_states_that_give_the_answer_away():
    """Layer 0 codes the label alike in both languages, layer 1 in turned order in the second, layer 2 says nothing."""
    it, own = corpus(), readings()
    for name, label_of in PROBES.items():
        kinds = sorted({label for token in own["a"].tokens if (label := label_of(token))})
        code = np.eye(len(kinds))

        def coded(reading, turn, kinds=kinds, code=code, label_of=label_of):
            known = [label_of(token) for token in reading.tokens]
            rows = np.array([[kinds.index(label) if label in kinds else 0 for label in known]])
            layers = [code[rows[0]], code[(rows[0] + turn) % len(kinds)], np.zeros((len(known), len(kinds)))]
            return reading._replace(states=np.array(layers))

        found = zero_shot_by_layer(coded(own["a"], 0), {"a": coded(own["a"], 0), "b": coded(own["b"], 1)}, it)[name]
        assert found["in_language"][:2] == [1, 1] and found["transfer"][:2] == [1, 0]
        counted = [label_of(t) for id, t in zip(own["a"].ids, own["a"].tokens, strict=True) if id not in it.shared_ids]
        counts = [counted.count(kind) for kind in kinds]
        assert found["classes"] == sum(count > 0 for count in counts)
        assert found["majority"] == pytest.approx(max(counts) / sum(counts))
        assert found["in_language"][2] == found["transfer"][2] == pytest.approx(found["majority"])


def test_labels_of_words():
    classes = {token.concept: PROBES["noun_class"](token) for token in readings()["a"].tokens}
    for concept, found in classes.items():
        known = CONCEPTS.get(concept)
        assert found == (known.noun_class if known and known.kind == "noun" else None)
    assert {"subject", "verb"} < {PROBES["role"](token) for token in readings()["a"].tokens}


def test_without_words_of_their_own_there_is_no_zero_shot():
    it = corpus()
    all_shared = readings()["a"]._replace(ids=np.full_like(readings()["a"].ids, min(it.shared_ids)))
    with pytest.raises(ValueError, match="no word with a label"):
        zero_shot_by_layer(all_shared, {"a": all_shared}, it)
