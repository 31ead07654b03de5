"""Score methods on a data set by one protocol, and say how sure the scores are.

The protocol (the workbook's own; every number it prints is made this way):

1. HR is the stored image in [0, 1], RGB or gray as it is, cropped to a multiple of the factor (bottom and right).
2. LR = D(HR) with D the antialiased bicubic of `medsr_core.degradation`, clipped to [0, 1].
3. SR = the method's answer to LR, clipped to [0, 1]. Nothing is rounded to 8 bits unless `eight_bit` asks for it.
4. PSNR (data range 1) and SSIM (Gaussian 11x11) without a border of `factor` pixels; consistency = MSE(D(SR), LR) on
   the whole image.
5. Every image counts once; the 95 % interval is a bootstrap over subjects, since slices of one head are not
   independent. With one subject it is over that subject's images, and the table says so.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from medsr_core import networks, upscalers
from medsr_core.degradation import bicubic, crop_to_multiple
from medsr_core.files import write_whole
from medsr_core.measures import metrics
from medsr_core.measures.intervals import bootstrap, paired
from medsr_core.networks.features import Perceptual

SSIM_WINDOW = 11
METRICS = {"psnr": "PSNR in dB ↑ ", "ssim": "SSIM ↑ ", "consistency": "D(SR)−LR ↓", "features": "features ↓ "}


class NothingToScore(ValueError):
    """Every image is too small for the factor."""


def check_methods(methods: Iterable[str]) -> list[str]:
    """Return the methods' names, each once, in the order given; ValueError with the known ones if one is unknown."""
    names = list(dict.fromkeys(name.strip() for name in methods if name.strip()))
    unknown = [name for name in names if name not in networks.METHODS]
    if unknown or not names:
        problem = f"unknown method {', '.join(map(repr, unknown))}" if unknown else "no method given"
        raise ValueError(f"{problem}; known methods: {', '.join(networks.METHODS)}")
    return names


