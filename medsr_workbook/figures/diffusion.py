"""The figures of the diffusion notebooks: noise on a scan, schedules, measurements over formulas, the U-Net itself.

Conventions as in `figures.base`: image tensors (1, C, H, W), matplotlib figures out, Okabe & Ito's colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.ticker import LogLocator
from torch import Tensor

from medsr_core.diffusion import snr
from medsr_core.measures.intervals import Interval
from medsr_core.networks.sr3 import Attention, UNet
from medsr_workbook.figures.base import COLOURS, MARKERS, STYLE, WIDTH, draw


def decibels(noise_level: Tensor) -> Tensor:
    """10 log10 of the signal-to-noise ratio g / (1 - g), which is infinite at g = 1."""
    return 10 * snr(noise_level).log10()


def noised(y: Tensor, alpha_bar: Tensor, t: int) -> Figure:
    """y_t, whose black is -1 and white 1; its gray values beside those of pure noise; where on the schedule t is.

    y : (1, C, H, W), an image in [-1, 1] after t steps
    alpha_bar : (T + 1,), all g_t
    """
    g, values = float(alpha_bar[t]), y.flatten().numpy()
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.3), layout="constrained")
        picture, histogram, curve = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
        draw(picture, (y + 1) / 2)
        picture.set_title(f"y_t at t = {t}: g = {g:.3g}")
        picture.set_axis_off()
        edges = np.linspace(-4, 4, 81)
        histogram.hist(values, edges, density=True, color=COLOURS[0], label="y_t")
        bell = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
        histogram.plot(edges, bell, color=COLOURS[1], label="pure noise, N(0, 1)")
        histogram.set(title="its gray values", xlabel="value", ylabel="density", ylim=(0, 1.2))
        histogram.legend(frameon=False, loc="upper right")
        curve.plot(alpha_bar.numpy(), color=COLOURS[0])
        curve.plot(t, g, "o", color=COLOURS[1], markersize=8)
        signal = f"{float(decibels(alpha_bar[t])):+.1f} dB" if g < 1 else "no noise"
        curve.set(title=f"signal to noise: {signal}", xlabel="step t", ylabel="noise level g_t", ylim=(-0.05, 1.05))
        curve.grid(color="0.9")
    return figure


def schedules(alpha_bars: Mapping[str, Tensor]) -> Figure:
    """g_t on the left, the signal-to-noise ratio in dB on the right, one line per schedule (T + 1,)."""
    styles = ("-", "--", "-.", ":")
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.4), layout="constrained")
        level, ratio = figure.subplots(1, 2)
        for (name, alpha_bar), colour, line in zip(alpha_bars.items(), COLOURS, styles, strict=False):
            t = np.arange(len(alpha_bar))
            level.plot(t, alpha_bar.numpy(), line, color=colour, label=name, linewidth=2)
            ratio.plot(t[1:], decibels(alpha_bar[1:]).numpy(), line, color=colour, linewidth=2)
        level.set(title="how much of the image's variance is left", xlabel="step t", ylabel="noise level g_t")
        level.legend(frameon=False)
        ratio.axhline(0, color="0.4", linewidth=1)
        ratio.text(0.98, 1, "as much signal as noise", transform=ratio.get_yaxis_transform(), ha="right", va="bottom")
        ratio.set(title="the same in decibels", xlabel="step t", ylabel="signal to noise (dB)", ylim=(-48, 48))
        for axes in (level, ratio):
            axes.grid(color="0.9")
    return figure


def over_formula(
    x: Sequence[float],
    measured: Mapping[str, Sequence[Interval]],
    formula: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    over: Sequence[float] | None = None,
    log: bool = False,
) -> Figure:
    """Measurements as points with their 95 % intervals, and what a formula says as a line, by name, over x.

    If the formula says the same of all, it is drawn once, and points stand a little apart so that none hides another.

    over : where the formula's values lie (default: at x); more of them make a smooth curve
    log : double x from tick to tick, for measurements at 2, 4, 8, ..
    """
    over = x if over is None else over
    one_curve = len({tuple(values) for values in formula.values()}) == 1
    step = 0.015 * (max(x) - min(x)) if one_curve else 0.0
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        for i, ((name, values), colour, marker) in enumerate(zip(measured.items(), COLOURS, MARKERS, strict=False)):
            aside = i - (len(measured) - 1) / 2
            place = np.asarray(x) * 1.03**aside if log and one_curve else np.asarray(x) + step * aside
            low, high = ([getattr(value, end) for value in values] for end in ("low", "high"))
            axes.vlines(place, low, high, color=colour, linewidth=1.5)
            axes.plot(place, [v.mean for v in values], marker, color=colour, markersize=5, label=f"{name}, measured")
            if not one_curve:
                axes.plot(over, formula[name], color=colour, linewidth=1, label=f"{name}, formula")
        if one_curve:
            axes.plot(over, next(iter(formula.values())), color="black", linewidth=1.2, label="formula", zorder=0)
        if log:
            axes.set_xscale("log", base=2)
            axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.grid(color="0.9")
    return figure


def spectra(frequency: Tensor, clean: Tensor, noisy: Mapping[str, Tensor], floors: Mapping[str, float]) -> Figure:
    """Power over spatial frequency: of the clean image (k,), of noisy ones, and the flat power of their noise alone."""
    f = frequency.numpy()
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.loglog(f, clean.numpy(), color="black", linewidth=2.5, label="clean image")
        for (name, power), colour, marker in zip(noisy.items(), COLOURS, MARKERS, strict=False):
            axes.loglog(f, power.numpy(), marker, color=colour, markersize=3, label=f"{name}, measured")
            axes.axhline(floors[name], color=colour, linestyle="--", linewidth=1, label=f"{name}, noise alone")
        axes.set(xlabel="spatial frequency (cycles per pixel): coarse to fine", ylabel="power")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.grid(color="0.9")
    return figure


def by_steps(panels: Mapping[str, Mapping[str, Mapping[int, Interval]]], *, band: Mapping[str, Interval]) -> Figure:
    """Quality over network calls (logarithmic): a panel per measure, a line per sampler, means with 95 % intervals.

    panels : measure -> sampler -> steps -> interval
    band : measure -> the interval to be reached, drawn as a gray band
    """
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.3), layout="constrained")
        for axes, (measure, lines) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            if measure in band:
                axes.axhspan(band[measure].low, band[measure].high, color="0.88", label="to be reached")
            for (name, points), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
                axes.vlines(list(points), *([i[end] for i in points.values()] for end in (1, 2)), color=colour)
                axes.plot(list(points), [i.mean for i in points.values()], color=colour, marker=marker, label=name)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:.0f}")
            axes.minorticks_off()
            axes.set(title=measure, xlabel="network calls")
            axes.grid(color="0.9")
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=5)
    return figure


# --- the U-Net, as it is --------------------------------------------------------------------------------------------

KINDS = {"convolution": "0.75", "residual block": "#56B4E9", "halves": "#E69F00", "doubles": "#009E73"}


class Block(NamedTuple):
    """A block of a U-Net as it was met in a forward pass."""

    kind: str  # of `KINDS`
    channels: int
    side: int  # of its square output
    attends: bool
    source: int | None  # number of the block whose feature maps are concatenated to its input


def blocks(network: UNet, side: int = 64) -> list[Block]:
    """Send a square image through the U-Net and note what every block puts out, in the order in which they run."""
    parts = [network.first, *network.down, *network.middle, *network.up, network.last]
    shapes: list[torch.Size] = []
    hooks = [part.register_forward_hook(lambda module, inside, out: shapes.append(out.shape)) for part in parts]
    weight = network.first.weight
    try:
        with torch.no_grad():
            network(weight.new_zeros(1, weight.shape[1], side, side), weight.new_full((1,), 0.5))
    finally:
        for hook in hooks:
            hook.remove()
    found, passed, before = [], [0], side
    first_up = 1 + len(network.down) + len(network.middle)
    for number, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        now = shape[-1]
        inside = 0 < number < len(parts) - 1
        kind = "convolution" if not inside else "residual block"
        if now != before:
            kind = "halves" if now < before else "doubles"
        source = passed.pop() if inside and number >= first_up and kind == "residual block" else None
        if inside and number <= len(network.down):
            passed.append(number)
        attends = isinstance(getattr(part, "attention", None), Attention)
        found.append(Block(kind, shape[1], now, attends, source))
        before = now
    return found


def unet(network: UNet, side: int = 64) -> Figure:
    """A U-Net drawn from the module itself: its blocks with their channels, resolutions downwards, and its skips."""
    drawn = blocks(network, side)
    rows = {size: -1.5 * i for i, size in enumerate(sorted({block.side for block in drawn}, reverse=True))}
    with rc_context(STYLE):
        figure = Figure((WIDTH, 1.1 + 0.95 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.set_axis_off()
        for number, block in enumerate(drawn):
            _box(axes, number, rows[block.side], block, rotation=0 if len(drawn) < 25 else 90)
            if number:
                _arrow(axes, [(number - 0.6, rows[drawn[number - 1].side]), (number - 0.4, rows[block.side])])
            if block.source is not None:
                y = rows[block.side] + 0.4
                top = y + 0.16 * (1 + _inside(number, drawn))
                _arrow(axes, [(block.source, y), (block.source, top), (number, top), (number, y)], linestyle="--")
        for size, y in rows.items():
            axes.text(-1.2, y, f"{size} x {size}", ha="right", va="center")
        inputs, count = network.first.weight.shape[1], sum(p.numel() for p in network.parameters())
        axes.set_title(f"{inputs} channels in, {drawn[-1].channels} out, {count:,} parameters")
        axes.set(xlim=(-3.2, len(drawn)), ylim=(min(rows.values()) - 0.6, 1.3))
        legend: list[Artist] = [Patch(color=colour, label=kind) for kind, colour in KINDS.items()]
        if any(block.attends for block in drawn):
            legend.append(Patch(facecolor="white", edgecolor="black", label="with attention"))
        legend.append(axes.plot([], [], "--", color="0.4", label="skip: concatenated")[0])
        figure.legend(handles=legend, frameon=False, loc="outside lower center", ncols=len(legend))
    return figure


def _box(axes: Axes, x: float, y: float, block: Block, rotation: float) -> None:
    edge = "black" if block.attends else "none"
    style: dict[str, Any] = {
        "boxstyle": "round,pad=0,rounding_size=0.1",
        "facecolor": KINDS[block.kind],
        "edgecolor": edge,
    }
    axes.add_patch(FancyBboxPatch((x - 0.4, y - 0.4), 0.8, 0.8, **style))
    axes.text(x, y, str(block.channels), ha="center", va="center", fontsize=9, rotation=rotation)


def _arrow(axes: Axes, corners: Sequence[tuple[float, float]], **style: Any) -> None:
    x, y = zip(*corners, strict=True)
    axes.plot(x[:-1], y[:-1], color="0.4", linewidth=1, zorder=0, **style)
    arrow = {"arrowstyle": "-|>", "color": "0.4", "shrinkA": 0, "shrinkB": 0, **style}
    axes.annotate("", corners[-1], corners[-2], arrowprops=arrow, zorder=0)


def _inside(number: int, drawn: Sequence[Block]) -> int:
    """How many skips of the same resolution lie within that of block `number`: it must be drawn above them."""
    first = drawn[number].source
    assert first is not None
    within = [b for b in drawn[first:number] if b.source is not None and b.side == drawn[number].side]
    return len(within)
