"""What the probes hand to one another: what is fitted is not what is told, every language and every batch has its turn."""

from itertools import permutations

import numpy as np
import pytest
from lab_cases import LIMIT, corpus, model, normal, readings

from minirembert.corpus import Event, Meaning, NounPhrase
from minirembert.corpus.concepts import CONCEPTS
from minirembert.lab import readings as readings_module
from minirembert.lab import sides as sides_module
from minirembert.lab.geometry import linear_cka, mean_cosine, participation_ratio
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING
from minirembert.lab.probes import isotropy_by_layer, measure
from minirembert.lab.readings import Reading, framed, read, sentence_vectors
from minirembert.lab.retrieval import guessed_by_length, retrieval, retrieval_by_layer, word_translation
from minirembert.lab.sides import (
    CHANCE_ORDERS,
    classes_of_nouns,
    embeddings,
    logit_rank,
    masked_states,
    relations,
    side_gradients,
    untied,
)
from minirembert.lab.statistics import t_interval
from minirembert.lab.world import Corpus
from minirembert.lab.zero_shot import ridge_classifier, zero_shot_by_layer

NP = NounPhrase


# ---------------------------------------------------------------------------------------------- readings


@pytest.mark.parametrize("batch", [5, 23])
def test_a_reading_does_not_depend_on_the_batches(batch, monkeypatch):
    it = corpus()
    one = model(it)
    whole = read(one, it, it.test, "b")
    for module in (readings_module, sides_module):
        monkeypatch.setattr(module, "BATCH", batch)
    found = read(one, it, it.test, "b")
    np.testing.assert_allclose(found.states, whole.states, rtol=0, atol=LIMIT)
    assert found.ids.tolist() == whole.ids.tolist() and found.sentence.tolist() == whole.sentence.tolist()
    assert found.tokens == whole.tokens and found.sentences == whole.sentences
    again = masked_states(one, it, "b", 2 * len(it.test))
    for line, state in [*zip(it.encode(it.test, "b"), again, strict=True)][:: len(it.test) - 1]:
        places = np.arange(len(line))
        rows = np.array([[1, *line, 2]] * len(line))
        rows[places, places + 1] = it.pieces.mask_token_id
        alone = one(rows, output_hidden_states=True).hidden_states[-1][places, places + 1]
        assert np.abs(alone - state).max(axis=1).min() < LIMIT


def test_a_frame_by_hand():
    it = corpus()
    ids, words = framed(it, [[20, 21], [30, 31, 32, 33], [40]])
    assert ids.tolist() == [[1, 20, 21, 2, 0, 0], [1, 30, 31, 32, 33, 2], [1, 40, 2, 0, 0, 0]]
    assert words.tolist() == [[0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 1, 0, 0, 0, 0]]


def by_hand(sentences: list[list[int]], states: np.ndarray, tokens: list | None = None) -> Reading:
    """A reading of sentences of these ids; `states` (layers, T, H)."""
    ids = np.array([id for line in sentences for id in line])
    sentence = np.repeat(np.arange(len(sentences)), [len(line) for line in sentences])
    return Reading(states, ids, sentence, tokens or [], len(sentences))


def test_sentence_vectors_by_hand():
    """Lines of unequal length; one word said twice counts twice; what is left out is in no mean and no count."""
    states = np.array([[[1.0], [2], [6], [4], [8], [100]]])
    vectors, counts = sentence_vectors(by_hand([[50, 50, 51], [52], [53, 54]], states), [54])
    assert vectors.tolist() == [[[3], [4], [8]]] and counts.tolist() == [3, 1, 1]
    vectors, counts = sentence_vectors(by_hand([[50, 50, 51], [52], [53, 54]], states), [50, 52])
    assert vectors.tolist() == [[[6], [0], [54]]] and counts.tolist() == [1, 0, 2]


# --------------------------------------------------------------------------------------------- retrieval


