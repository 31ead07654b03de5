"""Small multiples of a sweep: how the numbers of a notebook change with its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medsr_workbook.figures.base import COLOURS, MARKERS, STYLE, WIDTH

Lines = Mapping[str, Mapping[Any, Sequence[float]]]  # line (a method) -> x (a parameter's value) -> repeats


def multiples(rows: Mapping[str, Mapping[str, Lines]], *, xlabel: str, title: str = "") -> Figure:
    """One row of panels for each quantity, one panel in it for each title; a row has one scale.

    A line goes through the mean of its repeats; where there are several, a bar reaches from the least to the most.
    x that are no numbers stand side by side in the order in which they come.
    """
    titles = list(dict.fromkeys(panel for panels in rows.values() for panel in panels))
    places = list(dict.fromkeys(x for panels in rows.values() for lines in panels.values() for p in lines.values()
                                for x in p))  # fmt: skip
    numeric = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in places)
    position = {x: float(x) if numeric else float(i) for i, x in enumerate(places)}
    with rc_context(STYLE):
        figure = Figure((WIDTH, 0.8 + 2.1 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), len(titles), squeeze=False, sharex=True, sharey="row")
        for axes, (quantity, panels) in zip(grid, rows.items(), strict=True):
            colours = {line: i for i, line in enumerate(dict.fromkeys(n for lines in panels.values() for n in lines))}
            for one, panel in zip(axes, titles, strict=True):
                _draw(one, panels.get(panel, {}), position, colours)
                one.set_title(panel if one.get_subplotspec().is_first_row() else "")
                one.set_xticks(list(position.values()), list(map(str, places)))
            axes[0].set_ylabel("\n".join(line if len(line) < 28 else line[:26] + " …" for line in quantity.split("\n")))
            handles, names = max((one.get_legend_handles_labels() for one in axes), key=lambda found: len(found[1]))
            axes[-1].legend(handles, names, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        figure.supxlabel(xlabel)
        figure.suptitle(title, fontsize=10)
    return figure


def _draw(axes: Axes, lines: Lines, position: Mapping[Any, float], colours: Mapping[str, int]) -> None:
    for name, points in lines.items():
        i = colours[name]
        x = sorted(points, key=lambda value: position[value])
        means = [sum(points[value]) / len(points[value]) for value in x]
        reach = [[mean - min(points[v]) for mean, v in zip(means, x, strict=True)],
                 [max(points[v]) - mean for mean, v in zip(means, x, strict=True)]]  # fmt: skip
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "capsize": 2}
        axes.errorbar([position[v] for v in x], means, yerr=reach, label=name, **style)
    axes.grid(color="0.9")
