"""The generated corpus: against sentences written by hand, agreement, order, splits, statistics, files."""

import doctest
import json
import math
import random
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from importlib.resources import files
from itertools import chain, groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minirembert.corpus
import minirembert.corpus.meaning
from minirembert.corpus import (
    CONCEPTS,
    LANGUAGES,
    MANY,
    MAX_MEANINGS,
    ONE,
    ROLES,
    SPLITS,
    Event,
    Meaning,
    NounPhrase,
    Sentence,
    Token,
    build,
    classes_of,
    concepts,
    hypernym,
    read_conllu,
    realize,
    sample_meanings,
    split_of,
    to_conllu,
    write_corpus,
)
from minirembert.corpus.lexicon import NO_FORM, Lexicon, load_lexicon

# Universal Dependencies, https://universaldependencies.org/u/pos/
TAGS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"
UPOS = set(TAGS.split())
LATIN = ("en", "es", "id", "eo")

NP = NounPhrase


@pytest.fixture(scope="module")
def meanings() -> list[Meaning]:
    return sample_meanings(3000, seed=11)


@pytest.fixture(scope="module")
def sentences(meanings: list[Meaning]) -> dict[str, list[Sentence]]:
    return {language: [realize(meaning, language) for meaning in meanings] for language in LANGUAGES}


@pytest.fixture(scope="module")
def many_events() -> list[Event]:
    return [meaning.first for meaning in sample_meanings(20_000, seed=5)]


def spans(sentence: Sentence) -> dict[tuple[int, str], list[Token]]:
    """The tokens of every role in every clause."""
    found = defaultdict(list)
    for token in sentence.tokens:
        found[token.clause, token.role].append(token)
    return found


def words(sentence: Sentence) -> list[str]:
    return [token.form for token in sentence.tokens if token.upos != "PUNCT"]


# ----------------------------------------------------------------------------------- sentences by hand

