"""Same input, many outputs: how much do the samples differ, does that warn of their errors, and what is invented?

Samples are a tensor (N, B, C, H, W): N answers to each of B LR images, as `upscalers.samples` returns them. Images are
in [0, 1]; every function says whether it returns a value per pixel or one per image.

Two ways to split an answer. `reliability` and `coverage` ask whether the *spread* of the samples tells the size of the
error. `split_error` and `detail` take the answer apart with the exact projectors of `degradation`: what D measures
(range space) and what no LR image can tell (null space), where every method guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medsr_core.degradation import Linear
from medsr_core.images.stack import check_image

# --- spread ---------------------------------------------------------------------------------------------------------


def spread(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Per-pixel mean and standard deviation of N samples, each (B, C, H, W); the deviation divides by N - 1."""
    _check(samples)
    return samples.mean(0), samples.std(0)


def diversity(samples: Tensor) -> Tensor:
    """Standard deviation over the samples, as root mean square over an image's pixels: (B,), in grey values."""
    return spread(samples)[1].square().mean((1, 2, 3)).sqrt()


def sampling_loss(samples: Tensor, hr: Tensor) -> Tensor:
    """Mean error of one sample over that of the mean of all, in dB: (B,).

    Draws from the true posterior lose 10 log10(2 / (1 + 1/N)) dB, 3 dB for many (Blau & Michaeli 2018); much less means
    that the samples hardly differ, more that they differ by more than they know.
    """
    _check(samples, hr)
    single = (samples - hr).square().mean((0, 2, 3, 4))
    return 10 * torch.log10(single / (samples.mean(0) - hr).square().mean((1, 2, 3)))


# --- calibration ----------------------------------------------------------------------------------------------------


class Reliability(NamedTuple):
    """Pixels sorted by their spread into bins of equal size: predicted and actual error (root mean square) of each."""

    predicted: Tensor
    actual: Tensor

    @property
    def ratio(self) -> float:
        """Actual over predicted error of all pixels: above 1, the samples are surer than they should be."""
        return (self.actual.square().mean() / self.predicted.square().mean()).sqrt().item()


def reliability(samples: Tensor, hr: Tensor, *, bins: int = 10, mask: Tensor | None = None) -> Reliability:
    """Does the spread predict the error of the mean? (The "spread-error" plot of ensemble forecasts.)

    Were HR one more sample, the mean of N would miss it by sqrt(1 + 1/N) standard deviations: this is `predicted`.
    Pixels of all images are pooled; `mask` (B or 1, 1, H, W), boolean, leaves some out.
    """
    _check(samples, hr)
    mean, deviation = spread(samples)
    expected = (deviation * (1 + 1 / len(samples)) ** 0.5).double()
    error = (mean - hr).double()
    if mask is not None:
        expected, error = expected[mask.expand_as(expected)], error[mask.expand_as(error)]
    order = expected.flatten().argsort()
    if not 1 <= bins <= len(order):
        raise ValueError(f"{bins} bins for {len(order)} pixels; give 1 to {len(order)}")
    parts = order.tensor_split(bins)
    predicted, actual = (
        torch.stack([values.flatten()[part].square().mean().sqrt() for part in parts]) for values in (expected, error)
    )
    return Reliability(predicted, actual)


def coverage(samples: Tensor, hr: Tensor, *, mask: Tensor | None = None) -> dict[float, float]:
    """Nominal level -> share of pixels whose true value lies between the k-th lowest and k-th highest of N samples.

    Were HR one more sample, each of the N + 1 places in the order would be equally likely: the interval holds it with
    probability (N + 1 - 2k) / (N + 1), exactly. A value that equals samples (black air) is shared among its places.
    """
    _check(samples, hr)
    count = len(samples)
    below, equal = (samples < hr).sum(0), (samples == hr).sum(0)
    keep = torch.ones_like(below, dtype=torch.bool) if mask is None else mask.expand_as(below)
    levels = {}
    for k in range(count // 2, 0, -1):
        inside = ((below + equal).clamp(max=count - k) - below.clamp(min=k) + 1).clamp(min=0) / (equal + 1)
        levels[(count + 1 - 2 * k) / (count + 1)] = inside[keep].mean().item()
    return levels


def pooled(rows: Sequence[dict[str, Any]]) -> tuple[Reliability, dict[float, float]]:
    """Reliability and coverage of all images of a stored study, each with equal weight.

    rows : with the lists "predicted" and "actual", one value per bin, and "coverage", level -> share
    """
    bins = (torch.tensor([row[key] for row in rows]).square().mean(0).sqrt() for key in ("predicted", "actual"))
    return Reliability(*bins), {
        float(level): sum(row["coverage"][level] for row in rows) / len(rows) for level in rows[0]["coverage"]
    }


# --- measured and invented ------------------------------------------------------------------------------------------


class Split(NamedTuple):
    """Mean squared error per image (B,), of the part that D measures and of the part that D cannot see; they add up."""

    measured: Tensor
    invented: Tensor


def split_error(sr: Tensor, hr: Tensor, D: Linear) -> Split:
    """MSE(SR, HR) = error within D's range space (contradicts the LR image) + error within its null space (guessed)."""
    _check(sr[None], hr)
    error = (sr - hr).double()
    return Split(*(part.square().mean((1, 2, 3)) for part in (D.range_part(error), D.null_part(error))))


class Detail(NamedTuple):
    """Null-space detail of an answer against the truth's: how much of it, and how much in the right place, (B,)."""

    amount: Tensor
    agreement: Tensor


def detail(sr: Tensor, hr: Tensor, D: Linear) -> Detail:
    """What SR adds to the measured part D^+ D SR, compared with what HR has there.

    amount : norm of the null-space part of SR over that of HR: 1 is as much detail as the truth has
    agreement : cosine between the two: 1 is the true detail, 0 detail that has nothing to do with the truth

    SR with amount a and agreement c has the null-space error (1 - 2 a c + a^2) times HR's null-space energy: adding
    detail lowers it only while a < 2 c.
    """
    _check(sr[None], hr)
    added, true = D.null_part(sr.double()).flatten(1), D.null_part(hr.double()).flatten(1)
    return Detail(added.norm(dim=1) / true.norm(dim=1), torch.cosine_similarity(added, true, dim=1))


def _check(samples: Tensor, hr: Tensor | None = None) -> None:
    if samples.ndim != 5 or (hr is None and len(samples) < 2):
        raise ValueError(f"samples are (N, B, C, H, W) with N of 2 or more, got {tuple(samples.shape)}")
    check_image(samples.flatten(0, 1), name="samples", unit_range=False)
    if hr is not None and samples.shape[1:] != hr.shape:
        raise ValueError(f"samples are {tuple(samples.shape[1:])} each but HR is {tuple(hr.shape)}; compare one size")
