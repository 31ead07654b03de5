"""Network or loss? Both GANs with and without the pixel term: the two-by-two table of notebook 04.

    python notebooks/results/network_loss.py --data ../shared/data [--only brain] [--folder checkpoints]

As shipped, `srgan` plays for features and the game alone, `medgan` for the pixel error, too. Here each network plays
under the other loss as well, from the same pixel-trained weights, with the same data, steps, rate and seed: the recipe
of the shipped weights with other terms. Each network keeps its own discriminator. Scored are brains of 12 held-out
patients and the held-out photographs of skin, each with the pixel-trained generator it started from. Writes
network_loss.json beside this file, one row per set, network, loss and image. What is trained in `--folder` is not
trained again. An hour and a half on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from held_out import scans_of

import data_fetch
from medsr_core import networks, training
from medsr_core.measures import evaluation
from medsr_workbook import studies, together

SETS = {"brain": "brain, LGG", "skin": "skin"}  # weights, set of held_out.py
NETWORKS = {"SRGAN": "srgan", "medical GAN": "medgan"}
LOSSES = {"game": networks.METHODS["srgan"].loss, "game + pixel": networks.METHODS["medgan"].loss}


def cell(organ: str, method: str, loss: str, data: Path, folder: Path) -> str:
    """The weights of a cell: the shipped ones, or trained like them with the other loss."""
    if networks.METHODS[method].loss == LOSSES[loss]:
        return organ
    target = folder / f"{method}-{loss.replace(' + ', '-')}-{organ}"
    if not (target / "generator.safetensors").exists():
        told = networks.about(networks.FOLDER / f"{method}-{organ}.safetensors")
        recipe = told["recipes"][-1] | {"terms": LOSSES[loss]}
        names = [str(data / name[7:]) if name.startswith("FOLDER/") else name for name in recipe.pop("data")]
        sources, *_ = together.sources_of(tuple(names), tuple(recipe["holdout"]))
        resume = (target / "checkpoint.safetensors").exists()
        training.train(training.Run(**recipe), sources, folder=target, resume=resume)
    return str(target / "generator.safetensors")


def study(organ: str, data: Path, folder: Path) -> list[dict]:
    """One row per network, loss and image."""
    scans, _ = scans_of(data, SETS[organ], 24)
    rows = []
    for network, method in NETWORKS.items():
        plan = {"pixels": (networks.METHODS[method].starts_from, organ)}
        plan |= {loss: (method, cell(organ, method, loss, data, folder)) for loss in LOSSES}
        for loss, (asked, weights) in plan.items():
            for row in evaluation.evaluate(scans, [asked], weights=weights, features=True):
                kept = {key: row[key] for key in ("image", "psnr", "ssim", "consistency", "features")}
                told = {"data": organ, "network": network, "loss": loss, "subject": data_fetch.person(row["subject"])}
                rows.append(studies.short(told | kept))
            print(organ, network, loss, studies.mean(rows, "psnr", network=network, loss=loss), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the sub-folders of held_out.py")
    parser.add_argument("--only", choices=SETS, action="append", help="brain or skin (default: both)")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"), help="where trainings are kept")
    given = parser.parse_args()
    result = Path(__file__).with_name("network_loss.json")
    for organ in given.only or SETS:
        rows = study(organ, given.data, given.folder)
        studies.update(result, rows, by=("data", "network", "loss", "image"))
