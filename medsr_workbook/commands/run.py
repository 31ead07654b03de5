"""The command `medsr run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medsr_workbook.commands.options import DEFAULT_METHODS

if TYPE_CHECKING:
    from rich.console import Console

EMBEDDED_LIMIT = 3


@click.command()
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Set a notebook's parameter, e.g. -p factor 8. Repeat for more.")  # fmt: skip
@click.option("--data", metavar="NAME_OR_PATH", help="Run on this data set, or on your own image or folder of images.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="runs", show_default=True,
              help="Folder for the results; open its index.html.")  # fmt: skip
@click.option("--scores/--no-scores", default=True, show_default=True, help="End with a table of scores.")
def run(
    notebooks: tuple[str, ...], given: tuple[tuple[str, str], ...], data: str | None, out: Path, scores: bool
) -> None:
    """Run notebooks and collect their results.

    All of them in order, or those named: a NOTEBOOK is a number (2 or 02), a name or a file. Your files in notebooks/
    are not changed: the executed copies, an HTML page of each and an index page go to the folder --out. A notebook
    that fails does not stop the others.
    """
    from rich.console import Console

    from medsr_workbook import runner

    console = Console()
    values = list(given)
    if data is not None:
        data = known_data(data)
        values.append(("data", data))
    assigned = runner.assign(runner.choose(notebooks), values)
    results = runner.run(assigned, out, report=lambda result: _report(result, console))
    index = runner.write_index(results, out)
    if scores:
        fragment = _score_all([data] if data else None, out / "scores.json", console)
        index = runner.write_index(results, out, scores=fragment)
    failed = [result.notebook.stem for result in results if result.error]
    console.print(f"\nResults: [bold]{index}[/bold] (open it in a browser)", soft_wrap=True, highlight=False)
    if failed:
        console.print(f"[bold red]{len(failed)} of {len(results)} notebooks stopped:[/bold red] {', '.join(failed)}")
        sys.exit(1)


def known_data(name: str) -> str:
    """A set's name as it is, or the absolute path of an existing file or folder, since notebooks run elsewhere."""
    import data_fetch

    if name in data_fetch.names() or data_fetch.parse(name) or not Path(name).exists():
        data_fetch.load(name, limit=1)  # raises if it is not here, and says what to do
        return name
    return str(Path(name).resolve())


def _report(result: Any, console: Console) -> None:
    from rich.markup import escape

    if result.error:
        console.print(f"[bold red]{escape(result.notebook.stem)} stopped[/bold red] in {escape(result.error)}")


def _score_all(names: list[str] | None, target: Path, console: Console) -> str:
    """Score every method on each set; print the table, write the scores and return the table as HTML."""
    import data_fetch
    from medsr_core import networks
    from medsr_core.measures import evaluation
    from medsr_workbook import tables

    scores = []
    for name in names or data_fetch.names():
        try:
            scans = data_fetch.load(name, limit=EMBEDDED_LIMIT)
        except data_fetch.DataError as error:
            console.print(f"{name} is not scored: {error}")
            continue
        trained = [method for method in networks.TRAINED if "general" in networks.available(method)]
        scores += evaluation.evaluate(scans, [*DEFAULT_METHODS.split(","), *trained])
    evaluation.write_json(scores, target)
    console.print()
    tables.show(scores, console)
    return tables.html_table(scores)