BY_HAND = [
    (
        Meaning(Event("to_read", NP("nurse", "two", "young"), NP("book"), "in", NP("park"), "every_day")),
        {
            "en": "The two young nurses read the book in the park every day.",
            "es": "Las dos enfermeras jóvenes leen el libro en el parque cada día.",
            "id": "Setiap hari dua perawat muda itu membaca buku itu di taman.",
            "zh": "那两名年轻的护士每天在公园里阅读那本书。",
            "hi": "दो युवा नर्सें हर दिन पार्क में किताब पढ़ती हैं।",
            "eo": "Ĉiutage la du junaj flegistinoj legas la libron en la parko.",
        },
    ),
    # An animate object after a verb without a preposition of its own, negated; al, को, the oblique case.
    (
        Meaning(Event("to_feed", NP("boy"), NP("dog", MANY, "black"), negated=True)),
        {
            "en": "The boy does not feed the black dogs.",
            "es": "El niño no alimenta a los perros negros.",
            "id": "Anak lelaki itu tidak memberi makan anjing-anjing hitam itu.",
            "zh": "那个男孩不喂那些黑色的狗。",
            "hi": "लड़का काले कुत्तों को खाना नहीं खिलाता है।",
            "eo": "La knabo ne nutras la nigrajn hundojn.",
        },
    ),
    (
        Meaning(Event("to_watch", NP("Anna"), NP("horse", ONE, "old"), "near", NP("house", ONE, "big"))),
        {
            "en": "Anna watches the old horse near the big house.",
            "es": "Anna observa al caballo viejo cerca de la casa grande.",
            "id": "Anna mengamati kuda tua itu di dekat rumah besar.",
            "zh": "安娜在大的房子附近观察那匹旧的马。",
            "hi": "अन्ना बड़े घर के पास पुराने घोड़े को देखती है।",
            "eo": "Anna observas la malnovan ĉevalon proksime de la granda domo.",
        },
    ),
    # A goal, a place name without a localizer, a numeral in digits, plural verb.
    (
        Meaning(Event("to_travel", NP("king", "n12"), NP("Victoria_place"), time="winter", negated=True)),
        {
            "en": "The 12 kings do not travel to Victoria in winter.",
            "es": "Los 12 reyes no viajan a Victoria en invierno.",
            "id": "Pada musim dingin 12 raja itu tidak bepergian ke Victoria.",
            "zh": "那12位国王冬天不前往维多利亚。",
            "hi": "12 राजा सर्दियों में विक्टोरिया की यात्रा नहीं करते हैं।",
            "eo": "Vintre la 12 reĝoj ne vojaĝas al Victoria.",
        },
    ),
    # Feminine with el; a + el, de + el; a noun of two words; a goal in the bare oblique case.
    (
        Meaning(Event("to_go", NP("eagle", ONE, "white"), NP("castle", ONE, "old"))),
        {
            "en": "The white eagle goes to the old castle.",
            "es": "El águila blanca va al castillo viejo.",
            "id": "Elang putih itu pergi ke kastel tua.",
            "zh": "那只白色的老鹰去旧的城堡。",
            "hi": "सफ़ेद उक़ाब पुराने किले जाता है।",
            "eo": "La blanka aglo iras al la malnova kastelo.",
        },
    ),
    (
        Meaning(Event("to_work", NP("queen", MANY, "tired"), None, "in_front_of", NP("hospital"))),
        {
            "en": "The tired queens work in front of the hospital.",
            "es": "Las reinas cansadas trabajan delante del hospital.",
            "id": "Ratu-ratu lelah itu bekerja di depan rumah sakit.",
            "zh": "那些疲倦的女王在医院前面工作。",
            "hi": "थकी हुई रानियाँ अस्पताल के सामने काम करती हैं।",
            "eo": "La lacaj reĝinoj laboras antaŭ la hospitalo.",
        },
    ),
    # Two clauses, mass nouns with and without the Spanish article.
    (
        Meaning(
            Event("to_buy", NP("Omar"), NP("coffee", ONE, "cold")),
            "because",
            Event("to_like", NP("grandmother"), NP("coffee")),
        ),
        {
            "en": "Omar buys cold coffee because the grandmother likes coffee.",
            "es": "Omar compra café frío porque la abuela aprecia el café.",
            "id": "Omar membeli kopi dingin karena nenek itu menyukai kopi.",
            "zh": "奥马尔买冷的咖啡，因为那位祖母喜欢咖啡。",
            "hi": "ओमर ठंडी कॉफ़ी ख़रीदता है क्योंकि दादी कॉफ़ी पसंद करती है।",
            "eo": "Omar aĉetas malvarman kafon, ĉar la avino ŝatas kafon.",
        },
    ),
    (
        Meaning(
            Event("to_wait_for", NP("Sofia"), NP("bus"), "in", NP("Sofia_place")),
            "but",
            Event("to_wait_for", NP("father"), NP("bus"), negated=True),
        ),
        {
            "en": "Sofia waits for the bus in Sofia, but the father does not wait for the bus.",
            "es": "Sofía espera el autobús en Sofía, pero el padre no espera el autobús.",
            "id": "Sofia menunggu bus itu di Sofia, tetapi ayah itu tidak menunggu bus itu.",
            "zh": "索菲亚在索菲亚等待那辆公共汽车，但是那位父亲不等待那辆公共汽车。",
            "hi": "सोफ़िया सोफ़िया में बस का इंतज़ार करती है, लेकिन पिता बस का इंतज़ार नहीं करता है।",
            "eo": "Sofia atendas la aŭtobuson en Sofia, sed la patro ne atendas la aŭtobuson.",
        },
    ),
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("meaning", "expected"), BY_HAND, ids=lambda value: None)
def test_sentences_written_by_hand(meaning: Meaning, expected: dict[str, str], language: str) -> None:
    assert realize(meaning, language).text == expected[language]


def test_examples_in_the_docstrings() -> None:
    for module in (minirembert.corpus, minirembert.corpus.meaning):
        results = doctest.testmod(module)
        assert results.attempted and not results.failed


# ------------------------------------------------------------------------------- concepts and lexicons


