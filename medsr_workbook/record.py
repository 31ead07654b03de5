"""Every number that an executed notebook shows, as rows: its tables, the bold numbers in its sentences, its scraps.

A notebook that uses the workbook's `lesson.table` and `lesson.say` records without a further word. What scrapbook's
``glue(name, number)`` leaves in a notebook (papermill's convention) is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

SCRAP = "application/scrapbook.scrap.json+json"
PAPERMILLS = {"injected-parameters", "papermill-error-cell-tag"}
NUMBER = r"(?<![\w.])[+\-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?"
CELL = re.compile(rf"({NUMBER}) ?(%?)(?: \[({NUMBER}), ({NUMBER})\])?(?: \(n = \d+\))?(?: ?[a-zA-Z]+)?(?: ≈)?")
BOLD = re.compile(rf"\*\*({NUMBER}) ?(%?)[^*\[]*(?:\[({NUMBER}), ({NUMBER})\][^*]*)?\*\*")


def numbers(notebook: Any) -> list[dict[str, Any]]:
    """Rows with the keys cell, quantity, of, value, low, high, in the order of the notebook.

    cell : which of the notebook's own cells shows it, from 1 (papermill puts some of its own between them)
    quantity : of a table the column's heading; of a sentence the sentence, with … for its numbers; of a scrap its name
    of : of a table the row's names (its first cell, and the words that follow); of a sentence the place, from 1
    low, high : the interval, where there is one, else None. A percentage is given as a share.
    """
    return [
        {"cell": place, **row}
        for place, cell in enumerate((c for c in notebook.cells if not PAPERMILLS & {*c.metadata.get("tags", ())}), 1)
        for output in cell.get("outputs", ())
        for row in _of(output.get("data", {}))
    ]


def _of(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if SCRAP in data:
        yield from _scrap(data[SCRAP])
    for block in data.get("text/markdown", "").split("\n\n"):
        yield from _table(block.splitlines()) if block.startswith("|") else _sentence(block)


def _table(lines: list[str]) -> Iterator[dict[str, Any]]:
    heading, _, *rows = ([cell.strip().replace("**", "") for cell in line.strip("| ").split(" | ")] for line in lines)
    for cells in rows:
        found = [CELL.fullmatch(cell) for cell in cells]
        named = next((i for i in range(1, len(cells)) if found[i] or not re.search(r"[^\W\d_]", cells[i])), len(cells))
        for quantity, match in zip(heading[named:], found[named:], strict=False):
            if match:
                yield _row(quantity, ", ".join(cells[:named]), match)


def _sentence(text: str) -> Iterator[dict[str, Any]]:
    quantity = " ".join(re.sub(r"\s*\[…, …\]", "", re.sub(NUMBER, "…", text.replace("**", ""))).split())
    for place, match in enumerate(BOLD.finditer(text), 1):
        yield _row(quantity, str(place), match)


def _row(quantity: str, of: str, match: re.Match[str]) -> dict[str, Any]:
    share = 100 if match[2] else 1
    values = (round(_value(match[group]) / share, 12) if match[group] else None for group in (1, 3, 4))
    return {"quantity": quantity, "of": of, **dict(zip(("value", "low", "high"), values, strict=True))}


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def _scrap(scrap: dict[str, Any]) -> Iterator[dict[str, Any]]:
    value = scrap.get("data")
    if isinstance(value, (int, float)):
        yield {"quantity": scrap.get("name", ""), "of": "", "value": float(value), "low": None, "high": None}
