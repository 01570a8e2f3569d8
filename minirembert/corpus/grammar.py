"""Six small grammars: how each language puts the words of one clause in order and which forms it takes.

A grammar has two methods. `noun_phrase` says "the two young nurses"; `clause` says an event, always in the
same order:

    English      subject  (does not) verb  object  place  time          nothing agrees but the verb's -s
    Spanish      subject  (no) verb  (a) object  place  time            adjective after the noun, agreeing
    Indonesian   time  subject  (tidak) verb  object  place             adjective after the noun, itu last
    Mandarin     subject  time  (不) place  verb  object                measure words, no blanks
    Hindi        subject  time  place  object  (नहीं) verb + है            postpositions, case, agreement
    Esperanto    time  subject  (ne) verb  object  place                accusative

Only constructions whose agreement the tables hold: present tense (habitual), third person, definite noun
phrases (a mass noun that is an object stands bare). No pronouns, questions, passives, relative clauses or
past.

Short function words (the, 的, है) stand here because they are grammar; every other word comes from the
lexicon.
"""

from typing import ClassVar, NamedTuple

from .concepts import CONCEPTS, NUMERALS, VERB_FRAMES, is_animate
from .lexicon import NO_FORM, load_lexicon
from .meaning import Event, NounPhrase

_NUMERALS = frozenset(NUMERALS.split())
_ANIMATE = frozenset(key for key, concept in CONCEPTS.items() if concept.noun_class and is_animate(key))


class Piece(NamedTuple):
    """One word of a clause. `role` is the part of the clause it belongs to, article and adposition too."""

    form: str
    upos: str
    concept: str | None
    role: str


class Grammar:
    """What the languages share. A language sets the class variables and writes `noun_phrase` and `clause`."""

    language: ClassVar[str]
    full_stop: ClassVar[str] = "."
    blanks: ClassVar[bool] = True

    def __init__(self) -> None:
        self.lexicon = load_lexicon(self.language)

    def clause(self, event: Event) -> list[Piece]:
        """The words of one event, without a capital letter and without the full stop."""
        raise NotImplementedError

    def say(self, concept: str, column: str, role: str) -> list[Piece]:
        """One of a concept's listed forms."""
        return [Piece(form, upos, concept, role) for form, upos in self.lexicon.words(concept, column)]

    def numeral(self, phrase: NounPhrase, role: str) -> list[Piece]:
        """The number word of a phrase; no piece for "one" and "many"."""
        return self.say(phrase.number, "form", role) if phrase.number in _NUMERALS else []

    def adjective(self, phrase: NounPhrase, column: str, role: str) -> list[Piece]:
        """The adjective of a phrase in its form `column`; no piece where there is none."""
        return [] if phrase.adjective is None else self.say(phrase.adjective, column, role)

    def time(self, event: Event) -> list[Piece]:
        """The time of an event; no piece where it has none."""
        return [] if event.time is None else self.say(event.time, "form", "time")

    def marker(self, event: Event) -> str | None:
        """The adposition the verb asks for, if its row lists one."""
        cell = self.lexicon.cell(event.verb, "marker")
        return None if cell == NO_FORM else cell


def is_name(phrase: NounPhrase) -> bool:
    """Whether the noun is the name of a person or a place, which takes neither article nor adjective."""
    return CONCEPTS[phrase.noun].kind != "noun"


def is_bare(phrase: NounPhrase) -> bool:
    """Names and mass nouns take no article."""
    return not CONCEPTS[phrase.noun].counted


def object_role(event: Event) -> str:
    """The role of the words of an object: "goal" after a verb of motion, else "object"."""
    return "goal" if VERB_FRAMES[event.verb].motion else "object"


class English(Grammar):
    """English: nothing agrees but the verb's -s, and a verb is negated with do."""

    language = "en"

    def noun_phrase(self, phrase: NounPhrase, role: str) -> list[Piece]:
        """the, numeral, adjective, noun."""
        if is_name(phrase):
            return self.say(phrase.noun, "form", role)
        return [
            *([] if is_bare(phrase) else [Piece("the", "DET", None, role)]),
            *self.numeral(phrase, role),
            *self.adjective(phrase, "form", role),
            *self.say(phrase.noun, "plural" if phrase.plural else "singular", role),
        ]

    def clause(self, event: Event) -> list[Piece]:
        """Subject, (do not) verb, object, place, time."""
        plural = event.subject.plural
        pieces = self.noun_phrase(event.subject, "subject")
        if event.negated:
            pieces.append(Piece("do" if plural else "does", "AUX", None, "negation"))
            pieces.append(Piece("not", "PART", None, "negation"))
        pieces += self.say(event.verb, "base" if plural or event.negated else "third", "verb")
        if event.object is not None:
            role = object_role(event)
            marker = self.marker(event)
            if marker is not None:
                pieces.append(Piece(marker, "ADP", None, role))
            pieces += self.noun_phrase(event.object, role)
        if event.relation is not None and event.place is not None:
            pieces += self.say(event.relation, "form", "place")
            pieces += self.noun_phrase(event.place, "place")
        return pieces + self.time(event)