def test_retrieval_by_layer_by_hand():
    """Two languages with different words. The mean difference is that of the fitted sentences, from source to target; each
    direction is asked; what the length tells is of the sentences that are asked about."""
    it = corpus()
    shared = min(it.shared_ids - set(it.pieces.all_special_ids))
    own = [id for id in range(len(it.pieces)) if id not in it.shared_ids][:20]
    a, b = own[:10], own[10:]
    fitted = {
        "a": by_hand([[a[0]], [a[1], a[2]]], np.array([[[0.0], [1], [3]]])),  # sentence means 0 and 2
        "b": by_hand([[b[0]], [b[1]]], np.array([[[10.0], [14]]])),  # 10 and 14: 11 further on average
    }
    # with + 11 two of three are nearest, without none but the largest; the fourth sentence has only a shared word in b
    x, y = [0.0, 2.0, 9.0, 5.0], [11.0, 13.1, 14.0, 77.0]
    scored = {
        "a": by_hand([[a[3]], [a[4], shared], [a[5]], [a[6]]], np.array([[[x[0]], [x[1]], [500], [x[2]], [x[3]]]])),
        "b": by_hand([[b[3]], [b[4], b[5]], [b[6]] * 2, [shared]], np.array([[[y[n]] for n in (0, 1, 1, 2, 2, 3)]])),
    }
    found = retrieval_by_layer(fitted, scored, it)
    forth = np.mean([abs(x[0] + 11 - y[0]) < 1, abs(x[1] + 11 - y[1]) < 1, True])  # 20 is nearest to 14
    back = np.mean([True, True, False])  # 0, 2.1 and 3: the third is nearest to 2, not to 9
    assert found["with_mean"] == [pytest.approx((forth + back) / 2)]
    assert found["without_mean"] == [
        pytest.approx((1 / 3 + 1 / 3) / 2)
    ]  # all to the smallest of b, all to the largest of a
    assert found["pool"] == 3
    # words of a: 1 2 1, of b: 1 2 2. Forth the first is found, the second in one of two cases; back it is the other way round
    assert found["by_length"] == pytest.approx(((1 + 1 / 2 + 0) / 3 + (1 / 2 + 1 + 0) / 3) / 2)


def test_lengths_that_differ_between_the_languages():
    assert guessed_by_length(np.array([2, 3, 4]), np.array([2, 2, 4])) == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert guessed_by_length(np.array([2, 2, 4]), np.array([2, 3, 4])) == pytest.approx((1 + 0 + 1) / 3)


def test_retrieval_is_not_the_same_both_ways():
    x, y = np.array([[0.0], [1.0], [5.0]]), np.array([[0.0], [4.0], [5.0]])
    assert retrieval(x, y) == 2 / 3 and retrieval(np.array([[0.0], [3.0]]), np.array([[2.0], [9.0]])) == 1 / 2
    # moved by a direction of its own, and for the cosine too
    assert retrieval(y[:2], y[:2] + 4, np.array([4.0])) == 1 and retrieval(y[:2], y[:2] + 4) == 1 / 2
    line, turned = np.array([[3.0, 0], [5, 0]]), np.array([[-1.0, 1], [1, 1]])
    assert (
        retrieval(line, turned, np.array([-4.0, 1.0]), "cosine") == 1
        and retrieval(line, turned, None, "cosine") == 1 / 2
    )


def test_word_translation_by_hand():
    """Each direction with its own mean difference, in three languages: what two of them confuse counts in their pairs."""
    it = corpus(languages=3)
    rows = normal(3, len(it.pieces), 3)
    expected = []
    for source, target in permutations("abc", 2):
        here, there = np.array(it.dictionary(source, target)).T
        shift = rows[there].mean(0) - rows[here].mean(0)
        near = [np.argmin(((rows[there] - (rows[one] + shift)) ** 2).sum(1)) for one in here]
        expected.append(np.mean(near == np.arange(len(here))))
    assert word_translation(rows, it) == pytest.approx(np.mean(expected))
    assert len(set(expected)) > 1


# --------------------------------------------------------------------------------------------- zero shot


def labelled(nouns: list[str], language: str, it: Corpus, states: list[list[float]]) -> Reading:
    """One word a sentence, a noun of `it`; the same states in every layer, the second turned round."""
    tokens = [it.realize(Meaning(Event("to_sleep", NP(noun))), language).tokens[0] for noun in nouns]
    ids = [[it.pieces.ids[token.form]] for token in tokens]
    assert not it.shared_ids & {id for (id,) in ids}
    return by_hand(ids, np.array([states, [row[::-1] for row in states]]), tokens)


