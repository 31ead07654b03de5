"""The commands `medsr weights ...`: the trained weights, and their model cards, which are made from their headers."""

from __future__ import annotations

from pathlib import Path

import click

from medsr_core import networks
from medsr_workbook import cards


@click.group()
def weights() -> None:
    """See the trained weights and what they were trained on.

    \b
    medsr weights list
    medsr weights card sr3-brain
    """


@weights.command("list")
def list_weights() -> None:
    """List the shipped weights: method, factor, parameters, training data."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table("weights", "for", "parameters", "steps", "trained on", box=SIMPLE, show_edge=False)
    for file in networks.shipped():
        about = networks.about(file.path)
        sets = ", ".join(each["name"] for each in about.get("data", []))
        table.add_row(
            file.path.stem, f"{file.factor}x", f"{cards.parameters(about):,}", str(about.get("steps", "?")), sets
        )
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)
    console.print(table)


@weights.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="Of all shipped weights.")
@click.option("--write", is_flag=True, help="Write NAME.md beside the weights instead of printing it.")
def card(names: tuple[str, ...], every: bool, write: bool) -> None:
    """Show the model card of weights: a shipped NAME such as sr3-brain, or a .safetensors file."""
    if bool(names) == every:
        raise click.UsageError("name some weights, or give --all")
    for path in [file.path for file in networks.shipped()] if every else [networks.path_of(name) for name in names]:
        text = cards.card(path)
        if write:
            target = Path(path).with_suffix(".md")
            target.write_text(text, encoding="utf-8")
            click.echo(target)
        else:
            click.echo(text)
