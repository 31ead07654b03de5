"""The command `medsr train`. Its options are the fields of `training.Run`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from medsr_core import networks, training
from medsr_workbook.commands.options import ListsMethods, Refused

FIELDS = {field.name: field for field in dataclasses.fields(training.Run)}


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give the command an option for each field of `training.Run`, but for those that only Python can give."""
    for name, field in reversed(FIELDS.items()):
        rules = dict(field.metadata.get("rules", {}))
        if name != "method" and rules.pop("command", True):
            function = click.option(f"--{name.replace('_', '-')}", name, **_click(field, rules))(function)
    return function


def _click(field: dataclasses.Field[Any], rules: dict[str, Any]) -> dict[str, Any]:
    """A field of the run in click's words."""
    kind = field.type.removesuffix(" | None")
    words: dict[str, Any] = {"help": field.metadata["help"], "default": field.default, "metavar": rules.get("metavar")}
    words["show_default"] = field.default not in (None, (), False)
    if "choices" in rules:
        return words | {"type": click.Choice(rules["choices"])}
    if kind == "bool":
        return words | {"is_flag": True}
    if kind.startswith("tuple"):
        return words | {"multiple": True}
    if kind == "int" and "min" in rules:
        return words | {"type": click.IntRange(min=rules["min"])}
    if kind == "float":
        low, high = rules.get("above", rules.get("min")), rules.get("below")
        return words | {"type": click.FloatRange(low, high, min_open="above" in rules, max_open=True)}
    return words | {"type": {"int": int, "str": str}[kind]}


@click.command(cls=ListsMethods)
@click.argument("method", required=False)
@click.option("--recipe", metavar="WEIGHTS", help="Train these weights again, e.g. sr3-brain; see medsr weights list. "
              "Other options change the recipe.")  # fmt: skip
@run_options
@click.option("--loss", type=click.Choice(["l1", "mse"]),
              help="Of the pixel stage and sr3. [default: mse for regression and sr3, l1 otherwise]")  # fmt: skip
@click.option("--measured", default=0.0, type=click.FloatRange(min=0),
              help="Of sr3: extra weight of errors that contradict the LR image.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for checkpoint and generator. [default: checkpoints/METHOD]")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in that folder.")
@click.pass_context
def train(
    context: click.Context, method: str | None, recipe: str | None, loss: str | None, measured: float,
    out: Path | None, resume: bool, **options: Any,
) -> None:  # fmt: skip
    """Train a network.

    METHOD is a trained one of the list below. Those that play against a discriminator, and srflow, go on from weights
    that were trained for pixels. Ctrl-C, a crash or a kill lose at most the steps since the last checkpoint: call it
    again with --resume. Several processes: torchrun --nproc-per-node 2 -m medsr_workbook train ... Afterwards:

    medsr evaluate --data brain --methods bicubic,METHOD --weights checkpoints/METHOD/generator.safetensors

    SR3 on your own photographs, as the paper did on faces:

    \b
    medsr train sr3 --size 16-128 --data FOLDER --steps 1000000 --batch 256 --patch 128 --rate 1e-4 --warm-up 10000
    """
    given = {name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    asked = {name: int(value) if name in ("factor", "channels") and value else value for name, value in options.items()}
    asked = {name: value for name, value in asked.items() if name in given}
    stages = _stages(method, recipe)
    if terms := _terms(stages[-1]["method"], loss, measured):
        asked["terms"] = terms
    if not asked.get("data"):
        raise click.UsageError("say what to train on: --data NAME_OR_FOLDER")
    if recipe is None and "steps" not in given:
        raise click.UsageError("say how long: --steps N")
    for number, stage in enumerate(stages, 1):
        folder = out or Path("checkpoints") / (recipe or stage["method"])
        if number < len(stages):
            folder = folder / f"stage-{number}"
        _one(training.Run(**{**stage, **asked}), folder, resume)
        if number < len(stages):
            stages[number]["start"] = str(folder / "generator.safetensors")


def _stages(method: str | None, recipe: str | None) -> list[dict[str, Any]]:
    """The runs to be made one after the other, as arguments of `Run`."""
    if recipe is None:
        if method is None:
            raise click.UsageError("name a METHOD, or a --recipe")
        start = {"start": "general"} if networks.methods.trained(method).starts_from else {}
        return [{"method": method, **start}]
    stages = networks.about(recipe).get("recipes")
    if not stages:
        raise ValueError(f"{recipe} does not say how it was trained")
    if method not in (None, stages[-1]["method"]):
        raise ValueError(f"{recipe} is a {stages[-1]['method']}, not a {method}")
    return [dict(stage) for stage in stages]


def _terms(method: str, loss: str | None, measured: float) -> dict[str, float]:
    """The loss that the two options name; {} for the method's own."""
    about = networks.methods.trained(method)
    if loss and about.stage not in ("pixel", "denoising"):
        kind = "plays against a discriminator" if about.opponent else "is trained for likelihood alone"
        raise ValueError(f"--loss is for the pixel stage; {method} {kind}")
    if measured and about.stage != "denoising":
        raise ValueError(f"--measured is for sr3; {method} has no noise to remove")
    terms = {"mse": 1.0} if loss == "mse" else {"pixel": 1.0} if loss else {}
    return (terms or dict(about.loss)) | {"measured": measured} if measured else terms


def _one(run: training.Run, folder: Path, resume: bool) -> None:
    """One run, with its bar."""
    if run.start is None:
        networks.create(run.method, **run.arguments())  # refused before the data is read
    sources, validation, about = _sources(run.data, run.holdout)
    if about.pop("upright"):
        run = dataclasses.replace(run, upright=True)
    before = networks.about(run.start).get("recipes", []) if run.start and Path(run.start).is_file() else []
    about["recipes"] = [*before, run.recipe()]
    from medsr_workbook import progress

    try:
        with progress.training(run.steps) as report:
            training.train(run, sources, validation, folder=folder, resume=resume, about=about, report=report)
    except training.TrainingError as error:
        raise Refused(str(error)) from error
    click.echo(f"{folder / 'generator.safetensors'}: {run.method}, {run.steps} steps")


def _sources(names: tuple[str, ...], holdout: tuple[str, ...]) -> tuple[list[list[Any]], list[Any], dict[str, Any]]:
    """HR images to train on, set by set, up to 16 of other subjects from each to validate on, and what they are."""
    import data_fetch
    from data_fetch.sets import spread

    sources, validation, told, held_out = [], [], [], []
    upright = False
    for name in names:
        if holdout and name not in data_fetch.names():
            scans = data_fetch.load(name, split="all")
            ours, held = scans.without(holdout), scans.of_subjects(holdout, required=False)
        else:
            ours, held = (data_fetch.load(name, split=part) for part in ("train", "validation"))
        sources.append([scan.pixels for scan in ours])
        validation += [scan.pixels for scan in spread(list(held), 16)]
        told.append({"name": ours.name, "origin": ours.origin, "licence": ours.licence, "images": len(ours),
                     "subjects": len({entry.subject for entry in ours.entries})})  # fmt: skip
        held_out += sorted({entry.subject for entry in held.entries})
        upright |= getattr(ours, "upright", False)
    return sources, validation, {"data": told, "held_out": held_out, "upright": upright}
