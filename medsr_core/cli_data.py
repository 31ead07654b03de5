"""The commands `medsr data ...`: see what images there are to work with."""

from __future__ import annotations

import click


@click.group("data")
def data_group() -> None:
    """See what images there are to work with."""


@data_group.command("list")
def list_data() -> None:
    """List the data sets by name."""
    from rich.console import Console
    from rich.table import Table

    import data_fetch

    table = Table("name", "what", "C x H x W", "train", "validation", "test", title="Data sets", title_justify="left")
    for name in data_fetch.names():
        try:
            facts = data_fetch.describe(name)
        except data_fetch.DataError as error:
            table.add_row(name, f"not here: {error}")
            continue
        counts = [str(facts["scans"][split]) for split in ("train", "validation", "test")]
        table.add_row(name, facts["title"], " x ".join(map(str, facts["size"])), *counts)
    Console().print(table)
    click.echo("Your own: give a file or folder instead of a name (PNG, JPEG, TIFF, DICOM, NIfTI).")


@data_group.command("show")
@click.argument("name")
def show_data(name: str) -> None:
    """Show one data set's origin, licence, citation and size; NAME may be a folder of your own."""
    import data_fetch

    scans = data_fetch.load(name)
    first = scans[0]
    channels, height, width = first.pixels.shape[1:]
    spacing = "unknown" if first.spacing is None else " x ".join(f"{side:g}" for side in first.spacing) + " mm"
    facts = {
        "title": scans.title,
        "images": f"{len(scans)}, of {len({scan.subject for scan in scans.entries})} subject(s)",
        "first": f"{first.name}, {height}x{width}, {'gray' if channels == 1 else 'RGB'}, pixel spacing {spacing}",
        "origin": scans.origin,
        "licence": scans.licence,
        "citation": scans.citation,
    }
    for key, value in facts.items():
        click.echo(f"{key + ':':10}{value}")
