"""The probes, against slow loops, models asked one sentence at a time, and states whose answer is known."""

import json
from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirembert.corpus.concepts import CONCEPTS
from minirembert.lab.model import INPUT_EMBEDDING, OUTPUT_EMBEDDING, LabModel
from minirembert.lab.probes import measure
from minirembert.lab.readings import Reading, read, sentence_vectors
from minirembert.lab.retrieval import guessed_by_length, retrieval, retrieval_by_layer, word_translation
from minirembert.lab.sides import classes_of_nouns, embeddings, logit_rank, relations, side_gradients, untied
from minirembert.lab.variant import Variant
from minirembert.lab.world import Corpus, World, build_corpus
from minirembert.lab.zero_shot import PENALTY, PROBES, ridge_classifier, zero_shot_by_layer

LIMIT = 2**12 * np.finfo(float).eps
SEEDS = st.integers(0, 2**32 - 1)
SMALL = World(sentences=60, held_out=24, breadth=0.0)
TINY = Variant(
    input_embedding_size=8, output_embedding_size=10, hidden_size=12, num_hidden_layers=2, num_attention_heads=2
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@cache
def corpus(**changes) -> Corpus:
    return build_corpus(replace(SMALL, **changes), seed=1)


def model(it: Corpus, dtype: str = "float64", **changes) -> LabModel:
    """Far from fresh weights, whose small size would hide a wrong scale."""
    made = LabModel(replace(TINY, **changes).sizes(len(it.pieces)), seed=2, dtype=dtype)
    for n, array in enumerate(made.parameters.values()):
        array += 0.3 * normal(n, *array.shape)
    return made


@cache
def readings() -> dict[str, Reading]:
    it = corpus()
    return {name: read(model(it), it, it.test, name) for name in it.world.language_names}


def with_states(reading: Reading, states: np.ndarray) -> Reading:
    return reading._replace(states=states)


# --- readings -------------------------------------------------------------------------------------------------------


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


# --- retrieval ------------------------------------------------------------------------------------------------------


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
        for name, kind, factor in (("with_mean", "l2", 1), ("without_mean", "l2", 0), ("cosine_with_mean", "cosine", 1)):
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


# --- classifiers ----------------------------------------------------------------------------------------------------


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
            return with_states(reading, np.array(layers))

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


# --- the two sides --------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 4))
def test_relations_in_loops(seed, width):
    rows = normal(seed, 9, width)
    classes = {1: "dish", 7: "dish", 4: "tool", 8: "tool", 3: "plant", 0: "dish"}
    nouns = list(classes)
    for name, value in (("dot", lambda a, b: a @ b), ("cosine", lambda a, b: a @ b / np.sqrt((a @ a) * (b @ b)))):
        pairs = [(a, b) for n, a in enumerate(nouns) for b in nouns[n + 1 :]]
        similar = np.array([value(rows[a], rows[b]) for a, b in pairs])
        related = np.array([classes[a] == classes[b] for a, b in pairs], float)
        places = np.round(similar, 9)  # in one dimension cosines are 1 and -1
        order = [1 + (places < v).sum() + ((places == v).sum() - 1) / 2 for v in places]
        if len(set(order)) > 1:
            expected = np.corrcoef(order, related)[0, 1]
            if width > 1:
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
    ("head", "width", "rank"), [("linear", 10, 11), ("linear", 20, 13), ("gelu_ln", 10, 10), ("gelu_ln", 20, 20)]
)
def test_logit_rank(head, width, rank):
    """min(O, H) + 1 with a linear head and O with GELU and LayerNorm, though the states are float32; H is 12."""
    it = corpus()
    found = logit_rank(model(it, "float32", head=head, output_embedding_size=width), it)
    assert found["rank"] == rank and 1 < found["effective_rank"] < rank and found["contexts"] == 48
    assert logit_rank(model(it), it, contexts=10)["contexts"] == 10


def test_embeddings():
    it, own = corpus(), readings()
    tied = embeddings(model(it, tied=True, output_embedding_size=8), it, own)
    assert tied["input"] == tied["output"] and tied["cka"] == pytest.approx(1)
    one = model(it)
    found = embeddings(one, it, own)
    assert found["input"] != found["output"]
    assert 0 < found["cka_chance"] < 1 and abs(found["cka"] - found["cka_chance"]) < found["cka_chance"]  # unrelated
    classes = classes_of_nouns(own["a"]), classes_of_nouns(own["b"])
    rows = one.parameters[OUTPUT_EMBEDDING]
    assert found["output"]["dot"] == pytest.approx(np.mean([relations(rows, c)["dot"] for c in classes]))
    assert found["output"]["translation"] == word_translation(rows, it)


# --- all together ---------------------------------------------------------------------------------------------------


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
    for probe in found["zero_shot"].values():
        assert (probe["transfer"] is None) == (it.world.languages == 1)
