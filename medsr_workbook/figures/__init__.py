"""The workbook's figures: general ones (`base`), and those of diffusion, of perception, of stability, of the rivals."""

from medsr_workbook.figures import diffusion, perception, rivals, stability
from medsr_workbook.figures.base import (
    COLOURS,
    MARKERS,
    STYLE,
    WIDTH,
    Box,
    box_at,
    curves,
    game,
    images,
    intervals,
    magnifier,
    matrix,
    png,
    show,
)

__all__ = [
    "COLOURS", "MARKERS", "STYLE", "WIDTH", "Box", "box_at", "curves", "diffusion", "game", "images", "intervals",
    "magnifier", "matrix", "perception", "png", "rivals", "show", "stability",
]  # fmt: skip
