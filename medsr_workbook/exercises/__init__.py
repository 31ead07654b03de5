"""Checks for the exercises: each takes the student's function, and answers with a tick or with a hint, never an error.

A check compares with an independent result (scikit-image, the operator's own algebra) on a fixed scan-like image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medsr_core import degradation, diffusion, restoration, upscalers
from medsr_core.measures import intervals, lesions, metrics
from medsr_workbook.exercises.rivals import check_coupling, check_gram, check_relativistic
from medsr_workbook.exercises.verdict import test_image as _test_image
from medsr_workbook.exercises.verdict import verdict as _verdict

__all__ = ["check_coupling", "check_gram", "check_relativistic"]  # those of the rivals; the others are below


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


def check_verdict(function: Callable[[intervals.Interval], str]) -> None:
    """Notebook 04: an interval of specialist - generalist, in words."""

    def says(low: float, high: float) -> str:
        return function(intervals.Interval((low + high) / 2, low, high, 24))

    _verdict(
        [
            (lambda: says(0.1, 0.3) == "specialist", "An interval above zero: the specialist is better."),
            (lambda: says(-0.3, -0.1) == "generalist", "An interval below zero: the generalist is better."),
            (lambda: says(-0.1, 0.3) == "tie", "An interval around zero does not tell: a tie."),
        ],
        "Above zero, below zero, or a tie.",
    )


def check_two_steps(function: Callable[[float, float], tuple[float, float]]) -> None:
    """Notebook 05: the coefficient of y_0 and the noise's spread in y_2, against 100,000 walks of two steps."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 100_000, 1, 1, 1, generator=generator)

    def walked(a_1: float, a_2: float) -> tuple[float, float]:
        y_1 = diffusion.diffuse_step(torch.ones_like(first), a_1, first)
        y_2 = diffusion.diffuse_step(y_1, a_2, second)
        return y_2.mean().item(), y_2.std().item()

    def right(which: int, a_1: float, a_2: float) -> bool:
        return abs(float(function(a_1, a_2)[which]) - walked(a_1, a_2)[which]) < 0.01

    _verdict(
        [
            (lambda: len(function(0.9, 0.8)) == 2, "Return two numbers: y_0's coefficient, and the noise's spread."),
            (
                lambda: right(0, 0.9, 0.8) and right(0, 0.5, 0.3),
                "The coefficient of y_0: put y_1 into the second step. By which two roots is y_0 multiplied?",
            ),
            (
                lambda: right(1, 0.9, 0.8) and right(1, 0.5, 0.3),
                "The spread: variances of independent noise add, spreads do not. The first noise shrinks in the second "
                "step. Take the root at the end.",
            ),
        ],
        "As 100,000 walks: sqrt(a_1 a_2) and sqrt(1 - a_1 a_2). T steps go the same way, with g_t = a_1 a_2 ... a_t.",
    )


