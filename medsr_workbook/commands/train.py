"""The command `medsr train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class Refused(click.ClickException):
    """Something that cannot be done as asked: one line, exit code 2."""

    exit_code = 2


@click.command()
@click.argument("method")
@click.option("--data", required=True, multiple=True, metavar="NAME_OR_FOLDER",
              help="What to train on. Repeat for more; each is drawn equally often.")  # fmt: skip
@click.option("--holdout", multiple=True, metavar="SUBJECT",
              help="Validate on subjects whose names start so. [default: each set's own split]")  # fmt: skip
@click.option("--steps", required=True, type=click.IntRange(min=1), help="Batches in all, those done before included.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for checkpoint and generator. [default: checkpoints/METHOD]")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in that folder.")
@click.option("--start", metavar="WEIGHTS", help="Weights to go on from; srgan and medgan need them. [default: general "
              "for srgan and medgan, none otherwise]")  # fmt: skip
@click.option("--size", type=click.Choice(["teaching", "paper", "16-128", "64-256", "64-512", "256-1024"]),
              default="teaching", show_default=True,
              help="Of a network that starts from nothing; the last four are SR3's tasks.")  # fmt: skip
@click.option("--factor", type=click.Choice(["2", "4", "8", "16"]),
              help="Of regression and sr3; srresnet: 2, 4, 8. [default: that of --start or --size]")  # fmt: skip
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True, help="Gray or colour.")
@click.option("--loss", type=click.Choice(["l1", "mse"]),
              help="Of the pixel stage and sr3. [default: mse for regression and sr3, l1 otherwise]")  # fmt: skip
@click.option("--measured", default=0.0, show_default=True, type=click.FloatRange(min=0),
              help="Of sr3: extra weight of errors that contradict the LR image.")  # fmt: skip
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Patches per step.")
@click.option("--patch", default=96, show_default=True, type=click.IntRange(min=16), help="HR pixels along a side.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True),
              help="Learning rate. [default: 1e-3, or 1e-4 against a discriminator]")  # fmt: skip
@click.option("--warm-up", default=50, show_default=True, type=click.IntRange(min=0),
              help="Steps on which the rate rises, at most a tenth of all.")  # fmt: skip
@click.option("--blur", default=0.0, show_default=True, type=click.FloatRange(min=0),
              help="Of a cascade's second stage: blur the images it starts from by up to so many pixels.")  # fmt: skip
@click.option("--shrink", default=1, show_default=True, type=click.IntRange(min=1),
              help="Of a cascade's first stage: make the images so many times smaller first.")  # fmt: skip
@click.option("--average", default=0.999, show_default=True, type=click.FloatRange(0, 1, max_open=True),
              help="Share of the moving average that survives a step.")  # fmt: skip
@click.option("--every", default=100, show_default=True, type=click.IntRange(min=1), help="Steps between checkpoints.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same weights, on the same machine.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["32", "bf16"]), default="32", show_default=True,
              help="bf16 takes half the time where the processor knows it.")  # fmt: skip
def train(
    method: str, data: tuple[str, ...], holdout: tuple[str, ...], out: Path | None, start: str | None, size: str,
    channels: str, factor: str | None, loss: str | None, measured: float, **options: Any,
) -> None:  # fmt: skip
    """Train a network.

    METHOD is srresnet, medgan-pixel or regression (for pixel error), srgan or medgan (on from there, against a
    discriminator), or sr3 (to remove noise).
    Ctrl-C, a crash or a kill lose at most the steps since the last checkpoint: call it again with --resume. Several
    processes: torchrun --nproc-per-node 2 -m medsr_workbook train ... Afterwards:

    medsr evaluate --data brain --methods bicubic,METHOD --weights checkpoints/METHOD/generator.safetensors

    SR3 on your own photographs, as the paper did on faces:

    \b
    medsr train sr3 --size 16-128 --data FOLDER --steps 1000000 --batch 256 --patch 128 --rate 1e-4 --warm-up 10000
    """
    from medsr_core import networks, training

    folder = out or Path("checkpoints") / method
    if start is None and method in networks.ADVERSARIAL:
        start = "general"
    arguments: dict[str, Any] = {"channels": int(channels)} | ({"factor": int(factor)} if factor else {})
    if loss:
        if method in networks.ADVERSARIAL:
            raise ValueError(f"--loss is for the pixel stage; {method} plays against a discriminator")
        options["terms"] = {"mse": 1.0} if loss == "mse" else {"pixel": 1.0}
    if measured:
        if method != "sr3":
            raise ValueError(f"--measured is for sr3; {method} has no noise to remove")
        options["terms"] = options.get("terms", {"mse": 1.0}) | {"measured": measured}
    generator = None
    if start is not None:
        generator = networks.load(networks.ADVERSARIAL.get(method, method), weights=start)
    else:
        networks.create(method, preset=size, **arguments)  # refused before the data is read
        arguments["preset"] = size
    sources, validation = _sources(data, holdout)
    try:
        training.train(method, sources, validation, folder=folder, start=generator, network=arguments, **options)
    except training.TrainingError as error:
        raise Refused(str(error)) from error
    click.echo(f"{folder / 'generator.safetensors'}: {method}, {options['steps']} steps")


def _sources(names: tuple[str, ...], holdout: tuple[str, ...]) -> tuple[list[list[Any]], list[Any]]:
    """HR images to train on, set by set, and up to 16 of other subjects from each set to validate on."""
    import data_fetch
    from data_fetch.sets import spread
    from medsr_core.training.patches import split

    sources, validation = [], []
    for name in names:
        if holdout and name not in data_fetch.names():
            ours, held = split(data_fetch.load(name, split="all"), holdout)
        else:
            ours, held = (list(data_fetch.load(name, split=part)) for part in ("train", "validation"))
        sources.append([scan.pixels for scan in ours])
        validation += [scan.pixels for scan in spread(held, 16)]
    return sources, validation
