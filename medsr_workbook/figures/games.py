"""Figures of notebook 03: two games seen from above, on points in the plane and on patches of a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medsr_core.measures import perception
from medsr_workbook.figures.base import COLOURS, STYLE, WIDTH, Box, crop, draw
from medsr_workbook.toys import ring, scan


def points(snapshots: Sequence[ring.Snapshot]) -> Figure:
    """Snapshots of `toys.ring.play` side by side: true clouds, generated points, the discriminator's belief."""
    with rc_context(STYLE):
        cell = min((WIDTH - 1.1) / len(snapshots), 3.4)
        figure = Figure((cell * len(snapshots) + 1.1, cell + 0.7), layout="constrained")
        grid = figure.subplots(1, len(snapshots), squeeze=False)[0]
        for axes, snapshot in zip(grid, snapshots, strict=True):
            belief = snapshot.belief.numpy()
            drawn = axes.imshow(belief, cmap="PuOr", vmin=0, vmax=1, alpha=0.6, extent=(-3, 3, -3, 3), origin="lower")
            axes.scatter(*ring.centres().T.numpy(), s=120, facecolors="none", edgecolors="black", label="true clouds")
            axes.scatter(*snapshot.points.T.numpy(), s=4, color=COLOURS[1], label="made points")
            axes.set(title=f"step {snapshot.step}", xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
        figure.colorbar(drawn, ax=grid, shrink=0.8, pad=0.01, label="D: how sure that true", ticks=(0, 0.5, 1))
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def patches(hr: Tensor, snapshots: Sequence[scan.Snapshot], box: Box) -> Figure:
    """The game on a scan so far: the region `box` of HR, of the start and of now; losses, accuracy, spectra."""
    first, now = snapshots[0], snapshots[-1]
    with rc_context(STYLE):
        figure = Figure((WIDTH, 5.6), layout="constrained")
        above, below = figure.subplots(2, 3, height_ratios=(1.25, 1))
        pictures = {"HR": hr, "before the game": first.sr, f"step {now.step}": now.sr}
        for axes, (name, picture) in zip(above, pictures.items(), strict=True):
            draw(axes, crop(picture, box))
            axes.set(title=name, xticks=[], yticks=[])
        loss, accuracy, power = below
        curve(loss, now, {"features": "squared features", "−log D(made)": "adversarial"})
        loss.set(title="losses of G", ylim=(0, None))
        certainty(accuracy, now, "D takes for what it is (coin: ½)")
        truth = perception.spectrum(hr)[1]
        for (name, picture), colour in zip(list(pictures.items())[1:], COLOURS, strict=False):
            frequency, mine = perception.spectrum(picture)
            power.plot(frequency, (mine / truth)[0], color=colour, label=name)
        power.axhline(1, color="0.4", linestyle=":")
        power.set(title="power of SR / power of HR", xlabel="cycles per pixel", yscale="log", ylim=(0.02, 5))
        power.legend(frameon=False, loc="lower left")
    return figure


def outcomes(hr: Tensor, games: Mapping[str, scan.Snapshot], box: Box) -> Figure:
    """How games ended: the region `box` of HR and of each, below it the discriminator's accuracy step by step."""
    with rc_context(STYLE):
        figure = Figure((WIDTH, 4.3), layout="constrained")
        above, below = figure.subplots(2, len(games) + 1, height_ratios=(1.4, 1))
        for axes, (name, picture) in zip(above, {"HR": hr, **{n: g.sr for n, g in games.items()}}.items(), strict=True):
            draw(axes, crop(picture, box))
            axes.set(title=name, xticks=[], yticks=[])
            axes.spines[:].set_visible(True)  # a picture may have become white
        below[0].set_axis_off()
        for axes, game in zip(below[1:], games.values(), strict=True):
            certainty(axes, game, "accuracy of D")
    return figure


def certainty(axes: Axes, snapshot: scan.Snapshot, title: str) -> None:
    """The discriminator's accuracy step by step, with a coin's."""
    curve(axes, snapshot, {"": "accuracy"})
    axes.axhline(0.5, color="0.4", linestyle=":")
    axes.set(title=title, ylim=(0, 1.03))


def curve(axes: Axes, snapshot: scan.Snapshot, names: Mapping[str, str], *, window: int = 10) -> None:
    """Values of every step, each the mean of the last `window`: a batch has a few patches only."""
    for (label, name), colour in zip(names.items(), COLOURS, strict=False):
        values = [step[name] for step in snapshot.history if name in step]
        recent = [values[max(0, i - window) : i] for i in range(1, len(values) + 1)]
        axes.plot(range(1, len(values) + 1), [fmean(some) for some in recent], color=colour, label=label)
    if len(names) > 1 and snapshot.history:
        axes.legend(frameon=False)
    axes.set(xlabel="step")
    axes.grid(color="0.9")
