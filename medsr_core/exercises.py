"""Checks for the exercises: each takes the student's function, and answers with a tick or with a hint, never an error.

A check compares with an independent result (scikit-image, the operator's own algebra) on a fixed scan-like image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medsr_core import degradation, metrics, upscalers


def _verdict(checks: list[tuple[Callable[[], Any], str]], praise: str) -> None:
    """Run the checks in order; print the hint of the first that fails or raises, or the praise."""
    for holds, hint in checks:
        try:
            passed = bool(holds())
        except Exception as error:  # a student's function may raise anything
            print(f"✗ Your function raised {type(error).__name__}: {error}. {hint}")
            return
        if not passed:
            print(f"✗ Not yet. {hint}")
            return
    print(f"✓ {praise}")


def _test_image(seed: int = 0) -> Tensor:
    """Blobs with sharp outlines, like tissue: (1, 1, 64, 64) in [0, 1]."""
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = degradation.gaussian_blur(3.0)(noise)
    return ((smooth > smooth.mean()).double() * 0.5 + 0.25).float()


def check_upscaler(function: Callable[[Tensor, int], Tensor]) -> None:
    """Notebook 00: `function(lr, factor)` must beat bicubic."""
    hr = _test_image()
    lr = degradation.bicubic(4)(hr)
    base = metrics.psnr(upscalers.upscale(lr, "bicubic"), hr, data_range=1.0).item()

    def gain() -> float:
        return metrics.psnr(function(lr, 4).clamp(0, 1), hr, data_range=1.0).item() - base

    _verdict(
        [
            (lambda: function(lr, 4).shape == hr.shape, "It must return (B, C, 4 H, 4 W) from (B, C, H, W)."),
            (lambda: not torch.isnan(function(lr, 4)).any(), "The result has NaN pixels."),
            (
                lambda: gain() > 0.2,
                f"Bicubic reads {base:.1f} dB on the test image. Degrade your answer again: "
                "what is left to explain? Add that difference, upscaled, to the answer.",
            ),
        ],
        "Your method beats bicubic: it uses what bicubic ignores, that D is known.",
    )


def check_projection(function: Callable[[Tensor, Tensor, Any], Tensor]) -> None:
    """Notebook 01: `function(x, y, D)` is the image nearest to x that D maps to y."""
    D = degradation.bicubic(4)
    x, y = _test_image(), D(_test_image(1))
    expected = x.double() + D.pinv((y - D(x)).double(), (64, 64))
    _verdict(
        [
            (lambda: function(x, y, D).shape == x.shape, "It must return an image of the shape of x."),
            (
                lambda: metrics.consistency(function(x, y, D), y, D).item() < 1e-8,
                "D(answer) is not y yet. By how much does D(x) miss y, and which image does D map to that miss?",
            ),
            (
                lambda: (function(x, y, D) - expected).abs().max() < 1e-4,
                "D(answer) = y holds, but the detail of x that D cannot see is gone. Change x as little as possible.",
            ),
        ],
        "D(answer) = y, and the part of x that D cannot see is untouched.",
    )


def check_psnr(function: Callable[[Tensor, Tensor, float], float]) -> None:
    """Notebook 02: `function(sr, hr, data_range)` in dB, against scikit-image."""
    from skimage.metrics import peak_signal_noise_ratio

    hr = _test_image()
    sr = (hr + 0.05 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)

    def matches(scale: float) -> bool:
        expected = peak_signal_noise_ratio(scale * hr.numpy(), scale * sr.numpy(), data_range=scale)
        return abs(float(function(scale * sr, scale * hr, scale)) - expected) < 1e-3

    _verdict(
        [
            (lambda: matches(1.0), "Square the difference and take the mean: the MSE. Then 10 log10(R² / MSE)."),
            (lambda: matches(255.0), "Right for [0, 1], wrong for [0, 255]: where does data_range enter?"),
        ],
        "Equal to scikit-image, in [0, 1] and in [0, 255].",
    )


def check_best_answer(value: float) -> None:
    """Notebook 02: the number with the least expected squared error when the truth is 0 or 1 with equal chance."""
    _verdict(
        [
            (
                lambda: abs(float(value) - 0.5) < 1e-6,
                "With equal chance your answer v misses by v or by 1 - v. Minimise v² / 2 + (1 - v)² / 2.",
            )
        ],
        "The mean, a grey that is never the truth, is what squared error rewards.",
    )


def check_discriminator(function: Callable[[float, float], float]) -> None:
    """Notebook 03: the belief d that minimises -p log d - q log(1 - d), against a search."""
    beliefs = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)

    def right(p: float, q: float) -> bool:
        loss = -p * beliefs.log() - q * (1 - beliefs).log()
        return abs(float(function(p, q)) - beliefs[loss.argmin()].item()) < 2e-3

    _verdict(
        [
            (lambda: right(0.5, 0.5), "Where true and made points are equally dense, D can only guess: 1/2."),
            (lambda: right(0.9, 0.3) and right(0.1, 2.0), "Right for equal densities. Set the slope in d to zero."),
        ],
        "p / (p + q): the share of true points at that place.",
    )


def check_verdict(function: Callable[[metrics.Interval], str]) -> None:
    """Notebook 04: an interval of specialist - generalist, in words."""

    def says(low: float, high: float) -> str:
        return function(metrics.Interval((low + high) / 2, low, high, 24))

    _verdict(
        [
            (lambda: says(0.1, 0.3) == "specialist", "An interval above zero: the specialist is better."),
            (lambda: says(-0.3, -0.1) == "generalist", "An interval below zero: the generalist is better."),
            (lambda: says(-0.1, 0.3) == "tie", "An interval around zero does not tell: a tie."),
        ],
        "Above zero, below zero, or a tie.",
    )