def test_at_least_300_lemmas_in_at_least_eight_classes_of_nouns() -> None:
    assert len(CONCEPTS) >= 300
    assert len({concept.noun_class for concept in CONCEPTS.values() if concept.kind == "noun"}) >= 8


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_concept_has_every_form(language: str) -> None:
    lexicon = load_lexicon(language)
    optional = {"marker"}
    for key, concept in CONCEPTS.items():
        for column in lexicon.columns[concept.kind]:
            cell = lexicon.cell(key, column)
            plural_of_mass = not concept.counted and ("plural" in column or column == "measure")
            assert (cell == NO_FORM) <= (column in optional or plural_of_mass), (key, column)
            assert not plural_of_mass or cell == NO_FORM, (key, column)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_is_clean_text_and_says_that_it_is_unchecked(language: str) -> None:
    text = (files("minirembert.corpus.lexicon") / f"{language}.tsv").read_text(encoding="utf-8")
    assert text == unicodedata.normalize("NFC", text)
    assert text.isprintable() or set(c for c in text if not c.isprintable()) <= {"\t", "\n"}
    assert "  " not in text and " \t" not in text and "\t " not in text
    assert "unchecked" in text.splitlines()[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_nouns_of_a_language_are_spelled_alike(language: str) -> None:
    # Grape and wine are both "anggur" in Indonesian, and that is a fact about Indonesian.
    lexicon = load_lexicon(language)
    nouns = [key for key, concept in CONCEPTS.items() if concept.kind == "noun"]
    forms = Counter(lexicon.words(noun, lexicon.columns["noun"][0]) for noun in nouns)
    assert [forms_twice[0][0] for forms_twice, n in forms.items() if n > 1] == (["anggur"] if language == "id" else [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\nlion\t", "\nlyon\t"), "'lyon' is no concept"),
        (lambda text: text.replace("\nlion\tlion\tlions", "\nlion\tlion"), "'lion' needs one cell for each of"),
        (lambda text: text.replace("\nlion\tlion\tlions", ""), "lacks 1 concepts, the first is 'lion'"),
        (lambda text: text.replace("\nlion\tlion\tlions", "\ndog\tdog\tdogs"), "'dog' is listed twice"),
    ],
)
def test_a_wrong_table_is_refused_with_the_row_that_is_wrong(change: Callable[[str], str], message: str) -> None:
    text = (files("minirembert.corpus.lexicon") / "en.tsv").read_text(encoding="utf-8")
    Lexicon("en", text)
    with pytest.raises(ValueError, match=message):
        Lexicon("en", change(text))


def test_hypernyms_climb_to_the_top() -> None:
    assert hypernym("lion") == "animal"
    assert hypernym("apple") == "fruit"
    assert hypernym("fruit") == "food"
    assert hypernym("Anna") == "person"
    assert hypernym("food") is None
    assert classes_of("apple") == ("fruit", "food")
    for noun in concepts.NOUN_CONCEPTS:
        seen = [noun]
        while (up := hypernym(seen[-1])) is not None:
            seen.append(up)
            assert len(set(seen)) == len(seen), seen


def test_every_noun_can_be_an_object_and_every_adjective_describes_something() -> None:
    objects = set(chain.from_iterable(frame.objects for frame in concepts.VERB_FRAMES.values()))
    things = {key for key, concept in CONCEPTS.items() if concept.kind in ("noun", "place_name")}
    assert things - objects == set()
    assert all(len(nouns) >= 3 for nouns in concepts.ADJECTIVE_NOUNS.values())


def test_names_and_digits_are_anchors() -> None:
    for key, concept in CONCEPTS.items():
        if concept.kind in ("person_name", "place_name"):
            spellings = {load_lexicon(language).words(key, "form")[0][0] for language in LATIN}
            plain = {"".join(c for c in unicodedata.normalize("NFD", s) if c.isalpha()) for s in spellings}
            assert plain == {key.removesuffix("_place")}
        if key[0] == "n" and key[1:].isdigit():
            assert {load_lexicon(language).words(key, "form") for language in LANGUAGES} == {((key[1:], "NUM"),)}


def test_some_names_are_a_person_and_a_place() -> None:
    for language in LANGUAGES:
        lexicon = load_lexicon(language)
        kinds = {
            kind: {lexicon.words(key, "form") for key, concept in CONCEPTS.items() if concept.kind == kind}
            for kind in ("person_name", "place_name")
        }
        assert len(kinds["person_name"] & kinds["place_name"]) >= 5


# ---------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_make_the_text_and_have_labels(sentences: dict[str, list[Sentence]], language: str) -> None:
    stop = {"zh": "。", "hi": "।"}.get(language, ".")
    for sentence in sentences[language]:
        joined = "".join((" " if token.space_before else "") + token.form for token in sentence.tokens)
        assert joined == sentence.text == sentence.text.strip()
        assert sentence.text.endswith(stop) and sentence.text.count(stop) == 1
        assert 5 <= len(words(sentence)) <= 16, sentence.text
        for token in sentence.tokens:
            assert token.upos in UPOS
            assert token.role in ROLES
            assert token.concept is None or token.concept in CONCEPTS
            assert not any(c.isspace() for c in token.form) and token.form
            assert (token.upos == "PUNCT") == (token.role == "punctuation")
            assert token.upos != "PUNCT" or not token.space_before
        assert language == "zh" or len(sentence.text.split()) == len(words(sentence))


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_meant_is_said_in_its_place(sentences: dict[str, list[Sentence]], language: str) -> None:
    for sentence in sentences[language]:
        check_that_everything_is_said(sentence)


def check_that_everything_is_said(sentence: Sentence) -> None:
    """Every role's tokens carry the concepts that the meaning has there, and no others."""
    found = spans(sentence)
    for clause, event in enumerate(sentence.meaning.events):
        goal = concepts.VERB_FRAMES[event.verb].motion
        expected = {
            "subject": phrase_concepts(event.subject),
            "goal": phrase_concepts(event.object) if goal else set(),
            "object": set() if goal else phrase_concepts(event.object),
            "place": phrase_concepts(event.place) | ({event.relation} - {None}),
            "time": {event.time} - {None},
            "verb": {event.verb},
        }
        for role, meant in expected.items():
            said = {token.concept for token in found[clause, role]} - {None}
            assert said == meant, (sentence.text, role)
        assert bool(found[clause, "negation"]) == event.negated


def phrase_concepts(phrase: NounPhrase | None) -> set[str]:
    if phrase is None:
        return set()
    return {phrase.noun, phrase.number, phrase.adjective or ONE} - {ONE, MANY}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_role_is_one_span(sentences: dict[str, list[Sentence]], language: str) -> None:
    for sentence in sentences[language]:
        runs = Counter(key for key, _ in groupby(sentence.tokens, key=lambda token: (token.clause, token.role)))
        split = {role for (_, role), n in runs.items() if n > 1 and role not in ("verb", "punctuation")}
        assert not split, sentence.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_negation_changes_the_sentence_and_nothing_else(meanings: list[Meaning], language: str) -> None:
    for meaning in meanings[:300]:
        for_and_against = [
            realize(Meaning(replace(meaning.first, negated=negated)), language) for negated in (False, True)
        ]
        concepts_said = [sorted(t.concept for t in s.tokens if t.concept) for s in for_and_against]
        assert concepts_said[0] == concepts_said[1]
        assert for_and_against[0].text != for_and_against[1].text


# --------------------------------------------------------------------------------- agreement and order


def test_spanish_articles_adjectives_and_verbs_agree(sentences: dict[str, list[Sentence]]) -> None:
    lexicon = load_lexicon("es")
    checked = Counter[str]()
    for sentence in sentences["es"]:
        found = spans(sentence)
        for clause, event in enumerate(sentence.meaning.events):
            verb = [token.form for token in found[clause, "verb"]]
            assert verb == [lexicon.cell(event.verb, "plural" if event.subject.number != ONE else "singular")]
            phrases = {"subject": event.subject, "place": event.place}
            phrases["goal" if concepts.VERB_FRAMES[event.verb].motion else "object"] = event.object
            for role, phrase in phrases.items():
                if phrase is None or CONCEPTS[phrase.noun].kind != "noun":
                    continue
                forms = [token.form.lower() for token in found[clause, role]]
                number = "singular" if phrase.number == ONE else "plural"
                gender = lexicon.cell(phrase.noun, "gender")
                noun = forms.index(lexicon.cell(phrase.noun, number))
                if CONCEPTS[phrase.noun].counted:
                    before = forms[noun - 1 - (phrase.number not in (ONE, MANY))]
                    right = {"ms": ("el", "al", "del"), "fs": ("la",), "mp": ("los",), "fp": ("las",)}
                    # Feminine nouns that begin with a stressed a take el in the singular.
                    el = ("el", "al", "del") if phrase.noun in ("eagle", "axe") and number == "singular" else ()
                    assert before in (el or right[gender + number[0]]), sentence.text
                if phrase.adjective is not None:
                    adjective = lexicon.cell(phrase.adjective, f"{gender}_{number}")
                    assert forms[noun + 1 :] == [adjective], sentence.text
                    checked[gender + number] += 1
                    if adjective.rstrip("s")[-1] in "oa":
                        assert adjective.rstrip("s")[-1] == {"m": "o", "f": "a"}[gender]
                    assert adjective.endswith("s") == (number == "plural")
                else:
                    assert noun == len(forms) - 1
        for pair in ("a el ", "de el "):
            assert f" {pair}" not in sentence.text
    assert all(checked[case] > 20 for case in ("msingular", "fsingular", "mplural", "fplural")), checked


def test_spanish_personal_a_marks_animate_objects_only(sentences: dict[str, list[Sentence]]) -> None:
    lexicon = load_lexicon("es")
    for sentence in sentences["es"]:
        for (clause, role), tokens in spans(sentence).items():
            event = sentence.meaning.events[clause]
            if role == "object" and event.object and lexicon.cell(event.verb, "marker") == NO_FORM:
                animate = {"person", "animal"} & set(classes_of(event.object.noun))
                assert (tokens[0].form in ("a", "al")) == bool(animate), sentence.text


def test_hindi_is_verb_final_and_the_verb_agrees(sentences: dict[str, list[Sentence]]) -> None:
    lexicon = load_lexicon("hi")
    ending = {"msingular": "ता", "mplural": "ते", "fsingular": "ती", "fplural": "ती"}
    checked = Counter[str]()
    for sentence in sentences["hi"]:
        for clause, event in enumerate(sentence.meaning.events):
            tokens = [t for t in sentence.tokens if t.clause == clause and t.upos != "PUNCT"]
            number = "singular" if event.subject.number == ONE else "plural"
            case = lexicon.cell(event.subject.noun, "gender") + number
            assert tokens[-1].form == ("है" if number == "singular" else "हैं"), sentence.text
            assert tokens[-2].form.endswith(ending[case]), sentence.text
            assert tokens[-2].upos == "VERB" and tokens[-1].upos == "AUX"
            assert not event.negated or tokens[-3].form == "नहीं"
            checked[case] += 1
    assert set(checked) == set(ending)


def test_hindi_nouns_stand_in_the_case_of_their_postposition(sentences: dict[str, list[Sentence]]) -> None:
    lexicon = load_lexicon("hi")
    postpositions = {"का", "की", "से", "को", "में", "के"}
    checked = Counter[str]()
    for sentence in sentences["hi"]:
        for clause, event in enumerate(sentence.meaning.events):
            for token, after in zip(sentence.tokens, sentence.tokens[1:], strict=False):
                if token.clause != clause or token.upos != "NOUN" or token.role not in ("subject", "object", "place"):
                    continue
                phrase = {"subject": event.subject, "object": event.object, "place": event.place}[token.role]
                if phrase is None or token.concept != phrase.noun or after.concept == token.concept:
                    continue
                oblique = after.form in postpositions and after.role == token.role
                assert oblique or token.role != "place"
                case = f"{'oblique' if oblique else 'direct'}_{'singular' if phrase.number == ONE else 'plural'}"
                assert token.form == lexicon.cell(phrase.noun, case).split()[-1], sentence.text
                checked[case] += 1
                animate = {"person", "animal"} & set(classes_of(phrase.noun))
                assert token.role != "object" or oblique or not animate
    assert len(checked) == 4


@pytest.mark.parametrize(
    ("language", "adjective_first"),
    [("en", True), ("es", False), ("id", False), ("zh", True), ("hi", True), ("eo", True)],
)
def test_order_of_adjective_and_noun(
    sentences: dict[str, list[Sentence]], language: str, adjective_first: bool
) -> None:
    seen = 0
    for sentence in sentences[language]:
        for clause, event in enumerate(sentence.meaning.events):
            adjective, noun = event.subject.adjective, event.subject.noun
            if adjective is not None:
                order = [t.concept for t in sentence.tokens if t.clause == clause and t.concept in (adjective, noun)]
                order = [key for key, _ in groupby(order)]
                assert order[:2] == ([adjective, noun] if adjective_first else [noun, adjective]), sentence.text
                seen += 1
    assert seen > 500


@pytest.mark.parametrize(
    ("language", "order"),
    [
        ("en", "subject verb object place time"),
        ("es", "subject verb object place time"),
        ("id", "time subject verb object place"),
        ("zh", "subject time place verb object"),
        ("hi", "subject time place object verb"),
        ("eo", "time subject verb object place"),
    ],
)
def test_order_of_the_parts_of_a_clause(sentences: dict[str, list[Sentence]], language: str, order: str) -> None:
    for sentence in sentences[language]:
        roles = [t.role for t in sentence.tokens if t.clause == 0 and t.role in order.split()]
        assert [role for role, _ in groupby(roles)] == [r for r in order.split() if r in roles], sentence.text


def test_chinese_has_no_blanks_and_a_measure_word_after_every_number(sentences: dict[str, list[Sentence]]) -> None:
    lexicon = load_lexicon("zh")
    numbers = 0
    for sentence in sentences["zh"]:
        assert " " not in sentence.text
        assert not any(token.space_before for token in sentence.tokens)
        for token, after in zip(sentence.tokens, sentence.tokens[1:], strict=False):
            if token.upos == "NUM":
                events = sentence.meaning.events[token.clause]
                phrase = events.subject if token.role == "subject" else events.object
                assert phrase is not None and after.form == lexicon.cell(phrase.noun, "measure")
                numbers += 1
    assert numbers > 300


def test_english_verbs_agree_and_proper_sentences_begin_with_a_capital(sentences: dict[str, list[Sentence]]) -> None:
    lexicon = load_lexicon("en")
    for sentence in sentences["en"]:
        found = spans(sentence)
        for clause, event in enumerate(sentence.meaning.events):
            third = event.subject.number == ONE and not event.negated
            assert found[clause, "verb"][0].form == lexicon.cell(event.verb, "third" if third else "base")
            if event.negated:
                helper = "does" if event.subject.number == ONE else "do"
                assert [token.form for token in found[clause, "negation"]] == [helper, "not"]
    for language in LATIN:
        assert all(sentence.text[0].isupper() or sentence.text[0].isdigit() for sentence in sentences[language])


def test_esperanto_object_is_accusative_and_nothing_else_is(sentences: dict[str, list[Sentence]]) -> None:
    lexicon = load_lexicon("eo")
    for sentence in sentences["eo"]:
        for (clause, role), tokens in spans(sentence).items():
            event = sentence.meaning.events[clause]
            accusative = role == "object" and lexicon.cell(event.verb, "marker") == NO_FORM
            for token in tokens:
                if token.upos in ("NOUN", "ADJ"):
                    assert token.form.endswith("n") == accusative, sentence.text


# ------------------------------------------------------------------------------------ meanings, splits


def test_meanings_are_distinct_and_come_from_the_seed_alone() -> None:
    first = sample_meanings(2000, seed=1)
    assert len({meaning.key for meaning in first}) == len(set(first)) == 2000
    assert sample_meanings(2000, seed=1) == first
    assert sample_meanings(50, seed=1) == first[:50]
    assert set(sample_meanings(2000, seed=2)) != set(first)


def test_meanings_and_splits_do_not_depend_on_the_process() -> None:
    # Python's own hash of a string differs from process to process; nothing here may use it.
    code = (
        "from minirembert.corpus import *;"
        "print([(m.key, m.digest, split_of(m), realize(m, 'hi').text) for m in sample_meanings(200, 4)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    here = [(m.key, m.digest, split_of(m), realize(m, "hi").text) for m in sample_meanings(200, 4)]
    assert outputs == {f"{here}\n"}


def test_the_split_is_frozen() -> None:
    # A corpus on disk and one made tomorrow must not trade meanings: these values may never change.
    pear = Meaning(Event("to_eat", NP("Sofia"), NP("pear", ONE, "expensive"), time="every_month"))
    cake = Meaning(Event("to_sell", NP("farmer", "seven"), NP("cake", ONE, "delicious"), time="every_year"))
    tour = Meaning(Event("to_travel", NP("student", "n40", "happy"), NP("Georgia_place"), time="summer"))
    assert pear.key == "to_eat(one Sofia; one expensive pear) every_month"
    assert pear.digest == 0x28F90D4569DAEB7B
    assert [split_of(meaning) for meaning in (pear, cake, tour)] == ["train", "validation", "test"]


def test_no_meaning_is_in_two_splits_whatever_the_seed() -> None:
    seen: dict[str, str] = {}
    met_again = 0
    for seed in range(4):
        for meaning in sample_meanings(3000, seed):
            met_again += meaning.key in seen
            assert seen.setdefault(meaning.key, split_of(meaning)) == split_of(meaning)
    assert met_again > 0
    shares = Counter(seen.values())
    total = sum(shares.values())
    # Three standard deviations of a binomial.
    for split, share in {"train": 0.9, "validation": 0.05, "test": 0.05}.items():
        assert abs(shares[split] - share * total) < 3 * math.sqrt(total * share * (1 - share))


def test_different_meanings_have_different_keys_and_mostly_different_sentences(meanings: list[Meaning]) -> None:
    # Changing any one part of a meaning changes its key.
    event = Event("to_read", NP("nurse", "two", "young"), NP("book"), "in", NP("park"), "every_day")
    changed = [
        event,
        replace(event, verb="to_buy"),
        replace(event, subject=NP("book"), object=NP("nurse", "two", "young")),
        replace(event, subject=NP("nurse", "two")),
        replace(event, subject=NP("nurse", MANY, "young")),
        replace(event, relation="near"),
        replace(event, place=NP("school")),
        replace(event, place=NP("park", ONE, "big")),
        replace(event, relation=None, place=None),
        replace(event, time="summer"),
        replace(event, negated=True),
    ]
    assert len({Meaning(e).key for e in changed}) == len(changed)
    for language in LANGUAGES:
        texts = {realize(meaning, language).text for meaning in meanings}
        assert len(texts) > 0.99 * len(meanings)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 30))
