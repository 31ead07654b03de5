"""Same input, many outputs: spread, calibration and invention of SR3 at 4x, 8x and 16x, on held-out subjects.

    python notebooks/results/stability.py --data ../shared/data [--limit 8] [--count 8] [--bf16]

`--data` names a folder with the sub-folder brain that the model cards describe (and fundus, for 4x). From each LR image
SR3 draws `count` samples. Writes stability.json beside this file, image by image: one row per image and factor, see
`measure`, and one for each deterministic method, so that each has its null-space detail. "false" counts lesions that
the truth has not, see lesions.py. Ten minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, networks, upscalers
from medsr_core.measures import lesions, metrics, stability
from medsr_workbook import studies

THRESHOLD = {"brain": 0.1, "fundus": 0.06}  # of the detector of lesions, as in lesions.py
SIDE = {"brain": 96, "fundus": 192}  # pixels of the middle that is restored
RESULT = Path(__file__).with_name("stability.json")


def study(folder: Path, name: str, factor: int, limit: int, count: int, bf16: bool) -> None:
    """Store the rows of one organ and factor."""
    D, deterministic = degradation.bicubic(factor), ("bicubic", "tv", *others(name, factor))
    for index, scan in enumerate(data_fetch.load(folder / name).of_subjects(networks.held_out(name), limit=limit)):
        hr = studies.middle(scan.pixels, SIDE[name])
        hr, lr = degradation.task(hr, factor)
        names = {"data": name, "factor": factor, "image": scan.name, "subject": data_fetch.person(scan.subject)}
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            samples = upscalers.samples(lr, count, factor=factor, weights=name, seed=index).float()
        threshold = THRESHOLD[name]
        rows = [names | {"method": "sr3"} | studies.short(measure(samples, hr, lr, D, threshold))]
        for method in deterministic:
            sr = upscalers.upscale(lr, method, factor=factor, weights=name)
            rows.append(names | {"method": method} | studies.short(single(sr, hr, lr, D, threshold)))
        studies.update(RESULT, rows, by=("data", "factor", "image", "method"))
        print(name, factor, scan.name, rows[0]["psnr"], flush=True)


def measure(samples: Tensor, hr: Tensor, lr: Tensor, D: degradation.Separable, threshold: float) -> dict:
    """`single` of the first sample, false lesions of all and of their mean, what else the mean is like, diversity,
    dB lost by sampling, reliability and coverage.
    """
    tissue = degradation.gaussian_blur(2.0)(hr.mean(1, keepdim=True)) > 0.05
    mean = samples.mean(0)
    found = stability.reliability(samples, hr, mask=tissue)
    shares = stability.coverage(samples, hr, mask=tissue)
    return single(samples[0], hr, lr, D, threshold) | {
        "false": sum(len(lesions.false_lesions(one, hr, threshold)) for one in samples) / len(samples),
        "false_mean": len(lesions.false_lesions(mean, hr, threshold)),
        "psnr_mean": metrics.psnr(mean, hr, data_range=1.0, crop_border=4).item(),
        "diversity": stability.diversity(samples).item(),
        "sampling_loss": stability.sampling_loss(samples, hr).item(),
        "amount_mean": stability.detail(mean, hr, D).amount.item(),
        "agreement_mean": stability.detail(mean, hr, D).agreement.item(),
        "predicted": found.predicted.tolist(),
        "actual": found.actual.tolist(),
        "coverage": {f"{level:.3f}": share for level, share in shares.items()},
    }


def single(sr: Tensor, hr: Tensor, lr: Tensor, D: degradation.Separable, threshold: float) -> dict:
    """PSNR, consistency, measured and invented error, amount and agreement of null-space detail, false lesions."""
    split, detail = stability.split_error(sr, hr, D), stability.detail(sr, hr, D)
    return {
        "psnr": metrics.psnr(sr, hr, data_range=1.0, crop_border=4).item(),
        "consistency": metrics.consistency(sr, lr, D).item(),
        "measured": split.measured.item(),
        "invented": split.invented.item(),
        "amount": detail.amount.item(),
        "agreement": detail.agreement.item(),
        "false": len(lesions.false_lesions(sr, hr, threshold)),
    }


def others(weights: str, factor: int) -> list[str]:
    """Deterministic methods with weights for this organ and factor."""
    return [method for method in networks.TRAINED if method != "sr3" and weights in networks.available(method, factor)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain and fundus")
    parser.add_argument("--limit", type=int, default=8, help="images, evenly spread (default 8)")
    parser.add_argument("--count", type=int, default=8, help="samples of each (default 8)")
    parser.add_argument("--bf16", action="store_true", help="networks in bfloat16: twice as fast, within 0.02 dB")
    given = parser.parse_args()
    with torch.inference_mode():
        for name in SIDE:
            for factor in (4, 8, 16):
                if name in networks.available("sr3", factor):
                    study(given.data, name, factor, given.limit, given.count, given.bf16)
