"""What the sampler, the grammars and the files of the generated corpus promise, each against a second way to the same thing."""

import json
import math
from collections import Counter, defaultdict
from functools import cache
from itertools import islice, product
from pathlib import Path

import pytest

from minirembert.cli import main
from minirembert.corpus import (
    CONCEPTS,
    LANGUAGES,
    MANY,
    MAX_MEANINGS,
    ONE,
    SPLITS,
    Event,
    Meaning,
    NounPhrase,
    concepts,
    iter_meanings,
    read_conllu,
    realize,
    sample_meanings,
    split_of,
    write_corpus,
)
from minirembert.corpus.build import _check, parse_conllu
from minirembert.corpus.lexicon import Lexicon, load_lexicon
from minirembert.corpus.sampler import TASTE, WORDS_AT_MOST, _frequencies, taste

NP = NounPhrase


@cache
def sampled() -> list[Meaning]:
    return sample_meanings(6000, seed=1)


def events() -> list[Event]:
    return [event for meaning in sampled() for event in meaning.events]


# -------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(("parallel", "seed"), [(True, 5), (False, 5), (False, 6)])
def test_the_files_are_the_stream_of_meanings_dealt_out(tmp_path: Path, parallel: bool, seed: int) -> None:
    """Line by line, in each language's own words: all splits together are the first meanings of the seed, each once."""
    languages = ("hi", "en", "zh")
    written = write_corpus(tmp_path / "corpus", 40, seed, parallel=parallel, languages=languages)
    expected = {(split, language): [] for split in SPLITS for language in languages}
    for index, meaning in enumerate(islice(iter_meanings(seed), 40 if parallel else 120)):
        for language in languages if parallel else [languages[index % 3]]:
            expected[split_of(meaning), language].append(realize(meaning, language))
    for (split, language), sentences in expected.items():
        file = written[split][language]
        assert file.text.read_text("utf-8") == "".join(sentence.text + "\n" for sentence in sentences)
        assert [*read_conllu(file.conllu)] == [(sentence.text, sentence.tokens) for sentence in sentences]
        ids = [line for line in file.conllu.read_text("utf-8").splitlines() if line.startswith("# sent_id")]
        assert ids == [f"# sent_id = {language}-{s.meaning.digest:016x}" for s in sentences]
        assert file.sentences == len(sentences) and file.tokens == sum(len(s.tokens) for s in sentences)
    manifest = json.loads((tmp_path / "corpus" / "corpus.json").read_text("utf-8"))
    assert manifest == {
        "seed": seed, "parallel": parallel, "languages": [*languages], "sentences_per_language": 40,
        "sentences": {split: {name: len(expected[split, name]) for name in languages} for split in SPLITS},
    }  # fmt: skip


def test_a_sentence_without_its_text_does_not_take_that_of_the_one_before() -> None:
    row = "1\tHi\t_\tNOUN\t_\t_\t_\t_\t_\tClause=0|Concept=_|Role=subject"
    found = [*parse_conllu(["# text = Hi", row, "", row, ""])]
    assert [text for text, _ in found] == ["Hi", ""]


def test_how_many_meanings_a_corpus_needs() -> None:
    """Parallel ones share theirs."""
    most = MAX_MEANINGS // 2
    _check(most, False, ("en", "es"))
    _check(MAX_MEANINGS, True, ("en", "es"))
    for n, parallel in ((most + 1, False), (MAX_MEANINGS + 1, True)):
        with pytest.raises(ValueError, match=f"needs {n * (1 if parallel else 2)} distinct meanings"):
            _check(n, parallel, ("en", "es"))


