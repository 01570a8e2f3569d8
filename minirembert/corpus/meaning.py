"""A meaning: who does what, to whom, where and when, in no language.

A Meaning is one Event, or two joined by a connective. All of it is plain data made of concept keys, so a
task can turn one meaning into another with `dataclasses.replace` (swap subject and object, negate, replace a
noun by its hypernym) and have both realized in every language.

    >>> event = Event("to_read", NounPhrase("nurse", "two", "young"), NounPhrase("book"), time="every_day")
    >>> Meaning(event).key
    'to_read(two young nurse; one book) every_day'

A meaning's key is its identity: two meanings with one key are equal, and the split is drawn from a hash of
the key. So the split depends on nothing else: not on the seed, the order, the language or the Python process.
"""

from dataclasses import dataclass
from hashlib import blake2b

ONE, MANY = "one", "many"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A definite noun phrase.

    `number` is "one", "many" or a numeral's concept, `adjective` a concept or None. Mass nouns and names are
    always "one", and names take no adjective.
    """

    noun: str
    number: str = ONE
    adjective: str | None = None

    @property
    def plural(self) -> bool:
        """Whether the phrase is of more than one: "many", or a numeral."""
        return self.number != ONE

    @property
    def key(self) -> str:
        """Its concepts as number, adjective, noun: a part of the meaning's key."""
        if self.adjective is None:
            return f"{self.number} {self.noun}"
        return f"{self.number} {self.adjective} {self.noun}"


@dataclass(frozen=True, slots=True)
class Event:
    """One clause. `object` is what the verb acts on or, for a verb of motion, the goal of the way."""

    verb: str
    subject: NounPhrase
    object: NounPhrase | None = None
    relation: str | None = None
    place: NounPhrase | None = None
    time: str | None = None
    negated: bool = False

    @property
    def key(self) -> str:
        """Its concepts as `verb(subject; object) relation place time`, with "not " before a negated verb."""
        text = f"{'not ' if self.negated else ''}{self.verb}({self.subject.key}"
        if self.object is not None:
            text += f"; {self.object.key}"
        text += ")"
        if self.place is not None:
            text += f" {self.relation} {self.place.key}"
        return text if self.time is None else f"{text} {self.time}"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One event, or a first and a second joined by a connective ("and", "but", "because")."""

    first: Event
    connective: str | None = None
    second: Event | None = None

    def __post_init__(self) -> None:
        if (self.connective is None) != (self.second is None):
            raise ValueError("a meaning has both a connective and a second event, or neither")

    @property
    def key(self) -> str:
        """The identity of the meaning: the keys of its events, around the connective."""
        if self.second is None:
            return self.first.key
        return f"{self.first.key} {self.connective} {self.second.key}"

    @property
    def digest(self) -> int:
        """A 64-bit hash of the key, the same on every machine and in every process."""
        return int.from_bytes(blake2b(self.key.encode(), digest_size=8).digest(), "big")

    @property
    def events(self) -> tuple[Event, ...]:
        """One event or two, in the order in which they are told."""
        return (self.first,) if self.second is None else (self.first, self.second)


def split_of(meaning: Meaning) -> str:
    """The split a meaning belongs to, always and everywhere: 90 % train, 5 % validation, 5 % test."""
    share = meaning.digest % 100
    if share < 90:
        return "train"
    return "validation" if share < 95 else "test"
