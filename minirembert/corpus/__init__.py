"""The generated corpus ("mini-XTREME"): one meaning, a sentence in each of six languages, every label known.

    >>> from minirembert.corpus import realize, sample_meanings
    >>> meaning = sample_meanings(1, seed=3)[0]
    >>> print(realize(meaning, "en").text)
    The sad soldiers want the new tractor.
    >>> print(realize(meaning, "es").text)
    Los soldados tristes quieren el tractor nuevo.

The meaning comes first and the sentences are made from it, so nothing is downloaded, licensed or annotated
by hand. Read the files in this order:

    concepts.py    what there is to talk about: nouns in classes, what verbs and adjectives select
    meaning.py     who does what to whom, where and when, as plain data; the split by meaning
    sampler.py     which meanings there are and how often: frequencies and tastes
    lexicon/       the word forms, one table a language, every form listed
    grammar.py     six small grammars: word order and agreement
    realize.py     meaning + language -> text and labelled tokens
    build.py       text and CoNLL-U files, train / validation / test

**How to add a language.** Copy `lexicon/en.tsv`, translate every row, and add the columns that your
agreement needs. Write its class in `grammar.py` (about 40 lines), its code in `LANGUAGES` in `realize.py` and
its row in `WORDS_AT_MOST` in `sampler.py`. The tests run over `LANGUAGES`, so they check the new one at once:
every concept, every form, the lengths, the round trip.

**How to add a task.** A task makes pairs of meanings, or picks spans, and never edits text:

- sentence pairs (same meaning or not): `dataclasses.replace(event, subject=event.object,
  object=event.subject)`;
- inference: `hypernym` of a noun (entailment upwards), `negated`, the number of a noun phrase;
- question answering: the tokens of one `role` in one `clause` are the answer's span ("who": subject, "where":
  place);
- tagging: `upos`; names: the concept's kind tells Victoria the person from Victoria the place;
- retrieval: the same meaning in two languages, candidates of one length.

Split by meaning (`split_of`), before anything else, so that no model is tested on a meaning that it read in
any language. Tasks belong in a folder of their own beside this one; re-lexicalised "fake" languages are
another grammar and lexicon.

What it does not do: the sentences are grammatical and say odd things; the world behind them is a table of
preferences. Six tables are the work of one author and no native reader has checked them.
"""

from .build import CorpusFile, read_conllu, to_conllu, write_corpus
from .concepts import CONCEPTS, classes_of, hypernym
from .meaning import MANY, ONE, SPLITS, Event, Meaning, NounPhrase, split_of
from .realize import LANGUAGES, ROLES, Sentence, Token, realize
from .sampler import MAX_MEANINGS, iter_meanings, sample_meanings

__all__ = [
    "CONCEPTS",
    "LANGUAGES",
    "MANY",
    "MAX_MEANINGS",
    "ONE",
    "ROLES",
    "SPLITS",
    "CorpusFile",
    "Event",
    "Meaning",
    "NounPhrase",
    "Sentence",
    "Token",
    "classes_of",
    "hypernym",
    "iter_meanings",
    "read_conllu",
    "realize",
    "sample_meanings",
    "split_of",
    "to_conllu",
    "write_corpus",
]
