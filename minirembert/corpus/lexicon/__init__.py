"""The word forms: one table a language, every form listed, and the reader for these tables.

A table is plain text with tabs. `@noun<TAB>singular<TAB>plural` opens the section of the nouns and names its
columns; then comes one row a concept. A cell holds one form: one word, or several with blanks between them. A
word belongs to its section's part of speech unless it says its own after a slash ("every/DET day"). "-" means
that there is no such form. Lines that start with "#" are comments; the first one says who has checked the
table.

There is no morphology here: the grammar (`../grammar.py`) asks for a column by name and gets what stands
there.
"""

from functools import cache
from importlib.resources import files

from ..concepts import CONCEPTS

# A section's part of speech (Universal Dependencies), for words that do not say their own.
SECTION_UPOS = {
    "noun": "NOUN",
    "verb": "VERB",
    "adjective": "ADJ",
    "person_name": "PROPN",
    "place_name": "PROPN",
    "numeral": "NUM",
    "time": "NOUN",
    "relation": "ADP",
    "connective": "CCONJ",
}
NO_FORM = "-"

Words = tuple[tuple[str, str], ...]
"""A form as its words, each with its part of speech."""


class Lexicon:
    """The forms of one language: `cell` gives a cell's text, `words` a form as words with their tags."""

    def __init__(self, language: str, text: str) -> None:
        """Reads a table; a ValueError names the first row or concept that is wrong."""
        self.language = language
        self.columns: dict[str, tuple[str, ...]] = {}
        self._cells: dict[tuple[str, str], str] = {}
        self._words: dict[tuple[str, str], Words] = {}
        section = ""
        seen = set()
        for number, line in enumerate(text.splitlines(), start=1):
            if not line or line.startswith("#"):
                continue
            name, *cells = line.split("\t")
            where = f"lexicon {language!r}, line {number}"
            if name.startswith("@"):
                section = name[1:]
                self.columns[section] = tuple(cells)
                continue
            if name not in CONCEPTS or CONCEPTS[name].kind != section:
                raise ValueError(f"{where}: {name!r} is no concept of the kind {section!r}")
            if name in seen:
                raise ValueError(f"{where}: {name!r} is listed twice")
            if len(cells) != len(self.columns[section]) or not all(cells):
                raise ValueError(f"{where}: {name!r} needs one cell for each of {', '.join(self.columns[section])}")
            seen.add(name)
            for column, cell in zip(self.columns[section], cells, strict=True):
                self._cells[name, column] = cell
        missing = [key for key in CONCEPTS if key not in seen]
        if missing:
            raise ValueError(f"lexicon {language!r} lacks {len(missing)} concepts, the first is {missing[0]!r}")

    def cell(self, concept: str, column: str) -> str:
        """A cell as it stands in the table, for a column that does not hold a form: a gender, an article."""
        try:
            return self._cells[concept, column]
        except KeyError:
            raise ValueError(f"lexicon {self.language!r} has no {column!r} for {concept!r}") from None

    def words(self, concept: str, column: str) -> Words:
        """A form as words with their parts of speech."""
        found = self._words.get((concept, column))
        if found is None:
            text = self.cell(concept, column)
            if text == NO_FORM:
                raise ValueError(f"{concept!r} has no {column!r} form in {self.language!r}")
            upos = SECTION_UPOS[CONCEPTS[concept].kind]
            found = tuple((form, tag or upos) for form, _, tag in (word.partition("/") for word in text.split(" ")))
            self._words[concept, column] = found
        return found


@cache
def load_lexicon(language: str) -> Lexicon:
    """The lexicon of a language, read once from the table that is installed with the package."""
    return Lexicon(language, (files(__name__) / f"{language}.tsv").read_text(encoding="utf-8"))
