"""The workbook's figures: every picture a notebook shows, and every widget redraws, is made here.

A figure function takes image tensors of shape (1 or more, C, H, W) in [0, 1] and returns a matplotlib figure; `show`
puts it into a notebook together with its alternative text. Pictures are drawn pixel by pixel (no interpolation), since
interpolation is what the workbook is about. Colours are Okabe & Ito's, told apart by colour-blind readers.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from medsr_core.measures.intervals import Interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
STYLE: dict[Any, Any] = {"font.size": 10, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
WIDTH = 9.5  # inches, the width of a notebook's column
Box = tuple[int, int, int, int]  # row, column, height, width in pixels


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook with `alt`, the text that stands for it where it cannot be seen."""
    from IPython.display import Image, display

    display(Image(png(figure, refine=True)), metadata={"image/png": {"alt": " ".join(alt.split())}})


def png(figure: Figure, *, refine: bool = False) -> bytes:
    """The figure as a PNG file of 256 colours: a third of the size, and of gray pictures no difference to be seen.

    refine : take up to a second longer to find the best colours: portraits look less like posters
    """
    from PIL import Image

    file, small = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png", dpi=84)
    pixels = Image.open(file).convert("RGB")
    pixels.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=int(refine)).save(small, "PNG", optimize=True)
    return small.getvalue()


