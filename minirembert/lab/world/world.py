"""A world is its knobs; with a seed it becomes a corpus."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from minirembert.corpus import LANGUAGES, Meaning, Sentence, iter_meanings, realize, split_of
from minirembert.corpus.concepts import CONCEPTS
from minirembert.data.masked_lm import Language
from minirembert.lab.world.languages import NOT, ORDERS, PLURAL, LabLanguage
from minirembert.scalars import as_integer, is_number
from minirembert.settings import check_types, make_plain, option, require_integers

TRACKS = ("lab", "real")
QUESTION_WORDS = ("[WHO]", "[WHAT]", "[WHERE]", "[WHEN]")  # of all languages; no sentence to learn from has them
SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *QUESTION_WORDS)
# A small world has the most frequent concepts of each kind (of nouns: of each class), `breadth` times as many.
FREQUENT = {
    "verb": 20, "adjective": 16, "noun": 6, "person_name": 6, "place_name": 6, "numeral": 4, "time": 4, "relation": 3,
    "connective": 3,
}  # fmt: skip
PATIENCE = 20_000  # meanings that may be passed over in a row


@dataclass(frozen=True)
class World:
    """What there is to read. Raises ValueError, naming the knob, for a world that cannot be."""

    track: str = option(
        "lab: re-lexicalised languages; real: English, Spanish, Indonesian, Chinese, Hindi, Esperanto", "lab"
    )
    languages: int = option("how many", 2)
    overlap: float = option("lab: share of the concepts whose word is the same in all languages", 0.15)
    order: str = option("lab: same, or mixed (the languages take turns: " + ", ".join(ORDERS) + ")", "same")
    synonyms: int = option("lab: words for each concept, a multiplier of the vocabulary", 1)
    parallel: bool = option("all languages say the same meanings; otherwise no two of them share one", False)
    breadth: float = option("multiplies the number of concepts of a small world; 0: all concepts there are", 1.0)
    silent: int = option("lab: the last so many languages have words, but no sentences to learn from", 0)
    sentences: int = option("for each language that is not silent, to learn from", 12_000)
    held_out: int = option("meanings kept back for measuring, in validation and in test", 1000)

    def __post_init__(self) -> None:
        make_plain(self)
        most = len(LANGUAGES) if self.track == "real" else 26
        if self.track not in TRACKS:
            raise ValueError(f"track must be one of {', '.join(TRACKS)}, got {self.track!r}")
        if self.order not in ("same", "mixed"):
            raise ValueError(f"order must be same or mixed, got {self.order!r}")
        require_integers(self, 0, "silent")
        require_integers(self, 1, "languages", "synonyms", "sentences", "held_out")
        if self.languages > most:
            raise ValueError(f"languages must lie between 1 and {most} on the {self.track} track, got {self.languages}")
        if not is_number(self.overlap) or not 0 <= self.overlap <= 1:
            raise ValueError(f"overlap must lie between 0 and 1, got {self.overlap!r}")
        if not is_number(self.breadth) or self.breadth < 0:
            raise ValueError(f"breadth must be at least 0 and finite, got {self.breadth!r}")
        check_types(self)
        if self.silent >= self.languages or (self.silent and self.track == "real"):
            raise ValueError(
                f"silent must lie between 0 and languages - 1, and be 0 on the real track, got {self.silent}"
            )

    @property
    def language_names(self) -> tuple[str, ...]:
        """Names, "a", "b", ... or "en", "es", ...: tasks are learned in the first of these languages."""
        if self.track == "real":
            return LANGUAGES[: self.languages]
        return tuple(chr(ord("a") + number) for number in range(self.languages))

    def concepts(self) -> frozenset[str]:
        """What is talked about in this world."""
        if not self.breadth:
            return frozenset(CONCEPTS)
        rank: dict[tuple[str, str | None], int] = {}
        chosen = set()
        for key, concept in CONCEPTS.items():
            group = (concept.kind, concept.noun_class)
            rank[group] = rank.get(group, 0) + 1
            if rank[group] <= self.breadth * FREQUENT[concept.kind]:
                chosen.add(key)
        return frozenset(chosen)


class Pieces:
    """Words and their ids: the specials first. What the batches ask of a tokenizer."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*SPECIALS, *words)
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.pad_token_id, self.cls_token_id, self.sep_token_id, self.mask_token_id, self.unk_token_id = range(5)
        self.all_special_ids = list(range(len(SPECIALS)))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, sentence: Sentence) -> list[int]:
        """One id for each token, without specials."""
        return [self.ids.get(token.form, self.unk_token_id) for token in sentence.tokens]


