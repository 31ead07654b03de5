"""RRDB and ESRGAN (Wang, Yu, Wu, Gu, Liu, Dong, Qiao & Loy, "ESRGAN: Enhanced Super-Resolution Generative Adversarial
Networks", ECCV workshops 2018, section 3): the generator, residual in residual and dense, and its discriminator.

RRDB is the generator trained for pixels (L1), ESRGAN the same network trained on with its relativistic game, see
`relativistic`. Defaults are the paper's; 16,697,987 parameters. What is ours, off by default:

- ``residual=True`` adds the network's output to the bicubic image, as our SRGAN does: a short training then starts at
  bicubic interpolation. The paper's generator has no such sum.
"""

from __future__ import annotations

from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core.networks.layers import (
    add_bicubic,
    check_arguments,
    check_patch,
    conv,
    decision,
    from_channels,
    start_at_zero,
    to_channels,
)

PAPER = {"channels": 3, "width": 64, "depth": 23, "growth": 32}
TEACHING = {"width": 32, "depth": 4, "growth": 16, "residual": True}  # ours: 0.76 M parameters


class Generator(nn.Module):
    """RRDBNet: LR image (B, 1 or C, h, w) in [0, 1] -> SR image (B, as many channels, factor h, factor w), not clipped.

    Parameters
    ----------
    channels : 1 (gray) or 3 (RGB)
    width : feature maps of the trunk (paper: 64)
    depth : number of residual-in-residual dense blocks (paper: 23)
    growth : feature maps that each convolution inside a dense block adds (paper: 32)
    residual : predict the difference to the bicubic image (ours)
    factor : 2, 4 or 8; nearest neighbour and a convolution double the size (paper: 4)
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 64,
        depth: int = 23,
        growth: int = 32,
        residual: bool = False,
        factor: int = 4,
    ):
        super().__init__()
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_arguments(channels, factor, None)
        self.channels, self.residual, self.factor = channels, residual, factor
        self.first = conv(channels, width, 3)
        self.blocks = nn.ModuleList(RRDB(width, growth) for _ in range(depth))
        self.body = conv(width, width, 3)
        self.up = nn.ModuleList(conv(width, width, 3) for _ in range(round(log2(factor))))
        self.high, self.last = conv(width, width, 3), conv(width, channels, 3)
        if residual:
            start_at_zero(self.last)

    def forward(self, lr: Tensor) -> Tensor:
        """Trunk, long skip, one doubling after the other, two convolutions at full size."""
        x = to_channels(lr, self.channels)
        return from_channels(self.image(self.maps(x)[1][-1], x), lr)

    def maps(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of an image (B, C, h, w) the maps after each block, and those at h, 2h, ... factor h before activation."""
        blocks, deep = [], self.first(x)  # (B, width, h, w)
        shallow = deep
        for block in self.blocks:
            deep = block(deep)
            blocks.append(deep)
        ladder = [shallow + self.body(deep)]
        for i, up in enumerate(self.up):
            ladder.append(up(doubled(F.leaky_relu(ladder[-1], 0.2) if i else ladder[-1])))
        return blocks, ladder

    def image(self, top: Tensor, x: Tensor) -> Tensor:
        """SR image (B, C, factor h, factor w) from the top of the ladder and the LR image."""
        sr = self.last(F.leaky_relu(self.high(F.leaky_relu(top, 0.2)), 0.2))
        return add_bicubic(sr, x, self.factor) if self.residual else sr


class RRDB(nn.Module):
    """Three dense blocks, each with its own skip, and 0.2 of the whole chain added to what came in (figure 4).

    The chain carries its skips, so without any dense convolution it is the identity, and the block is 1.2 x: as the
    released code has it. The figure could be read as x + 0.2 (what the three have added).
    """

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.chain = nn.ModuleList(DenseBlock(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        inside = x
        for dense in self.chain:
            inside = inside + 0.2 * dense(inside)
        return x + 0.2 * inside


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the results of all before it; they start at a tenth of He's spread."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        outputs = [growth] * 4 + [width]
        layers = [conv(width + i * growth, out, 3) for i, out in enumerate(outputs)]
        self.layers = nn.ModuleList(layers)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            layer.weight.data *= 0.1
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> what is to be added, of the same shape."""
        seen = [x]
        for layer in list(self.layers)[:-1]:
            seen.append(F.leaky_relu(layer(torch.cat(seen, 1)), 0.2))
        return self.layers[-1](torch.cat(seen, 1))


class Discriminator(nn.Module):
    """How real? Image (B, C, size, size) -> logit (B, 1), of which only differences count (see `relativistic`).

    VGG's recipe again, with 4x4 convolutions where the image is halved: five times, from 128 to 4. 14,499,401
    parameters at the paper's size, of which 0.8 million sit in the first dense layer.

    Parameters
    ----------
    channels : 1 or 3
    width : feature maps of the first convolution (paper: 64); the others have 1, 2, 2, 4, 4, 8, 8, 8, 8 times as many
    dense : units of the hidden dense layer (paper: 100)
    size : side of the square patches it sees (paper: 128)
    """

    def __init__(self, *, channels: int = 3, width: int = 64, dense: int = 100, size: int = 128):
        super().__init__()
        self.size = size
        layers: list[nn.Module] = [conv(channels, width, 3), nn.LeakyReLU(0.2), *_step(width, width, 4)]
        before = width
        for times in (2, 4, 8, 8):
            layers += [*_step(before, times * width, 3), *_step(times * width, times * width, 4)]
            before = times * width
        self.features = nn.Sequential(*layers)  # (B, 8 width, size / 32, size / 32)
        self.decide = decision(size, 5, before, dense)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, size, size) -> logit (B, 1)."""
        return self.decide(self.features(check_patch(image, self.size)))


def relativistic(fake: Tensor, real: Tensor) -> Tensor:
    """ESRGAN's generator (eq. 2): -log(1 - D(real, fake)) - log D(fake, real), halved as the authors' code does.

    D(a, b) = sigmoid(C(a) - mean C(b)), from logits C (B, 1): is `a` more real than `b` is on average? Unlike
    SRGAN's it also learns from how real the real ones look. log 2 if nobody can tell.
    """
    return relativistic_discriminator(fake, real)  # the discriminator's, with the roles exchanged


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """ESRGAN's discriminator (eq. 1): -log D(real, fake) - log(1 - D(fake, real)), halved; logits (B, 1)."""
    above, below = real - fake.mean(), fake - real.mean()
    return (F.softplus(-above).mean() + F.softplus(below).mean()) / 2


def doubled(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w): every pixel four times."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _step(width: int, out: int, kernel: int) -> list[nn.Module]:
    """A 3x3 convolution keeps the size, a 4x4 one halves it."""
    return [nn.Conv2d(width, out, kernel, kernel - 2, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
