"""The tour: RemBERT's budget, a small multilingual model from nothing, and what it can and cannot do, in five minutes.

Every step is a few calls of the public API, so this file is also an example of how to use it. The page that comes out
(`page.py` makes it) holds its figures inside and opens without a network.
"""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minirembert import RemBertConfig, RemBertForMaskedLM, RemBertModel
from minirembert.corpus import LANGUAGES, Meaning, iter_meanings, realize, split_of, write_corpus
from minirembert.inference import embed
from minirembert.lab.budget import OUTPUT_HEAD, finetuning_parameters, parameter_budget, pretraining_parameters
from minirembert.ops.array import Array
from minirembert.ops.softmax import softmax
from minirembert.tokenization.pretrained import PreTrainedTokenizer
from minirembert.tour.page import FilledMask, GuessScore, Retrieval, TourResults, write_page
from minirembert.training.finetune import FinetuneSettings, finetune
from minirembert.training.pretrain import PretrainSettings, pretrain

SENTENCES = 8_000  # of each language
EXAMPLES = 3  # meanings shown in every language
GUESSED = 200  # test sentences of each language in which one piece is hidden
RETRIEVED = 200  # meanings told apart in each language


def tour(out: Path) -> None:
    """Runs everything and writes out/index.html. Started again, it goes on where it was stopped."""
    start = time.perf_counter()
    print("1. Where RemBERT's parameters go")
    config = RemBertConfig()
    head = parameter_budget(config)[OUTPUT_HEAD]
    print(f"   pre-training {pretraining_parameters(config):,}, of which the output head has {head:,}")
    print(f"   fine-tuning  {finetuning_parameters(config):,}: the head is gone, a small pooler has joined")

    print(f"2. One meaning, {len(LANGUAGES)} languages: {SENTENCES:,} generated sentences in each")
    corpus = out / "corpus"
    if not corpus.is_dir():
        write_corpus(corpus, SENTENCES, seed=0)
    unseen = unseen_meanings(max(GUESSED, 2 * RETRIEVED))
    examples = unseen[:EXAMPLES]
    for language in LANGUAGES:
        print(f"   {language}  {realize(examples[0], language).text}")

    print("3. Pre-training a small RemBERT on them")
    pretrained = pretrain(pretraining_settings(corpus, out / "pretrained"), say=_say)
    model, tokenizer = pretrained.model, pretrained.tokenizer

    print("4. Filling masks in sentences it has never seen")
    filled = fill_objects(model, tokenizer, unseen, EXAMPLES)
    scores = [score_guesses(model, tokenizer, unseen[:GUESSED], language) for language in LANGUAGES]
    for score in scores:
        print(f"   {score.language}  first guess right {score.accuracy:.0%}; most frequent piece {score.baseline:.0%}")

    print("5. Fine-tuning a tagger on English alone, then testing it in every language")
    tagged = finetune(finetuning_settings(corpus, out), say=_say)

    print("6. Does a sentence's vector say what it means, in whatever language?")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pooler is fresh; sentence vectors do not use it
        trained = RemBertModel.from_pretrained(out / "pretrained")
    untrained = RemBertModel(trained.config, seed=1)
    retrievals = retrieve(trained, untrained, tokenizer, unseen[: 2 * RETRIEVED])
    for retrieval in retrievals:
        print(
            f"   en to {retrieval.language}  best layer {max(retrieval.by_layer):.0%}, "
            f"untrained {max(retrieval.untrained):.0%}, chance {1 / RETRIEVED:.1%}"
        )

    results = TourResults(pretrained, tagged, examples, filled, scores, retrievals, 1 / RETRIEVED)
    page = write_page(out, results)
    print(f"Done in {(time.perf_counter() - start) / 60:.1f} minutes. Open {page} in a browser.")


def pretraining_settings(corpus: Path, out: Path) -> PretrainSettings:
    """A model of 3 blocks, H = 64, on the training sentences of all six languages."""
    return PretrainSettings(
        out=str(out),
        corpus=tuple(str(corpus / "train" / f"{language}.txt") for language in LANGUAGES),
        held_out=tuple(str(corpus / "validation" / f"{language}.txt") for language in LANGUAGES),
        vocab_size=3000,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        input_embedding_size=32,
        output_embedding_size=128,
        sequence_length=48,
        lines_per_sequence=1,
        batch_size=64,
        steps=2400,
        evaluate_every=300,
    )


def finetuning_settings(corpus: Path, out: Path) -> FinetuneSettings:
    """One epoch of tagging on English alone, scored on all six languages."""
    return FinetuneSettings(
        model=str(out / "pretrained"),
        train=str(corpus / "train" / "en.conllu"),
        out=str(out / "tagger"),
        evaluate=tuple(str(corpus / "test" / f"{language}.conllu") for language in LANGUAGES),
        epochs=1,
        learning_rate=1e-3,
    )


