"""The command `minirembert ledger`."""

import argparse
from dataclasses import MISSING, fields
from pathlib import Path

from minirembert.config import RemBertConfig
from minirembert.files import json_text, write_text_atomically
from minirembert.lab.conventions import CONVENTIONS, HUGGING_FACE
from minirembert.lab.ledger import BYTES
from minirembert.lab.sizes import HEADS, Sizes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of `Sizes`, then those for what is counted and what is written."""
    sizes = parser.add_argument_group("sizes", "of the model; RemBERT's where they are not given")
    for field in fields(Sizes):
        name, help = "--" + field.name.replace("_", "-"), field.metadata["help"]
        assert field.default is not MISSING
        if isinstance(field.default, bool):
            default = "" if field.default is False else " (default: yes)"
            sizes.add_argument(name, action=argparse.BooleanOptionalAction, help=help + default)
        elif field.name == "head":
            sizes.add_argument(name, choices=HEADS, help=f"{help} (default: {field.default})")
        else:
            default = "" if field.default is None else f" (default: {field.default})"
            sizes.add_argument(name, type=int, metavar="N", help=help + default)
    parser.add_argument("--model", type=Path, metavar="DIR", help="take the sizes of this folder's config.json")
    parser.add_argument("--paper", action="store_true", help="every row of the paper, its printed figures beside ours")
    parser.add_argument(
        "--convention", choices=CONVENTIONS, default=HUGGING_FACE.name,
        help=f"what counts as a parameter (default: {HUGGING_FACE.name})",
    )  # fmt: skip
    parser.add_argument("--sequence-length", type=int, metavar="N", help="S, in tokens (default: 512, or P if less)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="sequences in a batch (default: 32)")
    parser.add_argument("--dtype", choices=BYTES, default="float32", help="of weights and logits (default: float32)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ledger as data")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it: .png or .svg, readable in grey")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page (.html) with sliders for the sizes")


def run(arguments: argparse.Namespace) -> None:
    """Prints a table, and writes the files that were asked for. Raises ValueError for sizes no model can have."""
    given = {field.name: getattr(arguments, field.name) for field in fields(Sizes)}
    given = {name: value for name, value in given.items() if value is not None}
    for option, path, suffixes in (
        ("--figure", arguments.figure, (".png", ".svg")), ("--page", arguments.page, (".html",)),
    ):  # fmt: skip
        if path is not None and path.suffix not in suffixes:
            raise ValueError(f"{option} writes {' or '.join(suffixes)}, got {path}")
    if arguments.paper:
        _paper(arguments, given)
    else:
        _model(arguments, given)
    for what in (arguments.json, arguments.figure, arguments.page):
        if what is not None:
            print(f"written: {what}")


def _paper(arguments: argparse.Namespace, given: dict[str, object]) -> None:
    from minirembert.lab.ledger_report import paper_report, paper_text

    if given or arguments.model or arguments.page:
        raise ValueError("--paper has models of its own: it goes without sizes, --model and --page")
    print(paper_text())
    if arguments.json is not None:
        _write_json(arguments.json, paper_report())
    if arguments.figure is not None:
        from minirembert.figures import save_figure
        from minirembert.lab.ledger_figure import paper_figure

        save_figure(paper_figure(), arguments.figure)


def _model(arguments: argparse.Namespace, given: dict[str, object]) -> None:
    from minirembert.lab.ledger_report import report, text

    sizes = _sizes(arguments.model, given)
    convention = CONVENTIONS[arguments.convention]
    length = arguments.sequence_length
    if length is None:
        length = min(512, sizes.max_position_embeddings)
    made = report(sizes, convention, length, arguments.batch_size, arguments.dtype)
    print(text(sizes, made))
    if arguments.json is not None:
        _write_json(arguments.json, made)
    if arguments.figure is not None:
        from minirembert.figures import save_figure
        from minirembert.lab.ledger_figure import ledger_figure

        save_figure(ledger_figure(sizes, convention, length), arguments.figure)
    if arguments.page is not None:
        from minirembert.lab.ledger_page import write_ledger_page

        write_ledger_page(arguments.page, sizes, length, convention)


def _sizes(folder: Path | None, given: dict[str, object]) -> Sizes:
    if folder is None:
        return Sizes(**given)  # type: ignore[arg-type]  # argparse has made them what they should be
    if given:
        raise ValueError(
            f"--model takes all sizes from {folder}: it goes without --{next(iter(given)).replace('_', '-')}"
        )
    return Sizes.from_config(RemBertConfig.from_pretrained(folder))


def _write_json(path: Path, what: object) -> None:
    write_text_atomically(path, json_text(what, path.name))
