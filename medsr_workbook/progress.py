"""Progress bars on stderr for what reports (what it does, how much is done, of how much)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import medsr_core.training.run


COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
Report = Callable[[int, dict[str, float]], None]


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is drawn while the block runs; as a function it takes (what, done, in all)."""
    with bars([""]) as draw:
        yield partial(draw, "")


@contextmanager
def bars(names: Sequence[str]) -> Iterator[Callable[[str, str, int, int], None]]:
    """A bar for each name, one below the other; as a function it takes (name, what, done, in all).

    They are drawn from the first report on: what is refused before leaves the error alone on the screen.
    """
    drawn = Progress(*COLUMNS, console=Console(stderr=True))
    tasks = {name: drawn.add_task(name, total=None) for name in names}

    def report(name: str, what: str, done: int, total: int) -> None:
        drawn.start()
        drawn.update(tasks[name], description=f"{name} {what}".strip(), completed=done, total=total)

    try:
        yield report
    finally:
        if drawn.live.is_started:
            drawn.stop()


def training(run: medsr_core.training.run.Run, draw: Callable[[str, int, int], None]) -> Report:
    """What `training.train` reports, for a bar: the losses of the step, and the last validation PSNR.

    The bar counts steps; of a run on the clock, seconds.
    """
    measured, began = "", time.monotonic()

    def report(step: int, values: dict[str, float]) -> None:
        nonlocal measured
        if "psnr" in values:
            measured = f" validation {values['psnr']:.2f} dB"
        losses = " ".join(f"{name} {value:.4f}" for name, value in values.items() if name != "psnr")
        done, total = (step, run.steps) if run.minutes is None else (time.monotonic() - began, 60 * run.minutes)
        draw(losses + measured, int(done), int(total))

    return report
