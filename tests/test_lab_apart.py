"""What must be apart is apart: corpora built so that the case occurs, and baselines that read nothing that is scored.

A drawn corpus seldom has a clause on both sides, so these are made by hand; what a real one holds is dealt out a second time.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from minirembert.corpus import CONCEPTS, ONE, Event, Meaning, NounPhrase, iter_meanings, realize, split_of
from minirembert.lab.model import INPUT_EMBEDDING, LabModel
from minirembert.lab.tasks import TASKS, Examples, baselines
from minirembert.lab.tasks.baselines import baseline, majority, shuffled, without_first, words
from minirembert.lab.tasks.inference import weaker
from minirembert.lab.tasks.paraphrase import exchanges
from minirembert.lab.tasks.questions import exact_and_f1
from minirembert.lab.tasks.split import Split
from minirembert.lab.variant import Variant
from minirembert.lab.world import Corpus, LabLanguage, World, build_corpus
from minirembert.lab.world.world import _sampled
from minirembert.ops.losses import IGNORE_INDEX

NP = NounPhrase
PAIRS = ("paraphrase", "inference", "questions")
TINY = Variant(
    input_embedding_size=8, output_embedding_size=10, hidden_size=12, num_hidden_layers=2, num_attention_heads=2
)


@cache
def drawn(**changes: Any) -> Corpus:
    return build_corpus(World(**{"sentences": 150, "held_out": 80, "breadth": 0.0} | changes), seed=3)


def by_hand(train: dict[str, list[Meaning]], test: Iterable[Meaning], **changes: Any) -> Corpus:
    """A corpus of exactly these meanings, with all words that there are."""
    world = World(sentences=1, held_out=1, breadth=0.0, languages=len(train), **changes)
    return replace(build_corpus(world, seed=3), train=train, validation=[], test=list(test))


def with_clauses(meaning: Meaning) -> set[Meaning]:
    return {meaning, *(Meaning(event) for event in meaning.events)}


# ------------------------------------------------------------------------------------------------- the corpus


def mentioned(meaning: Meaning) -> set[str]:
    """The concepts that are said, from the labels of its tokens, in a language that has a word for everything."""
    said = {token.concept for token in realize(meaning, "eo").tokens}
    numbers = {phrase.number for event in meaning.events for phrase in (event.subject, event.object) if phrase}
    return {concept for concept in said | numbers if concept in CONCEPTS}


@pytest.mark.parametrize("changes", [
    {}, {"parallel": True}, {"languages": 3, "silent": 1}, {"breadth": 1.5, "sentences": 20, "held_out": 4},
    {"track": "real", "languages": 3}, {"sentences": 3, "held_out": 60}, {"sentences": 150, "held_out": 1},
], ids=str)  # fmt: skip
def test_a_corpus_is_the_stream_of_meanings_dealt_out(changes):
    """Each meaning of the stream, in its order, to its side: the next language, all of them, or what is kept back."""
    it = drawn(**changes)
    world = it.world
    known = set(CONCEPTS)
    if world.breadth:
        groups = Counter[Any]()
        most = {"verb": 20, "adjective": 16, "numeral": 4, "time": 4, "relation": 3, "connective": 3}
        for key, concept in CONCEPTS.items():
            groups[concept.kind, concept.noun_class] += 1
            if groups[concept.kind, concept.noun_class] > int(world.breadth * most.get(concept.kind, 6)):
                known.discard(key)
    assert world.concepts() == known
    speaking = [*world.language_names[: world.languages - world.silent]]
    read: dict[str, list[Meaning]] = {name: [] for name in world.language_names}
    kept: dict[str, list[Meaning]] = {"validation": [], "test": []}
    turn = 0
    for meaning in iter_meanings(3):
        if any(len(read[name]) < world.sentences for name in speaking) or any(
            len(some) < world.held_out for some in kept.values()
        ):
            if not mentioned(meaning) <= known:
                continue
            if (side := split_of(meaning)) != "train":
                if len(kept[side]) < world.held_out:
                    kept[side].append(meaning)
            elif len(read[speaking[turn]]) < world.sentences:
                for name in speaking if world.parallel else [speaking[turn]]:
                    read[name].append(meaning)
                turn = 0 if world.parallel else (turn + 1) % len(speaking)
        else:
            break
    assert it.train == read and it.validation == kept["validation"] and it.test == kept["test"]
    lines = {language.name: language.lines for language in it.train_lines}
    assert lines == {name: it.encode(read[name], name) for name in speaking}


def test_patience_is_with_those_that_are_passed_over_in_a_row(monkeypatch):
    """Not with all of them: as many as there are between two that can be said, and one more."""
    world = World(sentences=8, held_out=3, breadth=1.5)
    known = world.concepts()
    for seed in range(3, 50):
        left, said = {"train": 16, "validation": 3, "test": 3}, []
        stream = iter_meanings(seed)
        while any(left.values()):
            meaning = next(stream)
            said.append(mentioned(meaning) <= known)
            if said[-1]:
                left[split_of(meaning)] -= left[split_of(meaning)] > 0
        gaps = [len(gap) for gap in "".join(" x"[it] for it in said).split("x")]
        if max(gaps) > gaps[0] and not said[max(gaps)]:  # counted from the beginning, patience would end at this one
            break
    monkeypatch.setattr("minirembert.lab.world.world.PATIENCE", max(gaps) + 1)
    assert len(build_corpus(world, seed).test) == 3
    monkeypatch.setattr("minirembert.lab.world.world.PATIENCE", max(gaps))
    _sampled.cache_clear()
    with pytest.raises(ValueError, match=f"of {max(gaps)} meanings in a row none can be said"):
        build_corpus(world, seed)


def test_what_is_said_does_not_depend_on_the_words():
    """Overlap, order and synonyms change how it is said; other knobs, and the seed, what."""
    first = drawn()
    for changes in ({"overlap": 0.6}, {"order": "mixed"}, {"synonyms": 2}):
        other = drawn(**changes)
        assert (other.train, other.validation, other.test) == (first.train, first.validation, first.test)
        assert other.encode(other.test, "b") != first.encode(first.test, "b")


@pytest.mark.parametrize("order", ["same", "mixed"])
def test_the_order_of_words_is_one_or_goes_round(order):
    it = drawn(order=order, languages=5)
    turns = ("svo-an", "sov-an", "svo-na", "sov-na", "svo-an") if order == "mixed" else ("svo-an",) * 5
    for name, its_own in zip("abcde", turns, strict=True):
        said = [it.realize(meaning, name) for meaning in it.test]
        assert said == [LabLanguage(name, its_own, seed=3).realize(meaning) for meaning in it.test]


def test_what_any_language_read_counts_as_read():
    one, other, third = (Meaning(Event("to_sleep", NP(noun))) for noun in ("dog", "cat", "horse"))
    assert by_hand({"a": [one], "b": [other]}, [third]).read == {one, other}


@pytest.mark.parametrize("overlap", [0.0, 1.0])
def test_shared_words_by_hand(overlap):
    """What two of three languages say, one to be learned from and one in the test, is shared; what one says is not."""
    said = {noun: Meaning(Event("to_sleep", NP(noun))) for noun in ("dog", "cat", "horse", "cow")}
    train = {"a": [said["dog"]], "b": [said["dog"], said["cat"]], "c": [said["horse"]]}
    it = by_hand(train, [said["cow"]], overlap=overlap)
    shared = {it.pieces.words[id] for id in it.shared_ids}
    # cat and horse are said by one language each, cow by all in the test, dog by two of the three
    assert shared - set(it.pieces.words[:9]) == ({"dog", "cow", "to_sleep"} if overlap else set())
    assert set(it.pieces.words[:9]) <= shared


def test_a_synonym_is_chosen_by_the_company_that_its_word_keeps():
    """An adjective by its noun, a verb by its subject, a relation by its place, anything else by its verb: the same word
    wherever that is the same, and not always the same where it is another."""
    it = drawn(synonyms=3, overlap=0.0, sentences=300)
    said: dict[tuple[str, str, str], set[str]] = {}
    for meaning in it.train["a"]:
        for token in it.realize(meaning, "a").tokens:
            event = meaning.events[token.clause]
            phrase = {"subject": event.subject, "object": event.object, "goal": event.object, "place": event.place}
            kind = CONCEPTS[token.concept].kind if token.concept else "many or not"
            company = {
                "adjective": lambda event=event, phrase=phrase, token=token: phrase[token.role].noun,
                "verb": lambda event=event: event.subject.noun,
                "relation": lambda event=event: event.place.noun,
            }.get(kind, lambda event=event: event.verb)()
            word, _, number = token.form.rpartition(".")
            said.setdefault((kind, word, company), set()).add(number)
        pairs = zip(*(it.realize(meaning, name).tokens for name in "ab"), strict=True)
        assert all(one.form.removeprefix("a:") == other.form.removeprefix("b:") for one, other in pairs)
    assert all(len(numbers) == 1 for numbers in said.values())
    for concept in ("soldier", "to_eat"):  # nothing is shared
        assert not set(LabLanguage("a", overlap=0.0, synonyms=3).words(concept)) & {
            *LabLanguage("b", overlap=0.0, synonyms=3).words(concept)
        }
    for kind in ("adjective", "verb", "relation", "noun", "time"):
        numbers: dict[str, set[str]] = {}
        for (of, word, _), found in said.items():
            if of == kind:
                numbers.setdefault(word, set()).update(found)
        assert any(len(found) > 1 for found in numbers.values()), kind


def test_the_dictionary_goes_from_source_to_target():
    it = drawn(overlap=0.3)
    one, other = it.dictionary("a", "b"), it.dictionary("b", "a")
    assert one and sorted((there, here) for here, there in other) == one
    assert all(it.pieces.words[here].startswith("a:") for here, _ in one)


# -------------------------------------------------------------------------------------------------- the split


def doubles(side: str, *clauses: str) -> Iterable[Meaning]:
    """Two clauses around "and" whose meaning is of one side, and each of whose clauses is of the side named for it."""
    nouns = ("dog", "cat", "horse", "cow", "lion", "bear", "mouse", "girl", "boy", "king")
    verbs = (
        "to_sleep",
        "to_rest",
        "to_sing",
        "to_run",
        "to_play",
        "to_dance",
        "to_swim",
        "to_laugh",
        "to_cry",
        "to_pray",
    )
    events = [Event(verb, NP(noun, number)) for verb, noun, number in product(verbs, nouns, (ONE, "many", "two"))]
    by_side = [[event for event in events if split_of(Meaning(event)) == clause] for clause in clauses]
    for one, other in product(*by_side):
        meaning = Meaning(one, "and", other)
        if one != other and split_of(meaning) == side:
            yield meaning


def allowed(meaning: Meaning, name: str, read: Iterable[Meaning] = (), language: str = "a") -> bool:
    it = by_hand({"a": [], "b": [*read]}, [meaning])
    return Split(it, language, name).allows(meaning)


@pytest.mark.parametrize("clauses", [*product(("train", "validation", "test"), repeat=2)], ids=" ".join)
@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_no_training_item_has_a_clause_that_is_kept_back(side, clauses):
    meaning = next(iter(doubles(side, *clauses)))
    assert allowed(meaning, "train") == ({side, *clauses} == {"train"})


@pytest.mark.parametrize("which", ["whole", "first", "second", "another"])
def test_no_test_item_has_a_clause_that_was_read(which):
    """By the second language, which is not the one that is asked."""
    meaning = next(iter(doubles("test", "train", "train")))
    one, other = (Meaning(event) for event in meaning.events)
    read = {"whole": meaning, "first": one, "second": other, "another": Meaning(Event("to_cry", NP("queen")))}[which]
    for language in "ab":
        assert allowed(meaning, "test", [read], language) == (which == "another")


@cache
def permissive(task: str, split: str) -> list[Any]:
    """Items as they would be if every meaning were allowed."""
    it = drawn()
    sides = Split(it, "a", split)
    sides.allows = lambda meaning: True  # type: ignore[method-assign]
    items = (TASKS[task].draw(sides, random.Random(seed)) for seed in range(120))
    return [item for item in items if item is not None]


def meanings_of(item: Any) -> list[Meaning]:
    if isinstance(item, Meaning):
        return [item]
    return [one for part in item for one in (part if isinstance(part, tuple) else [part]) if isinstance(one, Meaning)]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("task", TASKS)
def test_each_meaning_of_an_item_is_asked_about(task, split, monkeypatch):
    """Whichever part of an item, or clause of a part, is on the other side: no such item is drawn."""
    drawn_items = permissive(task, split)
    parts = Counter(part for item in drawn_items for meaning in meanings_of(item) for part in with_clauses(meaning))
    firsts = {meanings_of(item)[0] for item in drawn_items}
    chosen = [*dict.fromkeys([*[part for part in parts if part not in firsts][:6], *[*parts][:6]])]
    for forbidden in chosen:
        it = drawn()
        if split == "test":
            it = replace(it, train={"a": [], "b": [forbidden]})
        else:
            monkeypatch.setattr(
                "minirembert.lab.tasks.split.split_of", lambda it, no=forbidden: "test" if it == no else "train"
            )
        found = [TASKS[task].draw(Split(it, "a", split), random.Random(seed)) for seed in range(120)]
        left = {meaning for item in found if item is not None for meaning in meanings_of(item)}
        assert forbidden not in set().union(*map(with_clauses, left), set())
        assert len(left) > 0


def test_a_fact_of_an_inference_needs_all_its_denials():
    """Else, where one of the four was read, its pairs would be rarer than the others of that fact."""
    event = Event("to_run", NP("dog", ONE, "brave"), None, "in", NP("park"), "summer")
    it = by_hand({"a": [], "b": [Meaning(replace(event, negated=True))]}, [Meaning(event)])
    assert all(TASKS["inference"].draw(Split(it, "a", "test"), random.Random(seed)) is None for seed in range(50))


@pytest.mark.parametrize(("name", "language"), [("train", "a"), ("train", "b"), ("test", "a")])
def test_a_split_is_made_of_its_own_side(name, language):
    it = drawn()
    expected = it.test if name == "test" else it.train[language]
    split = Split(it, language, name)
    assert split.meanings == tuple(expected)
    assert split.events == tuple(meaning.first for meaning in expected if meaning.connective is None)
    told = [event for event in split.events if event.object is not None and not event.negated]
    for part in ("subject", "object", "place", "time"):
        assert split.by_part[part] == tuple(event for event in told if getattr(event, part) is not None)


@pytest.mark.parametrize("task", TASKS)
def test_what_depends_on_the_seed_and_the_language_differs_with_it(task):
    """Other items for another seed and for the other split; the same items in the test of another language, other ones to
    learn from, which are what that language read."""

    def ids(language: str = "a", split: str = "test", seed: int = 0) -> bytes:
        return TASKS[task].examples(drawn(), language, split, 20, seed).inputs["input_ids"].tobytes()

    assert ids() == ids() and len({ids(), ids(seed=1), ids(split="train"), ids(split="train", seed=1)}) == 4
    it = drawn()
    for language in "ab":
        split = Split(it, language, "test")
        items = TASKS[task]._items(split, language, 20, random.Random(f"{task}|test|0"))
        rows = TASKS[task].examples(it, language, "test", 20, 0).inputs["input_ids"]
        for row, item in zip(rows, items, strict=True):
            said = TASKS[task].say(it, language, item)
            assert row[1 : 1 + len(said.first)].tolist() == said.first
        assert len(set(items)) == len(items)


@pytest.mark.parametrize("task", TASKS)
def test_examples_are_what_is_said_in_a_frame(task):
    """[CLS] first [SEP], of pairs second [SEP] of the second type; what is asked at its place in the line; padding after."""
    it = drawn()
    some = TASKS[task].examples(it, "b", "test", 15, 4)
    items = TASKS[task]._items(Split(it, "b", "test"), "b", 15, random.Random(f"{task}|test|4"))
    for row, item in enumerate(items):
        said = TASKS[task].say(it, "b", item)
        line = [1, *said.first, 2] + ([] if said.second is None else [*said.second, 2])
        types = [0] * (len(said.first) + 2) + [1] * (len(line) - len(said.first) - 2)
        padding = [0] * (some.inputs["input_ids"].shape[1] - len(line))
        assert some.inputs["input_ids"][row].tolist() == line + padding
        assert some.inputs["attention_mask"][row].tolist() == [1] * len(line) + padding
        assert some.inputs["token_type_ids"][row].tolist() == types + padding
        if task == "tags":
            assert some.labels["labels"][row].tolist() == [-100, *said.answer, -100, *[-100] * len(padding)]
        elif task == "questions":
            places = [some.labels[name][row] - len(said.first) - 2 for name in ("start_positions", "end_positions")]
            assert tuple(places) == said.answer
        else:
            assert some.labels["labels"][row] == said.answer
    assert max(some.lengths) == some.inputs["input_ids"].shape[1] > min(some.lengths)


@pytest.mark.parametrize("task", ["inference", "paraphrase"])
def test_an_example_of_a_pair_is_its_item(task):
    """First sentence, second sentence and answer, in this order, in each language."""
    it = drawn()
    for language in "ab":
        for item in permissive(task, "train")[:20]:
            said = TASKS[task].say(it, language, item)
            first, second = it.encode(meanings_of(item), language)
            assert (said.first, said.second) == (first, second)
            right = item.answer if task == "inference" else ("same" if item.same else "different")
            assert TASKS[task].answers[said.answer] == right


@pytest.mark.parametrize("task", TASKS)
def test_only_what_is_learned_from_is_limited(task):
    most = TASKS[task].most
    it = drawn(held_out=150, sentences=400)
    assert len(TASKS[task].examples(it, "a", "train", 90)) == min(most or 90, 90)
    assert len(TASKS[task].examples(it, "a", "test", 90)) == 90


# ---------------------------------------------------------------------------------------------- the baselines


def labelled(ids: list[list[int]], labels: Any, types: list[list[int]] | None = None) -> Examples:
    """Examples of padded ids (0 is padding); labels as they are given."""
    width = max(map(len, ids))
    rows = np.array([row + [0] * (width - len(row)) for row in ids])
    kinds = np.zeros_like(rows) if types is None else np.array([row + [0] * (width - len(row)) for row in types])
    inputs = {"input_ids": rows, "attention_mask": (rows != 0).astype(np.int64), "token_type_ids": kinds}
    if not isinstance(labels, dict):
        labels = {"labels": np.array([[*row, *[IGNORE_INDEX] * (width - len(row))] for row in labels])}
    return Examples(inputs, labels)


TRAIN = labelled([[1, 10, 11, 12, 2], [1, 10, 12, 2]], [[-100, 3, 1, 1, -100], [-100, 3, 1, -100]])
TEST = labelled([[1, 10, 13, 2], [1, 12, 11, 10, 13, 2]], [[-100, 3, 3, -100], [-100, 1, 3, 0, 1, -100]])


def test_the_majority_of_training_by_hand():
    """1 is said three times of five to learn from; in the test it is right twice of six, where 3 is most frequent."""
    assert majority(TRAIN, TEST) == 2 / 6
    assert majority(TEST, TRAIN) == 2 / 5


def test_the_look_up_of_training_by_hand():
    """10 has 3, 11 and 12 have 1; 13 was never seen and has what is most frequent, 1. Right: 10, 12 and the second 13."""
    assert words(None, TASKS["tags"], TRAIN, TEST) == 3 / 6
    # the other way round: 10 has 3 before 0, 11 has 3, and 12 has 1
    assert words(None, TASKS["tags"], TEST, TRAIN) == 4 / 5


def spans_of(contexts: list[tuple[int, int]], spans: list[tuple[int, int]]) -> Examples:
    """Lines of a question of some words and a context of some words, with spans counted from the context's first word."""
    ids = [[1, *range(20, 20 + q), 2, *range(40, 40 + c), 2] for q, c in contexts]
    types = [[0] * (q + 2) + [1] * (c + 1) for q, c in contexts]
    starts = np.array([q + 2 for q, _ in contexts])
    places = np.array(spans) + starts[:, None]
    return labelled(ids, {"start_positions": places[:, 0], "end_positions": places[:, 1]}, types)


