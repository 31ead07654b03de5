"""EnhanceNet (Sajjadi, Schoelkopf & Hirsch, "EnhanceNet: Single Image Super-Resolution Through Automated Texture
Synthesis", ICCV 2017, section 4): one plain generator, and a discriminator that is trained along.

What makes the difference is what it is trained for (section 4.2): ENet-E for squared error of pixels; ENet-PAT for
features (P), an adversary (A) and textures (T), Gram matrices of the features in every patch, and no pixel term at all.
They are `enhancenet-e` and `enhancenet` here. The paper's features are VGG19's; ours are EfficientNet-lite0's: other
features, so other weights of the terms (see `methods.PAT`).

Defaults are the paper's, 852,867 parameters. The last layer starts at zero (ours): before training the network is
bicubic interpolation.
"""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn

from medsr_core.networks.esrgan import doubled
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

PAPER = {"channels": 3, "width": 64}
TEACHING = {"width": 40}  # ours: 0.33 M parameters
MEANS = (0.4761, 0.4500, 0.4090)  # of the training photographs' channels


class Generator(nn.Module):
    """LR image (B, 1 or C, h, w) in [0, 1] -> SR image (B, as many channels, factor h, factor w), not clipped.

    Parameters
    ----------
    channels : 1 (gray) or 3 (RGB)
    width : feature maps (paper: 64)
    depth : residual blocks (paper: 10)
    factor : 2, 4 or 8; nearest neighbour and a convolution double the size (paper: 4)
    """

    def __init__(self, *, channels: int = 3, width: int = 64, depth: int = 10, factor: int = 4):
        super().__init__()
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_arguments(channels, factor, None)
        self.channels, self.factor = channels, factor
        self.first = conv(channels, width, 3)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))
        self.up = nn.ModuleList(conv(width, width, 3) for _ in range(round(log2(factor))))
        self.high, self.last = conv(width, width, 3), conv(width, channels, 3)
        start_at_zero(self.last)

    def forward(self, lr: Tensor) -> Tensor:
        """What bicubic interpolation misses, added to it (table 1 of the paper)."""
        x = to_channels(lr, self.channels)
        mean = x.new_tensor(MEANS if self.channels == 3 else [sum(MEANS) / 3]).view(1, -1, 1, 1)
        deep = self.blocks(self.first(x - mean).relu())  # (B, width, h, w)
        for up in self.up:
            deep = up(doubled(deep)).relu()
        missing = self.last(self.high(deep).relu())  # (B, C, factor h, factor w)
        return from_channels(add_bicubic(missing, x, self.factor), lr)


class ResidualBlock(nn.Module):
    """3x3-ReLU-3x3 and an elementwise sum; no normalisation, nothing after the sum."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(conv(width, width, 3), nn.ReLU(), conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        return x + self.layers(x)


class Discriminator(nn.Module):
    """Real or made up? Image (B, C, size, size) -> logit (B, 1) (supplementary table 1).

    Pairs of 3x3 convolutions, the second of which halves the image, five times; no normalisation. 13,102,881
    parameters at the paper's size.

    Parameters
    ----------
    channels : 1 or 3
    width : feature maps of the first pair (paper: 32); the others have 2, 4, 8 and 16 times as many
    dense : units of the hidden dense layer (paper: 1024)
    size : side of the square patches it sees (paper: 128)
    """

    def __init__(self, *, channels: int = 3, width: int = 32, dense: int = 1024, size: int = 128):
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        before = channels
        for times in (1, 2, 4, 8, 16):
            out = times * width
            layers += [conv(before, out, 3), nn.LeakyReLU(0.2), conv(out, out, 3, 2), nn.LeakyReLU(0.2)]
            before = out
        self.features = nn.Sequential(*layers)  # (B, 16 width, size / 32, size / 32)
        self.decide = decision(size, 5, before, dense)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, size, size) -> logit (B, 1), positive for "real"."""
        return self.decide(self.features(check_patch(image, self.size)))


def texture(sr: list[Tensor], hr: list[Tensor], *, side: int = 16) -> Tensor:
    """EnhanceNet's texture term (eq. 6): squared difference of the Gram matrices of each patch, mean over the layers.

    sr, hr : maps (B, C, h, w) of `features.Magnitudes`, each half as large as the one before
    side : of a patch in the first layer, then half, a quarter: 32 pixels of the image at every depth. The paper has 16
        in each of its layers at 1/1, 1/2 and 1/4 of the size, so patches of 16, 32 and 64 pixels.

    Where in a patch a texture lies makes no difference. ValueError if the maps cannot be cut into whole patches.
    """
    terms = [
        (gram(a, side >> i) - gram(b, side >> i)).square().mean() for i, (a, b) in enumerate(zip(sr, hr, strict=True))
    ]
    return torch.stack(terms).mean()


def gram(maps: Tensor, side: int) -> Tensor:
    """Gram matrices F F^T / side^2 of every `side` x `side` patch of (B, C, h, w): (B, patches, C, C)."""
    b, c, h, w = maps.shape
    if side < 1 or h % side or w % side:
        raise ValueError(f"maps of {h}x{w} cannot be cut into patches of {side}x{side}: give images of whole patches")
    patches = maps.unfold(2, side, side).unfold(3, side, side)  # (B, C, h / side, w / side, side, side)
    flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(b, -1, c, side * side)
    return flat @ flat.mT / side**2