def test_any_seed_makes_sentences_in_every_language(seed: int, n: int) -> None:
    for meaning in sample_meanings(n, seed):
        for language in LANGUAGES:
            assert 5 <= len(words(realize(meaning, language))) <= 16


NOUNS = st.sampled_from([key for key, concept in CONCEPTS.items() if concept.kind == "noun" and concept.counted])
PHRASES = st.builds(
    NounPhrase,
    NOUNS,
    st.sampled_from([ONE, MANY, *concepts.NUMERALS.split()]),
    st.none() | st.sampled_from(list(concepts.ADJECTIVE_NOUNS)),
)
EVENTS = st.builds(
    Event,
    st.sampled_from([verb for verb, frame in concepts.VERB_FRAMES.items() if frame.objects]),
    PHRASES,
    PHRASES,
    st.sampled_from(concepts.RELATIONS.split()),
    PHRASES,
    st.none() | st.sampled_from(concepts.TIMES.split()),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(event=EVENTS)
def test_any_event_can_be_said_and_swapped(event: Event) -> None:
    # Tasks build meanings that the sampler would not: selection is its habit and not a rule of grammar.
    assert event.object is not None
    swapped = replace(event, subject=event.object, object=event.subject)
    for language in LANGUAGES:
        one, two = realize(Meaning(event), language), realize(Meaning(swapped), language)
        assert (one.text == two.text) <= (event.subject == event.object or language in ("id", "zh"))
        text, tokens = next(iter(read_back(to_conllu(one))))
        assert (text, tokens) == (one.text, one.tokens)
        check_that_everything_is_said(one)


# ------------------------------------------------------------------------------------------ statistics


def entropy(counts: Counter[Hashable]) -> float:
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def conditional_entropy(pairs: Iterable[tuple[Hashable, Hashable]]) -> float:
    """H(second | first) in bits, estimated by counting."""
    by_first: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for first, second in pairs:
        by_first[first][second] += 1
    total = sum(sum(counts.values()) for counts in by_first.values())
    return sum(sum(counts.values()) / total * entropy(counts) for counts in by_first.values())


def test_context_says_much_about_a_word(many_events: list[Event]) -> None:
    events = [event for event in many_events if event.object is not None]
    objects = [event.object.noun for event in events if event.object is not None]
    verbs = [event.verb for event in events]
    alone = entropy(Counter(objects))
    given_verb = conditional_entropy(zip(verbs, objects, strict=True))
    assert alone > 6.5
    assert given_verb < alone - 3
    # Counting always finds some dependence; break the pairs to see how much, and ask for far more than that.
    broken = conditional_entropy(zip(verbs[1:], objects[:-1], strict=True))
    assert given_verb < broken - 2


def taste_in_bits(triples: Iterable[tuple[str, str, str]]) -> float:
    """What `first` says about `second` beyond the group that both stand in: I(first; second | group) in bits.

    Counting always finds some dependence, so the same is measured with the pairs shuffled inside each group, and
    taken off.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for group, first, second in triples:
        groups[group].append((first, second))
    rng = random.Random(0)
    gained = 0.0
    total = sum(map(len, groups.values()))
    for pairs in groups.values():
        seconds = [second for _, second in pairs]
        rng.shuffle(seconds)
        broken = [(first, second) for (first, _), second in zip(pairs, seconds, strict=True)]
        gained += len(pairs) / total * (conditional_entropy(broken) - conditional_entropy(pairs))
    return gained


def test_nouns_of_one_class_differ_in_their_company(many_events: list[Event]) -> None:
    # Selection alone would leave nothing here: every noun of a class, every subject of a verb would be like the next.
    def class_of(noun: str) -> str:
        return concepts.NOUN_CONCEPTS[noun].noun_class or ""

    phrases = [p for e in many_events for p in (e.subject, e.object) if p is not None]
    adjectives = [(class_of(p.noun), p.noun, p.adjective) for p in phrases if p.adjective is not None]
    objects = [(e.verb, e.subject.noun, e.object.noun) for e in many_events if e.object is not None]
    verbs = [(class_of(e.object.noun), e.object.noun, e.verb) for e in many_events if e.object is not None]
    subjects = [(class_of(e.subject.noun), e.verb, e.subject.noun) for e in many_events]
    places = [("", e.verb, e.place.noun) for e in many_events if e.place is not None]
    assert taste_in_bits(adjectives) > 0.5
    assert taste_in_bits(objects) > 0.4
    assert taste_in_bits(verbs) > 0.6
    assert taste_in_bits(subjects) > 0.4
    assert taste_in_bits(places) > 1  # the verb's own list of places, and its taste in them


def test_frequencies_in_a_class_fall_like_zipf(many_events: list[Event]) -> None:
    counts = Counter(event.subject.noun for event in many_events)
    adults = [counts[noun] for noun, c in concepts.NOUN_CONCEPTS.items() if c.noun_class == "adult"]
    assert sum(adults[:5]) > 2 * sum(adults[-5:])
    used = Counter(p.noun for e in many_events for p in (e.subject, e.object, e.place) if p is not None)
    assert set(used) == set(concepts.NOUN_CONCEPTS)


# ----------------------------------------------------------------------------------------------- files


def read_back(block: str) -> Iterable[tuple[str, tuple[Token, ...]]]:
    """Reads a CoNLL-U block from a string."""
    return build.parse_conllu(block.splitlines())


@pytest.mark.parametrize("parallel", [True, False])
def test_a_corpus_on_disk(tmp_path: Path, parallel: bool) -> None:
    languages = ("en", "hi", "zh")
    written = write_corpus(tmp_path / "corpus", 200, seed=3, parallel=parallel, languages=languages)
    keys: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for language in languages:
            paths = written[split][language]
            lines = paths.text.read_text(encoding="utf-8").splitlines()
            conllu = paths.conllu.read_text(encoding="utf-8")
            assert paths.text == tmp_path / "corpus" / split / f"{language}.txt"
            assert [text for text, _ in read_conllu(paths.conllu)] == lines
            assert len(lines) == paths.sentences
            assert sum(len(tokens) for _, tokens in read_conllu(paths.conllu)) == paths.tokens
            blocks = [block for block in conllu.split("\n\n") if block]
            prefix = "# meaning = "
            keys[split][language] = [
                line.removeprefix(prefix) for line in conllu.splitlines() if line.startswith(prefix)
            ]
            assert len(blocks) == len(keys[split][language]) == len(lines)
            for block in blocks:
                rows = [line.split("\t") for line in block.splitlines() if not line.startswith("#")]
                assert [row[0] for row in rows] == [str(i + 1) for i in range(len(rows))]
                assert {len(row) for row in rows} == {10}
                assert {row[3] for row in rows} <= UPOS
    for language in languages:
        assert sum(written[split][language].sentences for split in SPLITS) == 200
    if parallel:
        assert all(len(set(map(tuple, by_language.values()))) == 1 for by_language in keys.values())
        everything = [key for split in SPLITS for key in keys[split]["en"]]
    else:
        everything = [key for split in SPLITS for language in languages for key in keys[split][language]]
    assert len(everything) == len(set(everything)) == (200 if parallel else 600)
    found = sorted(path.name for path in (tmp_path / "corpus").iterdir())
    assert found == ["corpus.json", "test", "train", "validation"]
    manifest = json.loads((tmp_path / "corpus" / "corpus.json").read_text(encoding="utf-8"))
    assert manifest["seed"] == 3 and manifest["languages"] == list(languages) and manifest["parallel"] == parallel


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_corpus(tmp_path / name, 60, seed=8)
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "two")
    )
    assert one == two and len(one) == 1 + 2 * len(SPLITS) * len(LANGUAGES)


def test_a_corpus_that_cannot_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def breaks(meaning: Meaning, language: str) -> Sentence:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise OSError("no space left on the device")
        return realize(meaning, language)

    monkeypatch.setattr(build, "realize", breaks)
    with pytest.raises(OSError, match="no space"):
        write_corpus(tmp_path / "corpus", 40, seed=2, languages=("en", "es"))
    assert not list(tmp_path.iterdir())


def test_a_folder_with_somebody_s_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "en.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_corpus(tmp_path, 40, seed=1)
    assert (tmp_path / "train" / "en.txt").read_text() == "years of work"


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: realize(BY_HAND[0][0], "fr"), "unknown language 'fr'; the languages are en, es, id, zh, hi, eo"),
        (lambda: sample_meanings(-1, 0), "at least 0, not -1"),
        (lambda: sample_meanings(MAX_MEANINGS + 1, 0), "at most 5000000 distinct meanings"),
        (lambda: Meaning(BY_HAND[0][0].first, "and"), "both a connective and a second event, or neither"),
        (lambda: realize(Meaning(Event("to_fly", NP("bird"))), "en"), "'to_fly' is no verb"),
        (lambda: realize(Meaning(Event("to_eat", NP("bird"))), "en"), "'to_eat' takes an object"),
        (lambda: realize(Meaning(Event("to_sing", NP("bird"), NP("song"))), "en"), "'to_sing' takes no object"),
        (lambda: realize(Meaning(Event("to_sing", NP("unicorn"))), "en"), "'unicorn' is no noun and no name"),
        (lambda: realize(Meaning(Event("to_sing", NP("bird", "2"))), "en"), "'2' is neither 'one' nor 'many' nor"),
        (lambda: realize(Meaning(Event("to_sing", NP("bird", ONE, "purple"))), "en"), "'purple' is no adjective"),
        (lambda: realize(Meaning(Event("to_sing", NP("Anna", ONE, "sad"))), "en"), "'Anna' takes no adjective"),
        (lambda: realize(Meaning(Event("to_eat", NP("dog"), NP("rice", "two"))), "zh"), "'rice' cannot be counted"),
        (lambda: realize(Meaning(Event("to_sing", NP("bird"), None, "in")), "en"), "both a relation and a place"),
        (lambda: realize(Meaning(Event("to_sing", NP("bird"), time="now")), "en"), "'now' is no time"),
        (lambda: realize(Meaning(Event("to_sing", NP("bird"), None, "on", NP("house"))), "en"), "'on' is no relation"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_reason(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sentences_per_language": 0}, "at least 1 sentence per language, not 0"),
        ({"sentences_per_language": 1_000_000}, "needs 6000000 distinct meanings and at most 5000000"),
        ({"languages": ("en", "xx")}, "unknown language 'xx'"),
        ({"languages": ("en", "en")}, "at least one language, and each of them once"),
        ({"languages": ()}, "at least one language"),
    ],
)
def test_a_corpus_that_cannot_be_made_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_corpus(**{"folder": tmp_path / "new", "sentences_per_language": 10, "seed": 0, **arguments})  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
