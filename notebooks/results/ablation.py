"""Which of the medical GAN's changes help? The ablation of notebook 04.

    python notebooks/results/ablation.py --data ../shared/data [--steps 1500] [--seeds 3] [--folder checkpoints]

`--data` names a folder with the sub-folders brain-lgg and brain-lgg-heldout that the model cards describe. Trains the
full generator, one without each change, and SRResNet, for pixel error, with equal data, steps and batches and several
seeds, and scores them on 24 slices of the 12 patients of brain-lgg-heldout. With `--games` also the game: the full
generator as trained here goes on against the full discriminator, and against one without each of its changes, for as
many steps. Writes ablation.json and, as float16, the pixel-trained generators of the first seed (ablation-*)
beside this file, after each training. What is trained in `--folder` is not trained again. Two minutes a pixel training
on one core, 18 of them; seven a game, 15 of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

import data_fetch
from medsr_core import networks, training
from medsr_core.measures import evaluation
from medsr_workbook import studies

VARIANTS = {"full": {}} | {name: {name: False} for name in ("multi_scale", "two_step", "third_stage", "skips")}
OPPONENTS = {"full": {}} | {name: {name: False} for name in ("extra_depth", "channel_residuals", "skips")}
OPPONENTS["none of them"] = dict.fromkeys(("extra_depth", "channel_residuals", "skips"), False)
HERE = Path(__file__).parent


def trainings(steps: int, seeds: int, games: bool, folder: Path) -> Iterator[tuple[dict, training.Run]]:
    """What each training is called in the table, and the run."""
    options = {"steps": steps, "batch": 8, "patch": 64, "precision": "bf16"}
    for seed in range(seeds):
        for name, changes in (VARIANTS | {"srresnet": {}}).items():
            method = "srresnet" if name == "srresnet" else "medgan-pixel"
            yield (
                {"variant": name, "seed": seed},
                training.Run(method, channels=1, network=changes, seed=seed, average=0.995, **options),
            )
    for seed in range(seeds if games else 0):
        for name, changes in OPPONENTS.items():
            start = str(folder / "ablation-full-0" / "generator.safetensors")
            yield (
                {"opponent": name, "seed": seed},
                training.Run("medgan", start=start, opponent=changes, seed=seed, average=0.995, **options),
            )


def study(names: dict, run: training.Run, data: Path, folder: Path) -> list[dict]:
    """The rows of one training, one per slice."""
    kind = "ablation" if "variant" in names else "ablation-game"
    name = names.get("variant", names.get("opponent")).replace(" ", "-")
    target = folder / f"{kind}-{name}-{names['seed']}"
    trained = target / "generator.safetensors"
    if not trained.exists():
        ours = [[scan.pixels for scan in data_fetch.load(data / "brain-lgg")]]
        training.train(run, ours, folder=target, resume=(target / "checkpoint.safetensors").exists())
    generator = networks.load(run.method, weights=trained)
    if kind == "ablation" and run.seed == 0:
        shipped = HERE / f"ablation-{name}.safetensors"
        networks.save(generator, shipped, dtype=torch.float16, steps=run.steps, variant=name)
    names |= {"parameters": sum(p.numel() for p in generator.parameters())}
    scores = evaluation.evaluate(
        data_fetch.load(data / "brain-lgg-heldout", limit=24), [run.method], weights=str(trained), features=True
    )
    kept = ({key: row[key] for key in ("image", "psnr", "ssim", "features")} for row in scores)
    people = (data_fetch.person(row["subject"]) for row in scores)
    return [studies.short(names | row | {"subject": who}) for row, who in zip(kept, people, strict=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain-lgg and brain-lgg-heldout")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each variant (default 1500)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant (default 3)")
    parser.add_argument("--games", action="store_true", help="the discriminator's changes, too")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"), help="where trainings are kept")
    given = parser.parse_args()
    for names, run in trainings(given.steps, given.seeds, given.games, given.folder):
        rows = study(names, run, given.data, given.folder)
        studies.update(HERE / "ablation.json", rows, by=("variant", "opponent", "seed", "image"))
        print(names, studies.mean(rows, "psnr"), studies.mean(rows, "features"), flush=True)
