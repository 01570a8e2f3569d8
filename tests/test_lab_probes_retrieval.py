"""Readings and retrieval: against slow loops, a model asked one sentence at a time, and copies in a known order."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_cases import LIMIT, SEEDS, corpus, model, normal, readings

from minirembert.lab.readings import read, sentence_vectors
from minirembert.lab.retrieval import guessed_by_length, retrieval, retrieval_by_layer, word_translation


def test_reading_is_what_the_model_says_of_each_sentence_alone():
    it, one = corpus(), model(corpus())
    reading = read(one, it, it.test, "b")
    assert reading.sentences == len(it.test) and reading.states.shape == (3, len(reading.ids), 12)
    for n, line in enumerate(it.encode(it.test, "b")):
        words = reading.sentence == n
        assert reading.ids[words].tolist() == line
        assert [it.pieces.ids[t.form] for t, is_in in zip(reading.tokens, words, strict=True) if is_in] == line
        alone = one(np.array([[1, *line, 2]]), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(reading.states[:, words], np.array(alone)[:, 0, 1:-1], rtol=0, atol=LIMIT)


def test_sentence_vectors():
    reading = readings()["a"]
    left_out = [*set(reading.ids[reading.sentence == 3].tolist()), *reading.ids[::4].tolist()]
    vectors, counts = sentence_vectors(reading, left_out)
    for n in range(reading.sentences):
        rows = [row for row, id in enumerate(reading.ids) if reading.sentence[row] == n and id not in left_out]
        assert counts[n] == len(rows)
        mean = reading.states[:, rows].mean(axis=1) if rows else np.zeros((3, 12))
        np.testing.assert_allclose(vectors[:, n], mean, rtol=0, atol=LIMIT)
    assert counts[3] == 0 < counts.max()


def test_nothing_to_read():
    with pytest.raises(ValueError, match="no meaning to read in 'a'"):
        read(model(corpus()), corpus(), [], "a")


@given(SEEDS, st.integers(1, 12), st.integers(1, 5), st.sampled_from(["l2", "cosine"]), st.booleans())
def test_retrieval_in_loops(seed, rows, width, distance, moved):
    x = normal(seed, rows, width)
    y = x + 0.7 * normal(seed + 1, rows, width) + 1
    shift = np.full(width, 0.9) if moved else None
    right = 0
    for n in range(rows):
        start = x[n] + shift if moved else x[n]
        if distance == "l2":
            far = [np.linalg.norm(start - row) for row in y]
        else:
            far = [-(start @ row) / (np.linalg.norm(start) * np.linalg.norm(row)) for row in y]
        right += int(np.argmin(far)) == n
    assert retrieval(x, y, shift, distance) == right / rows


@given(SEEDS, st.integers(2, 12))
def test_retrieval_in_a_copy_in_another_order(seed, rows):
    x = normal(seed, rows, 6)
    order = np.random.default_rng(seed).permutation(rows)
    in_place = (order == np.arange(rows)).mean()
    assert retrieval(x, x[order]) == retrieval(x, 3 * x[order], distance="cosine") == in_place
    far = x[order] + 1e3
    assert retrieval(x, far, np.full(6, 1e3)) == in_place
    assert retrieval(x, np.zeros_like(x)) == 1 / rows  # all are equally near, and the first counts


def test_retrieval_refuses():
    with pytest.raises(ValueError, match=r"of one shape with N > 0 are needed, got \(2, 3\) and \(3, 3\)"):
        retrieval(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="one of l2, cosine, got 'l1'"):
        retrieval(np.ones((2, 3)), np.ones((2, 3)), distance="l1")
    with pytest.raises(ValueError, match="needs two languages, got a"):
        retrieval_by_layer({}, {"a": readings()["a"]}, corpus())


def test_retrieval_by_layer():
    """Three languages: every direction, layer by layer, with the mean differences of other meanings."""
    it = corpus(languages=3, overlap=0.5)
    one = model(it)
    fitted, scored = ({name: read(one, it, m, name) for name in "abc"} for m in (it.validation, it.test))
    found = retrieval_by_layer(fitted, scored, it)
    expected: dict[str, list] = {"with_mean": [], "without_mean": [], "cosine_with_mean": [], "pool": []}
    for source, target in permutations("abc", 2):
        (x, n_x), (y, n_y) = (sentence_vectors(scored[name], it.shared_ids) for name in (source, target))
        (u, n_u), (v, n_v) = (sentence_vectors(fitted[name], it.shared_ids) for name in (source, target))
        keep = [n for n in range(len(n_x)) if n_x[n] and n_y[n]]
        shift = [v[layer][n_v > 0].mean(0) - u[layer][n_u > 0].mean(0) for layer in range(3)]
        expected["pool"].append(len(keep))
        for name, kind, factor in (
            ("with_mean", "l2", 1),
            ("without_mean", "l2", 0),
            ("cosine_with_mean", "cosine", 1),
        ):
            expected[name].append(
                [retrieval(x[n][keep], y[n][keep], factor * shift[n], kind) for n in range(3)]
            )  # fmt: skip
    for name, values in expected.items():
        assert found[name] == pytest.approx(np.mean(values, axis=0), abs=LIMIT)
    assert 1 / 24 < found["by_length"] < 1


def test_a_sentence_of_shared_words_is_left_out():
    it, own = corpus(), readings()
    shared = min(it.shared_ids - set(it.pieces.all_special_ids))
    ids = np.where(own["b"].sentence == 5, shared, own["b"].ids)
    scored = {"a": own["a"], "b": own["b"]._replace(ids=ids)}
    before = retrieval_by_layer(own, own, it)["pool"]
    assert retrieval_by_layer(own, scored, it)["pool"] == before - 1
    with pytest.raises(ValueError, match="no sentence of 'a' and 'b' has a word that languages do not share"):
        retrieval_by_layer(own, {"a": own["a"], "b": own["b"]._replace(ids=np.full_like(ids, shared))}, it)


def test_a_mean_is_of_sentences_that_have_something_left():
    """One language is the other, moved; from half of the fitted sentences, nothing can be learned of it."""
    it, own = corpus(), readings()["a"]
    moved = own._replace(states=own.states + 50)
    shared = min(it.shared_ids - set(it.pieces.all_special_ids))
    half = np.where(own.sentence < own.sentences // 2, shared, own.ids)
    fitted = {"a": own._replace(ids=half), "b": moved._replace(ids=half)}
    assert retrieval_by_layer(fitted, {"a": own, "b": moved}, it)["with_mean"] == [1, 1, 1]


def test_what_the_length_alone_tells():
    # of two sentences of length 4 one is right; the only 6 is found; the 5 is taken for the other 4s or the 9, never right
    assert guessed_by_length(np.array([4, 4, 6, 5]), np.array([4, 4, 6, 9])) == (1 / 2 + 1 / 2 + 1 + 0) / 4


@given(SEEDS)
def test_word_translation(seed):
    """Rows of which one language's are the other's, moved: all found; after exchanging two translations, two fewer."""
    it = corpus()
    pairs = it.dictionary("a", "b")
    rows = normal(seed, len(it.pieces), 5)
    for here, there in pairs:
        rows[there] = rows[here] + 100
    assert word_translation(rows, it) == 1
    (_, one), (_, other) = pairs[:2]
    rows[[one, other]] = rows[[other, one]]
    assert word_translation(rows, it) == pytest.approx(1 - 2 / len(pairs))
    with pytest.raises(ValueError, match="needs two languages"):
        word_translation(rows, corpus(languages=1))
