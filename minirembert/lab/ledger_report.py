"""The ledger of one model, or of all the paper's, as data and as text."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from minirembert.lab.conventions import FINETUNING, HUGGING_FACE, PHASES, PRETRAINING, Convention, Phase
from minirembert.lab.ledger import BACKWARD, flops, masked_positions, memory, parameters
from minirembert.lab.paper import ROWS, Row
from minirembert.lab.sizes import Sizes

TOTAL = "total"


def report(
    sizes: Sizes,
    convention: Convention = HUGGING_FACE,
    sequence_length: int = 512,
    batch_size: int = 32,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Everything that the ledger knows of a model, made of what JSON has; each table with its total.

    FLOPs are forward, for a token. The convention is for the table of parameters alone: FLOPs and bytes are of the model that
    runs, which is Hugging Face's. Raises ValueError for what no batch is.
    """
    masked = masked_positions(sequence_length)
    runs: dict[str, tuple[Phase, int | None]] = {
        "every position scored": (PRETRAINING, None),
        f"{masked} scored": (PRETRAINING, masked),
        FINETUNING: (FINETUNING, None),
    }
    work = {name: flops(sizes, phase, sequence_length, scored) for name, (phase, scored) in runs.items()}
    bytes_ = {name: memory(sizes, phase, batch_size, sequence_length, n, dtype) for name, (phase, n) in runs.items()}
    return {
        "sizes": asdict(sizes),
        "convention": asdict(convention),
        "sequence_length": sequence_length,
        "batch_size": batch_size,
        "dtype": dtype,
        "parameters": {phase: _with_total(parameters(sizes, phase, convention)) for phase in PHASES},
        "flops_per_token_forward": {name: _with_total(of) for name, of in work.items()},
        "backward_per_forward": BACKWARD,
        "bytes": {name: _with_total(of) for name, of in bytes_.items()},
    }


def text(sizes: Sizes, of: Mapping[str, Any]) -> str:
    """A report for reading."""
    length, batch = of["sequence_length"], of["batch_size"]
    blocks = (
        str(sizes),
        _table(f"parameters, as {of['convention']['name']} counts them", of["parameters"], 1, ",.0f"),
        _table(
            f"millions of FLOPs for a token, forward (backward: {BACKWARD} times as many), S = {length:,}",
            of["flops_per_token_forward"], 1e6, ",.1f",
        ),
        _table(
            f"gigabytes to train with AdamW, {of['dtype']}, {batch:,} x {length:,} tokens, without activations",
            of["bytes"], 1e9, ",.2f",
        ),
    )  # fmt: skip
    return "\n\n".join(blocks)


def paper_report() -> list[dict[str, Any]]:
    """The paper's rows: sizes, scores, printed figures (millions; share in percent), ours, and why they differ."""
    return [
        {
            "tables": list(row.tables),
            "name": row.name,
            "sizes": asdict(row.sizes),
            "convention": asdict(row.convention),
            "printed": row.printed._asdict(),
            "recounted": row.recount()._asdict(),
            "parameters": {phase: row.parameters(phase) for phase in PHASES},
            "scores": dict(row.scores),
            "why": row.why,
        }
        for row in ROWS
    ]


def paper_text() -> str:
    """The paper's rows for reading: each printed figure, ours beside it, and a sentence where they differ."""
    head = ("table", "model", "V", "E", "H", "L", "O", "pre-training", "fine-tuning", "embedding", "share %", "counted")
    rows = [head, *(_paper_line(row) for row in ROWS)]
    lines = _columns(rows, left=(0, 1, len(head) - 1))
    why = [f"* {row.name}: {row.why}" for row in ROWS if row.why]
    return "\n".join(
        (
            "Millions of parameters as printed; = is our own count too, else it follows after a slash.",
            "",
            *lines,
            "",
            *why,
        )
    )


def _paper_line(row: Row) -> tuple[str, ...]:
    sizes = row.sizes
    figures = [
        "" if theirs is None else f"{theirs} =" if theirs == ours else f"{theirs} / {ours}"
        for theirs, ours in zip(row.printed, row.recount(), strict=True)
    ]
    return (
        ", ".join(map(str, row.tables)), row.name + (" *" if row.why else ""), f"{sizes.vocab_size:,}",
        str(sizes.input_embedding_size), str(sizes.hidden_size), str(sizes.num_hidden_layers),
        "tied" if sizes.tied else str(sizes.outputs), *figures, row.convention.name,
    )  # fmt: skip


def _with_total(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, TOTAL: sum(values.values())}


def _table(title: str, columns: Mapping[str, Mapping[str, float]], unit: float, format_: str) -> str:
    """One column for each mapping; a row that is zero in all of them is left out."""
    first = next(iter(columns.values()))
    names = [name for name in first if name == TOTAL or any(values[name] for values in columns.values())]
    rows = [("", *columns)]
    for name in names:
        rows.append(
            (name, *(format(values[name] / unit, format_) if values[name] else "-" for values in columns.values()))
        )
    lines = _columns(rows, left=(0,))
    lines.insert(-1, "-" * len(lines[0]))
    return "\n".join((title, "", *lines))


def _columns(rows: list[tuple[str, ...]], left: tuple[int, ...]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
