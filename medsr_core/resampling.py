"""The one-dimensional matrices behind `medsr_core.degradation`: imresize, Gaussian blur, k-space truncation.

Each takes an input length n to a float64 matrix of shape (m, n) that makes m output pixels out of n input pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import torch
from torch import Tensor

Matrix = Callable[[int], Tensor]  # input length n -> float64 matrix (m, n)


def resize_matrix(n: int, m: int, scale: float, kernel: Callable, width: float, antialias: bool) -> Tensor:
    """The (m, n) matrix of MATLAB's ``imresize`` along one axis (its ``contributions`` function), in float64."""
    stretch = scale if antialias and scale < 1 else 1.0
    centre = (torch.arange(m, dtype=torch.float64) + 0.5) / scale - 0.5  # output pixels in input coordinates
    left = torch.floor(centre - width / stretch / 2)
    index = left[:, None] + torch.arange(math.ceil(width / stretch) + 2)
    weight = kernel(stretch * (centre[:, None] - index))
    weight = weight / weight.sum(1, keepdim=True)
    mirrored = torch.remainder(index.long(), 2 * n)
    mirrored = torch.minimum(mirrored, 2 * n - 1 - mirrored)
    return torch.zeros(m, n, dtype=torch.float64).scatter_add_(1, mirrored, weight)


def cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5 (Keys 1981, eq. 15)."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))


def triangle(x: Tensor) -> Tensor:
    """Linear interpolation."""
    return (1 - x.abs()).clamp(min=0)


def lanczos3(x: Tensor) -> Tensor:
    """Sinc, windowed by the main lobe of a sinc three times as wide."""
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


def box(x: Tensor) -> Tensor:
    """One inside [-1/2, 1/2), as MATLAB has it."""
    return ((x >= -0.5) & (x < 0.5)).double()


@cache
def gaussian_matrix(sigma: float) -> Matrix:
    """Blur with a Gaussian of `sigma` pixels that ends at 4 sigma; half-sample symmetric edges."""

    @cache
    def matrix(n: int) -> Tensor:
        radius = int(4 * sigma + 0.5)
        offset = torch.arange(-radius, radius + 1)
        weight = torch.exp(-0.5 * (offset.double() / max(sigma, 1e-12)) ** 2)
        index = torch.remainder(torch.arange(n)[:, None] + offset, 2 * n)
        index = torch.minimum(index, 2 * n - 1 - index)
        return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, index, (weight / weight.sum()).expand(n, -1))

    return matrix


@cache
def fourier_matrix(factor: Fraction) -> Matrix:
    """Keep the central 1/factor of the spectrum, then sample at the centres of the larger pixels."""

    @cache
    def matrix(n: int) -> Tensor:
        m = math.ceil(n / factor)
        if m > n:
            raise ValueError(f"k-space can only be truncated: factor is {factor}, give 1 or more")
        line = 2 * math.pi * torch.arange(-(m // 2), m // 2 + 1, dtype=torch.float64)
        weight = torch.where(line.abs() == math.pi * m, 0.5, 1.0).double() / n
        lr = (torch.arange(m, dtype=torch.float64) + 0.5)[:, None] / m * line  # phases, (m, lines)
        hr = (torch.arange(n, dtype=torch.float64) + 0.5)[:, None] / n * line
        return (weight * lr.cos()) @ hr.cos().T + (weight * lr.sin()) @ hr.sin().T

    return matrix
