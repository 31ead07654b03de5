"""The student's edition of the notebooks, made from the lecturer's, which are the only ones in git.

In it nothing has been run; solutions are gone and exercises are blank, as they are in the source; after every
**Predict** there is a cell to write into; what answers a prediction (**Explain**, or a cell tagged `answer`) is folded
behind a line to click on; so is the code that sets up or holds a claim against the numbers (tagged `setup` or `claim`,
or recognised). `write` never writes over what a student has written.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Sequence
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat

from medsr_core.files import whole
from medsr_workbook import runner

PLACE = Path("build/student")
SOLUTION = re.compile(r"<details>\s*<summary>\s*Solution\s*</summary>.*?</details>\s*", re.S)
LINK = re.compile(r"""(\]\(|(?:href|src)=["'])(?![a-z]+:|#|/)([^)\s"'#]+)""")
SHOWS = re.compile(r"\b(show|say|display|print)\(|widgets\.\w+\(")
WELCOME = """

*Student's edition. This copy is yours: write your predictions and your code into it. Cells that are folded (…) set
something up or check a claim; open them if you like. "Model not found" under a cell: run that cell again.*"""
PROMPT = "**Your prediction** (double-click here, write, then Shift + Enter):\n\n…"
FOLDED = "<details><summary>Our explanation: open it when you have your own</summary>\n\n{}\n\n</details>"


# --- one notebook ---------------------------------------------------------------------------------------------------


def student(notebook: Any) -> Any:
    """The student's edition of a lecturer's notebook, which stays as it is."""
    made = deepcopy(notebook)
    first, *others = made.cells
    first.source += WELCOME
    made.cells = [first]
    for cell in others:
        made.cells += _text(cell) if cell.cell_type == "markdown" else _code(cell)
    return made


def _text(cell: Any) -> list[Any]:
    """A markdown cell without solutions and with its answers folded; then a place for the prediction it asks for."""
    cell.source = _fold(without_solutions(cell.source), everything="answer" in cell.metadata.get("tags", ()))
    cells = [cell] if cell.source else []
    if "**Predict" in cell.source:
        name, metadata = f"{cell.id[:50]}-prediction", {"tags": ["prediction"]}
        cells.append(nbformat.v4.new_markdown_cell(PROMPT, id=name, metadata=metadata))
    return cells


def without_solutions(text: str) -> str:
    """The text of a markdown cell without the solutions that are folded in it."""
    return SOLUTION.sub("", text).strip()


def _fold(text: str, *, everything: bool) -> str:
    """Put what explains behind a line to click on.

    It goes from **Explain**, or from the cell's start, to a heading, a question, or what leads to the next cell (and
    ends with a colon).
    """
    paragraphs, flags, folding = text.split("\n\n"), [], False
    for i, paragraph in enumerate(paragraphs):
        starts = paragraph.startswith("**Explain") or (everything and i == 0)
        ends = paragraph.startswith(("#", "**Predict")) or paragraph.endswith(":")
        folding = starts or (folding and not ends)
        flags.append(folding)
    parts = []
    for folded, pairs in groupby(zip(flags, paragraphs, strict=True), key=lambda pair: pair[0]):
        part = "\n\n".join(paragraph for _, paragraph in pairs)
        parts.append(FOLDED.format(part) if folded else part)
    return "\n\n".join(parts)


def _code(cell: Any) -> list[Any]:
    """A code cell that was never run; folded if it is set-up or a claim; a claim at its end in a cell of its own."""
    cell.outputs, cell.execution_count = [], None
    kind = role(cell)
    if kind in ("setup", "claim"):
        _hide(cell)
        return [cell]
    rest, claims = _split(cell.source)
    if not claims:
        return [cell]
    cell.source = rest
    claim = nbformat.v4.new_code_cell(claims, id=f"{cell.id[:50]}-claim", metadata={"tags": ["claim"]})
    _hide(claim)
    return [cell, claim]


def role(cell: Any) -> str:
    """What a code cell is for: `setup` or `claim`, by its tag or else by its code; "" for the lesson itself.

    Set-up checks the parameters, or starts with imports and shows nothing; a claim calls `expect` and shows nothing.
    """
    tags = cell.metadata.get("tags", ())
    for name in ("setup", "claim"):
        if name in tags:
            return name
    shows = bool(SHOWS.search(cell.source))
    if "check_parameters(" in cell.source or (re.match(r"import |from ", cell.source) and not shows):
        return "setup"
    return "claim" if re.search(r"^\s*expect\(", cell.source, re.M) and not shows else ""


def _hide(cell: Any) -> None:
    """Fold the code away, as JupyterLab's View > Collapse Selected Code does."""
    cell.metadata.setdefault("jupyter", {})["source_hidden"] = True


def _split(source: str) -> tuple[str, str]:
    """The code without its claims, and the claims: calls of `expect` that do not lie inside another statement."""
    lines = source.splitlines()
    claimed: set[int] = set()
    for node in ast.parse(source).body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "expect":
            claimed.update(range(node.lineno - 1, node.end_lineno or node.lineno))
    rest = [line for i, line in enumerate(lines) if i not in claimed]
    return "\n".join(rest).strip(), "\n".join(lines[i] for i in sorted(claimed))


# --- all of them ----------------------------------------------------------------------------------------------------


def write(paths: Sequence[Path], place: Path) -> list[Path]:
    """Write the student's editions into a folder; those in which somebody has written stay, and are returned."""
    place.mkdir(parents=True, exist_ok=True)
    kept = []
    for path in paths:
        made, target = student(nbformat.read(path, as_version=4)), place / path.name
        for cell in made.cells:
            if cell.cell_type == "markdown":
                cell.source = _relink(cell.source, path.parent, place)
        made.metadata.medsr = {"edition": "student", "sha256": _digest(made)}
        if target.exists() and not _as_written(target):
            kept.append(target)
        elif not target.exists() or nbformat.read(target, as_version=4).metadata.medsr != made.metadata.medsr:
            with whole(target) as part:
                nbformat.write(made, part)
    return kept


def _relink(text: str, old: Path, new: Path) -> str:
    """Links to other notebooks stay; what else lies beside them is linked from the new folder."""

    def moved(found: re.Match[str]) -> str:
        if re.fullmatch(r"\d\d_\w+\.ipynb", found[2]):
            return found[0]
        return found[1] + Path(os.path.relpath(old.resolve() / found[2], new.resolve())).as_posix()

    return LINK.sub(moved, text)


def _as_written(path: Path) -> bool:
    """Are its text and code still those that `write` wrote? That it was run does not count."""
    try:
        notebook = nbformat.read(path, as_version=4)
        return bool(notebook.metadata.medsr.sha256 == _digest(notebook))
    except Exception:  # no notebook, or none of ours: not to be lost
        return False


def _digest(notebook: Any) -> str:
    return runner.digest([cell.source for cell in notebook.cells])


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m medsr_workbook.editions [NOTEBOOK ...]`: write build/student."""
    parser = argparse.ArgumentParser(prog="python -m medsr_workbook.editions", description=__doc__)
    parser.add_argument("notebooks", nargs="*", help="numbers or names; all by default")
    parser.add_argument("--out", type=Path, default=PLACE, help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    paths = runner.choose(options.notebooks)
    kept = write(paths, options.out)
    print(f"{options.out}: student's edition of {len(paths)} notebooks")
    for path in kept:
        print(f"  kept, since somebody has written in it: {path} (move it away for a new one)")


if __name__ == "__main__":
    main()