@dataclass(frozen=True)
class Corpus:
    """The sentences of a world for one seed.

    `meanings` are those each language says to be learned from ("train", by language), and those kept back ("validation",
    "test"), which are said in all languages: nothing that is measured was read in any language.
    """

    world: World
    seed: int
    pieces: Pieces
    train: Mapping[str, Sequence[Meaning]]
    validation: Sequence[Meaning]
    test: Sequence[Meaning]

    def realize(self, meaning: Meaning, language: str) -> Sentence:
        """Says a meaning in one of the world's languages."""
        return _realize(self.world, self.seed, meaning, language)

    def encode(self, meanings: Sequence[Meaning], language: str) -> list[list[int]]:
        """The ids of the sentences for `meanings`, without specials."""
        return [self.pieces.encode(self.realize(meaning, language)) for meaning in meanings]

    @cached_property
    def train_lines(self) -> tuple[Language, ...]:
        """What is learned from, as `MaskedLMData` wants it."""
        return tuple(Language(name, self.encode(meanings, name)) for name, meanings in self.train.items() if meanings)

    @cached_property
    def told_twice(self) -> tuple[Language, ...]:
        """Every sentence with itself, [SEP] between, its clauses exchanged the second time where the connective lets them.

        Reading them teaches that words may be found elsewhere in a text. Pairs and questions need that, and single sentences
        do not show it.
        """
        separator = self.pieces.sep_token_id
        told = []
        for language in self.train_lines:
            again = self.encode([exchanged(meaning) for meaning in self.train[language.name]], language.name)
            lines = [[*one, separator, *other] for one, other in zip(language.lines, again, strict=True)]
            told.append(Language(language.name, lines))
        return tuple(told)

    @cached_property
    def read(self) -> frozenset[Meaning]:
        """All meanings that some language says to be learned from."""
        return frozenset(meaning for meanings in self.train.values() for meaning in meanings)

    @cached_property
    def shared_ids(self) -> frozenset[int]:
        """Ids of the words that more than one language has, and the specials."""
        seen: dict[int, set[str]] = {}
        for name in self.world.language_names:
            for line in self.encode([*self.train[name], *self.test], name):
                for id in line:
                    seen.setdefault(id, set()).add(name)
        return frozenset(id for id, names in seen.items() if len(names) > 1) | set(self.pieces.all_special_ids)

    def dictionary(self, source: str, target: str) -> list[tuple[int, int]]:
        """The gold dictionary of two lab languages: ids of words for the same concept, without the shared ones."""
        if self.world.track != "lab":
            raise ValueError("only the lab track has a gold dictionary: real words do not translate one to one")
        one, other = (_language(self.world, self.seed, name) for name in (source, target))
        pairs = []
        for concept in sorted(self.world.concepts()):
            for here, there in zip(one.words(concept), other.words(concept), strict=True):
                if here != there and here in self.pieces.ids and there in self.pieces.ids:
                    pairs.append((self.pieces.ids[here], self.pieces.ids[there]))
        return sorted(set(pairs))


def exchanged(meaning: Meaning) -> Meaning:
    """The same with its clauses in the other order, where that says the same: around "and" and "but"."""
    if meaning.second is None or meaning.connective == "because":
        return meaning
    return Meaning(meaning.second, meaning.connective, meaning.first)


def build_corpus(world: World, seed: int) -> Corpus:
    """The corpus of a world: the same in every process. Another seed gives other meanings, and other shared words."""
    seed = as_integer("seed", seed)
    # The knobs of words alone are set aside, so that what is said is sampled once for all their values.
    train, validation, test = _sampled(replace(world, overlap=0.0, order="same", synonyms=1), seed)
    return Corpus(world, seed, Pieces(_words(world, seed, train)), train, validation, test)


@lru_cache(maxsize=2)
def _sampled(world: World, seed: int) -> tuple[Mapping[str, Sequence[Meaning]], Sequence[Meaning], Sequence[Meaning]]:
    """What is said, which does not depend on the words: to learn from by language, in validation, in test."""
    train: dict[str, list[Meaning]] = {name: [] for name in world.language_names}
    names = world.language_names[: world.languages - world.silent]
    kept: dict[str, list[Meaning]] = {"validation": [], "test": []}
    wanted = world.sentences if world.parallel else world.sentences * len(names)
    count = 0
    for meaning in _meanings(world, seed):
        split = split_of(meaning)
        if split == "train":
            if count < wanted:
                for name in names if world.parallel else (names[count % len(names)],):
                    train[name].append(meaning)
                count += 1
        elif len(kept[split]) < world.held_out:
            kept[split].append(meaning)
        if count == wanted and all(len(meanings) == world.held_out for meanings in kept.values()):
            break
    return train, kept["validation"], kept["test"]


def _meanings(world: World, seed: int) -> Iterator[Meaning]:
    """Meanings that this world's concepts are enough for. Raises ValueError where too few come up to wait for more."""
    concepts = world.concepts()
    since = 0
    for meaning in iter_meanings(seed):
        since += 1
        if concepts >= _mentioned(meaning):
            since = 0
            yield meaning
        elif since == PATIENCE:
            raise ValueError(
                f"of {PATIENCE:,} meanings in a row none can be said with the {len(concepts)} concepts of breadth "
                f"{world.breadth:g}: raise breadth, or ask for fewer sentences"
            )


def _mentioned(meaning: Meaning) -> set[str]:
    mentioned: set[str | None] = {meaning.connective}
    for event in meaning.events:
        mentioned |= {event.verb, event.relation, event.time}
        for phrase in (event.subject, event.object, event.place):
            if phrase is not None:
                mentioned |= {phrase.noun, phrase.number, phrase.adjective}
    return {concept for concept in mentioned if concept in CONCEPTS}


def _words(world: World, seed: int, train: Mapping[str, Sequence[Meaning]]) -> list[str]:
    if world.track == "real":
        return sorted(
            {token.form for name, meanings in train.items() for m in meanings for token in realize(m, name).tokens}
        )
    concepts = [*sorted(world.concepts()), PLURAL, NOT]
    words: dict[str, None] = {}
    for name in world.language_names:
        words |= dict.fromkeys(word for concept in concepts for word in _language(world, seed, name).words(concept))
    return list(words)


def _language(world: World, seed: int, name: str) -> LabLanguage:
    order = ORDERS[world.language_names.index(name) % len(ORDERS)] if world.order == "mixed" else ORDERS[0]
    return LabLanguage(name, order, world.overlap, world.synonyms, seed)


def _realize(world: World, seed: int, meaning: Meaning, language: str) -> Sentence:
    if language not in world.language_names:
        raise ValueError(f"this world has no language {language!r}; it has {', '.join(world.language_names)}")
    return realize(meaning, language) if world.track == "real" else _language(world, seed, language).realize(meaning)
