"""How many network calls does a sample need? Samplers and steps against quality, for notebook 06.

    python notebooks/results/steps.py --data ../shared/data [--precision bf16]
    python notebooks/results/steps.py --data ../shared/data [--precision bf16] --sampler ancestral --steps 2000

`--data` names a folder with the sub-folder brain that the model cards describe. 16 pieces of 128x128 of a held-out
patient, four contrasts, are enlarged 4 times by every sampler with its number of steps, always from the same seed.
Writes steps.json beside this file: one row per sampler, steps and image, and one per sampler and steps ("image": null)
with the Frechet and kernel distance between the features of all SR pieces and of 48 HR pieces from other slices.
Five minutes with bf16. SR3's own 2000 steps take five times as long as all others together, so they are asked for by
the second command (`--every 4`: on every fourth piece). Then prints the fewest steps with which no metric is worse than
the interval of 100 ancestral steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, networks, upscalers
from medsr_core.measures import intervals, metrics, perception
from medsr_core.networks.features import Perceptual
from medsr_workbook import studies

FEW = (4, 5, 6, 8, 10, 12, 16, 25, 50)
PLAN = [("ancestral", 100), *(("dpm++", n) for n in FEW), *(("ddim", n) for n in FEW), ("ancestral", 20),
        ("ancestral", 50)]  # fmt: skip
RESULT = Path(__file__).with_name("steps.json")
METRICS = ("psnr", "ssim", "consistency", "features", "spectrum")


def pieces(folder: Path) -> tuple[Tensor, Tensor]:
    """HR pieces (16, 1, 128, 128) of the held-out patient, from the middle of the head, and 48 of other slices."""
    scans = data_fetch.load(folder / "brain").of_subjects(networks.held_out("brain"), limit=64)
    cut = torch.cat([studies.middle(scan.pixels, 128) for scan in scans])
    mine = torch.arange(64) % 4 == 2
    return cut[mine], cut[~mine]


def study(hr: Tensor, others: Tensor, sampler: str, steps: int, half: bool, every: int = 1) -> list[dict]:
    """A row for each image, and one for all unless pieces are left out: a set's distance depends on its size."""
    D, perceptual, hr = degradation.bicubic(4), Perceptual(), hr[::every]
    hr, lr = degradation.task(hr, 4)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):  # the network only: D and SSIM need all their digits
        sr = upscalers.samples(lr, 1, weights="brain", sampler=sampler, steps=steps, seed=1)[0].float()
    rows = []
    for index, (one, low, whole) in enumerate(zip(sr.split(1), lr.split(1), hr.split(1), strict=True)):
        rows.append({
            "sampler": sampler, "steps": steps, "image": index * every,
            "psnr": float(metrics.psnr(one, whole, data_range=1.0, crop_border=4)),
            "ssim": float(metrics.ssim(one, whole, data_range=1.0, crop_border=4)),
            "consistency": float(metrics.consistency(one, low, D)), "features": float(perceptual(one, whole)),
            "spectrum": float(perception.spectrum_ratio(one, whole)),
        })  # fmt: skip
    if every == 1:
        a, b = perception.features(sr), perception.features(others)
        rows.append({
            "sampler": sampler, "steps": steps, "image": None,
            "frechet": perception.frechet_distance(a, b), "kernel": perception.kernel_distance(a, b),
        })  # fmt: skip
    return [studies.short(row) for row in rows]


def fewest(rows: list[dict]) -> dict[str, int]:
    """Sampler -> fewest steps, with all larger numbers too, whose means are not worse than 100 ancestral steps'."""

    def values(sampler: str, steps: int, key: str) -> list[float]:
        return [r[key] for r in rows if (r["sampler"], r["steps"]) == (sampler, steps) and r["image"] is not None]

    usual = {key: intervals.bootstrap(values("ancestral", 100, key)) for key in METRICS}
    found = {}
    for sampler in ("dpm++", "ddim"):
        for steps in reversed(FEW):
            means = {key: sum(values(sampler, steps, key)) / 16 for key in METRICS}
            if any(is_worse(key, means[key], usual[key]) for key in METRICS):
                break
            found[sampler] = steps
    return found


def is_worse(metric: str, mean: float, usual: intervals.Interval) -> bool:
    """Outside the interval on the bad side; the power of fine detail, a ratio to HR's, has two bad sides."""
    bad_above = metric in ("consistency", "features", "spectrum") and mean > usual.high
    bad_below = metric in ("psnr", "ssim", "spectrum") and mean < usual.low
    return bad_above or bad_below


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--sampler", choices=("ancestral", "ddim", "dpm++"), help="only this one, with --steps")
    parser.add_argument("--steps", type=int, help="network calls of --sampler")
    parser.add_argument("--every", type=int, default=1, help="only every so many pieces (default 1: all)")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    hr, others = pieces(given.data)
    for sampler, steps in [(given.sampler, given.steps)] if given.sampler and given.steps else PLAN:
        rows = study(hr, others, sampler, steps, given.precision == "bf16", given.every)
        studies.update(RESULT, rows, by=("sampler", "steps", "image"))
        print(sampler, steps, {key: studies.mean(rows, key).mean for key in METRICS}, rows[-1], flush=True)
    print(fewest(studies.load(RESULT)))