def test_zero_shot_by_hand():
    """Fitted and scored differ: the majority is the fitted one's, in every scored language, and so are the classifiers, of
    each layer its own."""
    it = corpus(overlap=0.0)
    dish, tool = ["egg", "cake", "cookie"], ["knife", "lamp", "saw"]
    assert {CONCEPTS[noun].noun_class for noun in dish} == {"dish"}
    on, off = [1.0, 0.0], [0.0, 1.0]
    fitted = labelled([*dish, *tool[:2]], "a", it, [on, on, on, off, off])
    scored = {
        # three tools, of which one looks like a dish, and a dish: 3 of 4 right; always "dish" is right once
        "a": labelled([*tool, "egg"], "a", it, [off, off, on, on]),
        # two dishes of three, of which one looks like one, and a tool which does not: 2 of 3
        "b": labelled(["egg", "cake", "lamp"], "b", it, [on, off, off]),
    }
    found = zero_shot_by_layer(fitted, scored, it)["noun_class"]
    assert found == {
        "in_language": [3 / 4, 3 / 4], "transfer": [2 / 3, 2 / 3], "majority": pytest.approx((1 / 4 + 2 / 3) / 2), "classes": 2,
    }  # fmt: skip


def test_transfer_is_the_mean_of_the_other_languages():
    it = corpus(overlap=0.0, languages=3)
    on, off = [1.0, 0.0], [0.0, 1.0]
    fitted = labelled(["egg", "cake", "lamp"], "a", it, [on, on, off])
    right = {"a": [on, off], "b": [off, on], "c": [on, on]}
    scored = {name: labelled(["egg", "lamp"], name, it, states) for name, states in right.items()}
    found = zero_shot_by_layer(fitted, scored, it)["noun_class"]
    assert found["in_language"] == [1, 1] and found["transfer"] == [pytest.approx((0 + 1 / 2) / 2)] * 2
    assert found["majority"] == 1 / 2


def test_shared_words_count_nowhere():
    """A shared word, whose state says nothing but the wrong answer, changes neither what is fitted nor what is told."""
    it, own = corpus(), readings()
    shared = min(it.shared_ids - set(it.pieces.all_special_ids))

    def with_more(reading: Reading) -> Reading:
        n = len(reading.ids) // 2
        wrong = 50 * normal(1, *reading.states[:, :n].shape)
        return reading._replace(
            states=np.concatenate([reading.states, wrong], axis=1), ids=np.append(reading.ids, [shared] * n),
            sentence=np.append(reading.sentence, [reading.sentences - 1] * n), tokens=reading.tokens + reading.tokens[:n],
        )  # fmt: skip

    assert zero_shot_by_layer(own["a"], own, it) == zero_shot_by_layer(
        with_more(own["a"]), {name: with_more(reading) for name, reading in own.items()}, it
    )


def test_a_classifier_has_an_intercept():
    """Of features that say nothing the more frequent class is the answer, wherever they lie."""
    x = np.array([[7.0], [9.0], [7.0], [9.0], [7.0], [9.0]])
    classify = ridge_classifier(x, np.array([1, 1, 0, 0, 1, 1]), 2)
    np.testing.assert_allclose(x @ classify.weight + classify.bias, [[1 / 3, 2 / 3]] * 6, rtol=0, atol=LIMIT)
    assert classify(np.array([[0.0], [100.0]])).tolist() == [1, 1]


# ------------------------------------------------------------------------------------- sides and all probes


def test_an_untied_twin_has_a_matrix_of_its_own():
    """Reading before scoring; and the untied twin's output embedding is a copy, so that it can go its own way."""
    it = corpus()
    one = model(it, tied=True, output_embedding_size=8)
    twin = untied(one)
    twin.parameters[OUTPUT_EMBEDDING] += 1
    assert (one.parameters[INPUT_EMBEDDING] != twin.parameters[OUTPUT_EMBEDDING]).all()
    assert one.sizes.tied and untied(model(it)).sizes.tied is False
    ids = np.array(it.encode(it.test[:1], "a"))
    reading, scoring = side_gradients(
        model(it, head="none", output_embedding_size=12), {"input_ids": ids, "labels": ids}
    )
    assert reading != scoring


def test_embeddings_in_loops():
    """Both languages' nouns in the mean, each side its own rows, and the mean of all orders by chance."""
    it, own = corpus(), readings()
    one = model(it)
    found = embeddings(one, it, own)
    words = [id for id in range(len(it.pieces)) if id not in it.pieces.all_special_ids]
    sides = {"input": one.parameters[INPUT_EMBEDDING], "output": one.parameters[OUTPUT_EMBEDDING]}
    for side, rows in sides.items():
        each = [relations(rows, classes_of_nouns(reading)) for reading in own.values()]
        assert each[0] != each[1]
        for name in ("dot", "cosine"):
            assert found[side][name] == pytest.approx(np.mean([of_one[name] for of_one in each]))
        assert found[side]["translation"] == word_translation(rows, it)
    rng = np.random.default_rng(it.seed)
    by_chance = [
        linear_cka(sides["input"][words], rng.permutation(sides["output"][words])) for _ in range(CHANCE_ORDERS)
    ]
    assert len(set(by_chance)) == CHANCE_ORDERS == 10
    assert found["cka_chance"] == pytest.approx(np.mean(by_chance))
    assert found["cka"] == pytest.approx(linear_cka(sides["input"][words], sides["output"][words]))


