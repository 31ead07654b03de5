"""SRResNet and SRGAN (Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017, section 2.1 and figure 4): the generator and the discriminator, in the order of the figure.

SRResNet is the generator trained for pixel error; SRGAN is the same network trained on against the discriminator.
kNnMsS reads: kernel N x N, M feature maps, stride S. Defaults are the paper's; 1,549,462 parameters.

The paper's text is silent on how parameters of a PReLU are shared (one slope per layer here, torch's default), on
padding (zeros, so that sizes stay), and on the last activation (none here). What is ours, off by default:

- ``norm=None`` leaves batch normalisation out, as EDSR does (Lim et al. 2017, section 3.1).
- ``residual=True`` adds the network's output to the bicubic image, so that the network only learns what bicubic
  interpolation misses. Its last layer starts at zero: before training, the network *is* bicubic interpolation.
- ``tail`` narrows the layers after the first sub-pixel step, where each feature map has 4 to 16 times the pixels.
"""

from __future__ import annotations

from math import log2

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

PAPER = {"channels": 3, "width": 64, "depth": 16}
TEACHING = {"width": 48, "depth": 12, "tail": 16, "norm": None, "residual": True}  # ours: 0.56 M parameters


class Generator(nn.Module):
    """SRResNet: LR image (B, C, h, w) in [0, 1] -> SR image (B, C, factor h, factor w), about [0, 1], not clipped.

    Parameters
    ----------
    channels : 1 (gray) or 3 (RGB). A gray image given to a three-channel network is repeated, and the mean of the
        three outputs is returned, so that one generalist treats both (ours)
    width, depth : feature maps and number of residual blocks (paper: 64 and 16)
    tail : feature maps after the first sub-pixel step (None: `width`, as the paper)
    norm : "batch" (paper) or None (ours)
    residual : predict the difference to the bicubic image (ours)
    factor : 2, 4 or 8; one sub-pixel step doubles the size (paper: 4)
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 64,
        depth: int = 16,
        tail: int | None = None,
        norm: Norm = "batch",
        residual: bool = False,
        factor: int = 4,
    ):
        super().__init__()
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_arguments(channels, factor, norm)
        tail = tail or width
        self.channels, self.residual, self.factor = channels, residual, factor
        self.head = nn.Sequential(conv(channels, width, 9), nn.PReLU())  # k9n64s1
        self.blocks = nn.Sequential(*(ResidualBlock(width, norm=norm) for _ in range(depth)))
        self.body = nn.Sequential(conv(width, width, 3), *normalise(width, norm))  # k3n64s1
        self.upscale = nn.Sequential(*(SubPixel(width if i == 0 else tail, tail) for i in range(round(log2(factor)))))
        self.last = conv(tail, channels, 9)  # k9n3s1
        if residual:
            start_at_zero(self.last)

    def forward(self, lr: Tensor) -> Tensor:
        """LR image (B, 1 or channels, h, w) -> SR image (B, as many channels, factor h, factor w)."""
        x = to_channels(lr, self.channels)
        shallow = self.head(x)  # (B, width, h, w)
        deep = shallow + self.body(self.blocks(shallow))  # the long skip
        sr = self.last(self.upscale(deep))  # (B, tail, factor h, factor w) -> (B, C, factor h, factor w)
        if self.residual:
            sr = add_bicubic(sr, x, self.factor)
        return from_channels(sr, lr)


class ResidualBlock(nn.Module):
    """k3n64-BN-PReLU-k3n64-BN and an elementwise sum. `kernel` is 3 in the paper; the medical GAN also has 5 and 7."""

    def __init__(self, width: int, *, kernel: int = 3, norm: Norm = "batch"):
        super().__init__()
        self.layers = nn.Sequential(
            conv(width, width, kernel), *normalise(width, norm), nn.PReLU(),
            conv(width, width, kernel), *normalise(width, norm),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        return x + self.layers(x)


class SubPixel(nn.Module):
    """Twice the size: k3n256s1, four feature maps woven into one (Shi et al. 2016), PReLU."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.layers = nn.Sequential(conv(width, 4 * out, 3), nn.PixelShuffle(2), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, 4 out, h, w) -> (B, out, 2h, 2w)."""
        return self.layers(x)


class Discriminator(nn.Module):
    """Real or made up? Image (B, C, H, W) -> logit (B, 1); the paper's sigmoid is inside the loss, where it is stable.

    Eight 3x3 convolutions, doubling the feature maps whenever a stride of 2 has halved the image (VGG's recipe).

    Parameters
    ----------
    channels : 1 or 3
    width : feature maps of the first convolution (paper: 64); the others have 1, 2, 2, 4, 4, 8, 8 times as many
    dense : units of the hidden dense layer (paper: 1024)
    size : side of the square patches it sees (paper: 96); the dense layer fixes it
    """

    def __init__(self, *, channels: int = 3, width: int = 64, dense: int = 1024, size: int = 96):
        super().__init__()
        self.size = size
        layers: list[nn.Module] = [conv(channels, width, 3), nn.LeakyReLU(0.2)]  # k3n64s1, no normalisation
        before = width
        for times, stride in [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)]:
            layers += conv_bn_lrelu(before, times * width, stride)
            before = times * width
        self.features = nn.Sequential(*layers)  # (B, 8 width, size / 16, size / 16)
        self.decide = decision(size, 4, before, dense)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, size, size) -> logit (B, 1), positive for "real"."""
        return self.decide(self.features(check_patch(image, self.size)))