def test_the_options_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out, --sentences, --seed and --parallel, each by itself; without them 10,000 sentences of seed 0, not parallel."""

    def made(name: str, *options: str) -> dict[str, object]:
        arguments = {"--out": str(tmp_path / name), "--sentences": "12"} | dict(
            zip(options[::2], options[1::2], strict=True)
        )
        flags = ["--parallel"] if arguments.pop("--parallel", "") else []
        assert main(["corpus", *(part for pair in arguments.items() for part in pair), *flags]) == 0
        return json.loads((tmp_path / name / "corpus.json").read_text("utf-8"))

    plain = made("plain")
    assert (plain["seed"], plain["parallel"], plain["sentences_per_language"]) == (0, False, 12)
    assert plain["languages"] == [*LANGUAGES]
    assert "12 sentences for each language are in" in capsys.readouterr().out
    assert made("seed", "--seed", "7") == plain | {"seed": 7, "sentences": made("again", "--seed", "7")["sentences"]}
    assert made("more", "--sentences", "13")["sentences_per_language"] == 13
    assert made("parallel", "--parallel", "yes")["parallel"] is True

    def lines(name: str, language: str) -> list[str]:
        return [
            line
            for split in SPLITS
            for line in (tmp_path / name / split / f"{language}.txt").read_text("utf-8").split("\n")
        ]

    assert lines("plain", "en") != lines("seed", "en") == lines("again", "en")
    first = {realize(meaning, "eo").text for meaning in sample_meanings(12, 0)}
    assert {*lines("parallel", "eo")} - {""} == first


# ------------------------------------------------------------------------------------------------- the split


def test_the_shares_of_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred digests in a row 90, 5 and 5, with the borders where they are said to be."""
    meaning = Meaning(Event("to_sleep", NP("dog")))
    found = []
    for digest in range(200, 400):
        monkeypatch.setattr(Meaning, "digest", property(lambda self, digest=digest: digest))
        found.append(split_of(meaning))
    assert found == 2 * (90 * ["train"] + 5 * ["validation"] + 5 * ["test"])


def test_a_meaning_with_a_connective_needs_a_second_clause() -> None:
    event = Event("to_sleep", NP("dog"))
    for connective, second in (("and", None), (None, event)):
        with pytest.raises(ValueError, match="both a connective and a second event, or neither"):
            Meaning(event, connective, second)


# ---------------------------------------------------------------------------------------------- the concepts


def test_selections_by_hand() -> None:
    """In the order of the selection and of the tables; what is taken out is gone, and may be put in again."""
    assert concepts.select("fruit") == ("apple", "banana", "mango", "orange", "grape", "lemon", "pear")
    assert concepts.select("pear fruit -lemon -grape") == ("pear", "apple", "banana", "mango", "orange")
    assert concepts.select("youth -person lion dog") == ("lion", "dog")
    assert concepts.select("vegetable -vegetable tomato") == ("tomato",)
    animals = concepts.select("animal")
    assert animals[:3] == ("animal", "lion", "elephant") and {"frog", "camel"} <= {*animals}
    with pytest.raises(ValueError, match="'unicorn', which is no class and no noun"):
        concepts.select("fruit unicorn")


def test_frames_by_hand() -> None:
    frames = concepts.VERB_FRAMES
    assert frames["to_bake"].subjects == ("baker", "cook", "mother", "grandmother", *concepts.select("person_name"))
    assert frames["to_bake"].objects == ("bread", "cake", "cookie", "potato", "pumpkin")
    assert frames["to_bake"].places == ("kitchen", "restaurant", "village", "house")  # the row goes on in the next line
    assert frames["to_open"].objects == ("door", "window", "cupboard", "letter", "bag", "umbrella", "book", "shop")
    assert {"map", "ticket", "dictionary"}.isdisjoint(frames["to_read"].objects)
    assert frames["to_sleep"].objects == () and not frames["to_sleep"].motion
    moving = {verb for verb, frame in frames.items() if frame.motion}
    assert moving == {"to_go", "to_return", "to_come", "to_walk", "to_travel"}
    assert all(frames[verb].places == () and frames[verb].objects for verb in moving)
    assert concepts.ADJECTIVE_NOUNS["sour"] == ("lemon", "orange", "grape", "apple", "juice", "mango")
    assert "tower" not in frames["to_go"].objects and "Madrid_place" in frames["to_go"].objects


