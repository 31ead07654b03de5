"""How far is the restored image (SR) from the true one (HR)? MSE, PSNR, SSIM, consistency.

All distances take two tensors of shape (B, C, H, W), floating point, in [0, data_range], and return one value per
image, shape (B,): average *those*; averaging the MSE first reads about 0.1 dB lower. All are differentiable.
Every one of them takes

    crop_border : pixels to leave out on each side (the papers leave out as many as the factor)
    y_channel   : compare only the luma of RGB images (ITU-R BT.601 as in MATLAB's ``rgb2ycbcr``), as SRGAN's tables do
    mask        : boolean (B or 1, 1, H, W); only pixels that are true count
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from medsr_core.degradation import Separable
from medsr_core.images.stack import check_image

# --- distances ---------------------------------------------------------------------------------------------------


def mse(sr: Tensor, hr: Tensor, *, crop_border: int = 0, y_channel: bool = False, mask: Tensor | None = None) -> Tensor:
    """Mean squared error per image, over channels and pixels."""
    sr, hr, mask = _comparable(sr, hr, crop_border, y_channel, mask)
    return _mean((sr - hr) ** 2, mask)


def psnr(sr: Tensor, hr: Tensor, *, data_range: float, **region: Any) -> Tensor:
    """Peak signal-to-noise ratio in dB: 10 log10(R^2 / MSE), R = `data_range`. Identical images give infinity.

    R is the range the pixels *could* take (1 for images in [0, 1]), never guessed from the image.
    """
    _within(hr, data_range)
    return 10 * torch.log10(data_range**2 / mse(sr, hr, **region))


def psnr_of_maximum(sr: Tensor, hr: Tensor, **region: Any) -> Tensor:
    """PSNR in dB with R = max(HR), as some lectures write it: lower by 20 log10(1 / max) on a dark scan."""
    return 10 * torch.log10(hr.amax((1, 2, 3)) ** 2 / mse(sr, hr, **region))


def ssim(
    sr: Tensor,
    hr: Tensor,
    *,
    data_range: float,
    crop_border: int = 0,
    y_channel: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13): Gaussian 11x11 window, sigma 1.5, K = 0.01 and 0.03.

    Mean over the windows that fit into the image, then over channels. Equal to scikit-image with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``. With a mask, windows whose centre is true count.
    """
    sr, hr, mask = _comparable(sr, hr, crop_border, y_channel, mask)
    _within(hr, data_range)
    return _mean(_ssim_map(sr, hr, data_range), None if mask is None else mask[..., 5:-5, 5:-5])


def ssim_map(sr: Tensor, hr: Tensor, *, data_range: float) -> Tensor:
    """SSIM of every window, shape (B, C, H - 10, W - 10): the picture behind the number."""
    sr, hr, _ = _comparable(sr, hr, 0, False, None)
    _within(hr, data_range)
    return _ssim_map(sr, hr, data_range)


def ssim_global(sr: Tensor, hr: Tensor, *, data_range: float, **region: Any) -> Tensor:
    """The SSIM formula with *one* window, the whole image, as lectures print it. Not the SSIM of papers."""
    sr, hr, mask = _comparable(sr, hr, **{"crop_border": 0, "y_channel": False, "mask": None} | region)
    _within(hr, data_range)

    def mean(x: Tensor) -> Tensor:
        return torch.stack([_mean(channel, mask) for channel in x.split(1, 1)], 1)

    mean_x, mean_y = mean(sr), mean(hr)
    var_x, var_y = mean(sr**2) - mean_x**2, mean(hr**2) - mean_y**2
    cov = mean(sr * hr) - mean_x * mean_y
    return _ssim(mean_x, mean_y, var_x + var_y, cov, data_range).mean(1)


def consistency(sr: Tensor, lr: Tensor, degradation: Callable[[Tensor], Tensor]) -> Tensor:
    """MSE(D(SR), LR): does the answer, degraded again, explain what was measured? Shape (B,) (SR3, section 4.2).

    `degradation` must be the very D that made the LR image.
    """
    return mse(degradation(sr), lr)


