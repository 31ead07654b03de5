"""Slides for the lecture, from the stored notebooks: one HTML file each, which asks nothing of any other.

A slide is a few paragraphs under their heading, or what one cell of code shows. Code is seen only where it is an
exercise; set-up, claims, checks and solutions are not. What is too high for the screen is made smaller until it fits.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nbformat

from medsr_workbook import runner
from medsr_workbook.editions import role, without_solutions
from medsr_workbook.pages import outside_code, picture

PLACE = Path("build/slides")
WORDS = 90  # of text on a slide
LINE = 30  # words: what a cell shows in fewer goes below the figure before it
SIZE = 10  # points, matplotlib's letters
# what matplotlib calls otherwise, or does not need
SPELLED = {
    r"\\[lr]Vert(?![a-zA-Z])": r"\\|",
    r"\\[lr]vert(?![a-zA-Z])": "|",
    r"\\[bB]igg?[lrm]?(?![a-zA-Z])|\\(text|display)style": "",
    r"\\tfrac": r"\\frac",
    r"\\([lg]e)\b": r"\\\1q",
}
FORMULA = re.compile(r"(?<![\\$])(\$\$?)(?=\S)([^$]+?)(?<=\S)\1(?!\d)")


def deck(notebook: Any) -> Any:
    """The notebook as slides: one markdown cell each."""
    slides: list[str] = []
    heading, figure = "", False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            pages = _pages(cell.source, heading)
            slides += [text for _, text in pages]
            heading, figure = pages[-1][0] if pages else heading, False
        elif text := _shown(cell):
            exercise = "exercise" in cell.metadata.get("tags", ())
            if (exercise and slides) or (
                figure and len(text.split()) <= LINE and "|" not in text and "<img" not in text
            ):
                slides[-1] += "\n\n" + text
            else:
                slides.append(f"{heading}\n\n{text}")
            figure = not exercise
    cells = [nbformat.v4.new_markdown_cell(formulas(text), id=f"slide{i}") for i, text in enumerate(slides, 1)]
    return nbformat.v4.new_notebook(cells=cells)


def _pages(text: str, heading: str) -> list[tuple[str, str]]:
    """(heading, text) of the slides of a markdown cell: a new one at each heading, and when WORDS are exceeded."""
    pages: list[tuple[str, str]] = []
    page: list[str] = []
    for block in re.split(r"(?<!:)\n\n", without_solutions(text)):  # what a colon announces stays with it
        if block.startswith(("Back: ", "Next: ")):
            continue
        full = sum(len(part.split()) for part in [*page, block]) > WORDS
        if page and (block.startswith("#") or (full and page != [heading])):
            pages.append((heading, "\n\n".join(page)))
            page = []
        if block.startswith("#"):
            heading = block.split("\n")[0]
        elif not page and heading:
            page = [heading]
        page.append(block)
    return pages + ([(heading, "\n\n".join(page))] if page else [])


def _shown(cell: Any) -> str:
    """What a code cell puts on a slide, as Markdown: its figures and tables, or an exercise's stub."""
    tags = cell.metadata.get("tags", ())
    if "exercise" in tags:
        return f"```python\n{cell.source}\n```"
    if "check" in tags or role(cell) in ("setup", "claim"):
        return ""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            parts.append(picture(data["image/png"], output.metadata.get("image/png", {}).get("alt")))
        elif "text/markdown" in data:
            parts.append(data["text/markdown"])
    return "\n\n".join(parts)


def formulas(text: str) -> str:
    """$…$ and $$…$$ as pictures with the source as alternative text, since MathJax would come from another host."""
    return outside_code(text, partial(FORMULA.sub, _typeset))


def _typeset(found: re.Match[str]) -> str:
    kind = "display" if found[1] == "$$" else "inline"
    body = re.sub(r"\\(begin|end)\{\w+\*?\}|\\tag\{[^}]*\}|&", "", found[2])
    return "".join(_drawn(" ".join(line.split()), kind) for line in body.split(r"\\") if line.strip())


def _drawn(source: str, kind: str) -> str:
    """A formula as matplotlib sets it, as high as the text around it; as code if matplotlib cannot set it."""
    from matplotlib import mathtext

    known, drawn = source, io.BytesIO()
    for latex, ours in SPELLED.items():
        known = re.sub(latex, ours, known)
    try:
        depth = mathtext.math_to_image(f"${known}$", drawn, format="svg", dpi=72)
    except ValueError:
        return f"`{source}`"
    svg = drawn.getvalue()
    height = float(re.search(rb'height="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    style = f"height: {height / SIZE:.2f}em; vertical-align: {-depth / SIZE:.2f}em"
    data, alt = base64.b64encode(svg).decode(), html.escape(source, quote=True)
    return f'<img class="{kind}" style="{style}" src="data:image/svg+xml;base64,{data}" alt="{alt}">'


def export(path: Path, place: Path) -> Path:
    """Write the slides of a stored notebook into a folder."""
    from jinja2 import FileSystemLoader
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    loader = FileSystemLoader(Path(__file__).parent)
    exporter = HTMLExporter(extra_loaders=[loader], template_file="slides.html.j2")
    slides = deck(notebook)
    title = slides.cells[0].source.split("\n")[0].strip("# ")
    body, _ = exporter.from_notebook_node(slides, resources={"title": title})
    place.mkdir(parents=True, exist_ok=True)
    target = place / f"{path.stem}.html"
    target.write_text(body, encoding="utf-8")
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m medsr_workbook.slides [NOTEBOOK ...]`: write build/slides."""
    parser = argparse.ArgumentParser(prog="python -m medsr_workbook.slides", description=__doc__)
    parser.add_argument("notebooks", nargs="*", help="numbers or names; all by default")
    parser.add_argument("--out", type=Path, default=PLACE, help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    for path in runner.choose(options.notebooks):
        print(export(path, options.out))


if __name__ == "__main__":
    main()
