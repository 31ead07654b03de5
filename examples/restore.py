"""Restore one scan with SR3 and say how near it comes: the whole workbook in one call each.

    python examples/restore.py [--data brain] [--image 6] [--factor 4]

Numbers beside the calls are those of the embedded brain scan, on any machine to 0.05 dB. Half a minute on one core.
"""

from __future__ import annotations

import argparse

from torch import Tensor

import data_fetch
from medsr_core import degradation, upscalers
from medsr_core.measures import metrics


def psnr(sr: Tensor, hr: Tensor, factor: int) -> float:
    """Peak signal-to-noise ratio in dB, range 1, without a border of `factor` pixels."""
    return float(metrics.psnr(sr, hr, data_range=1.0, crop_border=factor))


def main(data: str = "brain", image: int = 6, factor: int = 4, weights: str = "brain") -> dict[str, float]:
    """Print and return PSNR in dB of bicubic, regression and one SR3 sample, and that of the mean of four samples."""
    # HR: the middle 128x128 pixels of a scan, (1, C, H, W) in [0, 1]
    pixels = data_fetch.load(data)[image].pixels
    top, left = ((n - 128) // 2 for n in pixels.shape[-2:])
    hr = pixels[..., top : top + 128, left : left + 128]

    # LR = D(HR): MATLAB's bicubic, clipped; the only way the workbook makes a pair
    hr, lr = degradation.task(hr, factor)

    # SR, by interpolation, by a network that was trained for the mean of what could be there, and by samples of it
    answers = {
        "bicubic": upscalers.upscale(lr, "bicubic", factor=factor),  # 30.95 dB
        "regression": upscalers.upscale(lr, "regression", factor=factor, weights=weights),  # 32.97 dB
    }
    drawn = upscalers.samples(lr, 4, factor=factor, weights=weights, seed=0)  # 12 calls of the network each
    answers |= {"one SR3 sample": drawn[0], "mean of 4 samples": drawn.mean(0)}  # 30.02 dB and 32.11 dB

    # What was measured must be explained, whatever was added: MSE(D(SR), LR)
    D = degradation.bicubic(factor)
    for name, sr in answers.items():
        consistency = float(metrics.consistency(sr, lr, D))
        print(f"{name:18} PSNR {psnr(sr, hr, factor):6.2f} dB   D(SR) - LR {1e5 * consistency:6.2f}e-5")
    return {name: psnr(sr, hr, factor) for name, sr in answers.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="brain", help="a data set or your own file (default brain)")
    parser.add_argument("--image", type=int, default=6, help="which image of it (default 6)")
    parser.add_argument("--factor", type=int, default=4, help="4, 8 or 16 (default 4)")
    given = parser.parse_args()
    main(given.data, given.image, given.factor)
