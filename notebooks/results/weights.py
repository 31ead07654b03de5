"""Are new weights better than those they would replace, on subjects that neither saw? What the model cards quote.

    python notebooks/results/weights.py --data ../shared/data --candidates ../shared/weights [--only brain-lgg-4x]

`--data` names a folder with brain-lgg-heldout (12 patients), brain (its patient TCGA-FG-6692) and faces-heldout,
`--candidates` one with files such as sr3-brain-8x.safetensors; each is compared with the shipped file of its name,
where there is one. Of a slice the middle 176x176 pixels are used. SR3 draws one sample in 12 calls. Writes weights.json
beside this file, after each image: one row per image, method and weights; with --sets one row per method and weights,
of the image "all", with the Frechet distance of twelve images. Can be stopped and called again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, networks, upscalers
from medsr_core.measures import metrics, perception, tradeoff
from medsr_workbook import studies

RESULT = Path(__file__).with_name("weights.json")
# setting: folder, weights, factor, images for SR3 and images for the others
SETTINGS = {
    "faces-8x": ("faces-heldout", "faces", 8, 40, 200),
    "brain-lgg-4x": ("brain-lgg-heldout", "brain", 4, 24, 24),
    "brain-lgg-8x": ("brain-lgg-heldout", "brain", 8, 12, 24),
    "brain-lgg-16x": ("brain-lgg-heldout", "brain", 16, 12, 24),
    "brain-4x": ("brain", "brain", 4, 6, 12),
    "brain-8x": ("brain", "brain", 8, 6, 12),
    "brain-16x": ("brain", "brain", 16, 6, 12),
}


def images(folder: Path, setting: str) -> Iterator[tuple[str, str, Tensor]]:
    """Name, subject and HR image of each held-out scan."""
    name, _, factor, _, count = SETTINGS[setting]
    scans = data_fetch.load(folder / name)
    if name == "brain":
        scans = scans.of_subjects(["TCGA-FG-6692"])
    step = max(len(scans) // count, 1)
    for scan in (scans[i] for i in range(step // 2, step * count, step)):
        yield scan.name, scan.subject, degradation.task(studies.middle(scan.pixels, 176), factor)[0]


def answers(setting: str, index: int, lr: Tensor, candidates: Path) -> Iterator[tuple[str, str, Tensor]]:
    """Method, weights ("old" or "new") and SR image."""
    _, weights, factor, few, _ = SETTINGS[setting]
    yield "bicubic", "none", upscalers.upscale(lr, "bicubic", factor=factor)
    for method in ("regression", "sr3"):
        if method == "sr3" and index % max(SETTINGS[setting][4] // few, 1):
            continue
        ending = "" if factor == 4 else f"-{factor}x"
        files = {"old": weights, "new": candidates / f"{method}-{weights}{ending}.safetensors"}
        for age, file in files.items():
            if age == "new" or (weights in networks.available(method, factor) and weights != "faces"):
                yield method, age, upscalers.upscale(lr, method, factor=factor, weights=file)


def study(folder: Path, setting: str, candidates: Path) -> None:
    """Store the rows of one setting."""
    factor = SETTINGS[setting][2]
    stored = studies.load(RESULT, setting=setting) if RESULT.exists() else []
    known = {row["image"] for row in stored}
    for index, (name, subject, hr) in enumerate(images(folder, setting)):
        if name in known:
            continue
        D, rows = degradation.bicubic(factor), []
        lr = degradation.task(hr, factor)[1]
        for method, age, sr in answers(setting, index, lr, candidates):
            rows.append({
                "setting": setting, "image": name, "subject": subject, "method": method, "weights": age,
                "psnr": metrics.psnr(sr, hr, data_range=1.0, crop_border=factor).item(),
                "ssim": metrics.ssim(sr, hr, data_range=1.0, crop_border=factor).item(),
                "consistency": metrics.consistency(sr, lr, D).item(),
                "features": perception.feature_distance(sr, hr).item(),
            })  # fmt: skip
        studies.update(RESULT, [studies.short(row) for row in rows], by=("setting", "image", "method", "weights"))
        print(setting, index, name, *(f"{r['method']} {r['weights']} {r['psnr']:.2f}" for r in rows), flush=True)


def sets(folder: Path, setting: str, candidates: Path, count: int = 12) -> None:
    """Store the Frechet distance of `count` restored images from the scans between them: one row per method."""
    name, _, factor, _, _ = SETTINGS[setting]
    scans = data_fetch.load(folder / name)
    scans = scans.of_subjects(["TCGA-FG-6692"]) if name == "brain" else scans
    chosen = [(2 * i + 1) * len(scans) // (2 * count) for i in range(count)]
    others = [i for i in range(0, len(scans), max(len(scans) // 60, 1)) if i not in chosen]
    real = torch.cat([perception.features(studies.middle(scans[i].pixels, 176)) for i in others])
    seen: dict[tuple[str, str], list[Tensor]] = {}
    for index, i in enumerate(chosen):
        hr, lr = degradation.task(studies.middle(scans[i].pixels, 176), factor)
        seen.setdefault(("real", "none"), []).append(perception.features(hr))
        for method, age, sr in answers(setting, index * SETTINGS[setting][4], lr, candidates):
            seen.setdefault((method, age), []).append(perception.features(sr))
        print(setting, index, flush=True)
    for (method, age), rows in seen.items():
        found = tradeoff.set_distance(perception.frechet_distance, rows, real)
        row = {"setting": setting, "image": "all", "method": method, "weights": age, "frechet": list(found[:3])}
        studies.update(RESULT, [studies.short(row)], by=("setting", "image", "method", "weights"))
        print(setting, method, age, found, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the held-out sets")
    parser.add_argument("--candidates", type=Path, required=True, help="folder of the new weights")
    parser.add_argument("--only", action="append", choices=SETTINGS, help="this setting; repeat for more")
    parser.add_argument("--sets", action="store_true", help="the Frechet distances instead of scores")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    for setting in given.only or SETTINGS:
        (sets if given.sets else study)(given.data, setting, given.candidates)
