"""The lab's tasks: answers derived a second way from the sentences alone, balance, the split, scores of known outputs."""

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

from minirembert.corpus import CONCEPTS, Meaning, classes_of, split_of
from minirembert.lab.tasks import TASKS
from minirembert.lab.tasks.baselines import majority, words
from minirembert.lab.tasks.inference import ANSWERS as INFERENCES
from minirembert.lab.tasks.questions import QUESTIONS_ABOUT, exact_and_f1, spans
from minirembert.lab.tasks.split import Split
from minirembert.lab.tasks.tags import ANSWERS as TAGS
from minirembert.lab.world import Corpus, World, build_corpus
from minirembert.lab.world.world import exchanged
from minirembert.ops.losses import IGNORE_INDEX

WORLDS = {
    "lab": World(sentences=400, held_out=300, breadth=0.0),
    "mixed order": World(sentences=400, held_out=300, breadth=0.0, order="mixed", languages=4, synonyms=2),
    "real": World(track="real", languages=6, sentences=400, held_out=300, breadth=0.0),
}
COUNT = 80


@cache
def corpus(name: str = "lab") -> Corpus:
    return build_corpus(WORLDS[name], seed=0)


@cache
def items(task: str, split: str, world: str = "lab", count: int = COUNT):
    it = corpus(world)
    language = it.world.language_names[0]
    return TASKS[task]._items(Split(it, language, split), language, count, random.Random(1))


def examples(task: str, language: str = "a", split: str = "test", world: str = "lab", count: int = COUNT):
    return TASKS[task].examples(corpus(world), language, split, count, seed=1)


def parts(some, row: int) -> tuple[list[int], list[int]]:
    """The ids of the first and the second sentence, without specials at their ends."""
    ids, types, length = some.inputs["input_ids"][row], some.inputs["token_type_ids"][row], some.lengths[row]
    second = [int(id) for id in ids[:length][types[:length] == 1]]
    first = [int(id) for id in ids[: length - len(second)]]
    return first[1:-1], second[:-1]


