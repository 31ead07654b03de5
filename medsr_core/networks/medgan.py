"""The medical GAN (Ahmad, Ali, Shah & Azmat, "A new generative adversarial network for medical images super
resolution", Scientific Reports 12, 2022): generator and discriminator, in the order in which the paper describes them.

Against SRGAN it changes six things. Each is an argument, so that an ablation can switch it off:

===================  =============================================================================================
multi_scale          three shallow branches, kernels 3, 5 and 7, two residual blocks each, concatenated
two_step             x2 in the middle of the network and x2 at its end, instead of both x2 at the end
third_stage          three more residual blocks, between the two upscaling steps
skips                long skips over the deep and third stages; in the discriminator, skips against vanishing gradients
extra_depth          more convolutions in the discriminator
channel_residuals    three convolutions in the discriminator with residual connections that change the channel count
===================  =============================================================================================

The paper's figures and widths are not available to us. Ours, by SRGAN's values: widths, PReLU, batch normalisation,
where exactly the discriminator's extra layers sit, the 9x9 reconstruction kernel. The branches share the width
(22 + 21 + 21 = 64), so that concatenating them gives the deep stage its input without a further layer. ``norm``,
``residual`` and ``tail`` are as in srgan.py.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core.networks.layers import (
    Norm,
    add_bicubic,
    check_arguments,
    check_patch,
    conv,
    conv_bn_lrelu,
    decision,
    from_channels,
    normalise,
    start_at_zero,
    to_channels,
)
from medsr_core.networks.srgan import ResidualBlock, SubPixel

PAPER = {"channels": 3, "width": 64, "depth": 16}
TEACHING = {"width": 48, "depth": 9, "tail": 16, "norm": None, "residual": True}  # ours: 0.54 M parameters


class Generator(nn.Module):
    """LR image (B, C, h, w) in [0, 1] -> SR image (B, C, 4h, 4w), about [0, 1], not clipped.

    Parameters
    ----------
    channels : 1 or 3; gray in a three-channel network is repeated and the mean returned (ours)
    width, depth : feature maps and residual blocks of the deep stage (depth 16 in the paper; width 64 is ours)
    tail : feature maps from the first x2 step on (None: `width`)
    norm : "batch" or None
    residual : predict the difference to the bicubic image (ours)
    multi_scale, two_step, third_stage, skips : the paper's changes to SRGAN's generator
    """

    factor = 4

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 64,
        depth: int = 16,
        tail: int | None = None,
        norm: Norm = "batch",
        residual: bool = False,
        multi_scale: bool = True,
        two_step: bool = True,
        third_stage: bool = True,
        skips: bool = True,
    ):
        super().__init__()
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_arguments(channels, self.factor, norm)
        tail = tail or width
        between = tail if two_step else width  # width of the third stage
        self.channels, self.residual, self.skips = channels, residual, skips

        # Stage 1, shallow features: three views at three scales, or SRGAN's single one
        kernels = (3, 5, 7) if multi_scale else (3,)
        self.branches = nn.ModuleList(
            nn.Sequential(conv(channels, n, k), nn.PReLU(), *(ResidualBlock(n, kernel=k, norm=norm) for _ in range(2)))
            for k, n in zip(kernels, share(width, len(kernels)), strict=True)
        )
        # Stage 2, deep features
        self.deep = nn.Sequential(
            *(ResidualBlock(width, norm=norm) for _ in range(depth)), conv(width, width, 3), *normalise(width, norm)
        )
        self.first_up = SubPixel(width, tail) if two_step else nn.Identity()
        # Stage 3, on the x2 image
        self.third = nn.Sequential(
            *(ResidualBlock(between, norm=norm) for _ in range(3)), conv(between, between, 3), *normalise(between, norm)
        ) if third_stage else None  # fmt: skip
        self.second_up = (
            SubPixel(between, tail) if two_step else nn.Sequential(SubPixel(width, tail), SubPixel(tail, tail))
        )
        self.last = conv(tail, channels, 9)  # reconstruction
        if residual:
            start_at_zero(self.last)

    def forward(self, lr: Tensor) -> Tensor:
        """LR image (B, 1 or channels, h, w) -> SR image (B, as many channels, 4h, 4w)."""
        x = to_channels(lr, self.channels)
        shallow = torch.cat([branch(x) for branch in self.branches], 1)  # (B, width, h, w)
        deep = self._skip(shallow, self.deep(shallow))
        middle = self.first_up(deep)  # (B, tail, 2h, 2w)
        if self.third is not None:
            middle = self._skip(middle, self.third(middle))
        sr = self.last(self.second_up(middle))  # (B, tail, 4h, 4w) -> (B, C, 4h, 4w)
        if self.residual:
            sr = add_bicubic(sr, x, self.factor)
        return from_channels(sr, lr)

    def _skip(self, before: Tensor, after: Tensor) -> Tensor:
        return before + after if self.skips else after


class Discriminator(nn.Module):
    """Real or made up? Image (B, C, H, W) -> logit (B, 1). SRGAN's discriminator with the paper's three changes.

    SRGAN's eight convolutions come in pairs: one widens (to 1, 2, 4, 8 times `width`), one halves the image.

    Parameters
    ----------
    channels, width, dense, size : as SRGAN's discriminator
    extra_depth : one more convolution between the two of each pair
    channel_residuals : three of the widening convolutions get a residual connection, whose own 1x1 convolution changes
        the channel count
    skips : identity around each extra convolution, and a 2x2 mean around each halving one, against vanishing gradients
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 64,
        dense: int = 1024,
        size: int = 96,
        extra_depth: bool = True,
        channel_residuals: bool = True,
        skips: bool = True,
    ):
        super().__init__()
        self.size, self.skips = size, skips
        widths = [width, 2 * width, 4 * width, 8 * width]
        first = nn.Sequential(conv(channels, width, 3), nn.LeakyReLU(0.2))
        self.widen = nn.ModuleList([first, *(nn.Sequential(*conv_bn_lrelu(n, out, 1)) for n, out in pairwise(widths))])
        self.around = nn.ModuleList(
            nn.Conv2d(n, out, 1) for n, out in pairwise(widths)
        ) if channel_residuals else None  # fmt: skip
        self.extra = nn.ModuleList(nn.Sequential(*conv_bn_lrelu(n, n, 1)) for n in widths) if extra_depth else None
        self.halve = nn.ModuleList(nn.Sequential(*conv_bn_lrelu(n, n, 2)) for n in widths)
        self.decide = decision(size, 4, widths[-1], dense)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, size, size) -> logit (B, 1), positive for "real"."""
        x = check_patch(image, self.size)
        for level in range(4):  # (B, 2^level width, size / 2^level, size / 2^level)
            wide = self.widen[level](x)
            if self.around is not None and level > 0:
                wide = wide + self.around[level - 1](x)
            if self.extra is not None:
                wide = self.extra[level](wide) + (wide if self.skips else 0)
            x = self.halve[level](wide) + (F.avg_pool2d(wide, 2) if self.skips else 0)
        return self.decide(x)


def share(width: int, parts: int) -> list[int]:
    """Divide the feature maps among the branches: share(64, 3) = [22, 21, 21]."""
    return [width // parts + (i < width % parts) for i in range(parts)]
