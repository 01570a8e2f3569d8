"""A meaning in a language: the sentence, as text and as tokens that know what they stand for.

`realize` joins the clauses that a grammar wrote, sets the capital letter, the connective and the full stop,
and checks that the meaning can be said at all. The labels come from the meaning, so nothing is annotated
afterwards: `upos` is the part of speech, `concept` the meaning of the word, `role` and `clause` the part of
the sentence it belongs to. A clause's subject, object, goal, place and time are one span
each, with their articles and adpositions: the answer to a question ("where?"). The verb can be in two pieces.

Not here: subwords. A token is a word or a sign; Chinese words are listed as words, so their borders are
known.
"""

from functools import cache
from typing import NamedTuple

from .concepts import ADJECTIVE_NOUNS, CONCEPTS, CONNECTIVES, NOUN_CONCEPTS, VERB_FRAMES
from .grammar import GRAMMARS, Grammar
from .meaning import MANY, ONE, Event, Meaning, NounPhrase

LANGUAGES = ("en", "es", "id", "zh", "hi", "eo")
ROLES = ("subject", "verb", "object", "goal", "place", "time", "negation", "connective", "punctuation")


class Token(NamedTuple):
    """A word or a sign of a sentence. `concept` is None for function words, `clause` is 0 or 1."""

    form: str
    upos: str
    concept: str | None
    role: str
    clause: int
    space_before: bool


class Sentence(NamedTuple):
    """A meaning said in one language."""

    language: str
    meaning: Meaning
    text: str
    tokens: tuple[Token, ...]


@cache
def _grammar(language: str) -> Grammar:
    if language not in GRAMMARS:
        raise ValueError(f"unknown language {language!r}; the languages are {', '.join(LANGUAGES)}")
    return GRAMMARS[language]()


def _check_phrase(phrase: NounPhrase) -> None:
    concept = NOUN_CONCEPTS.get(phrase.noun)
    if concept is None:
        raise ValueError(f"{phrase.noun!r} is no noun and no name of the concept inventory")
    if phrase.number != ONE:
        if not concept.counted:
            raise ValueError(f"{phrase.noun!r} cannot be counted, so its number is {ONE!r} and not {phrase.number!r}")
        if phrase.number != MANY and (phrase.number not in CONCEPTS or CONCEPTS[phrase.number].kind != "numeral"):
            raise ValueError(f"{phrase.number!r} is neither {ONE!r} nor {MANY!r} nor a numeral")
    if phrase.adjective is not None:
        if phrase.adjective not in ADJECTIVE_NOUNS:
            raise ValueError(f"{phrase.adjective!r} is no adjective of the concept inventory")
        if concept.kind != "noun":
            raise ValueError(f"the name {phrase.noun!r} takes no adjective")


def _check_event(event: Event) -> None:
    frame = VERB_FRAMES.get(event.verb)
    if frame is None:
        raise ValueError(f"{event.verb!r} is no verb of the concept inventory")
    if bool(frame.objects) != (event.object is not None):
        raise ValueError(f"{event.verb!r} takes {'an object' if frame.objects else 'no object'}")
    if (event.relation is None) != (event.place is None):
        raise ValueError("an event has both a relation and a place, or neither")
    for kind, key in (("relation", event.relation), ("time", event.time)):
        if key is not None and (key not in CONCEPTS or CONCEPTS[key].kind != kind):
            raise ValueError(f"{key!r} is no {kind} of the concept inventory")
    for phrase in (event.subject, event.object, event.place):
        if phrase is not None:
            _check_phrase(phrase)


def realize(meaning: Meaning, language: str) -> Sentence:
    """Says a meaning in a language. A ValueError says what keeps it from being said."""
    grammar = _grammar(language)
    if meaning.connective is not None and meaning.connective not in CONNECTIVES.split():
        raise ValueError(f"{meaning.connective!r} is no connective of the concept inventory")
    tokens: list[Token] = []
    for clause, event in enumerate(meaning.events):
        _check_event(event)
        pieces = grammar.clause(event)
        if clause == 1 and meaning.connective is not None:
            pieces = grammar.say(meaning.connective, "form", "connective") + pieces
        for form, upos, concept, role in pieces:
            if upos == "PUNCT":
                tokens.append(Token(form, upos, None, "punctuation", clause, False))
            elif tokens:
                tokens.append(Token(form, upos, concept, role, clause, grammar.blanks))
            else:
                # The capital letter; a no-op in scripts that have none.
                tokens.append(Token(form[0].upper() + form[1:], upos, concept, role, clause, False))
    tokens.append(Token(grammar.full_stop, "PUNCT", None, "punctuation", len(meaning.events) - 1, False))
    text = "".join([" " + token.form if token.space_before else token.form for token in tokens])
    return Sentence(language, meaning, text, tuple(tokens))
