"""The lab's languages and worlds: each knob does what it says, and nothing that is measured was read."""

from collections import Counter

import pytest

from minirembert.corpus import Event, Meaning, NounPhrase, sample_meanings, split_of
from minirembert.corpus.concepts import CONCEPTS
from minirembert.lab.variant import POSITIONS
from minirembert.lab.world import Corpus, LabLanguage, Pieces, World, build_corpus
from minirembert.lab.world.languages import NOT, ORDERS, PLURAL, UPOS
from minirembert.lab.world.world import exchanged

SMALL = {"sentences": 120, "held_out": 40, "breadth": 0.0}  # all concepts, so that little is thrown away
EVENT = Event("to_want", NounPhrase("soldier", "many", "sad"), NounPhrase("tractor", "two", "new"),
              "near", NounPhrase("garden"), "every_day", True)  # fmt: skip


def own(text: str) -> str:
    return text.replace("x:", "")


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ("svo-an", "PL sad soldier NOT to_want two new tractor near garden every_day"),
        ("sov-an", "PL sad soldier two new tractor NOT to_want near garden every_day"),
        ("svo-na", "PL soldier sad NOT to_want two tractor new near garden every_day"),
        ("sov-na", "PL soldier sad two tractor new NOT to_want near garden every_day"),
    ],
)
def test_word_order(order, text):
    language = LabLanguage("x", order, overlap=0)
    assert own(language.realize(Meaning(EVENT)).text) == text
    twice = language.realize(Meaning(EVENT, "but", EVENT))
    assert own(twice.text) == f"{text} but {text}"
    assert [token.clause for token in twice.tokens] == [0] * 11 + [1] * 12


def test_every_concept_of_a_meaning_is_said_and_labelled():
    """Against the meaning itself, for many meanings, in all orders."""
    for meaning in sample_meanings(300, seed=5):
        wanted = Counter({meaning.connective: 1} if meaning.connective else {})
        for event in meaning.events:
            wanted[event.verb] += 1
            wanted.update(concept for concept in (event.relation, event.time) if concept)
            for phrase in (event.subject, event.object, event.place):
                if phrase:
                    wanted.update(c for c in (phrase.noun, phrase.adjective, phrase.number) if c in CONCEPTS)
        for order in ORDERS:
            sentence = LabLanguage("x", order).realize(meaning)
            assert Counter(token.concept for token in sentence.tokens if token.concept) == wanted
            for token in sentence.tokens:
                if token.concept:
                    assert token.form in LabLanguage("x", order).words(token.concept)
                    assert token.upos == UPOS[CONCEPTS[token.concept].kind]
                else:
                    assert token.upos == "PART"
            verbs = [token.concept for token in sentence.tokens if token.role == "verb"]
            assert verbs == [event.verb for event in meaning.events]


@pytest.mark.parametrize("overlap", [0.0, 0.15, 0.6, 1.0])
def test_overlap_is_the_share_of_common_words(overlap):
    a, b = (LabLanguage(name, overlap=overlap, seed=3) for name in "ab")
    concepts = [concept for concept in CONCEPTS if not concept.endswith("_place")]  # some share a name with a person
    shared = [concept for concept in concepts if a.words(concept) == b.words(concept)]
    deviation = (overlap * (1 - overlap) / len(concepts)) ** 0.5  # of a share of independent draws
    assert abs(len(shared) / len(concepts) - overlap) <= 4 * deviation
    for concept in set(concepts) - set(shared):
        assert not set(a.words(concept)) & set(b.words(concept))


def test_sentences_that_are_told_twice():
    """Line by line the sentence that is read alone too, and a second one with the same words."""
    corpus = build_corpus(World(**SMALL), seed=6)
    separator = corpus.pieces.sep_token_id
    exchanged_clauses = 0
    for language, lines in zip(corpus.train_lines, corpus.told_twice, strict=True):
        assert language.name == lines.name
        for alone, line in zip(language.lines, lines.lines, strict=True):
            assert line.count(separator) == 1
            one, other = line[: len(alone)], line[len(alone) + 1 :]
            assert one == alone and sorted(other) == sorted(one)
            exchanged_clauses += other != one
    assert exchanged_clauses > 5


@pytest.mark.parametrize(
    "world",
    [World(sentences=300, held_out=5), World(track="real", languages=6, sentences=300, breadth=0.0, held_out=5)],
)
def test_what_is_told_twice_fits(world):
    """Batches would cut what is longer, without a word: [CLS], both tellings, and [SEP] twice."""
    assert all(len(line) + 2 <= POSITIONS for language in build_corpus(world, 1).told_twice for line in language.lines)