class Spanish(Grammar):
    """Spanish: articles and adjectives in the gender and number of their noun."""

    language = "es"

    def noun_phrase(self, phrase: NounPhrase, role: str, article: bool = False) -> list[Piece]:
        """Article, numeral, noun, adjective. `article`: even a mass noun has one."""
        if is_name(phrase):
            return self.say(phrase.noun, "form", role)
        number = "plural" if phrase.plural else "singular"
        gender = self.lexicon.cell(phrase.noun, "gender")
        pieces = []
        if article or not is_bare(phrase):
            pieces.append(Piece(self.lexicon.cell(phrase.noun, f"article_{number}"), "DET", None, role))
        pieces += self.numeral(phrase, role)
        pieces += self.say(phrase.noun, number, role)
        return pieces + self.adjective(phrase, f"{gender}_{number}", role)

    def after(self, adposition: list[Piece], phrase: NounPhrase, role: str) -> list[Piece]:
        """A phrase after its preposition; a + el and de + el are written al and del."""
        pieces = self.noun_phrase(phrase, role)
        last = adposition[-1]
        if last.form in ("a", "de") and pieces[0].form == "el":
            contracted = "al" if last.form == "a" else "del"
            return [*adposition[:-1], Piece(contracted, last.upos, last.concept, role), *pieces[1:]]
        return adposition + pieces

    def clause(self, event: Event) -> list[Piece]:
        """Subject, (no) verb, (a) object, place, time."""
        pieces = self.noun_phrase(event.subject, "subject")
        if event.negated:
            pieces.append(Piece("no", "ADV", None, "negation"))
        pieces += self.say(event.verb, "plural" if event.subject.plural else "singular", "verb")
        if event.object is not None:
            role = object_role(event)
            # An animate object is marked with "a" unless the verb asks for a preposition of its own.
            marker = self.marker(event) or ("a" if event.object.noun in _ANIMATE else None)
            if marker is None:
                # "Bebe té", but "odia el té": some verbs want the article even before a mass noun.
                article = self.lexicon.cell(event.verb, "mass_article") == "yes"
                pieces += self.noun_phrase(event.object, role, article)
            else:
                pieces += self.after([Piece(marker, "ADP", None, role)], event.object, role)
        if event.relation is not None and event.place is not None:
            pieces += self.after(self.say(event.relation, "form", "place"), event.place, "place")
        return pieces + self.time(event)


class Indonesian(Grammar):
    """Indonesian: no agreement, a doubled plural, and itu at the end of a definite phrase."""

    language = "id"

    def noun_phrase(self, phrase: NounPhrase, role: str, definite: bool = True) -> list[Piece]:
        """Numeral, noun, adjective, itu. Without `definite`, itu stands in the plural only."""
        if is_name(phrase):
            return self.say(phrase.noun, "form", role)
        # The doubled plural and a numeral exclude each other: tiga dokter itu, dokter-dokter itu.
        numeral = self.numeral(phrase, role)
        pieces = numeral + self.say(phrase.noun, "plural" if phrase.plural and not numeral else "singular", role)
        pieces += self.adjective(phrase, "form", role)
        if (definite or phrase.plural) and not is_bare(phrase):
            pieces.append(Piece("itu", "DET", None, role))
        return pieces

    def clause(self, event: Event) -> list[Piece]:
        """Time, subject, (tidak) verb, object, place."""
        pieces = self.time(event) + self.noun_phrase(event.subject, "subject")
        if event.negated:
            pieces.append(Piece("tidak", "PART", None, "negation"))
        pieces += self.say(event.verb, "form", "verb")
        if event.object is not None:
            role = object_role(event)
            marker = self.marker(event)
            if marker is not None:
                pieces.append(Piece(marker, "ADP", None, role))
            pieces += self.noun_phrase(event.object, role, definite=role == "object")
        if event.relation is not None and event.place is not None:
            pieces += self.say(event.relation, "form", "place")
            pieces += self.noun_phrase(event.place, "place", definite=False)
        return pieces


