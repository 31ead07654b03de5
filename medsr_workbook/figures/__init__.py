"""The workbook's figures: general ones (`base`), and those of games, diffusion, perception, stability, the rivals."""

from medsr_workbook.figures import diffusion, games, perception, rivals, stability
from medsr_workbook.figures.base import (
    COLOURS,
    MARKERS,
    STYLE,
    WIDTH,
    Box,
    box_at,
    curves,
    images,
    intervals,
    magnifier,
    matrix,
    png,
    show,
)

__all__ = [
    "COLOURS", "MARKERS", "STYLE", "WIDTH", "Box", "box_at", "curves", "diffusion", "games", "images", "intervals",
    "magnifier", "matrix", "perception", "png", "rivals", "show", "stability",
]  # fmt: skip
