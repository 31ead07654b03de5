"""The command `medsr sweep`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from medsr_workbook.commands.options import SCHEDULER


@click.command()
@click.argument("notebooks", nargs=-1, required=True, metavar="NOTEBOOK...")
@click.option("-p", "--parameter", "given", multiple=True, required=True, metavar="NAME=VALUES",
              help="A parameter's values: A,B,C, or whole numbers 0..4. Repeat for more.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Processes on this machine. [default: one for each core]")
@SCHEDULER
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="sweep", show_default=True,
              help="Folder for the results; open its index.html.")  # fmt: skip
def sweep(
    notebooks: tuple[str, ...], given: tuple[str, ...], workers: int | None, scheduler: str | None, out: Path
) -> None:
    """Run notebooks with every combination of parameters.

    \b
    medsr sweep 04 07 -p data=brain,fundus -p n_images=4,8 -p seed=0..4

    A NOTEBOOK is a number, a name or a file, and takes those of the parameters that it has. All numbers that the
    notebooks show go to one table, numbers.csv in the folder --out; figures, pages and tracebacks are beside it.

    Call it again to go on where it was stopped: what is done is not done again, what failed is tried again. A
    notebook that fails does not stop the others, nor does a worker that dies. docs/large_runs.md has clusters.
    """
    from medsr_workbook import cluster, progress, runner
    from medsr_workbook import sweep as work
    from medsr_workbook.commands.run import known_data

    values = [work.spell_out(text) for text in given]
    values = [(name, list(map(known_data, texts)) if name == "data" else texts) for name, texts in values]
    runs = work.grid(runner.choose(notebooks), values)
    out.mkdir(parents=True, exist_ok=True)
    with cluster.client(scheduler, workers, folder=out.resolve()) as client, progress.bar() as report:
        results = work.sweep(client, runs, out, report=report)
    failed = [result for result in results if result["error"]]
    for result in failed:
        told = ", ".join(f"{name}={value}" for name, value in result["values"].items())
        click.echo(f"{result['notebook']} ({told}) failed in {result['error'].splitlines()[0]}")
    click.echo(f"{len(results) - len(failed)} of {len(results)} runs are there. Results: {out / 'index.html'}")
    sys.exit(1 if failed else 0)
