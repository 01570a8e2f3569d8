"""The page of the tour: one HTML file, its figures drawn inside it, no script, nothing fetched.

The text depends on what came out: where a number does not show something, the page says so.
"""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minirembert import RemBertConfig
from minirembert.corpus import LANGUAGES, Meaning, realize
from minirembert.figures import draw_loss_curve, new_figure
from minirembert.files import write_text_atomically
from minirembert.lab.budget import finetuning_parameters, parameter_budget, pretraining_parameters
from minirembert.training.finetune import FinetuneResult
from minirembert.training.pretrain import PretrainResult

NAMES = {
    "en": "English", "es": "Spanish", "id": "Indonesian", "zh": "Chinese", "hi": "Hindi", "eo": "Esperanto",
}  # fmt: skip
GREYS = {"input embedding": "0.15", "blocks": "0.55", "pooler": "0.35", "output head": "0.8"}


class FilledMask(NamedTuple):
    """A sentence with one piece hidden, what stood there, and what the model thinks: (piece, probability)."""

    language: str
    before: str
    after: str
    truth: str
    guesses: tuple[tuple[str, float], ...]


class GuessScore(NamedTuple):
    """How well one language's masks are filled: two shares between 0 and 1."""

    language: str
    accuracy: float  # of the first guess for one hidden piece
    baseline: float  # always the most frequent piece of the language


class Retrieval(NamedTuple):
    """From English to `language`: the share of sentences whose nearest neighbour has their meaning, by layer."""

    language: str
    by_layer: tuple[float, ...]
    untrained: tuple[float, ...]


class TourResults(NamedTuple):
    """What the steps of the tour hand to the page."""

    pretrained: PretrainResult
    tagged: FinetuneResult
    examples: Sequence[Meaning]
    filled: Sequence[Sequence[FilledMask]]
    guesses: Sequence[GuessScore]
    retrievals: Sequence[Retrieval]
    chance: float  # of a retrieval


def write_page(out: Path, results: TourResults) -> Path:
    """Writes out/index.html and returns its path."""
    sections = (budget(), corpus(results), pretraining(results), masks(results), tagging(results), meanings(results))
    path = out / "index.html"
    write_text_atomically(path, PAGE.format(style=STYLE, body="\n".join((*sections, NEXT))))
    return path


def budget_figure() -> Any:
    """Two bars: RemBERT's parameters in pre-training and in fine-tuning."""
    parts = parameter_budget(RemBertConfig())
    figure, axes = new_figure(7.2, 2.0)
    for row, (label, without) in enumerate((("fine-tuning", "output head"), ("pre-training", "pooler"))):
        left = 0.0
        for part, parameters in parts.items():
            if part != without:
                axes.barh(row, parameters / 1e6, left=left, color=GREYS[part])
                left += parameters / 1e6
        axes.text(left + 8, row, f"{label}: {left:,.0f} million", va="center")
    axes.set(yticks=[], xlabel="parameters (millions)", xlim=(0, 1350))
    handles = [axes.barh(0, 0, color=GREYS[part]) for part in ("input embedding", "blocks", "output head")]
    axes.legend(handles, ["input embedding", "32 blocks", "output head"], frameon=False, loc="lower right")
    return figure


def budget() -> str:
    """Section 1, as HTML: RemBERT's parameters, part by part."""
    config = RemBertConfig()
    parts = parameter_budget(config)
    head = parts["output head"]
    return f"""<h2>1. Where RemBERT's parameters go</h2>
<p>A multilingual model needs a large vocabulary: RemBERT has {config.vocab_size:,} pieces. Most models use one matrix
twice, to read a piece and to predict it. RemBERT uses two. The <b>input</b> embedding is narrow ({config.input_embedding_size}
numbers a piece) because it is paid for again in every fine-tuned copy. The <b>output</b> embedding is wide
({config.output_embedding_size} numbers a piece) because it is discarded after pre-training: of
{pretraining_parameters(config):,} parameters, {head:,} go. With the pooler, a small layer that joins for fine-tuning
({parts["pooler"]:,}), a fine-tuned model has {finetuning_parameters(config):,}.</p>
{svg(budget_figure())}"""