def evaluate(
    scans: Sequence[Any],
    methods: Iterable[str],
    *,
    factor: int = 4,
    weights: str = "general",
    eight_bit: bool = False,
    features: bool = False,
    report: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Score each method on each scan by the protocol above.

    Parameters
    ----------
    scans : what `data_fetch.load` returns: a sequence of scans with `.name`, `.subject` and `.pixels`
        (1, C, H, W) in [0, 1]; its `.name` becomes the scores' `data`
    methods : names from `networks.METHODS`
    factor : how many times smaller LR is along each side
    weights : of the trained methods, see `upscalers.upscale`
    eight_bit : round LR and SR to 8 bits, as if each had been stored in an 8-bit file
    features : measure the distance of ImageNet features too (`features.Perceptual`: neither VGG19 nor LPIPS)
    report : called before each score with (name of the image, scores done, scores in all)

    Returns
    -------
    list of dict with the keys data, image, subject, method, factor, psnr [dB], ssim, consistency, features (if asked
    for), seconds, image by image. `psnr` is None where SR equals HR exactly (infinite; JSON has no such number).

    Raises
    ------
    ValueError : an unknown method, a factor below 2, or no scan large enough
    """
    names = check_methods(methods)
    if factor < 2:
        raise ValueError(f"factor is {factor}; expected 2 or more, e.g. 4")
    for method in set(names) & set(networks.TRAINED):
        upscalers.cascade(method, weights, factor)  # missing weights are better found before the work
    perceptual = Perceptual() if features else None
    scores: list[dict[str, Any]] = []
    for done, scan in enumerate(scans):
        hr = _reference(scan, factor)
        if hr is None:
            continue
        image = {"data": getattr(scans, "name", ""), "image": scan.name, "subject": scan.subject}
        for index, method in enumerate(names):
            if report:
                report(scan.name, done * len(names) + index, len(scans) * len(names))
            score = _score(hr, method, factor, weights, eight_bit, perceptual)
            scores.append(image | {"method": method, "factor": factor} | score)
    if not scores:
        side = 2 * factor + SSIM_WINDOW
        raise NothingToScore(f"no image to score: at factor {factor} an image needs at least {side}x{side} pixels")
    return scores


def _reference(scan: Any, factor: int) -> Tensor | None:
    """The scan's HR image (1, C, H, W), or None, with a warning, if too little of it is left for SSIM's window."""
    height, width = scan.pixels.shape[-2:]
    shorter = min(height, width)
    if shorter - shorter % factor - 2 * factor >= SSIM_WINDOW:
        return crop_to_multiple(scan.pixels, factor)
    warnings.warn(
        f"{scan.name} left out: {height}x{width} pixels are too few for factor {factor} with a border of {factor}",
        stacklevel=3,
    )
    return None


def _score(
    hr: Tensor, method: str, factor: int, weights: str, eight_bit: bool, perceptual: Perceptual | None
) -> dict[str, Any]:
    """Steps 2 to 4 of the protocol for one image (1, C, H, W) and one method."""

    def stored(image: Tensor) -> Tensor:
        image = image.clamp(0, 1)
        return (image * 255).round() / 255 if eight_bit else image

    degrade = bicubic(factor)
    lr = stored(degrade(hr))
    start = time.perf_counter()
    sr = stored(upscalers.upscale(lr, method, factor=factor, weights=weights))
    seconds = time.perf_counter() - start
    psnr = float(metrics.psnr(sr, hr, data_range=1.0, crop_border=factor))
    score = {
        "psnr": psnr if math.isfinite(psnr) else None,
        "ssim": float(metrics.ssim(sr, hr, data_range=1.0, crop_border=factor)),
        "consistency": float(metrics.consistency(sr, lr, degrade)),
    }
    if perceptual is not None:
        score["features"] = float(perceptual(sr, hr))
    return score | {"seconds": round(seconds, 4)}


def summary(scores: Sequence[dict[str, Any]], *, seed: int = 0) -> list[dict[str, Any]]:
    """Mean and 95 % interval per data set, factor and method, best PSNR first within a data set.

    Returns
    -------
    list of dict with the keys data, factor, method, n (images), subjects, seconds (mean), and for each of psnr, ssim,
    consistency and (if measured) features a `Interval` (mean, low, high, n), or None where no image had a
    finite value. `tied` lists the metrics in which the row is not told apart from the best: the 95 % interval of their
    difference, image by image, contains zero, or they have fewer than two images in common. (Their own intervals
    may overlap all the same: images differ more than methods do.)
    """
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in scores:
        groups.setdefault((row["data"], row["factor"], row["method"]), []).append(row)
    rows = [_summary_row(key, members, seed) for key, members in groups.items()]
    ranked = [sorted(block, key=lambda row: badness(row, "psnr")) for block in blocks(rows).values()]
    for block in ranked:
        for row in block:
            row["tied"] = [metric for metric in measured(rows) if _tied_with_best(row, block, metric, groups, seed)]
    return [row for block in ranked for row in block]


def _summary_row(key: tuple[str, int, str], members: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("data", "factor", "method"), key, strict=True))
    row |= {"n": len(members), "subjects": len({member["subject"] for member in members})}
    for metric in measured(members):
        kept = [member for member in members if member[metric] is not None]
        values, subjects = [member[metric] for member in kept], [member["subject"] for member in kept]
        row[metric] = bootstrap(values, groups=subjects, seed=seed) if kept else None
    return row | {"seconds": sum(member["seconds"] for member in members) / len(members)}


def measured(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The metrics that all rows have."""
    return [metric for metric in METRICS if all(metric in row for row in rows)]


def badness(row: dict[str, Any], metric: str) -> float:
    """The mean with its sign turned so that less is better; -inf for no finite value (all images restored exactly)."""
    if row[metric] is None:
        return -math.inf
    return float(-row[metric].mean if metric in ("psnr", "ssim") else row[metric].mean)


def _tied_with_best(
    row: dict[str, Any], block: list[dict[str, Any]], metric: str, groups: Mapping[Any, list[dict[str, Any]]], seed: int
) -> bool:
    best = min(block, key=lambda other: badness(other, metric))
    if row is best or row[metric] is None or best[metric] is None:
        return False
    ours, theirs = (
        {m["image"]: m for m in groups[one["data"], one["factor"], one["method"]] if m[metric] is not None}
        for one in (row, best)
    )
    if len(both := [image for image in ours if image in theirs]) < 2:
        return True
    values = ([member[image][metric] for image in both] for member in (ours, theirs))
    apart = paired(*values, groups=[ours[image]["subject"] for image in both], seed=seed)
    return bool(apart.low <= 0 <= apart.high)


def blocks(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The rows of one data set and factor together, in the order they come."""
    blocks: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        blocks.setdefault((row["data"], row["factor"]), []).append(row)
    return blocks


def write_json(scores: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Write the scores as a JSON list, whole or not at all."""
    write_whole(path, json.dumps(list(scores), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
