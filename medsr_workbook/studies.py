"""Stored studies: rows of measurements in a JSON file, made by a script that says how, read and compared by notebooks.

A row is a dict with names (image, subject, method, ...) and numbers. Rows are chosen by their names, and compared image
by image: what one method was not asked about does not count for the other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from medsr_core.files import write_whole
from medsr_core.measures.intervals import Interval, bootstrap, paired

Row = dict[str, Any]

ORGANS = ("brain", "fundus", "skin", "heart")  # the sets that the shipped weights were trained on

# --- making a study -------------------------------------------------------------------------------------------------


def middle(pixels: Tensor, side: int) -> Tensor:
    """The middle square of an image (..., H, W), or as much of it as there is."""
    height, width = pixels.shape[-2:]
    top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
    return pixels[..., top : top + side, left : left + side]


def in_channels(pixels: Tensor, channels: int) -> Tensor:
    """An image (B, C, H, W) with the channels of a network, 1 or 3: gray is repeated, colours are averaged."""
    return pixels.mean(1, keepdim=True) if channels == 1 else pixels.expand(-1, channels, -1, -1)


def short(row: Row, digits: int = 5) -> Row:
    """The row with its numbers, also those in lists, rounded to so many significant digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(each) for each in value]
        if isinstance(value, dict):
            return {key: rounded(each) for key, each in value.items()}
        return float(f"{value:.{digits}g}") if isinstance(value, float) else value

    return {key: rounded(value) for key, value in row.items()}


def update(path: str | Path, rows: Sequence[Row], by: Sequence[str]) -> None:
    """Put rows into a JSON file, one a line; stored rows with the same names `by` go, all others stay.

    A study can store what it has after each image and be stopped anywhere.
    """
    path = Path(path)
    new = {tuple(row.get(key) for key in by) for row in rows}
    stored = json.loads(path.read_text()) if path.exists() else []
    kept = [row for row in stored if tuple(row.get(key) for key in by) not in new]
    write_whole(path, "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in (*kept, *rows)) + "\n]\n")


# --- reading one ----------------------------------------------------------------------------------------------------


def find(path: str | Path) -> Path:
    """A stored study, or a folder of them: here, else in the workbook's notebooks, else in the installed package.

    So a notebook finds its ``results`` wherever it was copied. FileNotFoundError, with all places, if it is nowhere.
    """
    beside = Path(__file__).resolve().parent.parent / "notebooks"
    places = [Path(path), beside / path, Path(sys.prefix) / "share" / "medsr" / path]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"no {path}: neither {', '.join(map(str, places[:-1]))} nor {places[-1]} is there")


def load(path: str | Path, **names: Any) -> list[Row]:
    """Rows of a JSON file that `find` finds, of those `names` only: ``load("results/mismatch.json", data="brain")``."""
    return where(json.loads(find(path).read_text()), **names)


def where(rows: Sequence[Row], **names: Any) -> list[Row]:
    """The rows with these names."""
    return [row for row in rows if all(row.get(key) == value for key, value in names.items())]


def values(rows: Sequence[Row], key: str) -> list[Any]:
    """The different values of a key, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows if key in row))


def mean(rows: Sequence[Row], key: str, **names: Any) -> Interval:
    """Mean of a number over the chosen rows, with its 95 % bootstrap interval over subjects (images, if one).

    Rows without the number, or with None, do not count. Raises ValueError if none is left.
    """
    chosen = [row for row in where(rows, **names) if row.get(key) is not None]
    if not chosen:
        known = {name: values(rows, name) for name in names}
        raise ValueError(f"no row with {key!r} and {names}; there are {known}")
    return bootstrap([row[key] for row in chosen], groups=_subjects(chosen))


def interval(rows: Sequence[Row], key: str, **names: Any) -> Interval:
    """The interval of a whole set, which the one row with these names holds as [value, low, high] of `n` images.

    Raises ValueError if there is no such row, or several.
    """
    chosen = [row for row in where(rows, **names) if row.get(key) is not None]
    if len(chosen) != 1:
        raise ValueError(f"{len(chosen)} rows with {key!r} and {names}; one is needed")
    value, low, high = chosen[0][key]
    return Interval(value, low, high, chosen[0]["n"])


def difference(rows: Sequence[Row], key: str, first: Row, second: Row, *, by: str = "image") -> Interval:
    """Interval of the number in the rows chosen by `first` minus that in those chosen by `second`, image by image.

    Raises ValueError if they have no image (`by`) in common, or several rows for one, so that the names say too little.
    """
    ours, theirs = (_by_name(where(rows, **names), key, by) for names in (first, second))
    both = [name for name in ours if name in theirs]
    if not both:
        raise ValueError(f"no {by} in common: {first} and {second}")
    groups = _subjects([ours[name] for name in both])
    return paired([ours[name][key] for name in both], [theirs[name][key] for name in both], groups=groups)


def differences(rows: Sequence[Row], key: str, down: str, across: str, base: Row) -> dict[str, dict[str, Interval]]:
    """`difference` of every pair of names against the same with `base` put in: {down: {across: Interval}}.

    ``differences(rows, "psnr", "method", "degradation", {"method": "bicubic"})``: each method ahead of bicubic, under
    each degradation; with ``{"degradation": "bicubic"}`` it is each method against itself, as assumed.
    """
    return {
        name: {
            other: difference(rows, key, {down: name, across: other}, {down: name, across: other} | base)
            for other in values(where(rows, **{down: name}), across)
        }
        for name in values(rows, down)
    }


def ranked(
    rows: Sequence[Row], key: str, *, most: bool = True, digits: int = 2, ceiling: str | None = None
) -> dict[str, str]:
    """A column of a table, {method: mean and interval}: the best in bold, ≈ behind those that are not told from it.

    Not told: the interval of the paired difference to the best holds zero. most : whether more is better;
    ceiling : a method that does not compete, such as the truth itself
    """
    means = {m: mean(rows, key, method=m) for m in values(rows, "method")}
    rivals = [m for m in means if m != ceiling]
    best = (max if most else min)(rivals, key=lambda m: means[m].mean)
    column = {m: plain(interval, digits) for m, interval in means.items()}
    for m in rivals:
        apart = difference(rows, key, {"method": m}, {"method": best})
        column[m] += " ≈" if m != best and apart.low <= 0 <= apart.high else ""
    return column | {best: f"**{column[best]}**"}


def signed(interval: Interval, digits: int = 2) -> str:
    """An interval of a difference for a table: +1.23 [+1.00, +1.46]."""
    return f"{interval.mean:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


def plain(interval: Interval, digits: int = 2) -> str:
    """An interval of a mean for a table: 1.23 [1.00, 1.46]."""
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _by_name(rows: Sequence[Row], key: str, by: str) -> dict[Any, Row]:
    having = [row for row in rows if row.get(key) is not None]
    found = {row[by]: row for row in having}
    if len(found) < len(having):
        raise ValueError(f"{len(having)} rows for {len(found)} of {by}: choose by more names")
    return found


def _subjects(rows: Sequence[Row]) -> list[str] | None:
    return [row["subject"] for row in rows] if rows and all("subject" in row for row in rows) else None