def test_the_majority_of_spans_by_hand():
    """The most frequent place to learn from is words 1 to 3 of the context. In the test, whose own is 0 to 0: exact once; in
    a context of two words cut to the second, which is half of what is right (F1 2/3); and beside the third, which has 0."""
    train = spans_of([(2, 6), (4, 5), (1, 7)], [(1, 3), (1, 3), (0, 0)])
    test = spans_of([(3, 6), (2, 2), (5, 5), (2, 8)], [(1, 3), (0, 1), (0, 0), (0, 0)])
    assert majority(train, test) == pytest.approx((1 / 4 + (1 + 2 / 3) / 4) / 2)


def test_the_best_matching_span_by_hand():
    """The second sentence shares two words of the question's three, and of what it says else 54 55 is the longest run."""
    line = [1, 50, 51, 52, 2, 50, 60, 61, 62, 2, 53, 51, 54, 55, 52, 2]
    types = [0] * 5 + [1] * 11
    right = labelled([line], {"start_positions": np.array([12]), "end_positions": np.array([13])}, [types])
    assert words(None, TASKS["questions"], right, right) == 1
    nearly = labelled([line], {"start_positions": np.array([12]), "end_positions": np.array([12])}, [types])
    assert words(None, TASKS["questions"], right, nearly) == pytest.approx((0 + 2 / 3) / 2)


