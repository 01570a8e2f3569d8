"""One page with all claims: rule, verdict, our figure beside the paper's, numbers. One HTML file that fetches nothing."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from minirembert.files import write_text_atomically
from minirembert.lab.claims.comparison import Finding
from minirembert.lab.claims.results import ClaimResult
from minirembert.lab.report.figures import claim_figure
from minirembert.lab.report.paper_figures import paper_figure


def write_page(results: Sequence[ClaimResult], folder: Path) -> Path:
    """Writes `folder`/index.html and returns its path."""
    profiles = sorted({result.profile for result in results})
    path = folder / "index.html"
    body = "\n".join([_overview(results), *(_section(result) for result in results)])
    write_text_atomically(path, PAGE.format(style=STYLE, profile=_text(", ".join(profiles)), body=body))
    return path


def _overview(results: Sequence[ClaimResult]) -> str:
    rows = "".join(
        f'<tr><td><a href="#claim-{result.claim.name}">{result.claim.name}</a></td><td>{_text(result.claim.title)}</td>'
        f"<td><b>{_text(result.judgement.verdict)}</b></td><td>{_minutes(result)}</td></tr>"
        for result in results
    )
    head = "<tr><th></th><th>claim</th><th>verdict</th><th>minutes of runs</th></tr>"
    note = "Minutes: all runs of a claim, one after the other. Claims share runs, so minutes do not add up."
    return f'<div class="wide"><table>{head}{rows}</table></div><p class="small">{note}</p>'


def _section(result: ClaimResult) -> str:
    claim = result.claim
    paper = paper_figure(claim.name)
    figures = _figure(claim_figure(result), f"Claim {claim.name}, measured: {result.judgement}")
    if paper is not None:
        figures += _figure(paper, f"What the paper has on claim {claim.name}")
    return f"""<section id="claim-{claim.name}"><h2>{claim.name}. {_text(claim.title)}</h2>
<p class="verdict">{_text(str(result.judgement))}</p>
<dl><dt>The paper</dt><dd>{_text(claim.paper)}</dd><dt>Asked here</dt><dd>{_text(claim.question)}</dd>
<dt>The rule, written before the runs</dt><dd>{_text(claim.rule)}</dd></dl>
<div class="figures{" beside" * (paper is not None)}">{figures}</div>
{_findings(result.judgement.findings)}
{_numbers(result)}
<p class="small">{_text(_made(result))}</p></section>"""


def _findings(findings: Sequence[Finding]) -> str:
    rows = []
    for finding in findings:
        cells = [finding.what + ("" if finding.required else " (beside the rule)"), finding.condition]
        if (of := finding.interval) is not None:
            cells += [f"{of.mean:+.3f}", f"{of.low:+.3f} to {of.high:+.3f}", f"{of.sd:.3f}", str(of.n)]
        else:
            cells += ["", "", "", str(len(finding.values)) if finding.values else ""]
        cells.append(f"{finding.outcome} ({finding.note})" if finding.note else finding.outcome)
        rows.append(_row(cells))
    head = (
        "<tr><th>compared</th><th>claimed</th><th>mean</th><th>95% interval</th><th>SD</th><th>seeds</th><th></th></tr>"
    )
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _numbers(result: ClaimResult) -> str:
    """Every run: a row for each arm and quantity, a column for each seed; of curves over layers the medians."""
    if not result.claim.panels:
        head = ["", "printed", "met", "neither met nor explained"]
        rows = [[arm, *(str(value) for value in run[0].values())] for arm, run in result.runs.items()]
    else:
        head = ["", "", "median", *(f"seed {seed}" for seed in result.seeds)]
        rows = []
        for arm, quantities in result.claim.columns.items():
            for name in quantities:
                values = [run[name] for _, run in sorted(result.runs[arm].items())]
                rows.append([result.labels[arm], name, *_cells(values)])
    body = "".join(_row(cells) for cells in rows)
    heading = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    table = f'<div class="wide"><table><tr>{heading}</tr>{body}</table></div>'
    return f"<details><summary>The numbers</summary>{table}</details>"


def _cells(values: Sequence[Any]) -> list[str]:
    if isinstance(values[0], list):
        by_layer = [f"{median(of):.3f}" for of in zip(*values, strict=True)]
        return ["by layer: " + " ".join(by_layer), *(" ".join(f"{x:.2f}" for x in value) for value in values)]
    return [f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}" for value in (median(values), *values)]


def _made(result: ClaimResult) -> str:
    of = result.provenance
    made = "; ".join(
        f"at commit {run['commit']} with " + ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        for run in of["runs"]
    )
    return f"Profile {result.profile}. Judged {of['date']} at commit {of['commit']}." + (
        f" Run {made}." if made else ""
    )


def _minutes(result: ClaimResult) -> str:
    return f"{result.seconds / 60:.1f}" if result.seconds else "-"


def _figure(figure: Any, description: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return f'<figure role="img" aria-label="{_text(description)}">{text[text.index("<svg") :]}</figure>'


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _text(text: str) -> str:
    return html.escape(text)


STYLE = """
body { font: 17px/1.5 Georgia, serif; max-width: 88rem; margin: 3rem auto; padding: 0 1rem; color: #222; }
h1, h2 { font-weight: normal; } section { margin-top: 3.5rem; border-top: 1px solid #bbb; }
p, dl { max-width: 46rem; } dt { font-weight: bold; } dd { margin: 0 0 .6rem 0; }
.verdict { display: inline-block; border: 2px solid #222; padding: .2rem .8rem; margin: 0; font-weight: bold; }
figure { margin: 1rem 0; } @media (min-width: 60rem) { .beside { display: grid; gap: 1.5rem;
grid-template-columns: minmax(0, 3fr) minmax(0, 1fr); align-items: end; } }
svg { max-width: 100%; height: auto; } .small, details { font-size: 14px; color: #555; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 15px; } td, th { padding: .3rem .9rem .3rem 0; text-align: left;
vertical-align: top; border-bottom: 1px solid #ddd; } details table { font-size: 13px; }
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>The embedding-coupling lab: claims and verdicts</title><style>{style}</style></head>
<body><h1>The embedding-coupling lab: what shows, and what does not</h1>
<p>Claims of "Rethinking Embedding Coupling in Pre-trained Language Models" (Chung et al., ICLR 2021) and some beside it, tried
on small models. Profile: {profile}. Each dot is a seed. Runs of one seed share corpus, batches and first weights, so they are
compared in pairs: a difference is <b>shown</b> if the 95% t-interval of its mean lies wholly on the claimed side, and
<b>equal within the band</b> if it lies wholly inside the stated band. One that does both is shown, with the note "inside the
band": certain, but too small to count. Otherwise it is <b>not shown</b>, which is not the same
as refuted. What is shown of a model this small need not hold for a large one.</p>
{body}
</body></html>
"""
