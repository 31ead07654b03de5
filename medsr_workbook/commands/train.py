"""The command `medsr train`. Its options are the fields of `training.Run`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from medsr_core import networks, training
from medsr_workbook.commands.options import ListsMethods

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
@click.option("--recipe", "recipes", multiple=True, metavar="WEIGHTS",
              help="Train these weights again, e.g. sr3-brain (medsr weights list). Other options change the recipe. "
              "Repeat to train several at once.")  # fmt: skip
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
    context: click.Context, method: str | None, recipes: tuple[str, ...], loss: str | None, measured: float,
    out: Path | None, resume: bool, **options: Any,
) -> None:  # fmt: skip
    """Train a network, or several at once.

    METHOD is a trained one of the list below. Those that play against a discriminator, and srflow, go on from weights
    that were trained for pixels. Ctrl-C, a crash or a kill lose at most the steps since the last checkpoint: call it
    again with --resume. --minutes 30 in place of --steps ends on time. Several recipes are trained side by side, each
    in a process of its own with its share of the cores. Several processes for one training: torchrun --nproc-per-node 2
    -m medsr_workbook train ... Afterwards:

    medsr evaluate --data brain --methods bicubic,METHOD --weights checkpoints/METHOD/generator.safetensors

    SR3 on your own photographs, as the paper did on faces:

    \b
    medsr train sr3 --size 16-128 --data FOLDER --steps 1000000 --batch 256 --patch 128 --rate 1e-4 --warm-up 10000
    """
    given = {name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    asked = {name: int(value) if name in ("factor", "channels") and value else value for name, value in options.items()}
    asked = {name: value for name, value in asked.items() if name in given}
    if "steps" in given:
        asked["minutes"] = None  # that of a recipe
    if len(given & {"steps", "minutes"}) == 2 or not (recipes or given & {"steps", "minutes"}):
        raise click.UsageError("say how long: --steps N or --minutes N, one of the two")
    from medsr_workbook import progress, together

    plans = {}
    for recipe in recipes or (None,):
        stages = _stages(method, recipe)
        terms = _terms(stages[-1]["method"], loss, measured)
        name = Path(recipe).name.removesuffix(".safetensors") if recipe else stages[-1]["method"]
        if name in plans:
            raise click.UsageError(f"two recipes are called {name}; train one after the other")
        folder = Path("checkpoints") / name if out is None else out / name if len(recipes) > 1 else out
        changed = {"data": asked.get("data") or _data(stages, recipe)} | ({"terms": terms} if terms else {})
        plans[name] = together.Plan([{**stage, **asked, **changed} for stage in stages], folder, resume)
    if len(plans) > 1:
        sys.exit(together.train(plans))
    with progress.bar() as draw:
        written = next(iter(plans.values())).train(draw)
    click.echo(written)


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


def _data(stages: list[dict[str, Any]], recipe: str | None) -> tuple[str, ...]:
    """What the recipe was trained on, if that goes by name here."""
    names = tuple(dict.fromkeys(name for stage in stages for name in stage.get("data", ())))
    if recipe and names and not any(name.startswith("FOLDER") for name in names):
        return names
    was = f"; {recipe} was trained on {', '.join(names)}" if names else ""
    raise click.UsageError(f"say what to train on: --data NAME_OR_FOLDER{was}")
