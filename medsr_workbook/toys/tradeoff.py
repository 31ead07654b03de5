"""Distortion against perception: the bound in a toy where it is exact, and points of real methods with intervals.

The toy is one number. X ~ N(0, 1) is the truth, Y = X + N(0, noise^2) what was measured, an answer is a Y + b Z with
fresh noise Z ~ N(0, 1). Distortion is its mean squared error; perception is how far the distribution of the answers is
from that of the truths, the Wasserstein-2 distance. Blau & Michaeli 2018 show that both cannot be small, whatever the
method; Freirich, Michaeli & Meir 2021 (theorem 3) give the curve in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medsr_core.measures.metrics import Interval, bootstrap


class Point(NamedTuple):
    """Distortion (mean squared error) and perception (Wasserstein-2 distance, 0 is perfect) of an answer."""

    distortion: float
    perception: float


def answer(a: float, b: float, *, noise: float) -> Point:
    """Where the answer a Y + b Z lies, exactly."""
    spread = math.sqrt(a**2 * (1 + noise**2) + b**2)
    return Point((1 - a) ** 2 + a**2 * noise**2 + b**2, abs(1 - spread))


def posterior_mean(*, noise: float) -> Point:
    """The answer E[X | Y] = Y / (1 + noise^2): the least distortion there is."""
    return answer(1 / (1 + noise**2), 0, noise=noise)


def mean_of_samples(count: int, *, noise: float) -> Point:
    """The mean of `count` draws from p(X | Y). One draw has perfect perception and twice the least distortion."""
    if count < 1:
        raise ValueError(f"the mean of {count} samples; give 1 or more")
    a = 1 / (1 + noise**2)
    return answer(a, math.sqrt(noise**2 * a / count), noise=noise)


def bound(perception: float, *, noise: float) -> float:
    """The least distortion of any answer, linear or not, of this perception: D(P) = D* + max(0, P* - P)^2.

    D* and P* are those of the posterior mean. At P = 0 a stretched posterior mean gets there with less distortion than
    a sample: 2 - 2s instead of 2 - 2s^2, where s^2 = 1 / (1 + noise^2).
    """
    best = posterior_mean(noise=noise)
    return best.distortion + max(0.0, best.perception - perception) ** 2


# --- real methods ---------------------------------------------------------------------------------------------------

# what is joined by a line: networks between two trainings, and means of N samples
PATHS: dict[str, list[str]] = {
    "bicubic": ["bicubic"],
    "tv": ["tv"],
    "srresnet to srgan": ["srresnet", *(f"srgan {p}%" for p in (20, 40, 60, 80)), "srgan"],
    "medgan-pixel to medgan": ["medgan-pixel", *(f"medgan {p}%" for p in (20, 40, 60, 80)), "medgan"],
    "SR3, means of N": ["sr3", *(f"sr3 mean of {n}" for n in (2, 4, 8, 16))],
    "regression": ["regression"],
    "Real-ESRGAN": ["esrgan"],
}
OF_SETS = ("Frechet distance", "kernel distance")


def points(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, tuple[Interval, Interval]]:
    """Distortion and perception of each method, of which one is bicubic.

    rows : one per method, with "method", and "mse" and "subjects" image by image; under the name of `measure` one value
        per image, or, if it is one of `OF_SETS`, mean, low and high of the whole set

    Distortion is RMSE in percent of bicubic's, image by image: images differ more than methods do. Intervals are
    bootstraps over subjects, but for that of a set. Raises ValueError without bicubic or the measure.
    """
    bicubic = next((row["mse"] for row in rows if row["method"] == "bicubic"), None)
    if bicubic is None or any(measure not in row for row in rows):
        known = ", ".join(key for key in rows[0] if key not in ("data", "method", "subjects")) if rows else "no rows"
        raise ValueError(f"no bicubic among the methods, or not everywhere {measure!r}; there are {known}")
    found = {}
    for row in rows:
        share = [100 * math.sqrt(a / b) for a, b in zip(row["mse"], bicubic, strict=True)]
        if measure in OF_SETS:
            mean, low, high = row[measure][:3]
            looks = Interval(mean, low, high, len(share))
        else:
            looks = bootstrap(row[measure], groups=row["subjects"])
        found[row["method"]] = (bootstrap(share, groups=row["subjects"]), looks)
    return found


def set_distance(distance: Callable[[Tensor, Tensor], float], images: Sequence[Tensor], reference: Tensor) -> Interval:
    """A distance between a set of images and a reference set, with a 95 % jackknife interval over the images.

    images : features of each image, as `perception.features` returns them; `reference` : all rows of the other set

    The estimate is the distance of all images; the interval, 1.96 jackknife standard errors to each side (Tukey 1958),
    says how it would change with other images, not with another reference. A bootstrap would put images in twice,
    which by itself moves such a distance.
    """
    if len(images) < 2:
        raise ValueError(f"an interval needs two or more images, got {len(images)}")
    whole = distance(torch.cat(list(images)), reference)
    left_out = [
        distance(torch.cat([rows for j, rows in enumerate(images) if j != i]), reference) for i in range(len(images))
    ]
    values, n = torch.tensor(left_out, dtype=torch.float64), len(images)
    error = math.sqrt((n - 1) / n * (values - values.mean()).square().sum().item())
    return Interval(whole, whole - 1.96 * error, whole + 1.96 * error, n)
