"""What the lab's models read: languages made for an experiment, with knobs, or the six real ones; and tasks on them.

languages.py   re-lexicalised languages: the words and word order of a language that exists only here
world.py       the knobs, and the corpus that follows from them and a seed: pieces, sentences (also told twice), gold dictionary

Everything is words: a piece is a word, so that a label of a word is a label of a piece.
"""

from .languages import LabLanguage
from .world import Corpus, Pieces, World, build_corpus

__all__ = ["Corpus", "LabLanguage", "Pieces", "World", "build_corpus"]
