"""Small parts that several networks share: convolutions, channels in and out, the bicubic image underneath."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn

from medsr_core.degradation import bicubic

Norm = Literal["batch"] | None


def conv(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size (divides it by `stride`): zeros around the image."""
    return nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2)


def conv_bn_lrelu(channels: int, out: int, stride: int) -> list[nn.Module]:
    """One step of the discriminator."""
    return [conv(channels, out, 3, stride), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]


def decision(size: int, halvings: int, maps: int, dense: int) -> nn.Sequential:
    """A discriminator's end: `maps` feature maps of a square patch, so often halved, -> logit (B, 1)."""
    if size % (least := 2**halvings):
        what = f"the discriminator halves its image {'four' if halvings == 4 else 'five'} times"
        raise ValueError(f"{what}; size is {size}, give a multiple of {least}")
    pixels = (size >> halvings) ** 2
    return nn.Sequential(nn.Flatten(), nn.Linear(maps * pixels, dense), nn.LeakyReLU(0.2), nn.Linear(dense, 1))


def normalise(width: int, norm: Norm) -> list[nn.Module]:
    """Batch normalisation, or nothing."""
    return [nn.BatchNorm2d(width)] if norm == "batch" else []


def start_at_zero(layer: nn.Conv2d) -> None:
    """Make `layer` return zeros until it has learned something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def to_channels(lr: Tensor, channels: int) -> Tensor:
    """The LR image with as many channels as the network has.

    Gray (B, 1, h, w) is repeated for a three-channel network. A one-channel network takes colour images only if their
    three channels are the same, as in a gray picture that was stored as RGB.
    """
    if lr.ndim != 4 or lr.shape[1] not in (1, 3):
        raise ValueError(f"expected an image of shape (B, C, h, w), C = 1 or 3, got {tuple(lr.shape)}")
    if channels < lr.shape[1]:
        if not torch.equal(lr[:, :1].expand_as(lr), lr):
            raise ValueError("this network has one channel and the image has colours; use three-channel weights")
        return lr[:, :1]
    return lr.expand(-1, channels, -1, -1)


def from_channels(sr: Tensor, lr: Tensor) -> Tensor:
    """The SR image with as many channels as the LR image: for a gray one, the mean over the network's channels."""
    return sr.mean(1, keepdim=True) if lr.shape[1] == 1 else sr.expand(-1, lr.shape[1], -1, -1)


def add_bicubic(difference: Tensor, lr: Tensor, factor: int) -> Tensor:
    """Bicubic image + difference, in float32 also where the network ran in bfloat16."""
    with torch.autocast(lr.device.type, enabled=False):
        return bicubic(Fraction(1, factor))(lr.float()).to(lr.dtype) + difference.to(lr.dtype)


def check_arguments(channels: int, factor: int, norm: Norm) -> None:
    """Raise ValueError on arguments that no generator has."""
    if channels not in (1, 3) or factor not in (2, 4, 8) or norm not in ("batch", None):
        raise ValueError(
            f"channels={channels}, factor={factor}, norm={norm!r}: channels is 1 or 3, factor 2, 4 or 8, "
            "and norm 'batch' or None"
        )


def check_patch(image: Tensor, size: int) -> Tensor:
    """Return `image` if the discriminator's dense layer fits it."""
    if image.shape[-2:] != (size, size):
        raise ValueError(f"the discriminator was built for {size}x{size} patches, got {tuple(image.shape[-2:])}")
    return image
