"""Which of the medical GAN's changes help its generator? The ablation of notebook 04.

    python notebooks/results/ablation.py --data ../shared/data/brain [--steps 400] [--folder checkpoints]

Trains the full generator, one generator without each change, and SRResNet for comparison, all at equal size classes,
steps, batches and seed, on every patient but TCGA-FG-6692, and scores them on slices of that patient. Then the game:
the shipped pixel-trained generator goes on against the full discriminator, one without each of its changes, and
SRGAN's, for a fourth of the steps. Writes ablation.json and, as float16, the pixel-trained generators
(ablation-*.safetensors) beside this file. Resumable: what is trained in `--folder` is not trained again. Half an hour
on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import data_fetch
from medsr_core import networks, training
from medsr_core.measures import evaluation
from medsr_workbook import studies

HELD_OUT = networks.held_out("brain")
VARIANTS = {"full": {}} | {name: {name: False} for name in ("multi_scale", "two_step", "third_stage", "skips")}
OPPONENTS = {"full": {}} | {name: {name: False} for name in ("extra_depth", "channel_residuals", "skips")}
OPPONENTS["none of them"] = dict.fromkeys(("extra_depth", "channel_residuals", "skips"), False)
HERE = Path(__file__).parent


def study(data: Path, steps: int, folder: Path, seed: int) -> list[dict]:
    """One row per slice and variant."""
    ours = data_fetch.load(data).without(HELD_OUT)
    held = data_fetch.load(data).of_subjects(HELD_OUT, limit=24)
    rows = []
    for name, changes in (VARIANTS | {"srresnet": {}}).items():
        method = "srresnet" if name == "srresnet" else "medgan-pixel"
        target = folder / f"abl{seed or ''}-{name}"
        trained = target / "generator.safetensors"
        if not trained.exists():
            run = training.Run(method, steps=steps, channels=1, network=changes, batch=8, precision="bf16", seed=seed)
            training.train(run, [[scan.pixels for scan in ours]], folder=target)
        generator = networks.load(method, weights=trained)
        if seed == 0:
            shipped = HERE / f"ablation-{name}.safetensors"
            networks.save(generator, shipped, dtype=torch.float16, steps=steps, variant=name)
        scores = evaluation.evaluate(held, [method], weights=str(trained))
        parameters = sum(p.numel() for p in generator.parameters())
        for score in scores:
            row = {"variant": name, "seed": seed, "parameters": parameters, "image": score["image"]}
            rows.append(row | {"psnr": round(score["psnr"], 4), "ssim": round(score["ssim"], 5)})
        print(name, parameters, sum(score["psnr"] for score in scores) / len(scores), flush=True)
    return rows


def game(data: Path, steps: int, folder: Path) -> list[dict]:
    """One row per slice and discriminator."""
    ours = data_fetch.load(data).without(HELD_OUT)
    held = data_fetch.load(data).of_subjects(HELD_OUT, limit=24)
    rows = []
    for name, changes in OPPONENTS.items():
        target = folder / f"abl-game-{name.replace(' ', '-')}"
        trained = target / "generator.safetensors"
        if not trained.exists():
            start = networks.load("medgan-pixel", weights="brain")
            options = {"batch": 8, "rate": 2e-4, "average": 0.99, "precision": "bf16"}
            run = training.Run("medgan", steps=steps, opponent=changes, **options)
            training.train(run, [[scan.pixels for scan in ours]], folder=target, start=start)
        scores = evaluation.evaluate(held, ["medgan"], weights=str(trained), features=True)
        for score in scores:
            row = {"opponent": name, "image": score["image"]}
            rows.append(row | {"psnr": round(score["psnr"], 4), "features": round(score["features"], 5)})
        print(name, *(sum(s[k] for s in scores) / len(scores) for k in ("psnr", "features")), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the brain scans")
    parser.add_argument("--steps", type=int, default=400, help="training steps of each variant (default 400)")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"), help="where trainings are kept")
    given = parser.parse_args()
    rows = [row for seed in (0, 1) for row in study(given.data, given.steps, given.folder, seed)]
    rows += game(given.data, given.steps // 4, given.folder)
    studies.update(HERE / "ablation.json", rows, by=("variant", "opponent", "seed", "image"))