def test_the_rank_is_of_all_languages_masked_test_words():
    """Of what the model says at the masked words of the first sentences of each language, and of no more than there are."""
    it = corpus(languages=3)
    one = model(it, head="none", output_embedding_size=12)
    states = np.concatenate([masked_states(one, it, name, 12) for name in "abc"])
    rows = one.parameters[OUTPUT_EMBEDDING]
    logits = states @ rows.T + one.parameters["cls.predictions.decoder.bias"]
    centred = logits - logits.mean(axis=1, keepdims=True)
    assert logit_rank(one, it, 12) == {
        "rank": np.linalg.matrix_rank(centred), "contexts": 12,
        "effective_rank": pytest.approx(effective(np.linalg.svd(centred, compute_uv=False))),
    }  # fmt: skip
    assert logit_rank(one, it, 10_000)["contexts"] == 3 * len(it.test)


def effective(singular: np.ndarray) -> float:
    share = singular[singular > 0] / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def test_masked_words_are_of_the_test():
    """With one sentence in each split, the state is of one of the test sentence's words, with padding or without."""
    it = corpus()
    one = model(it)
    for row, line in zip(masked_states(one, it, "a", 2), it.encode(it.test[:1], "a"), strict=True):
        states = []
        for place in range(len(line)):
            masked = [1, *line, 2]
            masked[place + 1] = it.pieces.mask_token_id
            states.append(one(np.array([masked]), output_hidden_states=True).hidden_states[-1][0, place + 1])
        assert min(np.abs(state - row).max() for state in states) < LIMIT


def test_isotropy_by_hand():
    it, own = corpus(), readings()
    found = isotropy_by_layer(own)
    for name, of in (("mean_cosine", mean_cosine), ("participation_ratio", participation_ratio)):
        expected = [np.mean([of(reading.states[layer]) for reading in own.values()]) for layer in range(3)]
        assert found[name] == pytest.approx(expected) and len(set(found[name])) == 3
    assert isotropy_by_layer({"a": own["a"]}) != found and it.world.languages == 2


def test_what_is_fitted_is_validation_and_what_is_told_is_the_test():
    """Every probe of `measure` against the same probe of readings that are made here."""
    it = corpus(languages=3)
    one = model(it, "float32")
    fitted, scored = ({name: read(one, it, some, name) for name in "abc"} for some in (it.validation, it.test))
    found = measure(one, it)
    assert found == {
        "retrieval": retrieval_by_layer(fitted, scored, it),
        "zero_shot": zero_shot_by_layer(fitted["a"], scored, it),
        "isotropy": isotropy_by_layer(scored),
        "embeddings": embeddings(one, it, scored),
        "logits": logit_rank(one, it),
    }
    # and no two of these would be the same the other way round
    assert found["retrieval"] != retrieval_by_layer(scored, fitted, it)
    assert found["retrieval"] != retrieval_by_layer(scored, scored, it)
    assert found["zero_shot"] != zero_shot_by_layer(fitted["c"], scored, it)
    assert found["zero_shot"] != zero_shot_by_layer(scored["a"], scored, it)
    assert found["isotropy"] != isotropy_by_layer(fitted) and found["embeddings"] != embeddings(one, it, fitted)


@pytest.mark.parametrize(
    ("confidence", "reach"), [(0.5, 1.0), (1 / 3, np.tan(np.pi / 6)), (0.95, np.tan(0.475 * np.pi))]
)
def test_an_interval_of_two_values_by_hand(confidence, reach):
    """With one degree of freedom t is the tangent of pi (P - 1/2); of 0 and 2 the mean is 1 and its error 1."""
    found = t_interval([0, 2], confidence)
    assert (found.n, found.mean, found.se) == (2, 1, pytest.approx(1)) and found.sd == pytest.approx(2**0.5)
    assert (found.low, found.high) == pytest.approx((1 - reach, 1 + reach))
