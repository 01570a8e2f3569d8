"""Tags whose answer depends on the sentence: what agreement marks in languages that have it, and names.

    two           young         nurse         to_read    a book        in    Victoria
    subject-many  subject-many  subject-many  verb-many  object-one          PLACE

A word of a noun phrase, adjective and number too, has the phrase's role and number; a verb has its subject's number; a name is
PERSON or PLACE, and some names are both. Other words (when, not, and, in) are not asked for. A look-up of each word's most
frequent tag knows many nouns, and no adjective.
"""

import random

from minirembert.corpus import CONCEPTS, Meaning, Token
from minirembert.lab.tasks.split import Split
from minirembert.lab.tasks.task import Said, Task, accuracy
from minirembert.lab.world import Corpus
from minirembert.model.tasks import RemBertForTokenClassification
from minirembert.ops.losses import IGNORE_INDEX

NAMES = {"person_name": "PERSON", "place_name": "PLACE"}
# role of a word -> the phrase whose number is asked
ROLES = {"subject": "subject", "verb": "subject", "object": "object", "goal": "object", "place": "place"}
ANSWERS = (
    *(f"{role}-{number}" for role in ("subject", "verb", "object") for number in ("one", "many")),
    "place-one",  # no place is said to be many
    *NAMES.values(),
)


def tag(token: Token, meaning: Meaning) -> str | None:
    """What a word of a sentence for `meaning` is tagged; None where nothing is asked."""
    kind = CONCEPTS[token.concept].kind if token.concept is not None else None
    if kind in NAMES:
        return NAMES[kind]
    if token.role not in ROLES or kind == "relation":
        return None
    phrase = getattr(meaning.events[token.clause], ROLES[token.role])
    role = "verb" if token.role == "verb" else ROLES[token.role]
    return f"{role}-{'many' if phrase.plural else 'one'}"


def draw(split: Split, rng: random.Random) -> Meaning | None:
    """A meaning of the split, or None where the split does not allow it."""
    meaning = rng.choice(split.meanings)
    return meaning if split.allows(meaning) else None


def say(corpus: Corpus, language: str, item: Meaning) -> Said:
    """The sentence; the answer is for each word the number of its tag in ANSWERS, -100 where none is asked for."""
    sentence = corpus.realize(item, language)
    tags = [tag(token, item) for token in sentence.tokens]
    return Said(
        corpus.pieces.encode(sentence), None, [IGNORE_INDEX if it is None else ANSWERS.index(it) for it in tags]
    )


# From thousands of sentences any model learns nearly everything; 80 leave something that must be known beforehand.
TAGS = Task("tags", RemBertForTokenClassification, ANSWERS, draw, say, accuracy, most=80)
