"""The players of a training run and their checkpoints.

A checkpoint is one safetensors file, replaced in one go, with JSON in its header: networks, moving average, Adam's
two moments and step count, number of steps done. Batches are a function of (seed, step), so there is no sampler state.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medsr_core import networks
from medsr_core.training.run import Run

M = TypeVar("M", bound=nn.Module)


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why, and where the last good checkpoint is."""


class State:
    """The players, their optimisers and the generator's moving average: all that a checkpoint holds."""

    def __init__(self, generator: networks.Network, run: Run, device: torch.device):
        self.generator = _channels_last(generator.to(device))
        self.average = AveragedModel(self.generator, multi_avg_fn=moving_average(run.average))
        self.discriminator: nn.Module | None = None
        if run.about.opponent:
            opponent = {"channels": generator.channels, "size": run.patch, **run.opponent}
            discriminator = networks.create_discriminator(run.method, **opponent)
            self.discriminator = _channels_last(discriminator.to(device))
        players = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimisers = {name: torch.optim.Adam(p.parameters()) for name, p in players.items() if p is not None}
        self.modules = {"average": self.average} | {name: p for name, p in players.items() if p is not None}

    def set_rate(self, rate: float, opponent_rate: float | None = None) -> None:
        """Both players learn at the same rate, unless the discriminator has its own."""
        for name, optimiser in self.optimisers.items():
            own = opponent_rate if name == "discriminator" else None
            optimiser.param_groups[0]["lr"] = own or rate

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Write everything to one file, all or nothing."""
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, values in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}-adam/{index}/{key}": value for key, value in values.items()}
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise TrainingError(f"the weights are no longer finite; {path} keeps the last good ones. Try a lower rate.")
        networks.write_atomically({k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}, header, path)

    def restore(self, path: Path, identity: dict[str, Any]) -> dict[str, Any]:
        """Read a checkpoint of the same run; returns its header: step (done), recent (losses), seconds (spent)."""
        if not path.exists():  # killed before the first checkpoint: the start is where to resume
            return {"step": 0, "recent": []}
        header, tensors = networks.read_checked(path)
        other = [f"{key} was {header.get(key)}, is {now}" for key, now in identity.items() if header.get(key) != now]
        if other:
            raise TrainingError(f"{path} is of another run: {'; '.join(other)}. Give its arguments, or another folder")
        for name, module in self.modules.items():
            module.load_state_dict(_below(f"{name}/", tensors))
        for name, optimiser in self.optimisers.items():
            saved: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(f"{name}-adam/", tensors).items():
                index, what = key.split("/")
                saved.setdefault(int(index), {})[what] = tensor
            optimiser.load_state_dict({"state": saved, "param_groups": optimiser.state_dict()["param_groups"]})
        return header


def _channels_last(module: M) -> M:
    """Keep each pixel's channels together in memory, as fast convolutions like it."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def moving_average(keep: float) -> Callable[..., None]:
    """For AveragedModel: average = keep average + (1 - keep) new, with a smaller `keep` during the first steps."""

    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        kept = min(keep, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, current, 1 - kept)

    return update