def check_noisy_batch(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 05: `function(y0, levels, noise)` with one noise level per image of the batch."""
    y0, noise = torch.randn(2, 8, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    levels = torch.linspace(0.05, 0.95, 8)

    def misses(i: int) -> float:
        g = float(levels[i])
        return float((function(y0, levels, noise)[i] - g**0.5 * y0[i] - (1 - g) ** 0.5 * noise[i]).abs().max())

    one = torch.full((8,), 0.3)
    _verdict(
        [
            (lambda: function(y0, levels, noise).shape == y0.shape, "It must return a batch of the shape of y0."),
            (
                lambda: (function(y0, one, noise) - 0.3**0.5 * y0 - 0.7**0.5 * noise).abs().max() < 1e-5,
                "Even with equal levels it is not sqrt(g) y0 + sqrt(1 - g) noise.",
            ),
            (
                lambda: max(map(misses, range(8))) < 1e-5,
                "Right when all levels are equal. (8,) against (8, 1, 6, 8) lines up with the *columns*: view it anew.",
            ),
        ],
        "Every image has its own noise level.",
    )


def check_blur_width(function: Callable[[Tensor, Tensor], float]) -> None:
    """Notebook 11: `function(frequencies, left)`, sigma in pixels from the power that a Gaussian left."""
    f = torch.linspace(0.015, 0.085, 12, dtype=torch.float64)

    def found(sigma: float, gain: float = 1.0) -> float:
        power = gain * torch.exp(-((2 * torch.pi * sigma * f) ** 2))
        return float(function(f, power))

    _verdict(
        [
            (
                lambda: abs(found(1.5) - 1.5) < 0.01 and abs(found(2.5) - 2.5) < 0.01,
                "log(left) falls along a straight line over frequencies²; which slope has it, in terms of sigma? "
                "torch.log, and least squares for the slope.",
            ),
            (
                lambda: abs(found(2.0, 0.4) - 2.0) < 0.01,
                "Right if the image is as bright as the examples. A darker one shifts the whole line: "
                "only its slope counts. Subtract the means first.",
            ),
        ],
        "The slope is -4 pi² sigma²: the blur is read off the image, although nobody told it.",
    )


def check_kept_samples(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 11: `function(sr, samples, mask)` puts measured k-space samples back."""
    sr, hr = _test_image(), _test_image(1)
    mask, samples = restoration.scan_lines((64, 64), 4), restoration.kspace(hr)

    def samples_of(image: Tensor) -> Tensor:
        return restoration.kspace(image)[..., mask]

    _verdict(
        [
            (
                lambda: not function(sr, samples, mask).is_complex(),
                "An image is real: end with torch.fft.ifft2(...).real.",
            ),
            (
                lambda: (samples_of(function(sr, samples, mask)) - samples[..., mask]).abs().max() < 1e-4,
                "The measured samples are not in your answer yet. torch.where(mask, measured, own), in k-space; "
                "and norm='ortho' both ways.",
            ),
            (
                lambda: (function(sr, samples, mask) - restoration.keeps(samples, mask)(sr)).abs().max() < 1e-4,
                "The measured samples are there, but others were changed too: they are all that SR adds.",
            ),
        ],
        "Measured samples are the scanner's, the rest is SR's.",
    )


def check_auc(function: Callable[[Tensor, Tensor], float]) -> None:
    """Notebook 10: `function(present, absent)`, the chance that a lesion scores higher than none."""
    generator = torch.Generator().manual_seed(0)
    absent = torch.randn(40, generator=generator)
    present = torch.randn(30, generator=generator) + 1

    def right(a: Tensor, b: Tensor) -> bool:
        return abs(float(function(a, b)) - lesions.auc(a, b)) < 1e-3

    _verdict(
        [
            (lambda: right(absent + 10, absent), "Perfectly separated scores have an AUC of 1."),
            (
                lambda: right(present, absent),
                "Compare *every* lesion with *every* place without: present[:, None] > absent.",
            ),
            (lambda: right(absent, absent), "With equal scores it must be 0.5: a tie counts half."),
        ],
        "1 is perfect, 0.5 is a coin.",
    )


def check_threshold(function: Callable[[Tensor, Tensor, float, float], float]) -> None:
    """Notebook 12: `function(present, absent, gain, loss)`, the threshold that earns most; scores at or above count."""
    generator = torch.Generator().manual_seed(0)
    absent = torch.randn(200, generator=generator)
    present = torch.randn(20, generator=generator) + 2

    def earned(t: float, a: Tensor, b: Tensor, gain: float, loss: float) -> float:
        return gain * float((a >= t).sum()) - loss * float((b >= t).sum())

    def right(a: Tensor, b: Tensor, gain: float, loss: float) -> bool:
        best = max(earned(t, a, b, gain, loss) for t in [*torch.cat([a, b]).tolist(), float("inf")])
        return earned(float(function(a, b, gain, loss)), a, b, gain, loss) >= best - 1e-6

    _verdict(
        [
            (
                lambda: right(present + 10, absent, 3.0, 2.0),
                "Here every lesion scores higher than every other place: some threshold finds all and nothing else.",
            ),
            (
                lambda: right(present, absent, 3.0, 2.0),
                "Not the most points. Only the lesions' own scores need to be tried: count what each would earn.",
            ),
            (
                lambda: right(present + 1, absent, 1.0, 50.0),
                "With a loss of 50 for each wrong place another threshold is best. Do you use gain and loss?",
            ),
            (
                lambda: right(absent[:20] - 9, present, 1.0, 5.0),
                "Here every threshold that finds a lesion costs points: say nothing, with one above all scores.",
            ),
        ],
        "The most points: what a threshold should be depends on what a miss and a false alarm cost.",
    )


def check_kendall(function: Callable[[list[float], list[float]], float]) -> None:
    """Notebook 09: Kendall's tau of two lists of marks without ties, against scipy."""
    from scipy.stats import kendalltau

    marks = torch.rand(2, 7, generator=torch.Generator().manual_seed(0)).tolist()

    def right(a: list[float], b: list[float]) -> bool:
        return abs(float(function(a, b)) - kendalltau(a, b).statistic) < 1e-6

    _verdict(
        [
            (lambda: right([1, 2, 3], [4, 5, 9]), "Two lists in the same order agree on every pair: tau is 1."),
            (lambda: right([1, 2, 3], [9, 5, 4]), "For the reversed order no pair agrees: tau is -1."),
            (lambda: right(*marks), "Count the pairs on which both agree, less those on which not, over all pairs."),
        ],
        "Equal to scipy. Pairs in agreement less pairs in conflict, over all pairs.",
    )


def check_reverse_step(function: Callable[..., Tensor]) -> None:
    """Notebook 06: SR3's step `function(y, y0, g, g_next, z)` against `diffusion.ancestral`."""
    y, y0, z = torch.randn(3, 1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def misses(g: float, g_next: float, z: Tensor) -> float:
        seen: list[Tensor] = []
        levels = torch.tensor([1.0, g_next, g] if g_next < 1 else [1.0, g], dtype=torch.float64)
        diffusion.ancestral(lambda *_: y0, y, levels, noise=lambda _: z, report=lambda _, y, y0: seen.append(y))
        return float((function(y, y0, levels[-1], levels[-2], z) - seen[0]).abs().max())

    _verdict(
        [
            (
                lambda: misses(0.3, 0.6, 0 * z) < 1e-9 and misses(0.1, 0.9, 0 * z) < 1e-9,
                "Without z it is not right yet. The noise in y is (y - sqrt(g) y0) / sqrt(1 - g); a is g / g_next.",
            ),
            (lambda: misses(0.3, 0.6, z) < 1e-9, "Fresh noise: sqrt(1 - a) z."),
            (lambda: misses(0.3, 1.0, z) < 1e-9, "Into the last level, g_next = 1, no noise is added."),
        ],
        "Equal to diffusion.ancestral: one step of SR3's algorithm 2.",
    )


def check_calls(function: Callable[[str, int, int, int], int]) -> None:
    """Notebook 06: `function(sampler, steps, samples, stages)`, against counting them."""

    def counted(sampler: str, steps: int, samples: int, stages: int) -> int:
        calls = []

        def denoise(y: Tensor, g: Tensor) -> Tensor:
            calls.append(g)
            return y

        for _ in range(samples * stages):
            levels = diffusion.shorten(diffusion.cosine(), steps)
            diffusion.sampler(sampler)(denoise, torch.zeros(1, 1, 1, 1), levels)
        return len(calls)

    def right(*case: Any) -> bool:
        return int(function(*case)) == counted(*case)

    _verdict(
        [
            (lambda: right("ancestral", 5, 1, 1), "One call per step: the last step needs an estimate, too."),
            (lambda: right("ddim", 5, 3, 2), "Each sample is a walk of its own, and in a cascade each stage is one."),
            (lambda: right("dpm++", 5, 3, 2), "DPM-Solver++(2M) is of second order by remembering the step before."),
        ],
        "As counted: steps x samples x stages. Whatever the sampler, one call per step.",
    )


def check_loss_of_mean(function: Callable[[int], float]) -> None:
    """Notebook 07: `function(n)`, dB that the mean of n posterior samples loses to the best mean, by simulation."""
    g = torch.Generator().manual_seed(0)

    def misses(n: int) -> float:  # y0 standard normal, nothing known: the posterior mean is 0, its squared error 1
        truth, samples = torch.randn(100_000, generator=g), torch.randn(n, 100_000, generator=g)
        return abs(float(function(n)) - 10 * float((samples.mean(0) - truth).square().mean().log10()))

    _verdict(
        [
            (lambda: abs(float(function(1)) - 3.01) < 0.02, "One sample has twice the squared error: 3.01 dB."),
            (
                lambda: misses(4) < 0.1 and misses(16) < 0.1,
                "The mean of n samples has an error of its own, 1/n of a sample's variance; it adds to the truth's.",
            ),
        ],
        "As simulated: 10 log10(1 + 1/n) dB.",
    )
