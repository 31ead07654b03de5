"""The pages of the web site: notebooks with their stored output, guide, glossary, cards of the weights, commands, code.

They are Markdown, laid out as the repository is. `make site` has Sphinx (requirements-site.lock, docs/conf.py) turn
them into HTML, which any browser reads and searches without a network. Nothing is run. The student's edition has
neither the guide nor the solutions.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nbformat

from medsr_workbook.editions import role, without_solutions
from medsr_workbook.pages import NOTE, is_panel, outside_code
from medsr_workbook.slides import formulas

ROOT = Path(__file__).resolve().parent.parent
PLACE = Path("build/pages")
GUIDE = "notebooks/lecturer.md"
HOME = "README.md"  # the first page, index
PACKAGES = ("medsr_core", "medsr_workbook", "data_fetch")
LINK = re.compile(r"(?<!!)\[([^][]*)\]\((?![a-z]+:|#)([^)\s#]+)\)")
IMAGE = re.compile(r"!\[[^]]*\]\((?![a-z]+:)([^)\s]+)\)")
NAMES = {"setup": "Code: set-up", "claim": "Code: the claims, held against the numbers"}  # of what is folded
TREE = '```{{toctree}}\n:caption: "{}"\n:hidden:\n:maxdepth: 1\n\n{}\n```'


# --- what there is --------------------------------------------------------------------------------------------------


def parts(edition: str) -> dict[str, dict[str, str]]:
    """The site's table of contents: heading -> {page: file of the repository that it shows, or module or command}."""
    files = {
        "Notebooks": sorted(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")),
        "For lecturers": [GUIDE] if edition == "lecturer" else [],
        "To look up": [f"docs/{name}.md" for name in ("glossary", "large_runs", "architecture")]
        + ["CONTRIBUTING.md", "CHANGELOG.md"],
        "Code": ["examples/restore.py"],
    }
    found = {heading: {path.rpartition(".")[0]: path for path in paths} for heading, paths in files.items() if paths}
    found["To look up"] |= {"commands": "commands", "weights": "weights"}
    found["Code"] |= {f"api/{package}": package for package in packages()}
    return found


def packages() -> dict[str, list[str]]:
    """Package -> dotted names of itself and its modules; without commands, which have a page, and what is private."""
    found: dict[str, list[str]] = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        *package, module = path.relative_to(ROOT).with_suffix("").parts
        if not module.startswith("__main") and "commands" not in package:
            names = found.setdefault(".".join(package), [])
            names.append(".".join([*package, module]).removesuffix(".__init__"))
    return found


# --- one page -------------------------------------------------------------------------------------------------------


def prose(text: str, source: str, pages: dict[str, str]) -> str:
    """Markdown of a file of the repository, with links to pages of the site; what is not on it is named, not linked."""
    here = Path(source).parent

    def linked(found: re.Match[str]) -> str:
        target = os.path.normpath(here / found[2])
        if target not in pages:
            return found[1]
        return f"[{found[1]}]({os.path.relpath(pages[target], here)}.md)"

    return outside_code(formulas(text), partial(LINK.sub, linked))


def notebook(path: str, place: Path, pages: dict[str, str], *, solutions: bool) -> str:
    """A stored notebook as Markdown; its figures are written beside it."""
    texts = []
    for cell in nbformat.read(ROOT / path, as_version=4).cells:
        if cell.cell_type == "markdown":
            texts.append(prose(cell.source if solutions else without_solutions(cell.source), path, pages))
        else:
            texts += [_code(cell), *(_shown(output, cell, i, place) for i, output in enumerate(cell.outputs))]
    return "\n\n".join(filter(None, texts))


def _code(cell: Any) -> str:
    """The code of a cell; behind a line to click on if it sets up or holds claims against the numbers."""
    block, name = f"````python\n{cell.source}\n````", NAMES.get(role(cell))
    return f"<details><summary>{name}</summary>\n\n{block}\n\n</details>" if name else block


def _shown(output: Any, cell: Any, number: int, place: Path) -> str:
    """What a cell's output shows, as Markdown: a figure, which is written to a file, or a text."""
    data = output.get("data", {})
    note = NOTE if is_panel(data) else ""
    if "image/png" in data:
        file = f"{cell.id}-{number}.png"
        (place / file).write_bytes(base64.b64decode(data["image/png"]))
        alt = re.sub(r"([\\`*_<>\[\]&$])", r"\\\1", output.metadata["image/png"]["alt"])
        return f"![{alt}]({file})\n\n{note}".strip()
    if "text/markdown" in data:
        return str(data["text/markdown"])
    text = str(output.get("text", data.get("text/plain", ""))).rstrip()
    return note or (f"````text\n{text}\n````" if text else "")


def example(path: str) -> str:
    """A script, whole."""
    return f"# {Path(path).name}\n\n```python\n{(ROOT / path).read_text(encoding='utf-8')}```"


def commands() -> str:
    """What `medsr --help` says, and the help of each command."""
    import click

    from medsr_workbook.commands.main import main

    def help_of(command: click.Command | None, name: str, parent: click.Context | None) -> list[str]:
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, terminal_width=78)
        texts = [f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```"]
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                texts += help_of(command.get_command(context, inner), inner, context)
        return texts

    return "\n\n".join(["# The commands", *help_of(main, "medsr", None)])


def cards(place: Path) -> str:
    """The list of the model cards, which are written into a folder."""
    place.mkdir(exist_ok=True)
    names = []
    for card in sorted((ROOT / "medsr_core/weights").glob("*.md")):
        (place / card.name).write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
        names.append(f"{place.name}/{card.stem}")
    return "# The trained weights\n\n```{toctree}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```"


def _module(name: str) -> str:
    """Its docstrings, in the order of its code."""
    return f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :member-order: bysource\n```"


# --- all of them ----------------------------------------------------------------------------------------------------


def write(place: Path, edition: str = "lecturer") -> None:
    """Write the pages of an edition, "lecturer" or "student", into a folder, which should not have others."""
    contents = parts(edition)
    pages = {source: page for group in contents.values() for page, source in group.items()} | {HOME: "index"}
    for source, page in pages.items():
        target = place / f"{page}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_page(source, target.parent, pages, solutions=edition == "lecturer") + "\n", encoding="utf-8")
    with (place / "index.md").open("a", encoding="utf-8") as index:
        for heading, group in contents.items():
            index.write("\n" + TREE.format(heading, "\n".join(group)) + "\n")


def _page(source: str, place: Path, pages: dict[str, str], *, solutions: bool) -> str:
    """The Markdown of one page. What lies beside it is written, too."""
    if source.endswith(".ipynb"):
        return notebook(source, place, pages, solutions=solutions)
    if source.endswith(".py"):
        return example(source)
    if source == "commands":
        return commands()
    if source == "weights":
        return cards(place / source)
    if source in packages():
        return f"# `{source}`\n\n" + "\n\n".join(map(_module, packages()[source]))
    text = (ROOT / source).read_text(encoding="utf-8")
    for image in IMAGE.findall(text):
        file = place / image
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((ROOT / source).parent.joinpath(image).read_bytes())
    return prose(text, source, pages)


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m medsr_workbook.site`: write the pages."""
    parser = argparse.ArgumentParser(prog="python -m medsr_workbook.site", description=__doc__)
    parser.add_argument("--edition", choices=("lecturer", "student"), default="lecturer", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=PLACE, help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    write(options.out, options.edition)


if __name__ == "__main__":
    main()
