"""SR3 against its regression baseline, the GANs and bicubic on held-out subjects: notebook 07 and the model cards.

    python notebooks/results/sr3.py --data ../shared/data [--limit 12] [--count 16] [--only brain-4x] [--precision bf16]

`--data` names a folder with the sub-folders brain, fundus and skin that the model cards describe; the held-out subjects
are those of the cards. The middle of each scan is degraded and restored: 176x176 of a slice, 256x256 of a photograph.
SR3 draws `count` samples at its default steps; means of 2, 4, 8 .. of them are scored like methods of their own, "sr3
mean of N"; `shift` is how far the mean of all samples is from LR's mean, in the worst channel. Writes sr3.json beside
this file, one row per image and method, image by image; other rows stay. bf16 halves the time where the processor
knows it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, networks, upscalers
from medsr_core.measures import metrics
from medsr_core.networks.features import Perceptual
from medsr_workbook import studies

# what to score -> folder, weights, factor
SETTINGS = {
    "brain-4x": ("brain", "brain", 4), "brain-8x": ("brain", "brain", 8), "brain-16x": ("brain", "brain", 16),
    "fundus-4x": ("fundus", "fundus", 4), "fundus-general-4x": ("fundus", "general", 4),
    "brain-general-4x": ("brain", "general", 4), "skin-general-4x": ("skin", "general", 4),
}  # fmt: skip
RESULT = Path(__file__).with_name("sr3.json")


def study(folder: Path, setting: str, limit: int, count: int, half: bool) -> None:
    """Store the rows of one setting."""
    name, weights, factor = SETTINGS[setting]
    side = 176 if name == "brain" else 256
    D, perceptual = degradation.bicubic(factor), Perceptual()
    for index, scan in enumerate(data_fetch.load(folder / name).of_subjects(networks.held_out(name), limit=limit)):
        hr = studies.middle(scan.pixels, min(side, min(scan.pixels.shape[-2:]) // 16 * 16))
        hr, lr = degradation.task(hr, factor)
        answers = {"bicubic": upscalers.upscale(lr, "bicubic", factor=factor)}
        with torch.autocast("cpu", torch.bfloat16, enabled=half):  # networks only: D and SSIM need all their digits
            for method in networks.TRAINED:
                if method != "sr3" and weights in networks.available(method, factor):
                    answers[method] = upscalers.upscale(lr, method, factor=factor, weights=weights).float()
            samples = upscalers.samples(lr, count, factor=factor, weights=weights, seed=1000 * index).float()
        answers |= {"sr3": samples[0]}
        answers |= {f"sr3 mean of {2**k}": samples[: 2**k].mean(0) for k in range(1, count.bit_length())}
        rows = []
        for method, sr in answers.items():
            row = {"setting": setting, "image": scan.name, "subject": data_fetch.person(scan.subject), "method": method}
            if method == "sr3":  # one sample's scores: the mean over all samples, since each is a fair draw
                each = [score(sample, hr, lr, D, perceptual) for sample in samples]
                values = {key: sum(one[key] for one in each) / count for key in each[0]}
                shift = (samples.mean((0, 1, 3, 4)) - lr.mean((0, 2, 3))).abs().max()
                values |= {"shift": float(shift), "spread": float(samples.std(0).mean())}
            else:
                values = score(sr, hr, lr, D, perceptual)
            rows.append(row | studies.short(values))
        studies.update(RESULT, rows, by=("setting", "image", "method"))
        print(setting, scan.name, {r["method"]: r["psnr"] for r in rows}, flush=True)


def score(sr: Tensor, hr: Tensor, lr: Tensor, D: degradation.Separable, perceptual: Perceptual) -> dict[str, float]:
    """PSNR and SSIM without a border of 4 pixels, consistency, and the distance of features."""
    return {
        "psnr": float(metrics.psnr(sr, hr, data_range=1.0, crop_border=4)),
        "ssim": float(metrics.ssim(sr, hr, data_range=1.0, crop_border=4)),
        "consistency": float(metrics.consistency(sr, lr, D)),
        "features": float(perceptual(sr, hr)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain, fundus and skin")
    parser.add_argument("--limit", type=int, default=12, help="images per setting, evenly spread (default 12)")
    parser.add_argument("--count", type=int, default=16, help="samples of each image (default 16)")
    parser.add_argument("--only", action="append", choices=SETTINGS, help="this setting; repeat for more")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    for setting in given.only or SETTINGS:
        study(given.data, setting, given.limit, given.count, given.precision == "bf16")
