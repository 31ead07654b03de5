"""The figures of the diffusion notebooks: noise on a scan, schedules, measurements over formulas, the U-Net itself.

Conventions as in `medsr_core.figures`: image tensors (1, C, H, W), matplotlib figures out, Okabe & Ito's colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from medsr_core.diffusion import snr
from medsr_core.figures import COLOURS, MARKERS, STYLE, WIDTH, _draw
from medsr_core.metrics import Interval


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
        _draw(picture, (y + 1) / 2, None)
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
) -> Figure:
    """Measurements as points with their 95 % intervals, and what a formula says as a line, by name, over x."""
    with rc_context(STYLE):
        figure = Figure((WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        for (name, values), colour, marker in zip(measured.items(), COLOURS, MARKERS, strict=False):
            low, high = ([getattr(value, end) for value in values] for end in ("low", "high"))
            axes.vlines(x, low, high, color=colour, linewidth=1.5)
            axes.plot(
                x, [value.mean for value in values], marker, color=colour, markersize=5, label=f"{name}, measured"
            )
            axes.plot(x, formula[name], color=colour, linewidth=1, label=f"{name}, formula")
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
