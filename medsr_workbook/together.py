"""Trainings that `medsr train` was told of, one alone or several at once, each in a process of its own.

A process sends what it reports through a pipe; when the pipe closes it has ended, or was killed.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import click

from medsr_core import networks, training
from medsr_workbook import progress
from medsr_workbook.commands.options import Refused

Draw = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """The stages of one training, as arguments of `training.Run`, and where it is written."""

    stages: list[dict[str, Any]]
    folder: Path
    resume: bool

    def train(self, draw: Draw) -> str:
        """Train all stages, each from the weights of the one before; returns a line about what was written."""
        written = ""
        start: dict[str, str] = {}
        for number, stage in enumerate(self.stages, 1):
            folder = self.folder if number == len(self.stages) else self.folder / f"stage-{number}"
            written = _one(training.Run(**{**stage, **start}), folder, self.resume, draw)
            start = {"start": str(folder / "generator.safetensors")}
        return written


def _one(run: training.Run, folder: Path, resume: bool, draw: Draw) -> str:
    """One run, with its bar."""
    if run.start is None:
        networks.create(run.method, **run.arguments())  # refused before the data is read
    sources, validation, about = sources_of(run.data, run.holdout)
    if about.pop("upright"):
        run = dataclasses.replace(run, upright=True)
    before = networks.about(run.start).get("recipes", []) if run.start and Path(run.start).is_file() else []
    about["recipes"] = [*before, run.recipe()]
    report = progress.training(run, draw)
    try:
        training.train(run, sources, validation, folder=folder, resume=resume, about=about, report=report)
    except training.TrainingError as error:
        raise Refused(str(error)) from error
    weights = folder / "generator.safetensors"
    return f"{weights}: {run.method}, {networks.about(str(weights))['steps']} steps"


def sources_of(names: tuple[str, ...], holdout: tuple[str, ...]) -> tuple[list[list[Any]], list[Any], dict[str, Any]]:
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


# --- several at once ------------------------------------------------------------------------------------------------


def train(plans: Mapping[str, Plan]) -> int:
    """Several trainings side by side, with a bar for each; one that fails does not stop the others. Returns 0 or 1.

    Each has its share of the cores; on fewer threads sums may end in other last digits than in a training alone.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // len(plans))
    reading: dict[Any, str] = {}
    processes = {}
    for name, plan in plans.items():
        ours, theirs = context.Pipe(duplex=False)
        processes[name] = context.Process(target=_apart, args=(plan, threads, theirs))
        processes[name].start()
        theirs.close()
        reading[ours] = name
    said: dict[str, str] = {}
    with progress.bars(list(plans)) as draw:
        while reading:
            for pipe in wait(list(reading)):
                try:
                    message = cast(Connection, pipe).recv()
                except EOFError:
                    reading.pop(pipe)
                    continue
                if isinstance(message, str):
                    said[reading[pipe]] = message
                else:
                    draw(reading[pipe], *message)
    for name, process in processes.items():
        process.join()
        killed = f"was killed (exit code {process.exitcode}); the same again with --resume goes on"
        click.echo(f"{name}: {said.get(name, killed)}")
    return int(any(process.exitcode for process in processes.values()))


def _apart(plan: Plan, threads: int, pipe: Connection) -> None:
    """In a process of its own: train, and send what is reported, at the end one line."""
    import torch

    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        pipe.send(plan.train(lambda *told: pipe.send(told)))
    except (ValueError, OSError, click.ClickException, MemoryError) as error:
        pipe.send(getattr(error, "message", None) or str(error) or type(error).__name__)
        raise SystemExit(1) from None
