"""Scores of the two GANs and their pixel stages on subjects that no training saw: the tables of notebook 04.

    python notebooks/results/held_out.py --data ../shared/data [--only brain] [--limit 24]

`--data` names a folder with the sub-folders brain, brain-lgg, brain-lgg-heldout, fundus, skin and heart that the model
cards describe. The held-out subjects are those of the cards, and the 12 patients of brain-lgg-heldout ("brain, LGG").
Every method is scored with the weights of its own organ (specialist) and with `general`; the medical GAN's pixel stage
with all five. Writes held_out.json beside this file: one row per image, method and weights, and for the specialists one
of the whole set ("image": null) with its Frechet distance from scans of other subjects. A quarter of an hour on one
core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from data_fetch.sets import ImageSet, spread
from medsr_core import networks, upscalers
from medsr_core.degradation import task
from medsr_core.measures import evaluation, perception, tradeoff
from medsr_workbook import studies

KEPT = ("data", "image", "subject", "method", "psnr", "ssim", "consistency", "features")
# set: folder, weights, folder of the other subjects; held out are the cards' subjects where the folders are the same
SETS = {organ: (organ, organ, organ) for organ in studies.ORGANS}
SETS |= {"brain, LGG": ("brain-lgg-heldout", "brain", "brain-lgg")}
METHODS = [name for name, known in networks.TRAINED.items() if known.family in ("SRGAN", "medical GAN")]


def scans_of(folder: Path, name: str, limit: int) -> tuple[ImageSet, list[Tensor]]:
    """Scans of held-out subjects, and scans of others to compare the whole set with."""
    ours, weights, others = SETS[name]
    scans, rest = data_fetch.load(folder / ours, limit=limit), data_fetch.load(folder / others)
    if ours == others:
        held = networks.held_out(weights)
        scans, rest = rest.of_subjects(held, limit=limit), rest.without(held)
    return scans, [scan.pixels for scan in spread(rest, 24)]


def study(folder: Path, name: str, limit: int) -> list[dict]:
    """One row per image, method and weights; one per specialist."""
    scans, others = scans_of(folder, name, limit)
    real = torch.cat([perception.features(task(other, 4)[0]) for other in others])
    own, rows = SETS[name][1], []
    plan = {"none": ["bicubic", "backprojection"], own: METHODS, "general": METHODS}
    colour = scans[0].pixels.shape[1] == 3
    plan |= {w: ["medgan-pixel"] for w in studies.ORGANS if w not in plan and not (colour and w in ("brain", "heart"))}
    for weights, methods in plan.items():
        methods = [m for m in methods if weights == "none" or weights in networks.available(m)]
        print(name, weights, methods, flush=True)
        for row in evaluation.evaluate(scans, methods, weights=weights, features=True):
            kept = studies.short({key: row[key] for key in KEPT})
            told = {"data": name, "subject": data_fetch.person(row["subject"]), "weights": weights}
            rows.append(kept | told)
        for method in methods if weights in (own, "none") else ():
            rows.append({"data": name, "method": method, "weights": weights, "image": None, "n": len(scans)})
            rows[-1]["frechet"] = frechet(scans, method, weights, real)
    return rows


def frechet(scans: ImageSet, method: str, weights: str, real: Tensor) -> list[float]:
    """Frechet distance of restored scans from real ones, and its jackknife interval."""
    lrs = (task(scan.pixels, 4)[1] for scan in scans)
    looks = [perception.features(upscalers.upscale(lr, method, weights=weights)) for lr in lrs]
    return [round(value, 4) for value in tradeoff.set_distance(perception.frechet_distance, looks, real)[:3]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the sub-folders named above")
    parser.add_argument("--only", choices=SETS, action="append", help="one of the sets (default: all)")
    parser.add_argument("--limit", type=int, default=24, help="images per set, evenly spread (default 24)")
    given = parser.parse_args()
    result = Path(__file__).with_name("held_out.json")
    for name in given.only or SETS:
        studies.update(result, study(given.data, name, given.limit), by=("data", "image", "method", "weights"))
