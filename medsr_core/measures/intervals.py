"""How sure is a mean? Bootstrap intervals over subjects, of values and of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Interval(NamedTuple):
    """A mean with its 95 % bootstrap interval, over n images."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}] (n = {self.n})"


def bootstrap(
    values: Tensor | Sequence[float], *, groups: Sequence[str] | None = None, seed: int = 0, resamples: int = 2000
) -> Interval:
    """Mean and 95 % percentile bootstrap interval (Efron 1979).

    values : one score per image, finite
    groups : the subject of each image; whole subjects are then drawn, since two slices of one head are not two
        heads. With a single subject images are drawn, and the interval says nothing about other people.
    """
    scores = _scores(values)
    labels = list(groups) if groups is not None and len(set(groups)) > 1 else list(range(len(scores)))
    if len(labels) != len(scores):
        raise ValueError(f"{len(scores)} values but {len(labels)} groups")
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    member, size = torch.tensor([order[label] for label in labels]), len(order)
    total = torch.zeros(size, dtype=torch.float64).index_add_(0, member, scores)
    count = torch.zeros(size, dtype=torch.float64).index_add_(0, member, torch.ones_like(scores))
    drawn = torch.randint(size, (resamples, size), generator=torch.Generator().manual_seed(seed))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(scores.mean().item(), low, high, len(scores))


def paired(
    first: Tensor | Sequence[float],
    second: Tensor | Sequence[float],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Interval:
    """Interval of the mean difference first - second on the same images. Zero inside [low, high]: a tie."""
    a, b = _scores(first), _scores(second)
    if len(a) != len(b):
        raise ValueError(f"a paired comparison needs the same images: {len(a)} and {len(b)} values")
    return bootstrap(a - b, groups=groups, seed=seed)


def _scores(values: Tensor | Sequence[float]) -> Tensor:
    scores = torch.as_tensor(values, dtype=torch.float64).detach().flatten().cpu()
    if not len(scores):
        raise ValueError("no values to average")
    if not torch.isfinite(scores).all():
        raise ValueError("a score is infinite or NaN (identical images have infinite PSNR); leave it out first")
    return scores