def corpus(results: TourResults) -> str:
    """Section 2, as HTML: the examples in all six languages."""
    rows = "".join(
        f"<tr><td>{NAMES[language]}</td><td lang={language}>"
        + "<br>".join(html.escape(realize(meaning, language).text) for meaning in results.examples)
        + "</td></tr>"
        for language in LANGUAGES
    )
    return f"""<h2>2. One meaning, six languages</h2>
<p>The text that the model below has read was generated: first a meaning (who does what, where, when), then a sentence for
it in each language, from hand-written tables of word forms. Each language has meanings of
its own to read; nothing tells the model which sentences translate each other. The sentences on this page come from
meanings that were in no training text.</p>
<table>{rows}</table>"""


def pretraining(results: TourResults) -> str:
    """Section 3, as HTML: the curve of the loss, and whether it shows any use of context."""
    trained = results.pretrained
    figure, axes = new_figure(7.2, 3.4)
    draw_loss_curve(axes, trained.metrics, trained.unigram_loss, trained.unigram_entropy)
    gap = trained.unigram_entropy - trained.held_out_loss
    verdict = (
        f"It is {gap:.2f} nats below that, so it has learned something about context."
        if gap > 0
        else "It is not below that: no use of context is shown."
    )
    size = trained.model.num_parameters()
    return f"""<h2>3. Pre-training</h2>
<p>A RemBERT with {size:,} parameters, one for every {pretraining_parameters(RemBertConfig()) // size:,} of the real
one, guesses hidden pieces. A model that ignores the context cannot score below the entropy of the hidden pieces,
{trained.unigram_entropy:.2f} nats. This one scores {trained.held_out_loss:.2f} on sentences it has not seen. {verdict}</p>
{svg(figure)}"""


def masks(results: TourResults) -> str:
    """Section 4, as HTML: guesses for hidden words, and how often the first one is right."""
    rows = []
    for sentences in results.filled:
        for one in sentences:
            guesses = ", ".join(
                f"<b>{shown(piece)}</b> {p:.2f}" if piece == one.truth else f"{shown(piece)} {p:.2f}"
                for piece, p in one.guesses
            )
            rows.append(
                f"<tr><td>{NAMES[one.language]}</td><td lang={one.language}>{html.escape(one.before)}"
                f"<mark>{shown(one.truth)}</mark>{html.escape(one.after)}</td><td>{guesses}</td></tr>"
            )
    scores = "".join(
        f"<tr><td>{NAMES[score.language]}</td><td>{score.accuracy:.0%}</td><td>{score.baseline:.0%}</td></tr>"
        for score in results.guesses
    )
    return f"""<h2>4. Filling masks</h2>
<p>The marked word was hidden. The guesses come with their probabilities; the right one is bold if it is among them. Often the
sentence does not decide which word it was, and a guess can be wrong and sensible, or wrong and not: judge for yourself.</p>
<table><tr><th></th><th>sentence</th><th>first five guesses</th></tr>{"".join(rows)}</table>
<p>Over test sentences with one piece hidden anywhere:</p>
<table><tr><th></th><th>first guess right</th><th>always the most frequent piece</th></tr>{scores}</table>"""