def test_what_can_be_counted_and_what_is_alive() -> None:
    mass = {key for key, concept in CONCEPTS.items() if concept.kind == "noun" and not concept.counted}
    assert mass == {
        "food", "bread", "rice", "soup", "meat", "cheese", "salad", "chocolate", "honey", "water", "tea", "milk", "coffee",
        "juice", "wine", "beer", "lemonade",
    }  # fmt: skip
    assert not any(concept.counted for concept in CONCEPTS.values() if concept.kind.endswith("_name"))
    alive = {"Anna": True, "king": True, "boy": True, "animal": True, "frog": True, "cow": True, "Madrid_place": False,
             "Victoria": True, "Victoria_place": False, "tree": False, "soup": False, "taxi": False}  # fmt: skip
    assert {noun: concepts.is_animate(noun) for noun in alive} == alive
    assert concepts.classes_of("Anna") == ("person_name", "person") and concepts.classes_of("Lima_place") == (
        "place_name",
    )
    assert concepts.hypernym("Madrid_place") is None and concepts.hypernym("animal") is None


# ----------------------------------------------------------------------------------------------- the grammars


@pytest.mark.parametrize(("meaning", "expected"), [
    # A place and a goal in the plural, which the sampler never says and tasks may.
    (Meaning(Event("to_sleep", NP("dog"), None, "in", NP("park", "two"))),
     {"id": "Anjing itu tidur di dua taman itu.", "zh": "那只狗在那两座公园里睡觉。"}),
    (Meaning(Event("to_go", NP("Anna"), NP("school", MANY))),
     {"id": "Anna pergi ke sekolah-sekolah itu.", "zh": "安娜去那些学校。"}),
    # A place name beside which one is, and in which one is.
    (Meaning(Event("to_sleep", NP("Anna"), None, "near", NP("Madrid_place"))), {"zh": "安娜在马德里附近睡觉。"}),
    (Meaning(Event("to_sleep", NP("Anna"), None, "in", NP("Madrid_place"))), {"zh": "安娜在马德里睡觉。"}),
    # An animate object with its "a", and of a verb with a preposition of its own, which takes its place.
    (Meaning(Event("to_help", NP("Anna"), NP("king", MANY))), {"es": "Anna ayuda a los reyes."}),
    (Meaning(Event("to_ride", NP("boy"), NP("horse"))), {"es": "El niño monta en el caballo."}),
    # An adjective with a masculine plural that is no object of anything.
    (Meaning(Event("to_sleep", NP("boy", "two", "black"))), {"hi": "दो काले लड़के सोते हैं।"}),
    # A preposition of the verb's, after which Esperanto has no accusative and Hindi the oblique case.
    (Meaning(Event("to_listen_to", NP("boy"), NP("song", MANY, "new"))),
     {"en": "The boy listens to the new songs."}),
    (Meaning(Event("to_call", NP("boy", "two"), NP("dog", "two"), negated=True)),
     {"en": "The two boys do not call the two dogs.", "id": "Dua anak lelaki itu tidak memanggil dua anjing itu."}),
], ids=lambda it: None)  # fmt: skip
def test_more_sentences_by_hand(meaning: Meaning, expected: dict[str, str]) -> None:
    assert {language: realize(meaning, language).text for language in expected} == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_signs_and_words_belong_to_their_clause(language: str) -> None:
    """A comma before the second clause is the second's, as the connective is; the full stop is the last one's."""
    event = Event("to_eat", NP("dog"), NP("bread"))
    sentence = realize(Meaning(event, "because", Event("to_like", NP("dog"), NP("bread"))), language)
    signs = [token for token in sentence.tokens if token.upos == "PUNCT"]
    assert [token.clause for token in signs] == [1] * len(signs) and signs
    verbs = [(token.concept, token.clause) for token in sentence.tokens if token.role == "verb" and token.concept]
    assert [*dict.fromkeys(verbs)] == [("to_eat", 0), ("to_like", 1)]
    connective = [(token.concept, token.clause) for token in sentence.tokens if token.role == "connective"]
    assert {*connective} == {("because", 1)}
    assert {token.clause for token in realize(Meaning(event), language).tokens} == {0}


