"""Notebooks over a grid of parameters: many executed notebooks, one table of all the numbers they show.

A sweep's folder holds

    runs/NAME/KEY.ipynb, .html, .json    each run: notebook, page, and what became of it (KEY is a digest of its values)
    numbers.csv                          one number a row: notebook, its parameters, and the columns of `record`
    numbers-NAME.png                     small multiples of a notebook's numbers
    index.html                           all of it on one page

The .json is written last, so a run counts only when it is whole. What counts is not run again, on whatever worker and
however often the sweep is called; an edited notebook, or one that failed, is.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from filelock import FileLock, Timeout

from medsr_core.files import whole, write_whole
from medsr_workbook import cluster, record, runner

if TYPE_CHECKING:
    from distributed import Client
    from matplotlib.figure import Figure

COLUMNS = ("cell", "quantity", "of", "value", "low", "high")


@dataclass(frozen=True)
class Run:
    """One notebook with one set of values."""

    notebook: Path
    values: dict[str, Any]
    key: str

    def file(self, folder: Path, kind: str) -> Path:
        """The run's file of a kind (.ipynb, .html, .json) in the sweep's folder."""
        return folder / "runs" / self.notebook.stem / f"{self.key}{kind}"

    def found(self, folder: Path) -> dict[str, Any] | None:
        """What became of it, if it was run to its end: the fields of `_record`."""
        try:
            return json.loads(self.file(folder, ".json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None


# --- the grid -------------------------------------------------------------------------------------------------------


def spell_out(text: str) -> tuple[str, list[str]]:
    """``"seed=0..4"`` or ``"data=brain,stare"`` as a name and its values: a list with commas, or whole numbers a..b.

    ValueError if there is no name or no value.
    """
    name, _, listed = text.partition("=")
    values: list[str] = []
    for part in filter(None, (part.strip() for part in listed.split(","))):
        ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", part)
        values += map(str, range(int(ends[1]), int(ends[2]) + 1)) if ends else [part]
    if not name.strip() or not values:
        raise ValueError(f"{text!r} has no values; give NAME=A,B,C or NAME=0..4, the smaller number first")
    return name.strip(), list(dict.fromkeys(values))


def grid(notebooks: Sequence[Path], given: Sequence[tuple[str, Sequence[str]]]) -> list[Run]:
    """Every combination of the values, notebook by notebook; each takes the parameters that it has.

    Raises
    ------
    ValueError : no notebook has the parameter; a value is not of its type, or the notebook's own check refuses it
    """
    runner.assign(notebooks, [(name, values[0]) for name, values in given])  # refuses an unknown name
    runs = []
    for path in notebooks:
        known = runner.parameters(path)
        digest = runner.source_digest(nbformat.read(path, as_version=4))
        own = {name: [runner.convert(text, known[name]) for text in texts] for name, texts in given if name in known}
        for combination in itertools.product(*own.values()):
            values = dict(zip(own, combination, strict=True))
            try:
                runner.refuse(path, values)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path.stem}: {str(error).splitlines()[0]}") from None
            told = json.dumps([digest, values], sort_keys=True)
            runs.append(Run(path, values, hashlib.sha256(told.encode()).hexdigest()[:12]))
    return runs


# --- running it -----------------------------------------------------------------------------------------------------


def sweep(
    client: Client, runs: Sequence[Run], folder: Path, *, report: Callable[[str, int, int], None]
) -> list[dict[str, Any]]:
    """Run what is still to be run on the client's workers, and write the table, the figures and the index.

    Parameters
    ----------
    client : of `cluster.client`; its workers must see `folder` and the notebooks at the places they have here
    report : called with (what ended, runs done, runs in all)

    Returns what became of each run, in the order of `runs`; a failed one has an "error".
    Raises ValueError if another sweep writes to the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            found = [run.found(folder) for run in runs]
            waiting = [number for number, before in enumerate(found) if before is None or before["error"]]
            report("", len(runs) - len(waiting), len(runs))
            calls = [(runs[number], folder.resolve()) for number in waiting]
            for done, (index, outcome) in enumerate(cluster.each(client, _run, calls), len(runs) - len(waiting) + 1):
                run = runs[waiting[index]]
                found[waiting[index]] = outcome if isinstance(outcome, dict) else _failed(run, folder, outcome)
                report(run.notebook.stem, done, len(runs))
            results = [result for result in found if result]
            write(results, folder)
            return results
    except Timeout:
        raise ValueError(f"another sweep writes to {folder}; wait for it, or give another --out") from None