def meanings_of(item) -> list[Meaning]:
    if isinstance(item, Meaning):
        return [item]
    return [one for part in item for one in (part if isinstance(part, tuple) else [part]) if isinstance(one, Meaning)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("world", WORLDS)
def test_nothing_kept_back_is_learned_and_nothing_read_is_asked(task, world):
    read = {meaning for meanings in corpus(world).train.values() for meaning in meanings}
    for split in ("train", "test"):
        for item in items(task, split, world):
            assert meanings_of(item)
            for meaning in meanings_of(item):
                clauses = [Meaning(event) for event in meaning.events]
                if split == "train":
                    assert all(split_of(told) == "train" for told in (meaning, *clauses))
                else:
                    assert read.isdisjoint({meaning, *clauses})


@pytest.mark.parametrize("world", WORLDS)
def test_same_words_and_the_same_meaning_only_where_both_have_the_same_clauses(world):
    seen = set()
    for item in items("paraphrase", "train", world):
        seen.add((item.same, item.first.second is None))
        first, second = ({*meaning.events} for meaning in (item.first, item.second))
        assert item.same == (first == second)
        assert item.first.connective == item.second.connective != "because"
    assert {same for same, _ in seen} == {one_clause for _, one_clause in seen} == {True, False}


@pytest.mark.parametrize("language", ["a", "b"])
def test_a_bag_of_words_is_at_chance_in_paraphrase(language):
    """Exactly: every pair's bags are equal, so that no function of the two tells the answers apart."""
    some = examples("paraphrase", language, count=200)
    for row in range(len(some)):
        first, second = parts(some, row)
        assert Counter(first) == Counter(second)


def test_neither_sentence_of_a_paraphrase_gives_the_answer_away():
    """One of two meanings was said by somebody, the other is made of it and often odd. Of either answer, either sentence says
    the first of them half of the time (250 pairs, five standard deviations)."""
    said = set(corpus().train["a"])
    some = items("paraphrase", "train", count=250)
    for same in (True, False):
        chosen = [item for item in some if item.same == same]
        for place in ("first", "second"):
            told = [getattr(item, place) for item in chosen]
            original = [it in said or exchanged(it) in said for it in told]
            assert np.mean(original) == pytest.approx(0.5, abs=5 * 0.5 / len(chosen) ** 0.5), (same, place)


def facts(event) -> set[tuple]:
    """What must be true for an event to be: with each noun all it is a kind of."""
    found = {("verb", event.verb), ("relation", event.relation), ("time", event.time)}
    for role in ("subject", "object", "place"):
        phrase = getattr(event, role)
        if phrase is not None:
            found |= {(role, "is", name) for name in (phrase.noun, *classes_of(phrase.noun))}
            found |= {(role, "number", phrase.number), (role, "adjective", phrase.adjective)}
    return {fact for fact in found if fact[-1] is not None}


def inferred(premise, hypothesis) -> str:
    """By sets of facts: an event with more of them is there only if the one with fewer is."""
    p, h = facts(premise), facts(hypothesis)
    if premise.negated == hypothesis.negated:
        follows = h <= p if not premise.negated else p <= h
        return "entailment" if follows else "neutral"
    excluded = h <= p if not premise.negated else p <= h
    return "contradiction" if excluded else "neutral"


@pytest.mark.parametrize("world", WORLDS)
def test_inferences_are_right(world):
    kinds = Counter()
    for item in items("inference", "train", world):
        premise, hypothesis = item.premise.first, item.hypothesis.first
        assert item.answer == inferred(premise, hypothesis)
        kinds[item.answer] += 1
    assert kinds.keys() == {*INFERENCES}


def test_no_word_of_a_hypothesis_gives_the_inference_away():
    """Half of the hypotheses of each answer are denied; of those that are decided by more or less, half say more."""
    some = items("inference", "train", count=600)
    for answer in INFERENCES:
        chosen = [item for item in some if item.answer == answer]
        says_more = [len(facts(item.hypothesis.first)) > len(facts(item.premise.first)) for item in chosen]
        assert len(chosen) / len(some) == pytest.approx(1 / 3, abs=5 * (2 / 9 / len(some)) ** 0.5)
        for rate in (np.mean([item.hypothesis.first.negated for item in chosen]), np.mean(says_more)):
            assert answer == "contradiction" or rate == pytest.approx(0.5, abs=5 * 0.5 / len(chosen) ** 0.5)


@pytest.mark.parametrize("world", WORLDS)
def test_tags_are_what_the_meaning_says(world):
    it = corpus(world)
    seen = set()
    for language in it.world.language_names:
        for item in items("tags", "train", world):
            sentence = it.realize(item, language)
            said = TASKS["tags"].say(it, language, item)
            assert len(said.answer) == len(said.first) == len(sentence.tokens)
            for token, number in zip(sentence.tokens, said.answer, strict=True):
                if number == IGNORE_INDEX:
                    continue
                tag, event = TAGS[number], item.events[token.clause]
                seen.add(tag)
                if tag in ("PERSON", "PLACE"):
                    nouns = {phrase.noun for phrase in (event.subject, event.object, event.place) if phrase is not None}
                    assert token.concept in nouns and CONCEPTS[token.concept].kind == tag.lower() + "_name"
                    continue
                role, number_name = tag.split("-")
                phrase = event.subject if role == "verb" else getattr(event, role)
                assert (phrase.number != "one") == (number_name == "many")
                if token.concept is not None and role != "verb":
                    assert token.concept in (phrase.noun, phrase.adjective, phrase.number)
    assert seen == {*TAGS}


def test_some_names_are_persons_and_places():
    some = examples("tags", split="test", count=250)
    tags = {}
    for id, label in zip(some.inputs["input_ids"].flat, some.labels["labels"].flat, strict=True):
        if label != IGNORE_INDEX and TAGS[label] in ("PERSON", "PLACE"):
            tags.setdefault(id, set()).add(TAGS[label])
    assert any(len(of_one) == 2 for of_one in tags.values())


@pytest.mark.parametrize("world", WORLDS)
def test_spans_are_the_asked_part(world):
    it = corpus(world)
    for language in it.world.language_names:
        asked = set()
        for item in items("questions", "train", world):
            said = TASKS["questions"].say(it, language, item)
            sentence = it.realize(item.context[item.about], language)
            words = [token.form for token in sentence.tokens]
            roles = ["object" if token.role == "goal" else token.role for token in sentence.tokens]
            answer = [word for word, role in zip(words, roles, strict=True) if role == item.part]
            first, last = said.answer
            assert said.second[first : last + 1] == [it.pieces.ids.get(w, it.pieces.unk_token_id) for w in answer]
            question = [it.pieces.words[id] for id in said.first]
            assert question.count(QUESTIONS_ABOUT[item.part]) == 1
            known = [w for w in question if w != QUESTIONS_ABOUT[item.part] and w != "[UNK]"]
            assert {*known} <= {*words}
            asked.add(item.part)
        assert asked == {*QUESTIONS_ABOUT}


def test_the_other_sentence_has_such_a_part_too():
    for item in items("questions", "train"):
        here, there = item.context[item.about].first, item.context[1 - item.about].first
        assert getattr(there, item.part) is not None and getattr(there, item.part) != getattr(here, item.part)
        assert (here.verb, here.object) != (there.verb, there.object) or item.part != "subject"


@pytest.mark.parametrize("task", TASKS)
def test_languages_are_asked_the_same(task):
    """The same items, so the same classes and equally many tags; and not the same words."""
    one, other = (examples(task, language) for language in "ab")
    np.testing.assert_array_equal(one.inputs["token_type_ids"], other.inputs["token_type_ids"])
    for name, labels in one.labels.items():
        np.testing.assert_array_equal(labels, other.labels[name])
    assert (one.inputs["input_ids"] != other.inputs["input_ids"]).any()


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_is_its_rows(task):
    some = examples(task)
    rows = np.argsort(some.lengths)[:5]
    batch = some.batch(rows)
    longest = some.lengths[rows].max()
    assert batch["input_ids"].shape == (5, longest) and (batch["attention_mask"].sum(1) == some.lengths[rows]).all()
    for name, array in {**some.inputs, **some.labels}.items():
        np.testing.assert_array_equal(batch[name], array[rows, :longest] if array.ndim == 2 else array[rows])


@pytest.mark.parametrize("task", ["paraphrase", "inference", "tags"])
def test_scores_of_a_perfect_and_of_a_wrong_answerer(task):
    some, C = examples(task), len(TASKS[task].answers)
    labels = some.labels["labels"]
    right = np.eye(C)[np.where(labels == IGNORE_INDEX, 0, labels)]
    assert TASKS[task].score([right], some) == {"score": 1.0}
    assert TASKS[task].score([np.roll(right, 1, axis=-1)], some) == {"score": 0.0}
    half = right.copy()
    where = np.argwhere(labels != IGNORE_INDEX)
    for index in where[::2]:
        half[tuple(index)] = np.roll(half[tuple(index)], 1)
    assert TASKS[task].score([half], some)["score"] == (len(where) // 2) / len(where)


def test_scores_of_a_perfect_and_of_a_wrong_reader():
    some = examples("questions")
    S = some.inputs["input_ids"].shape[1]
    true = [np.eye(S)[some.labels[name]] for name in ("start_positions", "end_positions")]
    assert TASKS["questions"].score(true, some) == {"score": 1.0, "em": 1.0, "f1": 1.0}
    # Outside the context nothing is believed, however large its logit.
    first = np.where(some.inputs["token_type_ids"] == 0, 9.0, 0.0)
    assert TASKS["questions"].score([logits + first for logits in true], some)["em"] == 1.0
    wrong = [np.where(np.arange(S) == some.lengths[:, None] - 1, 9.0, 0.0)] * 2  # the last [SEP]
    assert TASKS["questions"].score(wrong, some) == {"score": 0.0, "em": 0.0, "f1": 0.0}
    backwards = spans([true[1], true[0]], some)
    assert (backwards[:, 0] <= backwards[:, 1]).all()


def test_exact_match_and_f1_by_hand():
    true = np.array([[3, 5], [3, 5], [3, 5], [7, 7]])
    found = np.array([[3, 5], [5, 6], [6, 9], [6, 8]])
    # F1: 1; one common of 2 and 3 pieces, 2 / 5; 0; one common of 3 and 1, 2 / 4
    assert exact_and_f1(found, true) == pytest.approx(
        {"em": 0.25, "f1": (1 + 0.4 + 0 + 0.5) / 4, "score": (0.25 + 0.475) / 2}
    )


def test_what_cannot_be_made():
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        examples("tags", count=0)
    with pytest.raises(ValueError, match="no language 'z'; it has a, b"):
        examples("tags", language="z")
    with pytest.raises(ValueError, match="split must be one of train, test, got 'dev'"):
        examples("tags", split="dev")
    with pytest.raises(ValueError, match="tags: this corpus has 300 meanings in its test split, which make"):
        examples("tags", count=301)


def test_a_look_up_of_words_knows_little():
    train, test = examples("tags", split="train"), examples("tags", count=200)
    assert words(None, TASKS["tags"], train, test) < 0.75
    assert majority(train, test) < 0.5
