"""Every way from a low-resolution (LR) image to a super-resolved one (SR), behind one call.

    sr = upscale(lr, "tv", factor=4)      # (B, C, H, W) in [0, 1] -> (B, C, 4 H, 4 W) in [0, 1]

The notebooks, ``medsr evaluate`` and ``medsr enhance`` know nothing but `upscale` and the names in `METHODS`.
Classical methods are functions of (lr, factor); trained ones are networks of `medsr_core.networks` and their weights.
All of them assume that the LR image was made by D = bicubic(factor).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from medsr_core import degradation, networks, tiling
from medsr_core.images import check_image


def upscale(lr: Tensor, method: str = "bicubic", *, factor: int = 4, weights: str | Path = "general") -> Tensor:
    """Super-resolve a batch of LR images.

    lr : Tensor (B, C, H, W), floating point, in [0, 1]
    method : one of `METHODS`
    factor : whole number, 1 or more: SR pixels per LR pixel along an axis
    weights : of a trained method: brain, fundus, skin, heart, general, or a .safetensors file

    Returns SR of shape (B, C, factor H, factor W), clipped to [0, 1].
    Raises ValueError for an unknown method (naming the known ones), a factor that is not a positive whole number or
    not the one that a network was trained for, missing or damaged weights, NaN or values outside [0, 1]; TypeError for
    integer pixels.
    """
    check_image(lr, name="LR image")
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    if factor < 1 or factor != int(factor):
        raise ValueError(f"factor is {factor}; give a whole number such as 2, 4 or 8")
    if method in CLASSICAL:
        return CLASSICAL[method](lr, int(factor)).clamp(0, 1)
    network = trained(method, weights, int(factor)).to(lr.device)
    return tiling.upscale(network, lr.float(), factor=network.factor).to(lr.dtype).clamp(0, 1)


@lru_cache(maxsize=8)
def trained(method: str, weights: str | Path = "general", factor: int = 4) -> networks.Generator:
    """The network of a trained method, loaded once; raises ValueError if it was not trained for `factor`."""
    network = networks.load(method, weights=weights)
    if network.factor != factor:
        raise ValueError(f"{method} was trained for factor {network.factor}, not {factor}")
    return network


def nearest(lr: Tensor, factor: int) -> Tensor:
    """Repeat every pixel"""
    return degradation.nearest(Fraction(1, factor))(lr)


def bilinear(lr: Tensor, factor: int) -> Tensor:
    """Straight lines between pixels"""
    return degradation.bilinear(Fraction(1, factor))(lr)


def bicubic(lr: Tensor, factor: int) -> Tensor:
    """Cubic curves between pixels (Keys 1981), as MATLAB's imresize"""
    return degradation.bicubic(Fraction(1, factor))(lr)


def lanczos(lr: Tensor, factor: int) -> Tensor:
    """Windowed sinc over six pixels"""
    return degradation.lanczos(Fraction(1, factor))(lr)


def backprojection(lr: Tensor, factor: int) -> Tensor:
    """Bicubic, corrected so that D(SR) = LR exactly (Irani & Peleg 1991)"""
    return _explain(bicubic(lr, factor), lr, factor)


def tv(lr: Tensor, factor: int, iterations: int = 60) -> Tensor:
    """Of all images with D(SR) = LR, the one with the least total variation

    Chambolle & Pock 2011, algorithm 1, for min TV(x) subject to D x = y: the dual variable p of the image's
    gradient is kept in the unit disc, the image on the plane {D x = y} by the exact projection with D^+.
    Total variation is isotropic and couples the channels of RGB images.
    """
    x = step_back = backprojection(lr, factor)
    p = x.new_zeros(2, *x.shape)
    primal, dual = 0.01, 1 / (8 * 0.01)  # primal * dual * |gradient|^2 <= 1; 0.01 converges fastest on scans (ours)
    for _ in range(iterations):
        p = p + dual * _gradient(step_back)
        p = p / p.square().sum((0, 2), keepdim=True).sqrt().clamp(min=1)
        previous, x = x, _explain(x + primal * _divergence(p), lr, factor)
        step_back = 2 * x - previous
    return x


CLASSICAL: dict[str, Callable[[Tensor, int], Tensor]] = {
    function.__name__: function for function in (nearest, bilinear, bicubic, lanczos, backprojection, tv)
}
METHODS = (*CLASSICAL, *networks.FAMILY)


def _explain(sr: Tensor, lr: Tensor, factor: int) -> Tensor:
    """The image nearest to `sr` that D maps to `lr`: x + D^+ (y - D x)."""
    D = degradation.bicubic(factor)
    return sr + D.pinv(lr - D(sr), (sr.shape[-2], sr.shape[-1]))


def _gradient(x: Tensor) -> Tensor:
    """Forward differences down and to the right, zero at the last row and column: (2, B, C, H, W)."""
    down = torch.nn.functional.pad(x.diff(dim=-2), (0, 0, 0, 1))
    right = torch.nn.functional.pad(x.diff(dim=-1), (0, 1))
    return torch.stack([down, right])


def _divergence(p: Tensor) -> Tensor:
    """The negative adjoint of `_gradient`."""
    down = torch.nn.functional.pad(p[0][..., :-1, :], (0, 0, 1, 1)).diff(dim=-2)
    right = torch.nn.functional.pad(p[1][..., :-1], (1, 1)).diff(dim=-1)
    return down + right
