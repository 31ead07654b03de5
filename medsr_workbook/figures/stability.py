"""The figures of notebooks 10 and 11: tables in colour, curves with intervals, reliability, ROC, lesions on a scan.

Conventions as in `figures.base`: image tensors (1, C, H, W), matplotlib figures out, Okabe & Ito's colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from medsr_core.measures.intervals import Interval
from medsr_core.measures.lesions import Place
from medsr_core.measures.stability import Reliability
from medsr_workbook.figures.base import COLOURS, MARKERS, STYLE, WIDTH, Box, crop, draw


def heatmap(table: Mapping[str, Mapping[str, Interval]], *, label: str, limit: float) -> Figure:
    """Rows of name: {column: Interval} as coloured cells, each with its mean and, below, its interval.

    limit : value of the darkest colour; red is below zero, blue above
    """
    rows, columns = list(table), list(dict.fromkeys(name for row in table.values() for name in row))
    means = np.array([[table[r][c].mean if c in table[r] else np.nan for c in columns] for r in rows])
    with rc_context(STYLE):
        figure = Figure((WIDTH, 0.9 + 0.43 * len(rows)), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(means, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        axes.set_xticks(range(len(columns)), [name.replace(" ", "\n", 1) for name in columns])
        axes.set_yticks(range(len(rows)), rows)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for r, c in np.argwhere(~np.isnan(means)):
            mean, low, high, _ = table[rows[r]][columns[c]]
            ink = "white" if abs(mean) > 0.65 * limit else "black"
            axes.text(c, r - 0.15, f"{mean:+.1f}", ha="center", va="center", color=ink)
            axes.text(c, r + 0.25, f"[{low:+.1f}, {high:+.1f}]", ha="center", va="center", color=ink, fontsize=7)
        figure.colorbar(drawn, ax=axes, label=label, pad=0.01)
    return figure


def kspace_picture(samples: Tensor) -> Tensor:
    """Complex k-space samples (1, 1, H, W) as an image in [0, 1]: log magnitude, low frequencies in the middle."""
    return ((1 + 300 * torch.fft.fftshift(samples.abs(), (-2, -1))).log10() / 4).clamp(0, 1)


def bands(
    x: Sequence[float], lines: Mapping[str, Sequence[Interval]], *, xlabel: str, ylabel: str, log: bool = False
) -> Figure:
    """One line per name over x; its 95 % intervals are bars, a little left or right so that none is hidden.

    The points lie at their x: moved aside, steep lines that agree would seem to be in an order.
    """
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        step = 0.012 * (max(x) - min(x))
        for i, (name, values) in enumerate(lines.items()):
            aside = i - (len(lines) - 1) / 2
            place = np.asarray(x, float) * 1.02**aside if log else np.asarray(x) + step * aside
            mean, low, high = (np.array([value[j] for value in values]) for j in range(3))
            colour, line = COLOURS[i % len(COLOURS)], "-" if i < len(COLOURS) else "--"
            axes.plot(x, mean, line, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=5, label=name)
            reach = np.maximum([mean - low, high - mean], 0)
            axes.errorbar(place, mean, reach, fmt="none", ecolor=colour, elinewidth=1, capsize=2)
        if log:
            axes.set_xscale("log", base=2)
            axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.grid(color="0.9")
    return figure


def calibration(
    curves: Mapping[str, Reliability], shares: Mapping[str, Mapping[float, float]], *, unit: float = 255.0
) -> Figure:
    """Left, spread against error (`stability.reliability`); right, nominal against actual coverage.

    unit : grey values per image unit, for the left axes
    """
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        top = 0.0
        for i, (name, found) in enumerate(curves.items()):
            predicted, actual = unit * found.predicted.numpy(), unit * found.actual.numpy()
            left.plot(predicted, actual, color=COLOURS[i], marker=MARKERS[i], markersize=5, label=name)
            top = max(top, predicted.max(), actual.max())
        for i, (name, levels) in enumerate(shares.items()):
            right.plot(
                list(levels), list(levels.values()), color=COLOURS[i], marker=MARKERS[i], markersize=5, label=name
            )
        for axes, end in ((left, 1.05 * top), (right, 1.0)):
            axes.plot([0, end], [0, end], ":", color="0.3", label="calibrated")
            axes.set(xlim=(0, end), ylim=(0, end))
            axes.grid(color="0.9")
        left.set(xlabel="error the spread predicts (gray values)", ylabel="error of the mean (gray values)")
        right.set(xlabel="nominal coverage", ylabel="share of true values inside")
        left.set_title("is a large spread a large error?")
        right.set_title("does the interval hold the truth?")
        right.legend(frameon=False, loc="upper left")
    return figure


def rocs(curves: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]) -> Figure:
    """Panel title -> {name: (false alarms, hits)} as ROC curves with the diagonal of guessing."""
    with rc_context(STYLE):
        figure = Figure((WIDTH, 0.3 + (WIDTH - 2) / max(len(curves), 2)), layout="constrained")
        for axes, (title, lines) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
            for i, (name, (alarms, hits)) in enumerate(lines.items()):
                style: dict[str, Any] = {
                    "color": COLOURS[i % len(COLOURS)],
                    "linestyle": "-" if i < len(COLOURS) else "--",
                }
                axes.step(alarms.numpy(), hits.numpy(), where="post", label=name, linewidth=1.8, **style)
            axes.plot([0, 1], [0, 1], ":", color="0.3", label="guessing")
            axes.set(title=title, xlabel="false alarms", ylabel="lesions found", xlim=(-0.01, 1), ylim=(0, 1.01))
            axes.set_aspect("equal")
            axes.grid(color="0.9")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def findings(
    pictures: Mapping[str, tuple[Tensor, Sequence[Place], Sequence[Place]]], box: Box, *, numbered: bool = False
) -> Figure:
    """The box of every picture with circles: solid where a lesion was found at its place, dashed where one was missed.

    pictures : name -> (image, found places, missed places); crosses would mean false lesions and are not drawn here
    box : row, column, height, width in pixels; numbered : write 1, 2, ... beside what was found
    """
    row, column, height, width = box
    columns = min(len(pictures), 4)
    rows = -(-len(pictures) // columns)
    cell = WIDTH / columns
    with rc_context(STYLE):
        figure = Figure((WIDTH, rows * (cell * height / width + 0.45)), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (name, (image, found, missed)) in zip(grid.flat, pictures.items(), strict=False):
            draw(axes, crop(image, (row, column, height, width)))
            axes.set_title(name)
            for places, line, colour in ((found, "-", "#F0E442"), (missed, ":", COLOURS[5])):
                _circles(axes, [(r - row, c - column) for r, c in places], line, colour)
            for number, (r, c) in enumerate(found if numbered else (), 1):
                axes.text(c - column + 7, r - row - 5, str(number), color="#F0E442", fontsize=9)
    return figure


def _circles(axes: Axes, places: Sequence[Place], line: str, colour: str) -> None:
    for row, column in places:
        axes.add_patch(Circle((column, row), 6, fill=False, linestyle=line, edgecolor=colour, linewidth=1.8))
