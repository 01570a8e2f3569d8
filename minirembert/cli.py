"""The command `minirembert`.

Only the chosen subcommand's modules are imported, so that `--help` answers at once. Every command ends with 0 when it did
what it was asked, 1 with one sentence about what is wrong, 2 for a wrong command line, and 130 when it was interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand: its line in the help, its options, and the function that runs it."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def _tokenizer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--corpus", nargs="+", type=Path, required=True, metavar="FILE", help="text files, one language each"
    )
    parser.add_argument("--vocab-size", type=int, default=4000, metavar="N", help="number of pieces (default: 4000)")
    parser.add_argument(
        "--character-coverage",
        type=float,
        default=0.9995,
        metavar="X",
        help="share of the text whose characters get a piece (default: 0.9995)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the tokenizer")


def _tokenizer(arguments: argparse.Namespace) -> None:
    from minirembert.progress import busy
    from minirembert.tokenization.training import train_tokenizer

    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        raise FileExistsError(
            f"{arguments.out} exists and is not an empty folder: a model there would lose its tokenizer"
        )
    with busy("training a tokenizer"):
        tokenizer = train_tokenizer(
            arguments.corpus, arguments.vocab_size, arguments.out, character_coverage=arguments.character_coverage
        )
    print(f"a tokenizer of {len(tokenizer):,} pieces is in {arguments.out}")


def _corpus_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for train/, validation/ and test/"
    )
    parser.add_argument("--sentences", type=int, default=10_000, metavar="N", help="for each language (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, other sentences (default: 0)")
    parser.add_argument("--parallel", action="store_true", help="line n says the same in every language")


def _corpus(arguments: argparse.Namespace) -> None:
    from minirembert.corpus import write_corpus
    from minirembert.progress import busy

    with busy("writing the corpus"):
        write_corpus(arguments.out, arguments.sentences, seed=arguments.seed, parallel=arguments.parallel)
    print(f"{arguments.sentences:,} sentences for each language are in {arguments.out}")


def _pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    from minirembert.settings import add_options
    from minirembert.training.pretrain import PretrainSettings

    add_options(parser, PretrainSettings)


def _pretrain(arguments: argparse.Namespace) -> None:
    from minirembert.settings import from_arguments
    from minirembert.training.pretrain import PretrainSettings, pretrain

    pretrain(from_arguments(PretrainSettings, arguments))


def _finetune_arguments(parser: argparse.ArgumentParser) -> None:
    from minirembert.settings import add_options
    from minirembert.training.finetune import FinetuneSettings

    add_options(parser, FinetuneSettings)


def _finetune(arguments: argparse.Namespace) -> None:
    from minirembert.settings import from_arguments
    from minirembert.training.finetune import FinetuneSettings, finetune

    finetune(from_arguments(FinetuneSettings, arguments))


def _fill_mask_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder that `pretrain` wrote")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="guesses for each mask (default: 5)")
    parser.add_argument("text", nargs="+", help="sentence with one or more [MASK]")


def _fill_mask(arguments: argparse.Namespace) -> None:
    from minirembert import AutoTokenizer, RemBertForMaskedLM
    from minirembert.checkpoint import has_output_head
    from minirembert.inference import fill_mask

    if not has_output_head(arguments.model):
        raise ValueError(
            f"{arguments.model} has no output head, so no mask can be filled with it: "
            "fine-tuning discards it, and google/rembert was published without one"
        )
    model = RemBertForMaskedLM.from_pretrained(arguments.model)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, use_fast=False)
    for text in arguments.text:
        for guesses in fill_mask(model, tokenizer, text, arguments.top):
            for guess in guesses:
                print(f"{guess.probability:.3f}  {guess.token:<16}  {guess.text}")
            print()


def _embed_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder that `pretrain` wrote")
    parser.add_argument("--layer", type=int, default=-1, metavar="N", help="0: embedding; -1: last (default: -1)")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="text file, one sentence a line, instead of sentences"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write an .npy file (N, H) instead of printing JSON lines"
    )
    parser.add_argument("text", nargs="*", help="sentences")


def _embed(arguments: argparse.Namespace) -> None:
    import warnings

    import numpy as np

    from minirembert import AutoTokenizer, RemBertModel
    from minirembert.data.text import read_lines
    from minirembert.files import atomic_file, json_text
    from minirembert.inference import embed
    from minirembert.progress import busy

    if bool(arguments.text) == bool(arguments.file):
        raise ValueError("give either sentences or --file")
    sentences = read_lines(arguments.file) if arguments.file else arguments.text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a masked language model's folder has no pooler, and none is needed
        model = RemBertModel.from_pretrained(arguments.model)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, use_fast=False)
    with busy(f"embedding {len(sentences):,} sentences"):
        vectors = embed(model, tokenizer, sentences, arguments.layer)
    if arguments.out is None:
        for sentence, vector in zip(sentences, vectors.tolist(), strict=True):
            print(json_text({"text": sentence, "vector": vector}, "a line", indent=None, readable=True), end="")
    else:
        with atomic_file(arguments.out) as temporary, temporary.open("wb") as file:
            np.save(file, vectors)
        print(f"{vectors.shape[0]:,} vectors of width {vectors.shape[1]} are in {arguments.out}")


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    from minirembert.checkpoint.save import FORMATS, MAX_SHARD_SIZE
    from minirembert.checkpoint.tensors import FLOATS

    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with a saved model, in any format")
    parser.add_argument("target", type=Path, metavar="TARGET", help="folder to write; must not exist, or be empty")
    parser.add_argument(
        "--format", required=True, choices=FORMATS, help="of the new weights (pytorch needs torch, h5 needs h5py)"
    )
    parser.add_argument("--dtype", choices=FLOATS, help="of the new weights (default: each tensor keeps its own)")
    parser.add_argument(
        "--max-shard-size", metavar="SIZE", help=f"of a weight file, like 500MB or 2GiB (default: {MAX_SHARD_SIZE})"
    )


def _convert(arguments: argparse.Namespace) -> None:
    from minirembert.checkpoint.convert import convert

    wanted = {"dtype": arguments.dtype, "max_shard_size": arguments.max_shard_size}
    convert(arguments.source, arguments.target, arguments.format, **wanted, progress=True)
    print(f"the model of {arguments.source} is in {arguments.target}, as {arguments.format}")


def _ledger_arguments(parser: argparse.ArgumentParser) -> None:
    from minirembert.lab.ledger_command import add_arguments

    add_arguments(parser)


def _ledger(arguments: argparse.Namespace) -> None:
    from minirembert.lab.ledger_command import run

    run(arguments)


def _lab_arguments(parser: argparse.ArgumentParser) -> None:
    from minirembert.lab.lab_command import add_arguments

    add_arguments(parser)


def _lab(arguments: argparse.Namespace) -> None:
    from minirembert.lab.lab_command import run

    run(arguments)


def _tour_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("tour"), metavar="DIR", help="folder of the tour (default: tour)"
    )


def _tour(arguments: argparse.Namespace) -> None:
    from minirembert.tour import tour

    tour(arguments.out)


COMMANDS = {
    "tour": Command("five minutes through everything, ending in a page with figures", _tour_arguments, _tour),
    "ledger": Command("what a model costs: parameters, FLOPs and memory by component", _ledger_arguments, _ledger),
    "lab": Command("the paper's claims at small size: run, judge by a rule, draw", _lab_arguments, _lab),
    "corpus": Command("write the generated corpus: six languages, text and tags", _corpus_arguments, _corpus),
    "tokenizer": Command("train a tokenizer on text files", _tokenizer_arguments, _tokenizer),
    "pretrain": Command("train a masked language model on text files", _pretrain_arguments, _pretrain),
    "finetune": Command("train a classifier or a tagger from a pre-trained model", _finetune_arguments, _finetune),
    "fill-mask": Command("guess what stands behind [MASK]", _fill_mask_arguments, _fill_mask),
    "convert": Command("write a model's weights in another format", _convert_arguments, _convert),
    "embed": Command("turn sentences into vectors", _embed_arguments, _embed),
}


DEBUG_HELP = "show where in the program an error arose"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    argv = _with_signs(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="minirembert", description="RemBERT from scratch, in NumPy one can read.")
    parser.add_argument("--debug", action="store_true", help=DEBUG_HELP)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.summary, description=command.summary)
        subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=DEBUG_HELP)
        if name in argv:  # the others' arguments would only cost their imports
            command.add_arguments(subparser)
    arguments = parser.parse_args(argv)
    return _run(COMMANDS[arguments.command], arguments)


def _with_signs(argv: Sequence[str]) -> list[str]:
    """A negative size joined to its option: argparse takes -5MB for an option, and would say nothing of the size."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1] == "--max-shard-size" and argument[:1] == "-" and argument[1:2].isdigit():
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _run(command: Command, arguments: argparse.Namespace) -> int:
    from minirembert.progress import busy

    try:
        with busy(f"minirembert {arguments.command}"):  # also where nothing in it counts
            command.run(arguments)
    except KeyboardInterrupt as stop:
        print(f"minirembert {arguments.command}: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (`| head`) has seen enough
        sys.stderr.close()
        return 0
    except (ValueError, TypeError, OSError, IndexError, ArithmeticError, MemoryError, ImportError) as error:
        if arguments.debug:
            raise
        reason = f"not enough memory: {error}" if isinstance(error, MemoryError) else error
        print(f"minirembert {arguments.command}: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