def tagging(results: TourResults) -> str:
    """Section 5, as HTML: the tagger's scores beside two baselines, and where transfer is shown."""
    scores = results.tagged.scores
    figure, axes = new_figure(7.2, 3.0)
    places = range(len(scores))
    axes.bar(places, [score.accuracy for score in scores], color="0.55", width=0.6, label="fine-tuned on English")
    for name, style, values in (
        ("always the most frequent tag", "k-", [score.majority_baseline for score in scores]),
        ("each word's most frequent tag in English", "k:", [score.lookup_baseline or 0.0 for score in scores]),
    ):
        for place, value in zip(places, values, strict=True):
            axes.plot([place - 0.4, place + 0.4], [value, value], style, label=name if place == 0 else None)
    axes.set(xticks=list(places), ylim=(0, 1), ylabel="tags right")
    axes.set_xticklabels([NAMES[score.language] for score in scores])
    figure.legend(frameon=False, loc="outside upper center", ncols=3, fontsize="small")
    clear = [
        NAMES[score.language]
        for score in scores
        if score.language != "en" and score.accuracy > max(score.majority_baseline, score.lookup_baseline or 0) + 0.05
    ]
    worse = [NAMES[score.language] for score in scores if score.accuracy < score.majority_baseline]
    verdict = (
        f"more than 5 points above both baselines in {', '.join(clear)}"
        if clear
        else "shown in none of the other languages"
    )
    verdict += f". In {', '.join(worse)} it does worse than always giving the most frequent tag" if worse else ""
    discarded = results.tagged.discarded_parameters
    return f"""<h2>5. Fine-tuning on one language, testing on six</h2>
<p>The output head ({discarded:,} parameters, {discarded / results.pretrained.model.num_parameters():.0%} of this small
model) is discarded, and a tagger for parts of speech is trained on English sentences only. What it then knows of the
others' words comes from pre-training: transfer is {verdict}.</p>
{svg(figure)}"""


def meanings(results: TourResults) -> str:
    """Section 6, as HTML: retrieval of translations by layer, and whether training brought it about."""
    figure, axes = new_figure(7.2, 3.2)
    for number, retrieval in enumerate(results.retrievals):
        layers = range(len(retrieval.by_layer))
        grey = str(0.65 * number / max(1, len(results.retrievals) - 1))
        axes.plot(layers, retrieval.by_layer, color=grey, marker="osD^v"[number % 5], label=NAMES[retrieval.language])
        axes.plot(layers, retrieval.untrained, color=grey, linestyle=":", linewidth=1)
    axes.axhline(results.chance, color="black", linewidth=0.8)
    axes.set(xlabel="layer (0: embedding)", ylabel="right sentence nearest", ylim=(0, None))
    axes.set_xticks(list(layers))
    axes.legend(frameon=False, fontsize="small", title="English to ... (dotted: untrained)")
    best = {r.language: max(r.by_layer) - max(r.untrained) for r in results.retrievals}
    clear = [NAMES[language] for language, gain in best.items() if gain > 0.1]
    verdict = (
        f"Training moved translations together beyond what an untrained model shows in {', '.join(clear)}; "
        "even there most sentences are closer to a wrong neighbour."
        if clear
        else "Training did not move translations together beyond what an untrained model shows: a shared space of meaning "
        "is not shown at this size."
    )
    if clear and max(max(r.by_layer) for r in results.retrievals) > 0.5:
        verdict = f"Training moved translations together beyond what an untrained model shows in {', '.join(clear)}."
    return f"""<h2>6. One space for all languages?</h2>
<p>A sentence's vector is the mean of its tokens' states. For each English sentence we look for the nearest one among
{round(1 / results.chance)} in another language: is it the translation? An untrained model already finds some, by names,
numbers and words that look alike. {verdict} Large models do this well; theirs is the work of billions of words.</p>
{svg(figure)}"""


def shown(piece: str) -> str:
    """A piece without SentencePiece's space sign; the sign alone as an open box."""
    return html.escape(piece.removeprefix("\u2581") or "\u2423")


def svg(figure: Any) -> str:
    """A Matplotlib figure as an HTML element: its SVG without the XML header, and without a date."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return f"<figure>{text[text.index('<svg') :]}</figure>"


NEXT = """<h2>Where to go from here</h2>
<p>The chapters in <code>tutorials/</code> build this model one piece at a time. <code>minirembert pretrain --corpus
FILES --out DIR</code> does step 3 with your own text, <code>minirembert finetune</code> step 5 with your own labels.</p>"""

STYLE = """
body { font: 17px/1.5 Georgia, serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #222; }
h1, h2 { font-weight: normal; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-size: 15px; } td, th { padding: .3rem .8rem .3rem 0; text-align: left;
vertical-align: top; border-bottom: 1px solid #ddd; } mark { background: #ddd; } figure { margin: 1rem 0; }
svg { max-width: 100%; height: auto; }
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>A tour of minirembert</title><style>{style}</style></head>
<body><h1>A tour of minirembert</h1>
{body}
</body></html>
"""