def images(
    pictures: Mapping[str, Tensor],
    *,
    box: Box | None = None,
    columns: int = 4,
    signed: float | None = None,
    unit: str = "difference",
) -> Figure:
    """Pictures side by side under their names (a name may have several lines, e.g. a score).

    box : region to mark in every picture and to show magnified below it
    columns : pictures per row
    signed : draw differences instead: values in [-signed, signed] on a blue-white-red scale, with its bar
    unit : what the bar is labelled with
    """
    names, tensors = list(pictures), list(pictures.values())
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    bands = 2 if box else 1
    height, width = tensors[0].shape[-2:]
    bar = 0.8 if signed is not None else 0.0
    cell = min((WIDTH - bar) / columns, 3.0)
    zoom = cell * box[2] / box[3] if box else 0.0
    lines = 0.2 * (1 + max(name.count("\n") for name in names)) + 0.1
    with rc_context(STYLE):
        size = (columns * cell + bar, rows * (cell * height / width + zoom + lines))
        figure = Figure(size, layout="constrained")
        ratios = ([height / width + lines / cell] + ([box[2] / box[3]] if box else [])) * rows
        grid = figure.subplots(rows * bands, columns, squeeze=False, height_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for i, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
            axes = grid[i // columns * bands, i % columns]
            drawn = draw(axes, tensor, signed)
            axes.set_title(name)
            if box:
                # every picture shows the same region, whatever its number of pixels
                mine = _scaled(box, tensor.shape[-1] / width)
                _mark(axes, mine)
                draw(grid[i // columns * bands + 1, i % columns], crop(tensor, mine), signed)
        if signed is not None:
            figure.colorbar(drawn, ax=grid, shrink=0.7, pad=0.01, label=unit)
    return figure


def magnifier(hr: Tensor, answers: Mapping[str, Tensor], box: Box, *, columns: int = 4) -> Figure:
    """The whole HR picture with a box on the left; the box, magnified, in every answer on the right."""
    height, width = hr.shape[-2:]
    rows = math.ceil(len(answers) / columns)
    with rc_context(STYLE):
        figure = Figure((WIDTH, max(0.34 * WIDTH * height / width, rows * 0.66 * WIDTH / columns * 1.18) + 0.3))
        figure.set_layout_engine("constrained")
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(0.34, 0.66))[0]
        axes = left.subplots()
        draw(axes, hr)
        _mark(axes, box)
        axes.set_title("where you look")
        axes.set_axis_off()
        grid = right.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (name, answer) in zip(grid.flat, answers.items(), strict=False):
            draw(axes, crop(answer, _scaled(box, answer.shape[-1] / width)))
            axes.set_title(name)
    return figure


def curves(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    mark: float | None = None,
    note: str = "",
) -> Figure:
    """One line per name over x, told apart by colour and marker. `log` is "", "x", "y" or "xy".

    mark : an x value to draw a dotted line at, explained by `note`
    """
    with rc_context(STYLE):
        figure = Figure((0.75 * WIDTH if len(lines) == 1 else WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        for (name, y), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
            axes.plot(x, y, color=colour, marker=marker, markersize=4, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        for axis in log:
            getattr(axes, f"set_{axis}scale")("log")
        if mark is not None:
            axes.axvline(mark, color="0.4", linestyle=":")
            axes.text(mark, 0.97, f" {note}", transform=axes.get_xaxis_transform(), va="top")
        if len(lines) > 1:
            axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.grid(color="0.9")
    return figure


def intervals(groups: Mapping[str, Mapping[str, Interval]], *, label: str) -> Figure:
    """Means with their 95 % intervals: one panel per group (e.g. modality), one line per name (e.g. method)."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    with rc_context(STYLE):
        figure = Figure((WIDTH, 0.6 + 0.28 * len(names) + 0.5), layout="constrained")
        for axes, (title, group) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
            for i, name in enumerate(names):
                if name in group:
                    mean, low, high, _ = group[name]
                    axes.plot([low, high], [i, i], color=COLOURS[0], linewidth=2)
                    axes.plot(mean, i, "o", color=COLOURS[1], markersize=5)
            n = max(interval.n for interval in group.values())
            axes.set(title=f"{title} (n = {n})", xlabel=label, ylim=(len(names) - 0.5, -0.5))
            axes.set_yticks(range(len(names)), names if axes.get_subplotspec().is_first_col() else [""] * len(names))
            axes.grid(color="0.9")
    return figure


def matrix(operator: Any, n: int) -> Figure:
    """A separable degradation's row matrix for n pixels, one of its rows, and its singular values."""
    rows = operator.rows(n).numpy()
    values = np.linalg.svd(rows, compute_uv=False)
    with rc_context(STYLE):
        figure = Figure((WIDTH, 2.9), layout="constrained")
        whole, one, spectrum = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
        limit = abs(rows).max()
        drawn = whole.imshow(rows, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        figure.colorbar(drawn, ax=whole, label="weight")
        whole.set(title=f"R: {len(rows)} LR rows from {n} HR rows", xlabel="HR row", ylabel="LR row")
        one.plot(rows[len(rows) // 2], color=COLOURS[0])
        one.set(title=f"LR row {len(rows) // 2}", xlabel="HR row", ylabel="weight")
        spectrum.semilogy(np.arange(1, len(values) + 1), values.clip(1e-17), ".", color=COLOURS[1])
        spectrum.set(title=f"{len(values)} singular values", xlabel="index", ylabel="singular value")
    return figure


def draw(axes: Axes, image: Tensor, signed: float | None = None) -> Any:
    """The first of (B, C, H, W) images, pixel by pixel; `signed` as in `images`."""
    pixels = image[0].detach().cpu().float()
    if signed is not None:
        return axes.imshow(pixels.mean(0).numpy(), cmap="RdBu_r", vmin=-signed, vmax=signed, interpolation="nearest")
    pixels = pixels.clamp(0, 1)
    if len(pixels) == 1:
        return axes.imshow(pixels[0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")


def _mark(axes: Axes, box: Box) -> None:
    row, column, height, width = box
    for colour, line in (("black", 3.0), ("#F0E442", 1.5)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), width, height, fill=False, color=colour, linewidth=line))


def _scaled(box: Box, scale: float) -> Box:
    row, column, height, width = (round(value * scale) for value in box)
    return row, column, max(height, 1), max(width, 1)


def crop(image: Tensor, box: Box) -> Tensor:
    """What lies in the box."""
    row, column, height, width = box
    return image[..., row : row + height, column : column + width]


def box_at(image: Tensor, row: float, column: float, side: int) -> Box:
    """A square of `side` pixels around a point given as shares of height and width, moved to lie inside the image."""
    height, width = image.shape[-2:]
    side = min(side, height, width)
    top, left = (round(share * n - side / 2) for share, n in ((row, height), (column, width)))
    return min(max(top, 0), height - side), min(max(left, 0), width - side), side, side
