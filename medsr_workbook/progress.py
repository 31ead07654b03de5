"""Progress bars on stderr for what reports (what it does, how much is done, of how much)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is drawn while the block runs; as a function it takes (what, done, in all)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as drawn:
        task = drawn.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            drawn.update(task, description=what, completed=done, total=total)

        yield report


@contextmanager
def training(steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """The same for `training.train`: the losses of the step, and the last validation PSNR."""
    measured = ""
    with bar() as draw:

        def report(step: int, values: dict[str, float]) -> None:
            nonlocal measured
            if "psnr" in values:
                measured = f" validation {values['psnr']:.2f} dB"
            losses = " ".join(f"{name} {value:.4f}" for name, value in values.items() if name != "psnr")
            draw(losses + measured, step, steps)

        yield report