# --- the window of SSIM ------------------------------------------------------------------------------------------


@cache
def _window(n: int) -> Tensor:
    """Gaussian of 11 taps, sigma 1.5, at every position where it fits into n pixels: matrix (n - 10, n)."""
    tap = torch.exp(-0.5 * ((torch.arange(11, dtype=torch.float64) - 5) / 1.5) ** 2)
    index = torch.arange(n - 10)[:, None] + torch.arange(11)
    return torch.zeros(n - 10, n, dtype=torch.float64).scatter_(1, index, (tap / tap.sum()).expand(n - 10, -1))


_window_mean = Separable("Gaussian 11x11", _window)


def _ssim_map(sr: Tensor, hr: Tensor, data_range: float) -> Tensor:
    if min(sr.shape[-2:]) < 11:
        raise ValueError(f"SSIM's window is 11x11; {sr.shape[-2]}x{sr.shape[-1]} pixels (after cropping) are too few")
    shift = data_range / 2  # variances do not feel a shift, and small numbers keep float32 exact
    x, y = sr - shift, hr - shift
    maps = torch.cat([x, y, x * x + y * y, x * y], 1)
    mean_x, mean_y, squares, product = _window_mean(maps).chunk(4, 1)
    variances, covariance = squares - mean_x**2 - mean_y**2, product - mean_x * mean_y
    return _ssim(mean_x + shift, mean_y + shift, variances, covariance, data_range)


def _ssim(mean_x: Tensor, mean_y: Tensor, variances: Tensor, covariance: Tensor, data_range: float) -> Tensor:
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


# --- checks ------------------------------------------------------------------------------------------------------


def _comparable(
    sr: Tensor, hr: Tensor, crop_border: int, y_channel: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check two batches and cut them (and the mask) to the region that counts."""
    check_image(sr, name="SR image", unit_range=False)
    check_image(hr, name="HR image", unit_range=False)
    if sr.shape != hr.shape:
        raise ValueError(f"SR is {tuple(sr.shape)} but HR is {tuple(hr.shape)}; compare images of one size")
    if crop_border < 0 or 2 * crop_border >= min(hr.shape[-2:]):
        raise ValueError(f"crop_border {crop_border} leaves nothing of {hr.shape[-2]}x{hr.shape[-1]} pixels")
    if mask is not None and (mask.dtype != torch.bool or mask.shape[-2:] != hr.shape[-2:] or mask.ndim != 4):
        raise ValueError(f"mask must be boolean (B or 1, 1, H, W) like the image, got {mask.dtype} {tuple(mask.shape)}")
    if y_channel and hr.shape[1] == 3:
        sr, hr = _luma(sr), _luma(hr)
    inner = (..., slice(crop_border, hr.shape[-2] - crop_border), slice(crop_border, hr.shape[-1] - crop_border))
    return sr[inner], hr[inner], None if mask is None else mask[inner]


def _luma(rgb: Tensor) -> Tensor:
    weights = rgb.new_tensor([65.481, 128.553, 24.966]).reshape(1, 3, 1, 1) / 255
    return (rgb * weights).sum(1, keepdim=True) + 16 / 255


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return x.mean((1, 2, 3))
    weight = mask.to(x.dtype).expand_as(x)
    if (weight.sum((1, 2, 3)) == 0).any():
        raise ValueError("the mask leaves no pixel of an image")
    return (x * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def _within(hr: Tensor, data_range: float) -> None:
    """Refuse a data_range that the true image contradicts; SR may overshoot it."""
    if not (math.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range is {data_range}; give the range pixels can take, e.g. 1.0 or 255")
    low, high = (value.item() for value in hr.detach().aminmax())
    if low < -1e-4 * data_range or high > (1 + 1e-4) * data_range:
        raise ValueError(f"HR has values in [{low:.4g}, {high:.4g}] but data_range is {data_range:g}; scale one")