def test_bags_of_words_by_hand():
    """The classifier's closed form, written out: on what was learned, and asked of something else."""
    it = drawn()
    model = LabModel(TINY.sizes(len(it.pieces)), seed=0)
    train = TASKS["inference"].examples(it, "a", "train", 60)
    test = TASKS["inference"].examples(it, "a", "test", 50)
    model.parameters[INPUT_EMBEDDING][0] = 5  # padding, which is no word
    rows = model.parameters[INPUT_EMBEDDING].astype(np.float64)

    def bags(some: Examples) -> np.ndarray:
        found = []
        for ids, types, length in zip(
            some.inputs["input_ids"], some.inputs["token_type_ids"], some.lengths, strict=True
        ):
            of_both = [[rows[ids[n]] for n in range(length) if types[n] == part] for part in (0, 1)]
            found.append(np.concatenate([np.mean(vectors, axis=0) for vectors in of_both]))
        return np.array(found)

    x, y = bags(train), np.eye(3)[train.labels["labels"]]
    z = (x - x.mean(0)) / x.std(0)
    weight = np.linalg.solve(z.T @ z + 1e-3 * len(z) * np.eye(z.shape[1]), z.T @ (y - y.mean(0)))
    given = ((bags(test) - x.mean(0)) / x.std(0) @ weight + y.mean(0)).argmax(1)
    assert words(model, TASKS["inference"], train, test) == (given == test.labels["labels"]).mean()


