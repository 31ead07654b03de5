"""Are the vessels still there? Dice of a classical segmentation on restored retinas, for notebook 10.

    python notebooks/results/vessels.py --data ../shared/data [--methods sr3,regression]

`--data` names a folder whose sub-folder fundus holds CHASE_DB1: photographs and the first observer's masks
(`*_1stHO.png`). Photographs and masks are halved by 2x2 means, since the photographs are oversampled; the threshold is
chosen on the left eyes of children 01 to 08, the scores are of children 09 and 10, whom no training saw. Writes
vessels.json beside this file: Dice against the observer's mask, and against the segmentation of the true image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import data_fetch
from medsr_core import degradation, images, networks, upscalers
from medsr_core.measures import metrics, vessels
from medsr_workbook import studies


def study(folder: Path, only: list[str]) -> None:
    """Store one row per photograph, factor and method."""
    training = [halved(folder, f"Image_{child:02d}L") for child in range(1, 9)]
    threshold = vessels.best_threshold(*zip(*training, strict=True))
    for name in ("Image_09L", "Image_09R", "Image_10L", "Image_10R"):
        hr, mask = halved(folder, name)
        rows: list[dict] = []
        true, inside = vessels.segment(hr, threshold), vessels.field_of_view(hr, 13)
        for factor in (4, 8):
            lr = degradation.task(hr, factor)[1]
            trained = [method for method in networks.TRAINED if "fundus" in networks.available(method, factor)]
            for method in [m for m in ("HR", "bicubic", "tv", *trained) if m in only or not only]:
                sr = hr if method == "HR" else upscalers.upscale(lr, method, factor=factor, weights="fundus")
                found = vessels.segment(sr, threshold)
                row = {"image": name, "subject": data_fetch.person(name), "factor": factor, "method": method}
                row |= {"dice": round(vessels.dice(found, mask, inside), 4)}
                row |= {"dice_hr": round(vessels.dice(found, true, inside), 4)}
                psnr = None if method == "HR" else round(metrics.psnr(sr, hr, data_range=1.0).item(), 3)
                rows.append(row | {"psnr": psnr, "threshold": round(threshold, 3)})
        studies.update(Path(__file__).with_name("vessels.json"), rows, by=("image", "factor", "method"))
        print(rows[-1], flush=True)


def halved(folder: Path, name: str) -> tuple[Tensor, np.ndarray]:
    """Photograph and mask at half the resolution, cut to multiples of 16."""
    pixels = images.read(folder / f"{name}.jpg").pixels
    mask = torch.from_numpy(np.array(Image.open(folder / f"{name}_1stHO.png")) > 0).float()[None, None]
    small, drawn = (degradation.crop_to_multiple(degradation.box(2)(x), 16) for x in (pixels, mask))
    return small, drawn[0, 0].numpy() >= 0.5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with fundus")
    parser.add_argument("--methods", default="", help="only these, such as sr3,regression (default: all)")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    study(given.data / "fundus", given.methods.split(",") if given.methods else [])
