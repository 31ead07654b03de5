"""Where methods lie on the perception-distortion plane (Blau & Michaeli 2018): two numbers each, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medsr_core.measures.intervals import Interval, bootstrap

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
    which by itself moves such a distance. Of one image nothing is known about others: the interval is NaN.
    """
    whole = distance(torch.cat(list(images)), reference)
    if len(images) == 1:
        return Interval(whole, math.nan, math.nan, 1)
    left_out = [
        distance(torch.cat([rows for j, rows in enumerate(images) if j != i]), reference) for i in range(len(images))
    ]
    values, n = torch.tensor(left_out, dtype=torch.float64), len(images)
    error = math.sqrt((n - 1) / n * (values - values.mean()).square().sum().item())
    return Interval(whole, whole - 1.96 * error, whole + 1.96 * error, n)