def test_what_may_be_exchanged():
    one, other = (Event("to_sleep", NounPhrase(noun)) for noun in ("dog", "cat"))
    for connective in ("and", "but"):
        assert exchanged(Meaning(one, connective, other)) == Meaning(other, connective, one)
    for same in (Meaning(one), Meaning(one, "because", other)):
        assert exchanged(same) == same


def test_which_words_are_shared_depends_on_the_seed_alone():
    def shared(seed: int, names: str) -> list[str]:
        a, b = (LabLanguage(name, order, seed=seed) for name, order in zip(names, ORDERS[:2], strict=True))
        return [concept for concept in CONCEPTS if a.words(concept) == b.words(concept)]

    assert shared(1, "ab") == shared(1, "cd") != shared(2, "ab")


def test_a_name_is_one_word_for_the_person_and_the_place():
    language = LabLanguage("x")
    assert "Victoria_place" in CONCEPTS and language.words("Victoria_place") == language.words("Victoria")


def test_synonyms_keep_their_own_company():
    """n words for a concept; the same company, the same word; all of them are used, and each predicts its verb better."""
    language = LabLanguage("x", overlap=0, synonyms=3)
    assert len(set(language.words("soldier"))) == 3
    said: dict[str, set[str]] = {}
    used = Counter()
    for meaning in sample_meanings(2000, seed=1):
        for token in language.realize(meaning).tokens:
            if token.role == "object" and token.upos == "NOUN":
                verb = meaning.events[token.clause].verb
                said.setdefault(f"{token.concept}|{verb}", set()).add(token.form)
                used[token.form] += 1
    assert all(len(forms) == 1 for forms in said.values())
    assert {form[-1] for form in used} == {"0", "1", "2"}


@pytest.mark.parametrize("world", [
    World(**SMALL), World(**SMALL, languages=3, order="mixed", synonyms=2), World(**SMALL, parallel=True),
    World(**SMALL, track="real", languages=6), World(sentences=30, held_out=10, breadth=1.0),
])  # fmt: skip
def test_a_corpus(world):
    corpus = build_corpus(world, seed=2)
    assert set(corpus.train) == set(world.language_names) and len(corpus.train) == world.languages
    kept = {meaning.key for meaning in [*corpus.validation, *corpus.test]}
    assert len(kept) == 2 * world.held_out
    assert {split_of(meaning) for meaning in corpus.test} == {"test"}
    assert {split_of(meaning) for meaning in corpus.validation} == {"validation"}
    read = [{meaning.key for meaning in meanings} for meanings in corpus.train.values()]
    assert all(len(keys) == world.sentences and not keys & kept for keys in read)
    if world.parallel:
        assert all(keys == read[0] for keys in read)
    else:
        assert len(set.union(*read)) == world.sentences * world.languages
    for name in world.language_names:
        for line, meaning in zip(corpus.encode(corpus.test, name), corpus.test, strict=True):
            words = [corpus.pieces.words[id] for id in line]
            forms = [token.form for token in corpus.realize(meaning, name).tokens]
            if world.track == "lab":
                assert words == forms
            else:  # a word that was never read is unknown
                assert all(word in (form, "[UNK]") for word, form in zip(words, forms, strict=True))
    for language in corpus.train_lines:
        assert all(5 <= id < len(corpus.pieces) for line in language.lines for id in line)


def test_a_silent_language_has_words_and_is_measured():
    whole, corpus = (build_corpus(World(**SMALL, languages=3, silent=silent), seed=0) for silent in (0, 1))
    assert [len(corpus.train[name]) for name in "abc"] == [120, 120, 0]
    assert [language.name for language in corpus.train_lines] == ["a", "b"]
    assert corpus.pieces.words == whole.pieces.words
    assert all(id >= 5 for line in corpus.encode(corpus.test, "c") for id in line)


def test_a_corpus_is_a_function_of_world_and_seed():
    one, again, other = (build_corpus(World(**SMALL), seed) for seed in (1, 1, 2))
    assert one == Corpus(**{**vars(one), "pieces": one.pieces}) and one.train == again.train
    assert one.pieces.words == again.pieces.words
    assert one.train != other.train and one.pieces.words != other.pieces.words


