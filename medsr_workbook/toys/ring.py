"""The two-player game in two dimensions, where everything can be seen: points instead of images (Goodfellow 2014).

The truth is a ring of eight Gaussians. The generator turns noise into points, the discriminator tells them from true
ones; losses are those of `medsr_core.training.losses`, as in SRGAN. Network sizes and rates are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medsr_core.training import losses

MODES, RADIUS, WIDTH = 8, 2.0, 0.1  # Gaussians of standard deviation 0.1 on a circle of radius 2


class Snapshot(NamedTuple):
    """The game after a step: generated points (N, 2), the belief in "real" on a grid (40, 40), the two losses."""

    step: int
    points: Tensor
    belief: Tensor
    generator_loss: float
    discriminator_loss: float


def centres() -> Tensor:
    """The middles of the eight Gaussians, (8, 2)."""
    angle = 2 * math.pi * torch.arange(MODES) / MODES
    return RADIUS * torch.stack([angle.cos(), angle.sin()], 1)


def real_points(n: int, generator: torch.Generator | None = None) -> Tensor:
    """`n` points of the truth, (n, 2)."""
    mode = torch.randint(MODES, (n,), generator=generator)
    return centres()[mode] + WIDTH * torch.randn(n, 2, generator=generator)


def network(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    """Two hidden layers: generator (noise to point) and discriminator (point to logit) alike."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(0.2),
        nn.Linear(width, width), nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )  # fmt: skip


def play(
    steps: int = 1500, *, generator_turns: int = 1, discriminator_turns: int = 1, every: int = 100, seed: int = 0
) -> Iterator[Snapshot]:
    """Play the game and yield a snapshot of the start and of every `every` steps.

    In a step the discriminator takes `discriminator_turns` Adam steps, then the generator takes `generator_turns`:
    the balance of the players. Deterministic in `seed`.
    """
    if min(steps, generator_turns, discriminator_turns, every) < 1:
        raise ValueError("steps, turns and every are whole numbers of 1 or more")
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G, D = network(8, 2), network(2, 1)
    adam_g, adam_d = (torch.optim.Adam(player.parameters(), 1e-3, betas=(0.5, 0.9)) for player in (G, D))
    look = torch.randn(512, 8, generator=random)  # the same noise in every snapshot

    def noise() -> Tensor:
        return torch.randn(256, 8, generator=random)

    for step in range(steps + 1):
        for _ in range(discriminator_turns):
            loss_d = losses.discriminator(D(real_points(256, random)), D(G(noise()).detach()))
            _move(adam_d, loss_d)
        for _ in range(generator_turns):
            loss_g = losses.adversarial(D(G(noise())))
            _move(adam_g, loss_g)
        if step % every == 0:
            with torch.no_grad():
                yield Snapshot(step, G(look), D(grid()).sigmoid().reshape(40, 40), loss_g.item(), loss_d.item())


def grid() -> Tensor:
    """1600 points that cover the picture, row by row: (1600, 2)."""
    side = torch.linspace(-3, 3, 40)
    return torch.stack([side.repeat(40), side.repeat_interleave(40)], 1)


def modes_covered(points: Tensor, *, share: float = 0.02) -> int:
    """How many of the eight Gaussians hold at least `share` of the points within three standard deviations."""
    near = torch.cdist(points, centres()) < 3 * WIDTH
    return int((near.float().mean(0) >= share).sum())


def on_target(points: Tensor) -> float:
    """Share of the points within three standard deviations of some Gaussian."""
    return (torch.cdist(points, centres()).amin(1) < 3 * WIDTH).float().mean().item()


def last(snapshots: Iterator[Snapshot], watch: Callable[[Snapshot], None] | None = None) -> Snapshot:
    """Play to the end; `watch` sees every snapshot on the way."""
    for snapshot in snapshots:
        if watch:
            watch(snapshot)
    return snapshot


def _move(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
