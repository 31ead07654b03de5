"""A downstream task: does a restored retina still show its vessels? Classical segmentation and the Dice score.

Vessels are dark tubes in the green channel. The ridge filter of Sato et al. (1998; scikit-image) answers to tubes of a
few widths; a threshold, chosen on other images, makes a map of it. This is what a weak segmentation programme sees, and
its Dice is far from a trained network's: what counts is how much it loses from HR to SR.

Images are (1, 3, H, W) in [0, 1], or gray; maps are boolean (H, W) numpy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Map = NDArray[np.bool_]
WIDTHS = (1.0, 2.0, 3.0)  # standard deviations in pixels, about half the vessels' widths


def field_of_view(image: Tensor, margin: int) -> Map:
    """The lit disc of a fundus photograph without a margin in pixels, where its rim looks like a vessel."""
    from scipy.ndimage import binary_erosion, binary_fill_holes

    lit = binary_fill_holes(image[0].amax(0).numpy() > 0.12)
    return binary_erosion(lit, iterations=margin, border_value=1) if margin else lit


def vesselness(image: Tensor, widths: Sequence[float] = WIDTHS) -> NDArray[np.float64]:
    """Sato's answer to dark tubes in the green channel, (H, W), 0 or more, zero outside the field of view.

    Green is first divided by its mean within about 15 pixels (uneven light), and the answer by its 99th percentile, so
    that a threshold means the same in pale and in dark photographs (ours).
    """
    from scipy.ndimage import gaussian_filter
    from skimage.filters import sato

    green = image[0, -1 if image.shape[1] == 1 else 1].double().numpy()
    lit, inside = field_of_view(image, 0), field_of_view(image, 13)
    light = gaussian_filter(green * lit, 15) / gaussian_filter(lit.astype(float), 15).clip(1e-6)
    even = np.where(lit, green / light.clip(1e-3), 1.0)
    answer = sato(even, sigmas=widths, black_ridges=True) * inside
    scale = np.percentile(answer[inside], 99) if inside.any() else 0.0
    return answer / scale if scale > 0 else answer


def segment(image: Tensor, threshold: float, *, smallest: int = 20) -> Map:
    """Vesselness above the threshold, in connected pieces of more than `smallest` pixels."""
    from skimage.morphology import remove_small_objects

    return remove_small_objects(vesselness(image) > threshold, max_size=smallest)


def dice(found: Map, true: Map, inside: Map | None = None) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|): 1 equal, 0 disjoint; two empty maps are equal."""
    if found.shape != true.shape:
        raise ValueError(f"maps of {found.shape} and {true.shape} pixels; compare maps of one size")
    if inside is not None:
        found, true = found & inside, true & inside
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else 1.0


def best_threshold(images: Sequence[Tensor], masks: Sequence[Map]) -> float:
    """The threshold with the highest mean Dice against manual masks of training images, on a grid of 0.02."""
    answers = [vesselness(image) for image in images]
    grid = np.arange(0.1, 0.8, 0.02)
    means = [np.mean([dice(a > t, m) for a, m in zip(answers, masks, strict=True)]) for t in grid]
    return float(grid[int(np.argmax(means))])