class Mandarin(Grammar):
    """Mandarin: no inflection, no blanks, a measure word between 那 or a numeral and the noun."""

    language = "zh"
    full_stop = "。"
    blanks = False

    def noun_phrase(self, phrase: NounPhrase, role: str, definite: bool = True) -> list[Piece]:
        """那, numeral, measure word, adjective with 的, noun. Without `definite`, 那 stands in the plural only."""
        if is_name(phrase):
            return self.say(phrase.noun, "form", role)
        pieces = []
        if (definite or phrase.plural) and not is_bare(phrase):
            # 那 + measure word for one or a counted number, 那些 without a measure word for many.
            numeral = self.numeral(phrase, role)
            if phrase.plural and not numeral:
                pieces.append(Piece("那些", "DET", None, role))
            else:
                pieces += [Piece("那", "DET", None, role), *numeral]
                pieces.append(Piece(self.lexicon.cell(phrase.noun, "measure"), "NOUN", None, role))
        if phrase.adjective is not None:
            pieces += [*self.say(phrase.adjective, "form", role), Piece("的", "PART", None, role)]
        return pieces + self.say(phrase.noun, "form", role)

    def clause(self, event: Event) -> list[Piece]:
        """Subject, time, (不) place, verb, object."""
        pieces = self.noun_phrase(event.subject, "subject") + self.time(event)
        if event.negated:
            pieces.append(Piece("不", "ADV", None, "negation"))
        if event.relation is not None and event.place is not None:
            pieces += self.say(event.relation, "before", "place")
            pieces += self.noun_phrase(event.place, "place", definite=False)
            # 在医院里, but 在马德里: a place name needs no 里 to be a place.
            if event.relation != "in" or not is_name(event.place):
                pieces += self.say(event.relation, "after", "place")
        pieces += self.say(event.verb, "form", "verb")
        if event.object is not None:
            role = object_role(event)
            pieces += self.noun_phrase(event.object, role, definite=role == "object")
        return pieces


class Hindi(Grammar):
    """Hindi: postpositions, direct and oblique case, adjectives and verbs that agree."""

    language = "hi"
    full_stop = "।"

    # A postposition that is only a case: the oblique form with nothing after it.
    OBLIQUE_ONLY = "∅"

    def noun_phrase(self, phrase: NounPhrase, role: str, oblique: bool = False) -> list[Piece]:
        """Numeral, adjective, noun; `oblique` before a postposition."""
        if is_name(phrase):
            return self.say(phrase.noun, "form", role)
        number = "plural" if phrase.plural else "singular"
        if self.lexicon.cell(phrase.noun, "gender") == "f":
            adjective = "f"
        else:
            adjective = "m_other" if oblique or phrase.plural else "m_direct"
        return [
            *self.numeral(phrase, role),
            *self.adjective(phrase, adjective, role),
            *self.say(phrase.noun, f"{'oblique' if oblique else 'direct'}_{number}", role),
        ]

    def verb(self, event: Event) -> list[Piece]:
        """The verb in the subject's gender and number, नहीं before its last word, then है or हैं."""
        plural = event.subject.plural
        if self.lexicon.cell(event.subject.noun, "gender") == "f":
            column = "f"
        else:
            column = "m_plural" if plural else "m_singular"
        pieces = self.say(event.verb, column, "verb")
        if event.negated:
            pieces.insert(-1, Piece("नहीं", "PART", None, "negation"))
        return [*pieces, Piece("हैं" if plural else "है", "AUX", None, "verb")]

    def clause(self, event: Event) -> list[Piece]:
        """Subject, time, place, object, (नहीं) verb + है."""
        pieces = self.noun_phrase(event.subject, "subject") + self.time(event)
        if event.relation is not None and event.place is not None:
            pieces += self.noun_phrase(event.place, "place", oblique=True)
            pieces += self.say(event.relation, "form", "place")
        if event.object is not None:
            role = object_role(event)
            # An animate object takes को unless the verb asks for a postposition of its own; other objects
            # stay direct.
            marker = self.marker(event) or ("को" if event.object.noun in _ANIMATE else None)
            pieces += self.noun_phrase(event.object, role, oblique=marker is not None)
            if marker is not None and marker != self.OBLIQUE_ONLY:
                pieces.append(Piece(marker, "ADP", None, role))
        return pieces + self.verb(event)


class Esperanto(Grammar):
    """Esperanto: adjectives in the number and case of their noun, and an accusative for the object."""

    language = "eo"

    def noun_phrase(self, phrase: NounPhrase, role: str, accusative: bool = False) -> list[Piece]:
        """la, numeral, adjective, noun; `accusative` for an object without a preposition."""
        if is_name(phrase):
            return self.say(phrase.noun, "form", role)
        column = ("accusative_" if accusative else "") + ("plural" if phrase.plural else "singular")
        return [
            *([] if is_bare(phrase) else [Piece("la", "DET", None, role)]),
            *self.numeral(phrase, role),
            *self.adjective(phrase, column, role),
            *self.say(phrase.noun, column, role),
        ]

    def clause(self, event: Event) -> list[Piece]:
        """Time, subject, (ne) verb, object, place."""
        pieces = self.time(event) + self.noun_phrase(event.subject, "subject")
        if event.negated:
            pieces.append(Piece("ne", "PART", None, "negation"))
        pieces += self.say(event.verb, "form", "verb")
        if event.object is not None:
            role = object_role(event)
            marker = self.marker(event)
            if marker is not None:
                pieces.append(Piece(marker, "ADP", None, role))
            pieces += self.noun_phrase(event.object, role, accusative=marker is None)
        if event.relation is not None and event.place is not None:
            pieces += self.say(event.relation, "form", "place")
            pieces += self.noun_phrase(event.place, "place")
        return pieces


GRAMMARS: dict[str, type[Grammar]] = {
    grammar.language: grammar for grammar in (English, Spanish, Indonesian, Mandarin, Hindi, Esperanto)
}
