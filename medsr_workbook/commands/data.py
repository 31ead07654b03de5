"""The commands `medsr data ...`: see what images there are to work with, fetch and import sets, check them.

Sets and what they need are in `data_fetch.catalogue`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from data_fetch.catalogue import Source


def _data_folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Pass the folder on as the variable, which notebooks in kernels of their own see too."""
    if value is not None:
        os.environ["MEDSR_DATA"] = str(value.absolute())


DATA_FOLDER = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    expose_value=False,
    callback=_data_folder,
    help="Where fetched and imported sets are. [default: the environment variable MEDSR_DATA, or the user's cache]",
)


@click.group("data")
def data() -> None:
    """See what images there are to work with, fetch sets, import your own downloads.

    \b
    medsr data list
    medsr data get stare
    medsr data get isic --limit 50               50 images, and not all 10 GB
    medsr data import drive ~/Downloads/training.zip
    """


@data.command("list")
@DATA_FOLDER
def list_data() -> None:
    """List the data sets by name, and which of them are here."""
    from rich.console import Console
    from rich.table import Table

    import data_fetch
    from data_fetch import parts, store

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 150)
    table = Table("name", "what", "C x H x W", "train", "validation", "test", title="In packages", title_justify="left")
    for name in data_fetch.names():
        try:
            facts = data_fetch.describe(name)
        except data_fetch.DataError as error:
            table.add_row(name, f"not here: {error}")
            continue
        counts = [str(facts["scans"][split]) for split in ("train", "validation", "test")]
        table.add_row(name, facts["title"], " x ".join(map(str, facts["size"])), *counts)
    console.print(table)
    table = Table(
        "name", "what", "size", "licence", "by medsr data", "here", title="To fetch or import", title_justify="left"
    )
    for source in data_fetch.SOURCES.values():
        how = "get" if source.direct else "import"
        table.add_row(source.name, source.title, source.volume, source.licence, how, parts.status(source) or "no")
    console.print(table)
    click.echo(f"Fetched and imported sets are in {store.root()}. More on one: medsr data card NAME")
    click.echo("Your own: give a file or folder instead of a name (PNG, JPEG, TIFF, DICOM, NIfTI).")


@data.command("get")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--limit", type=click.IntRange(min=1), metavar="N",
              help="At most N image files of each set, spread over it, without the rest of the archive.")  # fmt: skip
@click.option("--accept", is_flag=True, help="I have read the terms and keep to them.")
@DATA_FOLDER
def get_data(names: tuple[str, ...], limit: int | None, accept: bool) -> None:
    """Fetch sets that need no account.

    Shows each set's terms the first time and asks whether you accept them. A download that broke off goes on where it
    was; digests are checked before anything is unpacked.
    """
    from data_fetch import acquire, parts, store

    for source in dict.fromkeys(parts.source_of(name) for name in names):
        if source.direct and store.accepted(source.name) != source.terms:
            click.echo(_card(source))
            if not accept:
                _ask(source)
    with _progress() as progress:
        acquire.get(names, accept=True, limit=limit, progress=progress, say=click.echo)


def _ask(source: Source) -> None:
    question = f"Do you accept the terms of {source.name}?"
    try:
        accepted = click.confirm(question)
    except click.Abort:  # nobody there to answer
        accepted = False
    if not accepted:
        raise ValueError(f"{source.name} is not fetched: its terms (above) are not accepted; to accept them: --accept")


@data.command("import")
@click.argument("name")
@click.argument("path", metavar="FILE_OR_FOLDER", type=click.Path(exists=True, path_type=Path))
@DATA_FOLDER
def import_data(name: str, path: Path) -> None:
    """Take in a set that you downloaded yourself: an official archive, or a folder of its files.

    An archive is unpacked into the data folder, a folder stays where it is. Sets of several archives are imported one
    after the other. Says what is missing.
    """
    from data_fetch import bring, parts

    click.echo(_card(parts.source_of(name)))
    with _progress() as progress:
        bring.bring(name, path, progress=progress, say=click.echo)


@data.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@DATA_FOLDER
def check_data(names: tuple[str, ...]) -> None:
    """Compare every file with the digest it had when it came; without a NAME, of all sets that are here."""
    import data_fetch
    from data_fetch import parts, store

    here = [name for name in data_fetch.SOURCES if store.parts(name, whole=False)]
    wrong = []
    for name in names or here:
        with _progress() as progress:
            problems = parts.check(name, progress=progress)
        for problem in problems[:20]:
            click.echo(problem)
        click.echo(f"{name}: {f'{len(problems)} files are wrong' if problems else 'every file is as it came'}")
        wrong += [name] if problems else []
    if wrong:
        raise ValueError(f"no longer counted as here: {', '.join(wrong)}; get or import them again")


@data.command("card")
@click.argument("name")
@DATA_FOLDER
def card_data(name: str) -> None:
    """Show one set's citation, licence and terms, where it comes from and what its files are called."""
    import data_fetch
    from data_fetch import parts

    if name in data_fetch.names():
        click.echo(_facts({key: data_fetch.describe(name)[key] for key in ("title", "origin", "licence", "citation")}))
    else:
        click.echo(_card(parts.source_of(name)))


@data.command("show")
@click.argument("name")
@DATA_FOLDER
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
        "upright": "yes: mirrored in training, never turned" if scans.upright else "no: may be turned in training",
        "origin": scans.origin,
        "licence": scans.licence,
        "citation": scans.citation,
    }
    click.echo(_facts(facts))


def _card(source: Source) -> str:
    from data_fetch import fetched, parts

    rows, columns = source.size
    return _facts(
        {
            "set": f"{source.name}: {source.title}",
            "citation": source.citation,
            "licence": source.licence,
            "terms": source.terms,
            "page": source.page,
            "to get": fetched.how_to_get(source),
            "archives": ", ".join(f"{a.file} ({a.digest or 'no digest known'})" for a in source.archives) or "various",
            "files": source.layout,
            "HR": f"{rows}x{columns}",
            "here": parts.status(source) or "no",
        }
    )


def _facts(facts: dict[str, Any]) -> str:
    return "\n".join(f"{key + ':':10}{value}" for key, value in facts.items())


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Bars on stderr, with size and remaining time; silent where nobody watches."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TextColumn("{task.fields[amount]}"),
        progress.TimeRemainingColumn(),
    )  # fmt: skip
    from data_fetch.store import in_words

    with progress.Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def show(label: str, done: int, total: int | None) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total, amount="")
            words: Callable[[int], Any] = str if " " in label else in_words  # a file's bytes, or a number of files
            amount = f"{words(done)} of {words(total)}" if total is not None else str(words(done))
            bars.update(tasks[label], completed=done, total=total, amount=amount)

        yield show
