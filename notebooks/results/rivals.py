"""Every method that has weights, side by side on held-out subjects: the closing table of notebook 08.

    nice python notebooks/results/rivals.py --data ../shared/data [--only brain] [--methods esrgan,srflow]

`--data` names a folder with the sub-folders that the model cards describe. Restored are, at 4x, the middle 176x176
pixels of two slices each of the twelve patients of brain-lgg-heldout ("brain"), every slice of the held-out patient of
`brain` that `--limit` leaves ("brain, other scanner"), photographs of natural-heldout with the weights `general`
("photographs"), and at 8x portraits of faces-heldout ("faces"); each with every method whose weights there are. SRFlow
is asked at several temperatures. Writes rivals.json beside this file, after each method: a row per set, method and
image, and one per set and method ("image": null) with the distances of the whole set from other real images of the same
kind (value and jackknife interval), the seconds that a megapixel of SR took here, and the number of parameters. Stored
rows are kept unless `--methods` names them. An hour on one core, most of it SR3's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import networks, upscalers
from medsr_core.degradation import bicubic, task
from medsr_core.measures import metrics, perception, tradeoff
from medsr_workbook import studies

RESULT = Path(__file__).with_name("rivals.json")
# set: folder, weights, factor, pixels of the middle, images restored, folder of the images they are compared with
SETS = {
    "brain": ("brain-lgg-heldout", "brain", 4, 176, 24, "brain-lgg-heldout"),
    "brain, other scanner": ("brain", "brain", 4, 176, 24, "brain"),
    "faces": ("faces-heldout", "faces", 8, 128, 40, "faces-heldout"),
    "photographs": ("natural-heldout", "general", 4, 256, 40, "natural"),
}
TEMPERATURES = (0.0, 0.4, 0.8, 1.0)
SEEN = ("psnr", "ssim", "consistency", "features", "spectrum")


def pictures(folder: Path, name: str, limit: int) -> tuple[list[Tensor], list[str], list[str], list[Tensor]]:
    """HR images, their names and subjects, and as many other real images."""
    ours, _, factor, side, count, others = SETS[name]
    scans = data_fetch.load(folder / ours)
    if name == "brain, other scanner":
        scans = scans.of_subjects(networks.held_out("brain"))
    count = min(count, limit)
    step = max(len(scans) // (2 * count if ours == others else count), 1)
    even = [scans[i * step] for i in range(2 * count if ours == others else count)]
    chosen, rest = (even[::2], even[1::2]) if ours == others else (even, data_fetch.load(folder / others)[:count])
    cut = [task(studies.middle(scan.pixels, side), factor)[0] for scan in chosen]
    names = [entry.name for entry in chosen], [entry.subject for entry in chosen]
    return cut, *names, [studies.middle(scan.pixels, side) for scan in rest]


def answers(name: str) -> Iterator[tuple[str, dict]]:
    """What each method is called in the table, and how it is asked."""
    _, weights, factor, *_ = SETS[name]
    for method, known in networks.METHODS.items():
        if known.trained and weights not in networks.available(method, factor):
            continue
        if method == "srflow":
            for temperature in TEMPERATURES:
                yield f"srflow, temperature {temperature:g}", {"method": method, "temperature": temperature}
        elif method in ("bicubic", "tv") or known.trained:
            yield method, {"method": method}


def study(name: str, label: str, how: dict, seen: tuple) -> list[dict]:
    """The rows of one method."""
    hrs, names, subjects, others = seen
    _, weights, factor, *_ = SETS[name]
    rows, looks, seconds = [], [], 0.0
    for index, (hr, image, subject) in enumerate(zip(hrs, names, subjects, strict=True)):
        lr, start = task(hr, factor)[1], time.perf_counter()
        sr = upscalers.upscale(lr, factor=factor, weights=weights, **how) if how else hr
        seconds += time.perf_counter() - start if index else 0.0  # the first one loads the weights
        looks.append(perception.features(sr))
        row = {"set": name, "method": label, "image": image, "subject": data_fetch.person(subject)}
        cut = {"data_range": 1.0, "crop_border": factor}
        values = (
            metrics.psnr(sr, hr, **cut), metrics.ssim(sr, hr, **cut), metrics.consistency(sr, lr, bicubic(factor)),
            perception.feature_distance(sr, hr), perception.spectrum_ratio(sr, hr),
        )  # fmt: skip
        rows.append(studies.short(row | {key: v.item() for key, v in zip(SEEN, values, strict=True) if how}))
    real = torch.cat([perception.features(other) for other in others])
    whole = {"set": name, "method": label, "image": None, "n": len(hrs)}
    for key, distance in (("frechet", perception.frechet_distance), ("kernel", perception.kernel_distance)):
        whole[key] = list(tradeoff.set_distance(distance, looks, real)[:3])
    if how and networks.METHODS[how["method"]].trained:
        network = upscalers.trained(how["method"], weights, factor)
        whole["parameters"] = sum(p.numel() for p in network.parameters())
    megapixels = sum(hr.shape[-2] * hr.shape[-1] for hr in hrs[1:]) / 1e6
    return [*rows, studies.short(whole | ({"seconds": seconds / megapixels} if how else {}))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the sub-folders named in SETS")
    parser.add_argument("--only", choices=SETS, action="append", help="one of the sets (default: all)")
    parser.add_argument("--methods", default="", help="compute these again, e.g. esrgan,srflow")
    parser.add_argument("--limit", type=int, default=40, help="images of a set, evenly spread (default 40)")
    given = parser.parse_args()
    stored = studies.load(RESULT) if RESULT.exists() else []
    for name in given.only or SETS:
        known = {row["method"] for row in studies.where(stored, set=name)}
        seen = pictures(given.data, name, given.limit)
        for label, how in [("real", {}), *answers(name)]:
            if label in known and label.partition(",")[0] not in given.methods.split(","):
                continue
            rows = study(name, label, how, seen)
            studies.update(RESULT, rows, by=("set", "method", "image"))
            print(name, label, rows[-1], flush=True)
