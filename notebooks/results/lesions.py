"""Would a small lesion survive? Would one be invented? The lesion test of notebook 10, on held-out subjects.

    python notebooks/results/lesions.py --data ../shared/data [--limit 10] [--methods sr3,regression] [--bf16]

`--data` names a folder with the sub-folders brain and fundus that the model cards describe. Six lesions of one radius
are placed in smooth tissue of each HR image, the image is made four times smaller and restored by every method,
with and without the lesions, and `medsr_core.measures.lesions` looks for them. SR3 draws another sample each time.
Writes lesions.json beside this file, image by image: one row per image, method and radius, with the detector's scores
at the places with a lesion (present) and without (absent), the share of the contrast that came back, and, for radius 0,
how many lesions were found in the restored healthy image that the true one has not. With `--methods`, the rows of other
methods stay as they are. Ten minutes on two cores without SR3, which takes half an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, networks, upscalers
from medsr_core.measures import lesions
from medsr_workbook import studies

FACTOR = 4
RADII = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
CONTRAST = {"brain": 0.25, "fundus": 0.15}
SIDE = {"brain": 240, "fundus": 512}  # pixels of the middle that is restored
THRESHOLD = 0.4  # of the contrast
RESULT = Path(__file__).with_name("lesions.json")


def study(folder: Path, limit: int, wanted: list[str], bf16: bool) -> None:
    """Store the rows of every image."""
    for name, contrast in CONTRAST.items():
        for index, scan in enumerate(data_fetch.load(folder / name).of_subjects(networks.held_out(name), limit=limit)):
            hr = studies.middle(scan.pixels, SIDE[name])
            places = lesions.sites(hr, 6, seed=index)
            if len(places) < 3:
                continue
            names, rows = {"data": name, "image": scan.name, "subject": data_fetch.person(scan.subject)}, []
            for method in [m for m in methods(name) if m in wanted or not wanted]:
                found = test(hr, places, contrast, restorer(method, name, index, bf16))
                rows += [names | {"method": method} | row for row in found]
            studies.update(RESULT, rows, by=("data", "image", "method", "radius"))
            print(name, scan.name, len(places), flush=True)


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
        hr, lr = degradation.task(hr, FACTOR)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and method in networks.TRAINED):
            sr = upscalers.upscale(lr, method, factor=FACTOR, weights=weights, seed=100 * seed + number)
        return sr.float()

    return restore


def methods(weights: str) -> list[str]:
    """The true image, and all methods that have weights for this organ."""
    return ["HR", "bicubic", "tv", *(name for name in networks.TRAINED if weights in networks.available(name))]


def rounded(values: Tensor) -> list[float]:
    """Four digits."""
    return [round(value, 4) for value in values.tolist()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain and fundus")
    parser.add_argument("--limit", type=int, default=10, help="images per organ, evenly spread (default 10)")
    parser.add_argument("--methods", default="", help="only these, such as sr3,regression (default: all)")
    parser.add_argument("--bf16", action="store_true", help="networks in bfloat16: twice as fast, within 0.02 dB")
    given = parser.parse_args()
    with torch.inference_mode():
        study(given.data, given.limit, given.methods.split(",") if given.methods else [], given.bf16)
