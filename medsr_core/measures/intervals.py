"""How sure is a mean? Bootstrap intervals over subjects, of values and of paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
    if groups is not None and len(groups) != len(scores):
        raise ValueError(f"{len(scores)} values but {len(groups)} groups")
    member, drawn = resampled(groups, len(scores), seed=seed, resamples=resamples)
    total = torch.zeros(drawn.shape[1], dtype=torch.float64).index_add_(0, member, scores)
    count = torch.zeros(drawn.shape[1], dtype=torch.float64).index_add_(0, member, torch.ones_like(scores))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(scores.mean().item(), low, high, len(scores))


def resampled(groups: Sequence[str] | None, n: int, *, seed: int, resamples: int) -> tuple[Tensor, Tensor]:
    """Which group each of n values belongs to (n,), and the groups drawn with replacement (resamples, groups).

    Without groups, or with a single one, each value is a group of its own.
    """
    labels: Sequence[Any] = list(groups) if groups is not None and len(set(groups)) > 1 else range(n)
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    drawn = torch.randint(len(order), (resamples, len(order)), generator=torch.Generator().manual_seed(seed))
    return torch.tensor([order[label] for label in labels]), drawn


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