@pytest.mark.parametrize(("event", "message"), [
    (Event("to_sleep", NP("dog"), None, "in", NP("unicorn")), "'unicorn' is no noun and no name"),
    (Event("to_sleep", NP("dog"), None, "in", NP("Madrid_place", MANY)), "'Madrid_place' cannot be counted"),
    (Event("to_eat", NP("dog"), NP("rice", MANY)), "'rice' cannot be counted, so its number is 'one' and not 'many'"),
    (Event("to_sleep", NP("dog", "every_day")), "'every_day' is neither 'one' nor 'many' nor a numeral"),
    (Event("to_sleep", NP("dog"), None, None, NP("park")), "both a relation and a place, or neither"),
    (Event("to_sleep", NP("dog"), None, "noon", NP("park")), "'noon' is no relation"),
    (Event("to_sleep", NP("dog"), None, time="in"), "'in' is no time"),
    (Event("dog", NP("dog")), "'dog' is no verb"),
], ids=lambda it: None)  # fmt: skip
def test_every_part_of_an_event_is_checked(event: Event, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        realize(Meaning(event), "en")
    with pytest.raises(ValueError, match=message):
        realize(Meaning(Event("to_sleep", NP("dog")), "and", event), "zh")
    with pytest.raises(ValueError, match="'or' is no connective"):
        realize(Meaning(Event("to_sleep", NP("dog")), "or", Event("to_sleep", NP("cat"))), "en")


# ------------------------------------------------------------------------------------------------ the lexicon


def test_a_table_s_words_are_what_stands_in_it() -> None:
    text = "@noun\tsingular\tplural\n" + "".join(
        f"{key}\tthe/DET {key}\t{key}s\n" if concept.kind == "noun" else f"@{concept.kind}\tform\n{key}\tx\n"
        for key, concept in sorted(CONCEPTS.items(), key=lambda it: it[1].kind != "noun")
    )
    lexicon = Lexicon("xx", text)
    for _ in range(2):  # the second time what is kept
        assert lexicon.words("lion", "singular") == (("the", "DET"), ("lion", "NOUN"))
        assert lexicon.words("lion", "plural") == (("lions", "NOUN"),)
    assert lexicon.words("in", "form") == (("x", "ADP"),) and lexicon.words("Anna", "form") == (("x", "PROPN"),)
    for change, message in (
        (
            ("\nlion\tthe/DET lion\tlions", "\nlion\tthe/DET lion\t"),
            "'lion' needs one cell for each of singular, plural",
        ),
        (("\nlion\tthe/DET lion\tlions", "\nto_eat\tx\ty"), "'to_eat' is no concept of the kind 'noun'"),
        (("\nlion\tthe/DET lion\tlions", ""), "lacks 1 concepts, the first is 'lion'"),
        (("\nlion\t", "\ncow\tx\ty\nlion\t"), "'cow' is listed twice"),
    ):
        assert change[0] in text
        with pytest.raises(ValueError, match=message):
            Lexicon("xx", text.replace(*change))
    none = Lexicon("xx", text.replace("\nlion\tthe/DET lion\tlions", "\nlion\tlion\t-"))
    with pytest.raises(ValueError, match="'lion' has no 'plural' form in 'xx'"):
        none.words("lion", "plural")


def test_each_language_has_its_own_table() -> None:
    assert (
        len({load_lexicon(language).words("lion", load_lexicon(language).columns["noun"][0]) for language in LANGUAGES})
        > 4
    )


# ------------------------------------------------------------------------------------------------ the sampler


def test_nobody_does_it_to_himself_and_no_place_is_the_object() -> None:
    for event in events():
        if event.object is not None:
            assert event.object.noun != event.subject.noun
            assert event.place is None or event.place.noun != event.object.noun


def test_who_likes_something_likes_it_everywhere_and_always() -> None:
    found = [event for event in events() if event.verb in concepts.ATTITUDES]
    assert len(found) > 100 and all(event.place is None and event.time is None for event in found)


def test_one_goes_to_one_place_and_stands_in_or_near_a_town() -> None:
    seen = Counter[str]()
    for event in events():
        if concepts.VERB_FRAMES[event.verb].motion:
            assert event.object is not None and event.object.number == ONE and event.place is None
            seen["goal"] += 1
        if event.place is not None:
            assert event.place.number == ONE
            if CONCEPTS[event.place.noun].kind == "place_name":
                assert event.relation in ("in", "near")
                assert CONCEPTS[event.subject.noun].noun_class != "plant"
                seen["town"] += 1
            else:
                seen[event.relation or ""] += 1
                assert event.place.noun in concepts.VERB_FRAMES[event.verb].places
    assert seen["goal"] > 100 and seen["town"] > 100 and {*concepts.RELATIONS.split()} <= {*seen}


def test_the_second_clause_takes_up_the_first() -> None:
    """Somebody else, the same verb or object; "but" turns a denial round, after "because" stands a liking of the thing, and
    nothing but "but" joins a denial."""
    seen = Counter[str]()
    for meaning in sampled():
        one, other = meaning.first, meaning.second
        if other is None:
            continue
        seen[meaning.connective or ""] += 1
        assert one.subject.noun != other.subject.noun
        assert other.object is None or other.subject.noun != other.object.noun
        things = [event.object and event.object.noun for event in (one, other)]
        assert one.verb == other.verb or things[0] == things[1]
        if meaning.connective == "but":
            assert one.verb == other.verb and one.negated != other.negated and things[0] == things[1]
            seen["denied first"] += one.negated
        else:
            assert not one.negated and not other.negated
        if meaning.connective == "because":
            assert one.verb != other.verb
            if CONCEPTS[one.object.noun].kind != "place_name":
                assert other.verb in concepts.ATTITUDES and things[0] == things[1]
        if other.object is not None and one.verb != other.verb:
            assert other.object == NP(
                one.object.noun, ONE if concepts.VERB_FRAMES[other.verb].motion else one.object.number
            )
    assert min(seen[name] for name in ("and", "but", "because", "denied first")) > 30


def test_numbers_are_said_as_often_as_they_should_be() -> None:
    """In one clause 18 of 100 things that can be counted have a numeral and 12 are many; in two clauses half as many or less.
    Five standard deviations."""
    counted = defaultdict(Counter)
    denied = Counter[bool]()
    for meaning in sampled():
        if meaning.second is None:
            denied[meaning.first.negated] += 1
        for place, event in enumerate(meaning.events):
            phrase = event.subject
            if CONCEPTS[phrase.noun].counted:
                kind = phrase.number if phrase.number in (ONE, MANY) else "numeral"
                counted["alone" if meaning.second is None else place][kind] += 1
            else:
                assert phrase.number == ONE
    # what does not fit in a line is left out, so a little fewer
    for which, scale in (("alone", 1.0), (0, 0.5), (1, 0.3)):
        n = sum(counted[which].values())
        for kind, share in (
            ("numeral", 0.18 * scale),
            (MANY, 0.30 * scale - 0.18 * scale if which == "alone" else None),
        ):
            if share is not None:
                assert abs(counted[which][kind] / n - share) < 5 * math.sqrt(share / n) + 0.05 * scale, (which, kind)
    assert abs(denied[True] / denied.total() - 0.12) < 5 * math.sqrt(0.12 / denied.total()) + 0.02


def test_tastes() -> None:
    """Between 1 and 1 + TASTE, one in ten well above; a pair's own, of its kind, and the same with any seed."""
    nouns = [key for key, concept in CONCEPTS.items() if concept.kind == "noun"]
    found = [taste("likes", one, other) for one, other in product(nouns[:40], nouns[:40])]
    assert all(1 <= value <= 1 + TASTE for value in found) and len(set(found)) > 1000
    above = sum(value > 1 + TASTE / 10 for value in found) / len(found)
    assert abs(above - (1 - 0.1 ** (1 / 12))) < 5 * math.sqrt(0.18 * 0.82 / len(found))  # 1 - 10^(-1/12) is 17 %
    assert taste("likes", "dog", "cat") != taste("likes", "cat", "dog") != taste("town", "cat", "dog")


def test_what_the_table_of_words_says_is_what_the_languages_need() -> None:
    """A meaning is kept where no language needs more than 16 words by the table, and at least 5 content words are said."""
    costs = dict(
        zip(
            ("verb", "not", "time", "place", "counted", "adjective"),
            zip(*WORDS_AT_MOST.values(), strict=True),
            strict=True,
        )
    )
    longest = 0
    for meaning in sampled():
        parts = Counter[str]()
        for event in meaning.events:
            parts["verb"] += 1
            parts["not"] += event.negated
            parts["time"] += event.time is not None
            parts["place"] += event.place is not None
            for phrase in filter(None, (event.subject, event.object, event.place)):
                parts["noun"] += 1
                parts["counted"] += CONCEPTS[phrase.noun].counted
                parts["numeral"] += phrase.number not in (ONE, MANY)
                parts["adjective"] += phrase.adjective is not None
        free = parts["noun"] + parts["numeral"] + (meaning.second is not None)
        assert free + parts["verb"] + parts["not"] + parts["time"] + parts["place"] + parts["adjective"] >= 5
        needed = [free + sum(parts[part] * cost[n] for part, cost in costs.items()) for n in range(len(WORDS_AT_MOST))]
        assert max(needed) <= 16
        longest = max(longest, *needed)
    assert longest == 16


def test_how_frequent_nouns_and_names_are() -> None:
    """By the docstring's formula: Zipf by the rank in the class, names half as often, a class's own noun like the seventh."""
    frequencies = _frequencies()
    assert frequencies["doctor"] / frequencies["teacher"] == pytest.approx(4 / 3)
    assert frequencies["lion"] / frequencies["eagle"] == pytest.approx(12 / 3)  # the tenth of its class
    assert frequencies["Anna"] == pytest.approx(frequencies["doctor"] / 2)
    assert frequencies["animal"] == frequencies["tool"] == pytest.approx(frequencies["doctor"] * 3 / 9)


def test_the_stream_of_a_seed_is_frozen() -> None:
    """Corpora on disk, and what was measured in the lab, are made of these: the seed alone decides, and for good."""
    assert [meaning.key for meaning in sample_meanings(3, seed=3)] == [
        "to_want(many sad soldier; one new tractor)",
        "to_eat(one student; one bread) but not to_eat(one Anna; one bread)",
        "to_read(one Sofia; one letter) but not to_read(one Bruno; one letter)",
    ]
    combined = 0
    for number, meaning in enumerate(sampled()):
        combined = (combined * 31 + meaning.digest * (number + 1)) % 2**64
    assert combined == 0x75F45171311254D6


def test_keys_by_hand() -> None:
    """Everything that is meant is in the key, of both clauses, so that no two meanings have one."""
    event = Event("to_eat", NP("king", "two", "old"), NP("pear", MANY), "near", NP("park", ONE, "big"), "noon", True)
    assert Meaning(event).key == "not to_eat(two old king; many pear) near one big park noon"
    other = Event("to_sleep", NP("dog"))
    assert Meaning(event, "but", other).key == f"{Meaning(event).key} but to_sleep(one dog)"
    assert Meaning(other, "and", event).key == f"to_sleep(one dog) and {Meaning(event).key}"
    assert Meaning(other, "and", event).events == (other, event) and Meaning(other).events == (other,)
    digests = {Meaning(other, connective, one).digest for connective in ("and", "but") for one in (event, other)}
    assert len(digests) == 4