@pytest.mark.parametrize("task", ["tags", "inference", "paraphrase"])
@pytest.mark.parametrize("of", ["majority", "words"])
def test_a_baseline_does_not_look_at_the_answers_of_the_test(of, task):
    """Where the C answers of the test are turned round C times, a fixed answer to each is right once."""
    it = drawn()
    model = LabModel(TINY.sizes(len(it.pieces)), seed=0)
    train, test = (TASKS[task].examples(it, "a", split, 40) for split in ("train", "test"))
    labels, C = test.labels["labels"], len(TASKS[task].answers)
    scores = []
    for turn in range(C):
        turned = Examples(test.inputs, {"labels": np.where(labels == IGNORE_INDEX, labels, (labels + turn) % C)})
        scores.append(majority(train, turned) if of == "majority" else words(model, TASKS[task], train, turned))
    assert sum(scores) == pytest.approx(1)


def test_shuffled_answers_are_a_copy_in_an_order_of_the_seed():
    some = TASKS["tags"].examples(drawn(), "a", "train", 40)
    before = some.labels["labels"].copy()
    first, again, other = (shuffled(some, seed).labels["labels"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(some.labels["labels"], before)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    spans = shuffled(TASKS["questions"].examples(drawn(), "a", "train", 40), 0).labels
    lengths = spans["end_positions"] - spans["start_positions"]
    assert lengths.min() == 0 < lengths.max()


def same(one: Examples, other: Examples) -> bool:
    return all(
        np.array_equal(one_part[name], other_part[name])
        for one_part, other_part in ((one.inputs, other.inputs), (one.labels, other.labels))
        for name in one_part
    )


class Recorded:
    """What `baseline` hands to fine-tuning and to scoring."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tuned: list[tuple[Any, Examples, dict[str, Any]]] = []
        self.scored: list[tuple[Any, Examples]] = []
        monkeypatch.setattr(baselines, "fine_tune", self._fine_tune)
        monkeypatch.setattr(baselines, "score", self._score)

    def _fine_tune(self, start: Any, task: Any, learned: Examples, **settings: Any) -> Any:
        self.tuned.append((start, learned, settings))
        return len(self.tuned) - 1

    def _score(self, model: Any, task: Any, examples: Examples) -> dict[str, float]:
        self.scored.append((model, examples))
        return {"score": len(self.scored) / 10}


@pytest.mark.parametrize("name", ["untrained", "shuffled", "own language", "second alone"])
def test_what_a_baseline_learns_and_is_scored_on(name, monkeypatch):
    it, task = drawn(), TASKS["inference"]
    start = LabModel(TINY.sizes(len(it.pieces)), seed=8)  # stands for what was pre-trained
    record = Recorded(monkeypatch)
    settings = {"steps": 7, "batch_size": 3, "learning_rate": 0.5}
    found = baseline(name, it, start, task, examples=12, scored=9, seed=4, **settings)
    learn = {language: task.examples(it, language, "train", 12, 4) for language in "ab"}
    tests = {language: task.examples(it, language, "test", 9, 4) for language in "ab"}
    change: Callable[[Examples], Examples] = {
        "shuffled": lambda some: shuffled(some, 4), "second alone": without_first
    }.get(name, lambda some: some)  # fmt: skip
    languages = "ab" if name == "own language" else "a"
    assert [used for *_, used in record.tuned] == [{"seed": 4, **settings}] * len(languages)
    for (model, learned, _), language in zip(record.tuned, languages, strict=True):
        assert same(learned, change(learn[language]))
        if name == "untrained":
            fresh = LabModel(TINY.sizes(len(it.pieces)), seed=4)
            assert model is not start and model.sizes == start.sizes
            assert {n: a.tobytes() for n, a in model.parameters.items()} == {
                n: a.tobytes() for n, a in fresh.parameters.items()
            }
            assert (model.parameters[INPUT_EMBEDDING] != start.parameters[INPUT_EMBEDDING]).any()
        else:
            assert model is start
    assert [model for model, _ in record.scored] == ([0, 1] if name == "own language" else [0, 0])
    for (_, scored), language in zip(record.scored, "ab", strict=True):
        assert same(scored, without_first(tests[language]) if name == "second alone" else tests[language])
    assert found == {"a": 0.1, "b": 0.2}


@pytest.mark.parametrize("name", ["majority", "words"])
def test_what_a_baseline_without_a_model_learns_and_is_scored_on(name):
    it, task = drawn(), TASKS["inference"]
    model = LabModel(TINY.sizes(len(it.pieces)), seed=8)
    found = baseline(name, it, model, task, examples=30, scored=40, seed=4)
    train = task.examples(it, "a", "train", 30, 4)
    tests = {language: task.examples(it, language, "test", 40, 4) for language in "ab"}
    of = {"majority": majority, "words": lambda *some: words(model, task, *some)}[name]
    assert found == {language: of(train, some) for language, some in tests.items()}


# ----------------------------------------------------------------------------------- what a task's item may be


def test_the_exchanges_of_a_paraphrase_by_hand():
    """All pairs of parts that may change places, and no other: of nouns, of adjectives, of numbers; between two clauses."""
    event = Event("to_love", NP("doctor", "two", "young"), NP("teacher", ONE, "happy"))
    expected = {
        replace(event, subject=NP("teacher", "two", "young"), object=NP("doctor", ONE, "happy")),
        replace(event, subject=NP("doctor", "two", "happy"), object=NP("teacher", ONE, "young")),
        replace(event, subject=NP("doctor", ONE, "young"), object=NP("teacher", "two", "happy")),
    }
    assert {meaning.first for meaning in exchanges(Meaning(event))} == expected
    # a name takes no adjective and no number, and no place name does anything
    named = Event("to_love", NP("Anna"), NP("teacher", "two", "happy"), "in", NP("Madrid_place"))
    assert {meaning.first for meaning in exchanges(Meaning(named))} == set()
    one = Event("to_love", NP("Anna"), NP("teacher"))
    other = Event("to_hate", NP("king"), NP("doctor"), negated=True)
    told = Meaning(one, "but", other)
    assert set(exchanges(told)) == {
        Meaning(replace(one, subject=other.subject), "but", replace(other, subject=one.subject)),
        Meaning(replace(one, object=other.object), "but", replace(other, object=one.object)),
        Meaning(replace(one, negated=True), "but", replace(other, negated=False)),
    }
    # exchanged objects would only be the clauses in the other order
    again = replace(one, object=NP("doctor"))
    assert exchanges(Meaning(one, "and", again)) == []


def test_the_second_sentence_of_a_paraphrase():
    """The same with its clauses in the other order, of one clause a copy; or, as often, with two parts exchanged too."""
    seen = Counter()
    for item in {*permissive("paraphrase", "train"), *permissive("paraphrase", "test")}:
        seen[item.same] += 1
        back = item.second
        if back.second is not None:
            back = Meaning(back.second, back.connective, back.first)
        assert back == item.first if item.same else back in exchanges(item.first)
    n = seen.total()
    assert n > 100 and abs(seen[True] / n - 0.5) < 5 * 0.5 / n**0.5 < 0.3


def test_exact_is_both_ends():
    """Of two spans with one end right: none exact; F1 2 of 2 and 3 pieces, 3 of 4 and 3."""
    found = exact_and_f1(np.array([[3, 4], [2, 5]]), np.array([[3, 5], [3, 5]]))
    assert found == pytest.approx({"em": 0, "f1": (4 / 5 + 6 / 7) / 2, "score": (4 / 5 + 6 / 7) / 4})


def test_tags_by_hand():
    """Of both clauses, each with its own phrases; names have no number, other words that have none are not asked."""
    it = by_hand({"a": []}, [], overlap=0.0)
    one = Event("to_love", NP("Victoria"), NP("teacher", "two", "happy"), "in", NP("Victoria_place"), "noon", True)
    other = Event("to_go", NP("king", "many"), NP("school"))
    said = TASKS["tags"].say(it, "a", Meaning(one, "and", other))
    words = [it.pieces.words[id].removeprefix("a:") for id in said.first]
    names = [None if number == IGNORE_INDEX else TASKS["tags"].answers[number] for number in said.answer]
    assert [*zip(words, names, strict=True)] == [
        ("Victoria", "PERSON"), ("NOT", None), ("to_love", "verb-one"), ("two", "object-many"), ("happy", "object-many"),
        ("teacher", "object-many"), ("in", None), ("Victoria", "PLACE"), ("noon", None), ("and", None),
        ("PL", "subject-many"), ("king", "subject-many"), ("to_go", "verb-many"), ("school", "object-one"),
    ]  # fmt: skip


def test_a_meaning_has_one_pair_however_often_it_is_drawn():
    """Whatever dice choose the meaning: the pair that is made of it is its own."""
    meaning = Meaning(
        Event("to_love", NP("doctor", "two", "young"), NP("teacher", ONE, "happy"), "in", NP("park", ONE, "big"))
    )
    it = by_hand({"a": [], "b": []}, [meaning])
    assert len({TASKS["paraphrase"].draw(Split(it, "a", "test"), random.Random(seed)) for seed in range(20)}) == 1


def test_what_follows_and_says_less_by_hand():
    """Each step away: place, time, three adjectives, hypernyms; but no hypernym that the world lacks, no two of what is not
    counted."""
    event = Event("to_eat", NP("lion", "two", "big"), NP("apple", "two", "red"), "in", NP("garden", ONE, "old"), "noon")
    expected = {
        replace(event, relation=None, place=None), replace(event, time=None),
        replace(event, subject=NP("lion", "two")), replace(event, object=NP("apple", "two")),
        replace(event, place=NP("garden")), replace(event, subject=NP("animal", "two", "big")),
        replace(event, object=NP("fruit", "two", "red")),
    }  # fmt: skip
    assert set(weaker(event, frozenset(CONCEPTS))) == expected
    without = [less for less in expected if less.subject.noun == "lion"]
    assert set(weaker(event, frozenset(CONCEPTS) - {"animal"})) == set(without)
    foods = [weaker(Event("to_eat", NP("Anna"), NP("fruit", n)), frozenset({"food"})) for n in ("many", ONE)]
    assert [[less.object.noun for less in found] for found in foods] == [[], ["food"]]


def test_questions_by_hand():
    """Both sentences have such a part, with another answer; nothing else that was asked decides it; the rest is short."""
    it = drawn()
    split = Split(it, "a", "train")
    parts, abouts = Counter(), Counter()
    for seed in range(300):
        item = TASKS["questions"].draw(split, random.Random(seed))
        if item is None:
            continue
        parts[item.part] += 1
        abouts[item.about] += 1
        one, other = (meaning.first for meaning in item.context)
        known = "object" if item.part == "subject" else "subject"
        assert getattr(one, item.part) != getattr(other, item.part) and None not in (
            getattr(one, item.part), getattr(other, item.part)
        )  # fmt: skip
        assert (one.verb, getattr(one, known)) != (other.verb, getattr(other, known))
        for event in (one, other):
            assert (event.place is None or item.part == "place") and (event.time is None or item.part == "time")
            assert not event.negated and (event.relation is None) == (event.place is None)
        said = TASKS["questions"].say(it, "a", item)
        asked = [one, other][item.about]
        spoken = {it.pieces.words[id].removeprefix("a:") for id in said.first}
        assert {asked.verb, getattr(asked, known).noun.removesuffix("_place")} <= spoken
        roles = [token.role.replace("goal", "object") for token in it.realize(item.context[item.about], "a").tokens]
        assert len(said.first) == 1 + roles.count("verb") + roles.count(known)  # and nothing of the answer
    assert (
        parts.keys() == {"subject", "object", "place", "time"} and min(abouts[0], abouts[1]) > sum(parts.values()) / 4
    )


def test_a_question_whose_sentences_say_the_same_but_for_the_answer_is_none():
    """The verb and the subject are asked; where both sentences have them, both objects are right."""
    one, other = (Meaning(Event("to_eat", NP("Anna"), NP(noun))) for noun in ("apple", "banana"))
    it = by_hand({"a": [], "b": []}, [one, other])
    dice = [random.Random(seed) for seed in range(60)]
    found = [TASKS["questions"].draw(Split(it, "a", "test"), luck) for luck in dice]
    assert found == [None] * 60  # who eats an apple or a banana: Anna both times


def test_items_fit_into_a_line_in_every_language_of_the_world(monkeypatch):
    """On the real track a test item must fit in all languages, though it is said in the first: as long as fits, no longer."""
    it = drawn(track="real", languages=6)
    task = TASKS["inference"]
    module = "minirembert.lab.tasks.task.POSITIONS"
    split = Split(it, "en", "test")

    def longest(language: str, item: Any) -> int:
        said = task.say(it, language, item)
        return len(said.first) + len(said.second) + 3

    def items() -> list[Any]:
        return task._items(split, "en", 12, random.Random(0))

    free = items()
    lengths = [max(longest(language, item) for language in it.world.language_names) for item in free]
    own = [longest("en", item) for item in free]
    limit = sorted(lengths)[len(lengths) // 2]
    assert any(here <= limit < all_ for here, all_ in zip(own, lengths, strict=True))  # the case occurs
    monkeypatch.setattr(module, limit)
    found = [max(longest(language, item) for language in it.world.language_names) for item in items()]
    assert max(found) == limit
