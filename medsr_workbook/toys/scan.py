"""The game on patches of one scan, short enough to watch: from a generator trained for pixels, as SRGAN starts.

Players, losses and steps are those of `medsr_core.training`, which is called piece by piece, each going on from the
last. Sizes and rates are ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from medsr_core import networks, training
from medsr_core.degradation import task


class Snapshot(NamedTuple):
    """The game after a step: what the generator makes of the scan (1, C, H, W), and all losses of all steps so far."""

    step: int
    sr: Tensor
    history: list[dict[str, float]]


def play(
    hr: Tensor,
    start: networks.Network,
    *,
    steps: int = 200,
    every: int = 20,
    **options: Any,
) -> Iterator[Snapshot]:
    """Play the game on `hr` (1, C, H, W) and yield a snapshot of the start and of every `every` steps.

    start : `networks.load("srresnet")`; it is left alone
    options : of `training.Run`, e.g. terms, rate, opponent_rate
    """
    hr, lr = task(hr, start.factor)
    history: list[dict[str, float]] = []
    yield Snapshot(0, start(lr).clamp(0, 1), [])
    chosen = {"batch": 4, "patch": 64, "rate": 3e-4, "average": 0.9} | options
    with tempfile.TemporaryDirectory() as folder:
        for done in range(every, steps + 1, every):
            run = training.Run("srgan", steps=done, **chosen)
            sr = training.train(
                run, [[hr]], folder=folder, resume=done > every, start=start,
                report=lambda _, values: history.append(values),
            )(lr)  # fmt: skip
            yield Snapshot(done, sr.clamp(0, 1), list(history))
