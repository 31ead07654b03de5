"""Figures of notebook 09: the perception-distortion plane, its toy, and which measure orders errors as an eye would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from medsr_core.measures.intervals import Interval
from medsr_workbook.figures.base import COLOURS, MARKERS, STYLE, WIDTH
from medsr_workbook.toys import gaussian

# what is joined by a line: networks between two trainings, and means of N samples
PATHS: dict[str, list[str]] = {
    "bicubic": ["bicubic"],
    "tv": ["tv"],
    "srresnet to srgan": ["srresnet", *(f"srgan {p}%" for p in (20, 40, 60, 80)), "srgan"],
    "medgan-pixel to medgan": ["medgan-pixel", *(f"medgan {p}%" for p in (20, 40, 60, 80)), "medgan"],
    "SR3, means of N": ["sr3", *(f"sr3 mean of {n}" for n in (2, 4, 8, 16))],
    "regression": ["regression"],
    "Real-ESRGAN": ["real-esrgan"],
}


def plane(
    points: Mapping[str, tuple[Interval, Interval]],
    paths: Mapping[str, Sequence[str]] = PATHS,
    *,
    ylabel: str = "perception: Frechet distance",
    xlabel: str = "distortion: RMSE in % of bicubic's, image by image",
    floor: float | None = None,
) -> Figure:
    """Methods as points (distortion, perception) with the intervals of both; best at the lower left.

    The vertical axis is logarithmic if all perceptions are above 0, and their intervals, too.

    paths : legend -> names of points that belong together, joined in this order, the ends named; names without a point
        are left out
    floor : the perception of other real images, drawn as a dotted line
    """
    with rc_context(STYLE):
        figure = Figure((WIDTH, 4.6), layout="constrained")
        axes = figure.subplots()
        for i, ((legend, path), colour, marker) in enumerate(zip(paths.items(), COLOURS, MARKERS, strict=False)):
            names = [name for name in path if name in points]
            x, y = ([points[name][axis] for name in names] for axis in (0, 1))
            if names:
                axes.plot([v.mean for v in x], [v.mean for v in y], f"{marker}-", color=colour, ms=6, label=legend)
            for a, b in zip(x, y, strict=True):
                axes.plot([a.low, a.high], [b.mean] * 2, color=colour, linewidth=0.8, alpha=0.6)
                axes.plot([a.mean] * 2, [b.low, b.high], color=colour, linewidth=0.8, alpha=0.6)
            for name in names if len(names) > 1 else ():  # the legend names single points
                if name in (names[0], names[-1]):
                    place, left = (points[name][0].mean, points[name][1].mean), i % 2 == 1  # names in each other's way
                    shift, side = ((-6, -11), "right") if left else ((6, 5), "left")
                    axes.annotate(name, place, shift, textcoords="offset points", ha=side, fontsize=9)
        if floor is not None:
            axes.axhline(floor, color="0.4", linestyle=":")
            axes.text(0.99, floor, "other real scans", transform=axes.get_yaxis_transform(), ha="right", va="bottom")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.margins(x=0.15)
        if min(perception.low for _, perception in points.values()) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(color="0.9")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def toy(noise: float, *, a: float | None = None, b: float = 0.0) -> Figure:
    """The Gaussian toy of `tradeoff`: what no answer reaches, the answers that matter, and the answer a Y + b Z."""
    best, perfect = gaussian.posterior_mean(noise=noise), gaussian.bound(0, noise=noise)
    depth = np.linspace(0, 1.3 * best.perception, 100)
    least = [gaussian.bound(p, noise=noise) for p in depth]
    means = [gaussian.mean_of_samples(n, noise=noise) for n in (1, 2, 4, 8, 16)]
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.fill_betweenx(depth, least, 0, color="0.85", label="no answer reaches this")
        axes.plot(least, depth, color="black", linewidth=2, label="the bound")
        axes.plot(*zip(*means, strict=True), "s--", color=COLOURS[0], label="mean of 1, 2, 4, 8, 16 samples")
        axes.plot(*best, "o", color=COLOURS[1], markersize=9, label="posterior mean: least distortion")
        axes.plot(perfect, 0, "^", color=COLOURS[2], markersize=9, clip_on=False, label="posterior mean, stretched")
        if a is not None:
            axes.plot(*gaussian.answer(a, b, noise=noise), "P", color=COLOURS[3], markersize=13, label="your answer")
        wide = 1.15 * means[0].distortion
        axes.set(xlabel="distortion: mean squared error", ylabel="perception: distance\nof the distributions")
        axes.set(xlim=(0.5 * best.distortion, wide), ylim=(-0.03 * depth[-1], depth[-1]))
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def verdicts(shares: Mapping[str, Mapping[str, tuple[int, int]]]) -> Figure:
    """How often each measure is right: rows are measures, columns questions, cells (right, of) as text and colour."""
    rows, columns = list(shares), list(next(iter(shares.values())))
    table = np.array([[right / of for right, of in shares[row].values()] for row in rows])
    with rc_context(STYLE):
        figure = Figure((WIDTH, 0.42 * len(rows) + 1.5), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(table, cmap="RdBu", vmin=0, vmax=1, aspect="auto")
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                right, of = shares[row][column]
                dark = abs(table[i, j] - 0.5) > 0.35
                axes.text(j, i, f"{right}/{of}", ha="center", va="center", color="white" if dark else "black")
        axes.set_xticks(range(len(columns)), [column.replace(" < ", "\n< ") for column in columns], fontsize=8)
        axes.set_yticks(range(len(rows)), rows)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        figure.colorbar(drawn, ax=axes, label="share of right answers", pad=0.01)
    return figure