def _run(run: Run, folder: Path) -> dict[str, Any]:
    """On a worker: execute a notebook, unless a worker that died since had done so."""
    before = run.found(folder)
    if before and not before["error"]:
        return before
    target = run.file(folder, ".ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    result = runner.run_one(run.notebook, target, run.values)
    executed = nbformat.read(target, as_version=4)
    error = f"{result.error}\n{_traceback(executed)}".strip() if result.error else None
    return _record(run, folder, seconds=round(result.seconds, 1), error=error, numbers=record.numbers(executed))


def _traceback(notebook: Any) -> str:
    """What the kernel said of the cell that failed, without colours."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return "\n".join(re.sub(r"\x1b\[[\d;]*m", "", line) for o in outputs for line in o.get("traceback", ()))


def _failed(run: Run, folder: Path, error: BaseException) -> dict[str, Any]:
    """What becomes of a run whose workers died."""
    return _record(run, folder, seconds=0.0, error=f"{type(error).__name__}: {error}", numbers=[])


def _record(run: Run, folder: Path, **outcome: Any) -> dict[str, Any]:
    """Store and return what became of a run: notebook, key, values, seconds, error (or None), numbers."""
    told = {"notebook": run.notebook.stem, "key": run.key, "values": run.values, **outcome}
    write_whole(run.file(folder, ".json"), json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    return told


# --- what is made of it ---------------------------------------------------------------------------------------------


def write(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write numbers.csv, the figures and index.html from what became of the runs."""
    write_whole(folder / "numbers.csv", table(results))
    cards = []
    for name in dict.fromkeys(result["notebook"] for result in results):
        drawn = figure([result for result in results if result["notebook"] == name and not result["error"]])
        if drawn:
            picture, alt = folder / f"numbers-{name}.png", f"Numbers of {name}: {drawn[1]}"
            with whole(picture) as part:
                drawn[0].savefig(part, format="png", dpi=110)
            cards.append(f'<p><img src="{html.escape(picture.name)}" alt="{html.escape(alt, quote=True)}"></p>')
    runner.write_page(folder / "index.html", "\n".join(cards), _listing(results))


def table(results: Sequence[dict[str, Any]]) -> str:
    """The numbers of all runs that ended well as CSV, a row each: notebook, run, its parameters, `record`'s columns."""
    names = list(dict.fromkeys(name for result in results for name in result["values"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["notebook", "run", *names, *COLUMNS], lineterminator="\n")
    writer.writeheader()
    for result in (result for result in results if not result["error"]):
        about = {"notebook": result["notebook"], "run": result["key"], **result["values"]}
        writer.writerows(about | row for row in result["numbers"])
    return text.getvalue()


def figure(results: Sequence[dict[str, Any]], *, most: int = 8) -> tuple[Figure, str] | None:
    """Small multiples of one notebook's numbers in tables, and what they show in words; None if nothing varies.

    Across a panel runs the parameter with most values (the seed last of all); from panel to panel the next one; over
    the others mean and range are drawn. At most so many quantities: the first ones that differ between runs.
    """
    from medsr_workbook.figures import sweeps

    values = {name: list(dict.fromkeys(r["values"][name] for r in results)) for r in results for name in r["values"]}
    varied = sorted((n for n in values if len(values[n]) > 1), key=lambda n: (n == "seed", -len(values[n])))
    if not varied:
        return None
    x, beside = varied[0], varied[1] if len(varied) > 1 and varied[1] != "seed" else None
    rows: dict[str, Any] = {}
    for result in results:
        panel = f"{beside} = {result['values'][beside]}" if beside else ""
        for number in (number for number in result["numbers"] if not number["of"].isdigit()):
            lines = rows.setdefault(f"{number['quantity']}\n[cell {number['cell']}]", {}).setdefault(panel, {})
            lines.setdefault(number["of"], {}).setdefault(result["values"][x], []).append(number["value"])
    rows = {quantity: panels for quantity, panels in rows.items() if _differ(panels)}
    if not rows:
        return None
    rest = [name for name in varied if name not in (x, beside)]
    shown = dict(itertools.islice(rows.items(), most))
    words = f"{len(shown)} of {len(rows)} quantities that differ between runs, against {x}"
    words += (f", for each {beside}" if beside else "") + (f"; mean and range over {', '.join(rest)}" if rest else "")
    return sweeps.multiples(shown, xlabel=x, title=words), words


def _differ(panels: Any) -> bool:
    """Whether any line of a quantity has two values."""
    merged: dict[str, set[float]] = {}
    for lines in panels.values():
        for of, points in lines.items():
            merged.setdefault(of, set()).update(value for values in points.values() for value in values)
    return any(len(values) > 1 for values in merged.values())


def _listing(results: Sequence[dict[str, Any]]) -> str:
    """All runs as an HTML table with links; those that failed with their traceback."""
    failed = sum(bool(result["error"]) for result in results)
    lines = [f'<h2>{len(results)} runs, {failed} failed; <a href="numbers.csv">all numbers</a></h2><table>']
    lines.append("<tr><th>notebook</th><th>values</th><th>seconds</th><th></th></tr>")
    for result in results:
        place = f"runs/{result['notebook']}/{result['key']}"
        told = html.escape(", ".join(f"{name} = {value!r}" for name, value in result["values"].items()))
        what = f'<a href="{place}.html">page</a> · <a href="{place}.ipynb">notebook</a>'
        if result["error"]:
            first, *_ = result["error"].splitlines()
            what += f'<details><summary class="failed">{html.escape(first)}</summary>'
            what += f"<pre>{html.escape(result['error'])}</pre></details>"
        lines.append(
            f"<tr><td>{result['notebook']}</td><td>{told}</td><td>{result['seconds']:.0f}</td><td>{what}</td></tr>"
        )
    return "\n".join(lines) + "</table>"