def test_breadth_chooses_the_frequent_concepts():
    narrow, wide, all_ = (World(breadth=breadth).concepts() for breadth in (1.0, 2.0, 0.0))
    assert narrow < wide < all_ == frozenset(CONCEPTS)
    corpus = build_corpus(World(sentences=20, held_out=5), seed=0)
    for meaning in [*corpus.train["a"], *corpus.test]:
        for token in corpus.realize(meaning, "a").tokens:
            assert token.concept is None or token.concept in narrow


def test_the_gold_dictionary():
    corpus = build_corpus(World(**SMALL, overlap=0.3, synonyms=2), seed=4)
    pairs = corpus.dictionary("a", "b")
    words = corpus.pieces.words
    assert len(pairs) > 300
    for here, there in pairs:
        assert words[here].startswith("a:") and words[there] == "b:" + words[here][2:]
    assert not {id for pair in pairs for id in pair} & corpus.shared_ids
    for name in (PLURAL, NOT):
        assert set(LabLanguage("a", seed=4).words(name)) <= set(build_corpus(World(**SMALL), 4).pieces.words)


def test_shared_words_of_the_real_track():
    """Names and digits are written alike in Latin letters; ordinary words mostly are not."""
    corpus = build_corpus(World(**SMALL, track="real", languages=2), seed=0)
    shared = {corpus.pieces.words[id] for id in corpus.shared_ids}
    assert {"Anna", "[CLS]", "."} <= shared and not shared & {"the", "The", "el"}
    with pytest.raises(ValueError, match="only the lab track has a gold dictionary"):
        corpus.dictionary("en", "es")


def test_pieces_are_what_the_batches_ask_for():
    pieces = Pieces(["b", "a"])
    assert len(pieces) == len(set(pieces.words)) == len(pieces.all_special_ids) + 2
    assert pieces.words[pieces.mask_token_id] == "[MASK]" and pieces.pad_token_id == 0
    assert {
        pieces.pad_token_id,
        pieces.cls_token_id,
        pieces.sep_token_id,
        pieces.mask_token_id,
        pieces.unk_token_id,
    } <= set(pieces.all_special_ids)


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("track", "moon", "track must be one of lab, real, got 'moon'"),
        ("order", "vso", "order must be same or mixed, got 'vso'"),
        ("languages", 27, "languages must lie between 1 and 26 on the lab track, got 27"),
        ("languages", 0, "languages must be an integer of at least 1, got 0"),
        ("languages", 2.5, "languages must be an integer of at least 1, got 2.5"),
        ("parallel", "no", "parallel must be true or false, got 'no'"),
        ("breadth", float("inf"), "breadth must be at least 0 and finite, got inf"),
        ("held_out", True, "held_out must be an integer of at least 1, got True"),
        ("overlap", 1.5, "overlap must lie between 0 and 1, got 1.5"),
        ("overlap", "x", "overlap must lie between 0 and 1, got 'x'"),
        ("breadth", None, "breadth must be at least 0 and finite, got None"),
        ("overlap", float("nan"), "overlap must lie between 0 and 1, got nan"),
        ("breadth", -1.0, "breadth must be at least 0 and finite, got -1.0"),
        ("synonyms", 0, "synonyms must be an integer of at least 1, got 0"),
        ("sentences", 0, "sentences must be an integer of at least 1, got 0"),
        ("held_out", 0, "held_out must be an integer of at least 1, got 0"),
    ],
)
def test_a_world_that_cannot_be(knob, value, message):
    with pytest.raises(ValueError, match=message):
        World(**{knob: value})
    with pytest.raises(ValueError, match="on the real track, got 7"):
        World(track="real", languages=7)
    with pytest.raises(ValueError, match="silent must be an integer of at least 0, got -1"):
        World(silent=-1)
    for bad in ({"silent": 2}, {"silent": 1, "track": "real"}):
        with pytest.raises(ValueError, match="silent must lie between 0 and languages - 1, and be 0 on the real track"):
            World(**bad)


def test_a_language_that_is_not_there():
    corpus = build_corpus(World(**SMALL), seed=0)
    with pytest.raises(ValueError, match="this world has no language 'c'; it has a, b"):
        corpus.realize(corpus.test[0], "c")


def test_a_world_in_which_nothing_can_be_said(monkeypatch):
    """Not a loop without end."""
    monkeypatch.setattr("minirembert.lab.world.world.PATIENCE", 500)
    with pytest.raises(
        ValueError, match=r"of 500 meanings in a row none can be said with the \d+ concepts of breadth 0.05: raise"
    ):
        build_corpus(World(breadth=0.05, sentences=5, held_out=5), seed=0)
    with pytest.raises(TypeError, match="seed must be an integer, got None"):
        build_corpus(World(**SMALL), None)
