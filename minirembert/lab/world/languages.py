"""Re-lexicalised languages: the same meanings, said with words that exist nowhere else (after Dufter and Schuetze 2020,
"fake English").

    >>> LabLanguage("a").realize(meaning).text        # subject verb object, adjective before noun
    'a:sad PL a:soldier to_want a:new a:tractor'
    >>> LabLanguage("b", order="sov-na").realize(meaning).text
    'PL b:soldier b:sad b:tractor b:new to_want'

A word is its concept with the language before it, or, for the share `overlap` of the concepts, the concept alone: such a
word is the same in all languages, an anchor. Which concepts these are depends on `seed`, not on the language, so languages
of one seed share the same ones. With `synonyms` n a concept has n words, and which of them is said depends on its clause
(on its verb; a verb's own on its subject): as words do, each keeps its own company.

Not here: inflection and articles. Number is a word before its noun ("PL", or a numeral). A name is one word for the person
and the place: only the sentence tells Victoria from Victoria.
"""

from dataclasses import dataclass
from hashlib import blake2b

from minirembert.corpus import MANY, ONE, Event, Meaning, NounPhrase, Sentence, Token
from minirembert.corpus.concepts import CONCEPTS

ORDERS = ("svo-an", "sov-an", "svo-na", "sov-na")
UPOS = {
    "noun": "NOUN", "verb": "VERB", "adjective": "ADJ", "numeral": "NUM", "person_name": "PROPN", "place_name": "PROPN",
    "relation": "ADP", "connective": "CCONJ", "time": "ADV",
}  # fmt: skip
PLURAL, NOT = "PL", "NOT"


@dataclass(frozen=True)
class LabLanguage:
    """One language. `overlap` is the share of words that all languages of this `seed` have in common."""

    name: str
    order: str = "svo-an"
    overlap: float = 0.15
    synonyms: int = 1
    seed: int = 0

    def words(self, concept: str) -> tuple[str, ...]:
        """All words for a concept (a key of `CONCEPTS`, PLURAL or NOT), in a fixed order."""
        spelling = concept.removesuffix("_place")
        own = "" if _chance("shared", self.seed, spelling) < self.overlap else f"{self.name}:"
        if self.synonyms == 1:
            return (own + spelling,)
        return tuple(f"{own}{spelling}.{number}" for number in range(self.synonyms))

    def realize(self, meaning: Meaning) -> Sentence:
        """Says a meaning. Every word has its concept, role and clause, as in the real languages."""
        tokens: list[Token] = []
        for clause, event in enumerate(meaning.events):
            if clause == 1 and meaning.connective is not None:
                tokens.append(self._token(meaning.connective, "connective", clause, event.verb))
            tokens += self._clause(event, clause)
        return Sentence(self.name, meaning, " ".join(token.form for token in tokens), tuple(tokens))

    def _clause(self, event: Event, clause: int) -> list[Token]:
        def say(concept: str, role: str, company: str = event.verb) -> list[Token]:
            return [self._token(concept, role, clause, company)]

        def phrase(of: NounPhrase, role: str) -> list[Token]:
            number = [] if of.number == ONE else say(PLURAL if of.number == MANY else of.number, role)
            adjective = [] if of.adjective is None else say(of.adjective, role, of.noun)
            noun = say(of.noun, role)
            return number + (noun + adjective if self.order.endswith("na") else adjective + noun)

        subject = phrase(event.subject, "subject")
        verb = (say(NOT, "negation") if event.negated else []) + say(event.verb, "verb", event.subject.noun)
        thing = [] if event.object is None else phrase(event.object, "object")
        place, time = [], []
        if event.place is not None and event.relation is not None:
            place = say(event.relation, "place", event.place.noun) + phrase(event.place, "place")
        if event.time is not None:
            time = say(event.time, "time")
        middle = thing + verb if self.order.startswith("sov") else verb + thing
        return subject + middle + place + time

    def _token(self, concept: str, role: str, clause: int, company: str) -> Token:
        words = self.words(concept)
        word = words[int(_chance("synonym", 0, f"{concept}|{company}") * len(words))]
        upos = "PART" if concept in (PLURAL, NOT) else UPOS[CONCEPTS[concept].kind]
        return Token(word, upos, None if concept in (PLURAL, NOT) else concept, role, clause, True)


def _chance(what: str, seed: int, key: str) -> float:
    """A number in [0, 1) that is the same in every process."""
    digest = blake2b(f"{what}|{seed}|{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
