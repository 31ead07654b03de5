"""Figures of notebook 08: what goes where in each rival, Gram matrices of a patch, and costs in bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from medsr_core.networks import enhancenet
from medsr_core.networks.features import Magnitudes
from medsr_core.networks.pulse import Found
from medsr_workbook.figures.base import COLOURS, STYLE, WIDTH, Box, _mark, draw, images

# Boxes: name -> (column, row, words, kind). Kinds: an image, a network, a teacher that is only there while training.
# Arrows: (from, to, words). Rows grow downwards.
Boxes = Mapping[str, tuple[float, float, str, str]]
SCHEMES: dict[str, tuple[Boxes, Sequence[tuple[str, str, str]]]] = {
    "ESRGAN": (
        {
            "lr": (0, 0, "LR", "image"), "trunk": (1.2, 0, "dense blocks\nin residuals, ×0.2", "network"),
            "up": (2.6, 0, "nearest ×2,\nconvolution, twice", "network"), "sr": (3.9, 0, "SR", "image"),
            "hr": (3.9, 1, "HR", "image"), "judge": (5.4, 0.5, "which of the two\nis more real?", "teacher"),
        },
        [("lr", "trunk", ""), ("trunk", "up", ""), ("up", "sr", ""), ("sr", "judge", ""), ("hr", "judge", "")],
    ),
    "EnhanceNet": (
        {
            "lr": (0, 0, "LR", "image"), "body": (1.2, 0, "ten blocks,\nnearest ×2 twice", "network"),
            "cubic": (1.2, 1, "bicubic", "network"), "sr": (3.0, 0.5, "SR = sum", "image"),
            "gram": (4.9, 0, "Gram matrix of every\npatch of 32×32 pixels", "teacher"),
            "judge": (4.9, 1, "features, adversary;\nno pixels", "teacher"),
        },
        [("lr", "body", ""), ("lr", "cubic", ""), ("body", "sr", ""), ("cubic", "sr", ""), ("sr", "gram", ""),
         ("sr", "judge", "")],
    ),
    "FSRNet": (
        {
            "lr": (0, 0.5, "LR, enlarged", "image"), "coarse": (1.4, 0.5, "coarse\nnetwork", "network"),
            "fine": (2.8, 0, "encoder", "network"), 
            "prior": (2.8, 1, "hourglass: maps of\neyes, nose, mouth", "network"),
            "decoder": (4.3, 0.5, "decoder", "network"), "sr": (5.5, 0.5, "SR", "image"),
        },
        [("lr", "coarse", ""), ("coarse", "fine", ""), ("coarse", "prior", ""), ("fine", "decoder", ""),
         ("prior", "decoder", ""), ("decoder", "sr", "")],
    ),
    "SRFlow": (
        {
            "z": (0, 0, "z ~ N(0, temperature²)", "image"), "lr": (0, 0.5, "LR: RRDB's maps", "image"),
            "hr": (0, 1, "HR", "image"), "flow": (2.6, 0, "invertible steps,\ngiven those maps", "network"),
            "sr": (4.8, 0, "SR", "image"), "same": (2.6, 1, "the same steps,\nrun forwards", "network"),
            "bits": (4.8, 1, "z and log p(HR | LR)", "teacher"),
        },
        [("z", "flow", ""), ("lr", "flow", ""), ("lr", "same", ""), ("hr", "same", ""), ("flow", "sr", ""),
         ("same", "bits", "")],
    ),
    "PULSE": (
        {
            "z": (0, 0, "z on a sphere", "image"), "g": (1.4, 0, "generator\nof faces", "network"),
            "sr": (2.7, 0, "SR", "image"), "d": (3.8, 0, "D", "network"), "lr": (3.8, 1, "LR", "image"),
            "miss": (5.3, 0.5, "close enough?\nelse move z", "teacher"),
        },
        [("z", "g", ""), ("g", "sr", ""), ("sr", "d", ""), ("d", "miss", ""), ("lr", "miss", "")],
    ),
}  # fmt: skip
FILLS = {"image": "white", "network": "#DCEBF5", "teacher": "#FBE6D4"}


def scheme(*names: str) -> Figure:
    """What goes where, a row for each of the named rivals. Blue: networks; orange: only looked at, to judge."""
    with rc_context(STYLE):
        figure = Figure((WIDTH, 1.45 * len(names)), layout="constrained")
        for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
            boxes, arrows = SCHEMES[name]
            patches = {}
            for key, (column, row, words, kind) in boxes.items():
                style = {"boxstyle": "round,pad=0.35", "facecolor": FILLS[kind], "edgecolor": "0.3"}
                text = axes.text(column, -row, words, ha="center", va="center", fontsize=9, bbox=style)
                patches[key] = text.get_bbox_patch()
            for start, end, words in arrows:
                (x0, y0, *_), (x1, y1, *_) = boxes[start], boxes[end]
                ends = {"patchA": patches[start], "patchB": patches[end], "shrinkA": 0, "shrinkB": 2}
                arrow = {"arrowstyle": "-|>", "color": "0.35", **ends}
                axes.annotate("", (x1, -y1), (x0, -y0), arrowprops=arrow, zorder=4)
                axes.text((x0 + x1) / 2, -(y0 + y1) / 2 + 0.14, words, ha="center", fontsize=8, color="0.35")
            axes.set(xlim=(-0.7, 6.5), ylim=(-1.4, 0.4), title=name)
            axes.title.set_horizontalalignment("left"), axes.title.set_x(0.0)
            axes.set_axis_off()
    return figure


def textures(pictures: Mapping[str, Tensor], box: Box) -> Figure:
    """Pictures (1, C, H, W) with a patch marked, and below each the Gram matrix of the first layer of maps there."""
    row, column, height, width = (value // 2 for value in box)  # that layer has half of the picture's size
    maps = {name: _magnitudes()(picture)[0] for name, picture in pictures.items()}
    patches = {name: each[..., row : row + height, column : column + width] for name, each in maps.items()}
    return grams(pictures, {name: enhancenet.gram(patch, height)[0, 0] for name, patch in patches.items()}, box)


def grams(pictures: Mapping[str, Tensor], matrices: Mapping[str, Tensor], box: Box) -> Figure:
    """Pictures with a patch marked, and below each a matrix (C, C), all on one scale."""
    limit = max(matrix.abs().max().item() for matrix in matrices.values())
    with rc_context(STYLE):
        figure = Figure((WIDTH, 5.2), layout="constrained")
        grid = figure.subplots(2, len(pictures), height_ratios=(1.25, 1))
        for above, below, (name, picture) in zip(*grid, pictures.items(), strict=True):
            draw(above, picture)
            _mark(above, box)
            above.set_title(name)
            above.set_axis_off()
            drawn = below.imshow(matrices[name].numpy(), "RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            below.set(xlabel="feature", xticks=[], yticks=[])
        grid[1, 0].set_ylabel("feature")
        figure.colorbar(drawn, ax=grid[1], label="F Fᵀ / pixels", pad=0.01)
    return figure


def prior(hr: Tensor, maps: Tensor, sr: Tensor, *, name: str) -> Figure:
    """A face, the maps (1, M, h, w) that FSRNet's decoder was given, the strongest at each pixel, and its answer."""
    strongest = maps.amax(1, keepdim=True).clamp(0, 1)
    return images({"HR": hr, f"maps: {name}": strongest, "SR with these maps": sr}, columns=3)


def found(wanted: Mapping[str, Tensor], search: Mapping[str, Found], start: int) -> Figure:
    """Of PULSE: what was wanted, above what one start of the search came to, found or not."""
    shown = dict(wanted)
    for name, result in search.items():
        far = result.distances[start, 0].item()
        shown[f"{'found' if far <= result.eps else 'NOT FOUND'}, error {far:.4f}\nfor {name}"] = result.images[start]
    return images(shown, columns=len(wanted))


@cache
def _magnitudes() -> Magnitudes:
    return Magnitudes()


def costs(bits: Mapping[str, float], *, unknowing: float = 8.0) -> Figure:
    """Bits per pixel of several candidates, given one LR image, beside those of knowing nothing."""
    names = list(bits)
    with rc_context(STYLE):
        figure = Figure((0.8 * WIDTH, 0.7 + 0.32 * len(names)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(names, list(bits.values()), color=[COLOURS[1], *[COLOURS[0]] * (len(names) - 1)])
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.axvline(unknowing, color="0.4", linestyle=":")
        axes.text(unknowing, -0.75, "knowing nothing ", ha="right", fontsize=9, color="0.3")
        axes.invert_yaxis()
        axes.set(xlabel="bits per pixel, given LR")
    return figure