def unseen_meanings(count: int) -> list[Meaning]:
    """Meanings of the test split, in an order that the corpus on disk did not have."""
    meanings = []
    for meaning in iter_meanings(seed=1):
        if split_of(meaning) == "test":
            meanings.append(meaning)
            if len(meanings) == count:
                break
    return meanings


def fill_objects(
    model: RemBertForMaskedLM, tokenizer: PreTrainedTokenizer, meanings: Sequence[Meaning], count: int
) -> list[list[FilledMask]]:
    """The first `count` meanings whose object is a single piece in every language, with that piece masked in each."""
    filled: list[list[FilledMask]] = []
    for meaning in meanings:
        rows = [_fill_object(model, tokenizer, meaning, language) for language in LANGUAGES]
        whole = [row for row in rows if row is not None]
        if len(whole) == len(LANGUAGES):
            filled.append(whole)
        if len(filled) == count:
            break
    return filled


def _fill_object(
    model: RemBertForMaskedLM, tokenizer: PreTrainedTokenizer, meaning: Meaning, language: str
) -> FilledMask | None:
    sentence = realize(meaning, language)
    ids = np.array(tokenizer.encode(sentence.text))
    pieces = tokenizer.convert_ids_to_tokens(ids)
    heads = [token.form for token in sentence.tokens if token.role == "object" and token.upos in ("NOUN", "PROPN")]
    places = [i for i, piece in enumerate(pieces) if len(heads) == 1 and piece.lstrip("\u2581") == heads[0]]
    if len(places) != 1 or len(ids) > model.config.max_position_embeddings:
        return None
    (place,) = places
    masked = ids.copy()
    masked[place] = tokenizer.mask_token_id
    probabilities, _ = softmax(model(masked[None]).logits[0, place][None])
    best = np.argsort(-probabilities[0], kind="stable")[:5]
    guesses = [(tokenizer.convert_ids_to_tokens(int(i)), float(probabilities[0, i])) for i in best]
    shown = "".join(pieces[1:place]), "".join(pieces[place + 1 : -1])
    before, after = (part.replace("\u2581", " ") for part in shown)
    gap = " " if pieces[place].startswith("\u2581") else ""
    return FilledMask(language, before + gap, after, pieces[place], tuple(guesses))


def score_guesses(
    model: RemBertForMaskedLM, tokenizer: PreTrainedTokenizer, meanings: Sequence[Meaning], language: str
) -> GuessScore:
    """How often the first guess is right where one piece of each sentence, chosen by a fixed seed, is hidden."""
    encoding = tokenizer(
        [realize(meaning, language).text for meaning in meanings],
        padding=True,
        truncation=True,
        max_length=model.config.max_position_embeddings,
        return_tensors="np",
    )
    ids = encoding["input_ids"]
    rng = np.random.default_rng(0)
    ordinary = ~np.isin(ids, tokenizer.all_special_ids)
    places = np.array([rng.choice(np.flatnonzero(row)) for row in ordinary])
    rows = np.arange(len(ids))
    truth = ids[rows, places]
    masked = ids.copy()
    masked[rows, places] = tokenizer.mask_token_id
    guesses = model(masked, attention_mask=encoding["attention_mask"]).logits[rows, places].argmax(axis=-1)
    ((most_frequent, _),) = Counter(ids[ordinary].tolist()).most_common(1)
    return GuessScore(language, float((guesses == truth).mean()), float((truth == most_frequent).mean()))


def retrieve(
    trained: RemBertModel, untrained: RemBertModel, tokenizer: PreTrainedTokenizer, meanings: Sequence[Meaning]
) -> list[Retrieval]:
    """For each language but English: how often the sentence nearest to an English one has the same meaning.

    The recipe of the paper's A.9: mean token states, moved by the mean difference of the two languages, Euclidean
    distance. The difference comes from the second half of `meanings`, the score from the first. An untrained model
    shows how much shared words and lengths give away.
    """
    layers = range(trained.config.num_hidden_layers + 1)
    scores: dict[str, list[float]] = {language: [] for language in LANGUAGES[1:]}
    for model in (trained, untrained):
        for layer in layers:
            vectors = {
                language: embed(model, tokenizer, [realize(meaning, language).text for meaning in meanings], layer)
                for language in LANGUAGES
            }
            for language, of_language in scores.items():
                of_language.append(nearest_neighbour_accuracy(vectors["en"], vectors[language]))
    depth = len(layers)
    return [Retrieval(language, tuple(s[:depth]), tuple(s[depth:])) for language, s in scores.items()]


def nearest_neighbour_accuracy(a: Array, b: Array) -> float:
    """Row i of `a` should be nearest to row i of `b`. Each language's mean over its second half is taken out first."""
    half = len(a) // 2
    a, b = (x[:half] - x[half:].mean(axis=0) for x in (a, b))
    distances = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    return float((distances.argmin(axis=1) == np.arange(half)).mean())


def _say(text: str) -> None:
    print(f"   {text}")
