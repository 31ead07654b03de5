"""Same input, many outputs: spread, calibration and invention of SR3 at 4x, 8x and 16x, on held-out subjects.

    python notebooks/results/stability.py --data ../shared/data [--limit 8] [--count 8] [--bf16]

`--data` names a folder with the sub-folder brain that the model cards describe (and fundus, for 4x). From each LR image
SR3 draws `count` samples. Writes stability.json beside this file: one row per image and factor, see `measure`. The
deterministic methods are measured beside it, so that each has its null-space detail. Ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, metrics, networks, stability, upscalers

SIDE = {"brain": 96, "fundus": 192}  # pixels of the middle that is restored
HELD_OUT = {"brain": ["TCGA-FG-6692"], "fundus": ["Image_09", "Image_10"]}


def study(folder: Path, limit: int, count: int, bf16: bool) -> list[dict]:
    """All rows."""
    rows = []
    for name in HELD_OUT:
        for factor in (4, 8, 16):
            if name not in networks.available("sr3", factor):
                continue
            D = degradation.bicubic(factor)
            for index, scan in enumerate(data_fetch.load(folder / name).of_subjects(HELD_OUT[name], limit=limit)):
                hr = middle(scan.pixels, SIDE[name])
                lr = D(hr).clamp(0, 1)
                row = {"data": name, "factor": factor, "image": scan.name}
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    samples = upscalers.samples(lr, count, factor=factor, weights=name, seed=index).float()
                rows.append(row | {"method": "sr3"} | measure(samples, hr, lr, D))
                for method in ("bicubic", "tv", *others(name, factor)):
                    sr = upscalers.upscale(lr, method, factor=factor, weights=name)
                    rows.append(row | {"method": method} | single(sr, hr, lr, D))
                print(name, factor, scan.name, rows[-3]["psnr"], flush=True)
    return rows


def measure(samples: Tensor, hr: Tensor, lr: Tensor, D: degradation.Separable) -> dict:
    """`single` of the first sample, and: PSNR of the mean, diversity, dB lost by sampling, reliability, coverage."""
    tissue = degradation.gaussian_blur(2.0)(hr.mean(1, keepdim=True)) > 0.05
    mean = samples.mean(0)
    found = stability.reliability(samples, hr, mask=tissue)
    shares = stability.coverage(samples, hr, mask=tissue)
    return single(samples[0], hr, lr, D) | {
        "psnr_mean": short(metrics.psnr(mean, hr, data_range=1.0, crop_border=4)),
        "diversity": short(stability.diversity(samples)),
        "sampling_loss": short(stability.sampling_loss(samples, hr)),
        "amount_mean": short(stability.detail(mean, hr, D).amount),
        "agreement_mean": short(stability.detail(mean, hr, D).agreement),
        "predicted": [short(value) for value in found.predicted],
        "actual": [short(value) for value in found.actual],
        "coverage": {f"{level:.3f}": short(share) for level, share in shares.items()},
    }


def single(sr: Tensor, hr: Tensor, lr: Tensor, D: degradation.Separable) -> dict:
    """PSNR, consistency, measured and invented error, amount and agreement of null-space detail."""
    split, detail = stability.split_error(sr, hr, D), stability.detail(sr, hr, D)
    return {
        "psnr": short(metrics.psnr(sr, hr, data_range=1.0, crop_border=4)),
        "consistency": short(metrics.consistency(sr, lr, D)),
        "measured": short(split.measured),
        "invented": short(split.invented),
        "amount": short(detail.amount),
        "agreement": short(detail.agreement),
    }


def others(weights: str, factor: int) -> list[str]:
    """Deterministic methods with weights for this organ and factor."""
    return [method for method in networks.FAMILY if method != "sr3" and weights in networks.available(method, factor)]


def middle(pixels: Tensor, side: int) -> Tensor:
    """The middle square of an image."""
    top, left = ((n - side) // 2 for n in pixels.shape[-2:])
    return pixels[..., top : top + side, left : left + side]


def short(value: Tensor | float) -> float:
    """Five digits."""
    return float(f"{float(value):.5g}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain and fundus")
    parser.add_argument("--limit", type=int, default=8, help="images, evenly spread (default 8)")
    parser.add_argument("--count", type=int, default=8, help="samples of each (default 8)")
    parser.add_argument("--bf16", action="store_true", help="networks in bfloat16: twice as fast, within 0.02 dB")
    given = parser.parse_args()
    with torch.inference_mode():
        lines = ",\n".join(json.dumps(row) for row in study(given.data, given.limit, given.count, given.bf16))
    Path(__file__).with_name("stability.json").write_text(f"[\n{lines}\n]\n")
