"""Slides for the lecture, from the stored notebooks: one HTML file each, that asks nothing of any other host.

A slide is a few paragraphs under their heading, or what one code cell shows. Code is seen only where it is an exercise;
set-up, claims, checks and solutions are not. A slide that is too high is made smaller until it fits.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat

from medsr_workbook import runner
from medsr_workbook.editions import role, without_solutions

PLACE = Path("build/slides")
WORDS = 90  # on a slide


def deck(notebook: Any) -> Any:
    """The notebook as slides: its cells cut up and marked with `slide_start` and `slide_end`."""
    made = nbformat.v4.new_notebook()
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for text in _pages(cell.source, heading):
                made.cells.append(_slide([nbformat.v4.new_markdown_cell(text)]))
                heading = text.split("\n")[0] if text.startswith("#") else heading
        elif "exercise" in cell.metadata.get("tags", ()):
            made.cells.append(nbformat.v4.new_code_cell(cell.source))
            ...
    return made
