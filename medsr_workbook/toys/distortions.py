"""Ways to be wrong: distortions of known kinds, each of adjustable strength, to put metrics and eyes to the test.

`DISTORTIONS` maps a name to a function of (image, strength): strength 0 changes nothing, more changes more. `at_psnr`
finds the strength at which a distortion costs a given PSNR, so that unlike errors of one size can be compared.
Images have shape (B, C, H, W), in [0, 1]; all choices here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from medsr_core import degradation
from medsr_core.measures import metrics

Distortion = Callable[[Tensor, float], Tensor]


def brightness(x: Tensor, strength: float) -> Tensor:
    """Add `strength` everywhere."""
    return x + strength


def contrast(x: Tensor, strength: float) -> Tensor:
    """Stretch grey values away from the image's mean by 1 + strength."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (1 + strength) * (x - mean)


def noise(x: Tensor, strength: float) -> Tensor:
    """Add Gaussian noise of standard deviation `strength`; always the same noise."""
    return x + strength * _fixed_normal(x)


def blur(x: Tensor, strength: float) -> Tensor:
    """Gaussian blur whose variance is `strength` squared pixels, times 10."""
    return degradation.gaussian_blur(math.sqrt(10 * strength))(x)


def shift(x: Tensor, strength: float) -> Tensor:
    """Move the image right by 10 `strength` pixels (also fractions of one), around the edge."""
    frequency = torch.fft.fftfreq(x.shape[-1], dtype=x.dtype, device=x.device)
    turn = torch.exp(-2j * math.pi * frequency * 10 * strength)
    return torch.fft.ifft(torch.fft.fft(x) * turn).real


def pixels(x: Tensor, strength: float) -> Tensor:
    """Set a share of the pixels, growing with `strength`, to black or white."""
    lottery = torch.rand(x[:, :1].shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype).to(x)
    colour = (_fixed_normal(x[:, :1]) > 0).to(x).expand_as(x)
    return torch.where(lottery < strength, colour, x)


def stripes(x: Tensor, strength: float) -> Tensor:
    """Add a regular pattern of amplitude `strength`, four pixels wide: an artefact that looks like texture."""
    wave = torch.sin(2 * math.pi * torch.arange(x.shape[-1], dtype=x.dtype, device=x.device) / 4 + 0.5)
    return x + strength * wave


def invented_detail(x: Tensor, strength: float) -> Tensor:
    """Add detail that D = bicubic(4) cannot see: the image restored from the LR image is the same."""
    return x + strength * degradation.bicubic(4).null_part(_fixed_normal(x))


DISTORTIONS: dict[str, Distortion] = {
    "brighter": brightness,
    "more contrast": contrast,
    "noise": noise,
    "blur": blur,
    "shifted": shift,
    "dead pixels": pixels,
    "stripes": stripes,
    "invented detail": invented_detail,
}


def at_psnr(distort: Distortion, x: Tensor, target: float) -> Tensor:
    """`distort` at the strength that gives PSNR = `target` dB (data range 1), found by bisection.

    Raises ValueError if the distortion cannot do so much harm to this image (blurring a flat image does nothing).
    """
    low, high = 0.0, 1.0
    while metrics.psnr(distort(x, high), x, data_range=1.0).max() > target:
        high *= 2
        if high > 1e3:
            raise ValueError(f"{distort.__name__} cannot bring this image down to {target} dB")
    for _ in range(40):
        middle = (low + high) / 2
        too_weak = metrics.psnr(distort(x, middle), x, data_range=1.0).min() > target
        low, high = (middle, high) if too_weak else (low, middle)
    return distort(x, high)


def _fixed_normal(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x)
