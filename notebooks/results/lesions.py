"""Would a small lesion survive? Would one be invented? The lesion test of notebook 09, on held-out subjects.

    python notebooks/results/lesions.py --data ../shared/data [--limit 10] [--sr3] [--bf16]

`--data` names a folder with the sub-folders brain and fundus that the model cards describe. Six lesions of one radius
are placed in smooth tissue of each HR image, the image is made four times smaller and restored by every method,
with and without the lesions, and `medsr_core.lesions` looks for them. --sr3 adds SR3 (another sample each time) and its
regression baseline, which take most of the time.
Writes lesions.json beside this file: one row per image, method and radius, with the detector's scores at the places
with a lesion (present) and without (absent), the share of the contrast that came back, and, for radius 0, how many
lesions were found in the restored healthy image that the true one has not. Ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, lesions, networks, upscalers

FACTOR = 4
RADII = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
CONTRAST = {"brain": 0.25, "fundus": 0.15}
SIDE = {"brain": 240, "fundus": 512}  # pixels of the middle that is restored
THRESHOLD = 0.4  # of the contrast
HELD_OUT = {"brain": ["TCGA-FG-6692"], "fundus": ["Image_09", "Image_10"]}


def study(folder: Path, limit: int, slow: bool, bf16: bool) -> list[dict]:
    """All rows."""
    rows = []
    for name, contrast in CONTRAST.items():
        for index, (image, subject, hr) in enumerate(held_out(folder / name, name, limit)):
            places = lesions.sites(hr, 6, seed=index)
            if len(places) < 3:
                continue
            for method in ["HR", "bicubic", "tv", *trained(name, slow)]:
                rows += [{"data": name, "image": image, "subject": subject, "method": method, **row}
                         for row in test(hr, places, contrast, restorer(method, name, index, bf16))]  # fmt: skip
            print(name, image, len(places), flush=True)
    return rows


def test(hr: Tensor, places: list, contrast: float, restore: Callable[[Tensor, int], Tensor]) -> list[dict]:
    """Rows of one image and method: radius 0 is the healthy image."""
    healthy = restore(hr, 0)
    absent = lesions.scores_at(healthy, places)
    false = lesions.false_lesions(healthy, hr, THRESHOLD * contrast)
    rows = [{"radius": 0, "absent": rounded(absent), "false": len(false)}]
    for number, radius in enumerate(RADII, 1):
        ill = restore(lesions.place(hr, places, radius, contrast), number)
        back = lesions.recovered(ill, healthy, places, radius, contrast)
        rows.append({"radius": radius, "present": rounded(lesions.scores_at(ill, places)), "recovered": rounded(back)})
    return rows


def restorer(method: str, weights: str, seed: int, bf16: bool) -> Callable[[Tensor, int], Tensor]:
    """Function of (HR image, number of the scan) that degrades and restores it."""

    def restore(hr: Tensor, number: int) -> Tensor:
        if method == "HR":
            return hr
        lr = degradation.bicubic(FACTOR)(hr).clamp(0, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and method in networks.FAMILY):
            sr = upscalers.upscale(lr, method, factor=FACTOR, weights=weights, seed=100 * seed + number)
        return sr.float()

    return restore


def trained(weights: str, slow: bool) -> list[str]:
    """Methods with weights for this organ; SR3 and its baseline only if `slow` ones are wanted."""
    wanted = [method for method in networks.FAMILY if slow or method not in ("regression", "sr3")]
    return [method for method in wanted if weights in networks.available(method)]


def held_out(folder: Path, name: str, limit: int) -> list[tuple[str, str, Tensor]]:
    """Name, subject, and the middle of each image."""
    scans = []
    for scan in data_fetch.load(folder).of_subjects(HELD_OUT[name], limit=limit):
        top, left = ((n - SIDE[name]) // 2 for n in scan.pixels.shape[-2:])
        pixels = scan.pixels[..., top : top + SIDE[name], left : left + SIDE[name]]
        subject = scan.subject[:8] if name == "fundus" else scan.subject  # both eyes are one child
        scans.append((scan.name, subject, pixels))
    return scans


def rounded(values: Tensor) -> list[float]:
    """Four digits."""
    return [round(value, 4) for value in values.tolist()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain and fundus")
    parser.add_argument("--limit", type=int, default=10, help="images per organ, evenly spread (default 10)")
    parser.add_argument("--sr3", action="store_true", help="SR3 and its regression baseline too")
    parser.add_argument("--bf16", action="store_true", help="networks in bfloat16: twice as fast, within 0.02 dB")
    given = parser.parse_args()
    with torch.inference_mode():
        lines = ",\n".join(json.dumps(row) for row in study(given.data, given.limit, given.sr3, given.bf16))
    Path(__file__).with_name("lesions.json").write_text(f"[\n{lines}\n]\n")
