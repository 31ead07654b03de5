"""Tables of scores: for the terminal, and for the index page of a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medsr_core.measures import evaluation


def table(scores: Sequence[dict[str, Any]]) -> Table:
    """The summary for an 80-column terminal: mean and 95 % interval; the best bold, what is not told from it ≈."""
    rows = evaluation.summary(scores)
    out = Table(title=r"Scores: mean \[95 % interval]", box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    out.title_justify = out.caption_justify = "left"
    out.caption = "bold: best. ≈: not told from it, image by image. n: images (subjects).\n"
    out.caption += "D(SR)−LR: consistency, mean square ×10⁻⁵."
    if any(row["subjects"] == 1 for row in rows):
        out.caption += "\nOne subject: the interval is over its images and says nothing about other people."
    out.add_column("method")
    for heading in ("n", *(evaluation.METRICS[metric] for metric in evaluation.measured(rows))):
        out.add_column(heading, justify="right", no_wrap=True)
    for (data, factor), block in evaluation.blocks(rows).items():
        out.add_row(f"[bold]{escape(data)} ×{factor}[/bold]")
        for row in block:
            cells = (_cell(row, block, metric) for metric in evaluation.measured(rows))
            out.add_row(row["method"], f"{row['n']} ({row['subjects']})", *cells, end_section=row is block[-1])
    return out


def _cell(row: dict[str, Any], block: list[dict[str, Any]], metric: str) -> str:
    interval = row[metric]
    if interval is None:
        return "exact"
    scale, digits = {"psnr": (1, 2), "ssim": (1, 3), "consistency": (1e5, 2), "features": (1, 3)}[metric]
    values = (scale * value for value in (interval.mean, interval.low, interval.high))
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    if metric in ("ssim", "features"):
        mean, low, high = (text.removeprefix("0") for text in (mean, low, high))
    if row is min(block, key=lambda other: evaluation.badness(other, metric)):
        mean = f"[bold]{mean}[/bold]"
    tie = "≈" if metric in row["tied"] else " "
    if metric in ("consistency", "features"):  # its interval is in the summary; here it would not fit
        return f"{mean} {tie}"
    return rf"{mean} \[{low}, {high}] {tie}" if interval.n > 1 else f"{mean} (one image) {tie}"


def show(scores: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the table, at its full width where the output is a file or a pipe."""
    if not console.is_terminal:
        console.width = max(console.width, 100)
    console.print(table(scores))


def html_table(scores: Sequence[dict[str, Any]]) -> str:
    """The same table as HTML, for the index page of a run."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(scores))
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
