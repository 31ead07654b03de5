"""Do the perception measures order known distortions as an eye would? The first table of notebook 09.

    python notebooks/results/validation.py --data ../shared/data [--limit 12]

`--data` names a folder with the sub-folders brain, fundus, skin and heart that the model cards describe. Held-out
subjects are spoiled by the eight distortions of `medsr_workbook.toys.distortions`, each just strong enough for 30 dB,
blur and noise also for 36 and 33 dB, and measured against their truth or against other people's scans. Of a fundus
photograph the inner 512x512 pixels are used. Writes validation.json beside this file: one row per data set, measure
and distortion, with one value per image (the Frechet and kernel distances: one per set). More is worse for all
measures: SSIM is stored as 1 - SSIM, the spectrum as |log2 ratio|. Three minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import data_fetch
from medsr_core import networks
from medsr_core.degradation import crop_to_multiple
from medsr_core.measures import metrics, perception
from medsr_workbook import studies
from medsr_workbook.toys import distortions

CASES = [("real", 0), *((name, 30) for name in distortions.DISTORTIONS)]
CASES += [(name, target) for name in ("blur", "noise") for target in (33, 36)]


def study(folder: Path, limit: int) -> list[dict]:
    """One row per data set, measure and distortion."""
    rows = []
    for name in studies.ORGANS:
        subjects = networks.held_out(name)
        scans = data_fetch.load(folder / name)
        truths = pictures(scans.of_subjects(subjects, limit=limit), name)
        rest = [entry for entry in scans.entries if not entry.subject.startswith(tuple(subjects))]
        others = pictures(scans.of_subjects(sorted({e.subject for e in rest}), limit=5 * limit), name)
        scene = perception.NaturalScene().fit(others)
        real = torch.cat([perception.features(x) for x in others])
        for kind, target in CASES:
            spoiled = [hr if kind == "real" else spoil(kind, hr, target) for hr in truths]
            for measure, values in measured(spoiled, truths, scene, real).items():
                row = {"data": name, "measure": measure, "distortion": kind, "target": target}
                rows.append(studies.short(row | {"values": values}, 4))
            print(name, kind, target, flush=True)
    return rows


def pictures(scans: data_fetch.ImageSet, name: str) -> list[torch.Tensor]:
    """The scans, cropped to a multiple of 4; of a fundus photograph the middle."""
    whole = [crop_to_multiple(scan.pixels, 4) for scan in scans]
    if name != "fundus":
        return whole
    corners = [[n // 2 - 256 for n in x.shape[-2:]] for x in whole]
    return [x[..., r : r + 512, c : c + 512] for x, (r, c) in zip(whole, corners, strict=True)]


def spoil(kind: str, hr: torch.Tensor, target: float) -> torch.Tensor:
    """The distorted image at `target` dB, as a screen shows it."""
    return distortions.at_psnr(distortions.DISTORTIONS[kind], hr, target).clamp(0, 1)


def measured(
    images: list[torch.Tensor], truths: list[torch.Tensor], scene: perception.NaturalScene, real: torch.Tensor
) -> dict[str, list[float]]:
    """Every measure, turned so that more is worse."""
    pairs = list(zip(images, truths, strict=True))
    rows = torch.cat([perception.features(x) for x in images])
    return {
        "SSIM": [1 - metrics.ssim(x, hr, data_range=1.0).item() for x, hr in pairs],
        "feature distance": [perception.feature_distance(x, hr).item() for x, hr in pairs],
        "natural scene": [scene.score(x).item() for x in images],
        "spectrum": [perception.spectrum_ratio(x, hr).log2().abs().item() for x, hr in pairs],
        "Frechet distance": [perception.frechet_distance(rows, real)],
        "kernel distance": [perception.kernel_distance(rows, real)],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain, fundus, skin and heart")
    parser.add_argument("--limit", type=int, default=12, help="scans per modality, evenly spread (default 12)")
    given = parser.parse_args()
    result = Path(__file__).with_name("validation.json")
    studies.update(result, study(given.data, given.limit), by=("data", "measure", "distortion", "target"))
