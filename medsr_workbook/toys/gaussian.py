"""Distortion against perception: the bound in a toy where it is exact, and points of real methods with intervals.

The toy is one number. X ~ N(0, 1) is the truth, Y = X + N(0, noise^2) what was measured, an answer is a Y + b Z with
fresh noise Z ~ N(0, 1). Distortion is its mean squared error; perception is how far the distribution of the answers is
from that of the truths, the Wasserstein-2 distance. Blau & Michaeli 2018 show that both cannot be small, whatever the
method; Freirich, Michaeli & Meir 2021 (theorem 3) give the curve in closed form.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Point(NamedTuple):
    """Distortion (mean squared error) and perception (Wasserstein-2 distance, 0 is perfect) of an answer."""

    distortion: float
    perception: float


def answer(a: float, b: float, *, noise: float) -> Point:
    """Where the answer a Y + b Z lies, exactly."""
    spread = math.sqrt(a**2 * (1 + noise**2) + b**2)
    return Point((1 - a) ** 2 + a**2 * noise**2 + b**2, abs(1 - spread))


def posterior_mean(*, noise: float) -> Point:
    """The answer E[X | Y] = Y / (1 + noise^2): the least distortion there is."""
    return answer(1 / (1 + noise**2), 0, noise=noise)


def mean_of_samples(count: int, *, noise: float) -> Point:
    """The mean of `count` draws from p(X | Y). One draw has perfect perception and twice the least distortion."""
    if count < 1:
        raise ValueError(f"the mean of {count} samples; give 1 or more")
    a = 1 / (1 + noise**2)
    return answer(a, math.sqrt(noise**2 * a / count), noise=noise)


def bound(perception: float, *, noise: float) -> float:
    """The least distortion of any answer, linear or not, of this perception: D(P) = D* + max(0, P* - P)^2.

    D* and P* are those of the posterior mean. At P = 0 a stretched posterior mean gets there with less distortion than
    a sample: 2 - 2s instead of 2 - 2s^2, where s^2 = 1 / (1 + noise^2).
    """
    best = posterior_mean(noise=noise)
    return best.distortion + max(0.0, best.perception - perception) ** 2
