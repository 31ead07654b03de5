"""Scores of the shipped weights on subjects that no training saw: the table of notebook 04.

    python notebooks/results/held_out.py --data ../shared/data [--limit 24]

`--data` names a folder with the sub-folders brain, fundus, skin and heart that the model cards describe. The held-out
subjects are those of the cards. Every method is scored with the weights of its own modality (specialist) and with
`general`; the medical GAN's pixel stage with all five. Writes held_out.json beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import data_fetch
from medsr_core import networks
from medsr_core.measures import evaluation
from medsr_workbook import studies

KEPT = ("data", "image", "subject", "method", "psnr", "ssim", "consistency", "features")


def study(folder: Path, limit: int) -> list[dict]:
    """One row per image, method and weights."""
    rows = []
    for name in studies.ORGANS:
        subjects = networks.held_out(name)
        scans = data_fetch.load(folder / name).of_subjects(subjects, limit=limit)
        plan = {"none": ["bicubic", "backprojection"]}
        for weights in (*studies.ORGANS, "general"):
            own = weights in (name, "general")
            methods = list(networks.TRAINED) if own else ["medgan-pixel"]
            plan[weights] = [method for method in methods if weights in networks.available(method)]
        for weights, methods in plan.items():
            gray_to_colour = weights in ("brain", "heart") and name in ("fundus", "skin")
            if methods and not gray_to_colour:  # one channel cannot take colour
                print(name, weights, methods, flush=True)
                scores = evaluation.evaluate(scans, methods, weights=weights, features=True)
                for row in scores:
                    kept = studies.short({key: row[key] for key in KEPT})
                    rows.append(kept | {"subject": data_fetch.person(row["subject"]), "weights": weights})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain, fundus, skin and heart")
    parser.add_argument("--limit", type=int, default=24, help="images per modality, evenly spread (default 24)")
    given = parser.parse_args()
    result = Path(__file__).with_name("held_out.json")
    studies.update(result, study(given.data, given.limit), by=("data", "image", "method", "weights"))
