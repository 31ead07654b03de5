"""FSRNet and FSRGAN (Chen, Tai, Liu, Shen & Yang, "FSRNet: End-to-End Learning Face Super-Resolution with Facial
Priors", CVPR 2018, section 3): a face is enlarged twice, and in between the network says where its parts are.

    LR --bicubic--> enlarged --coarse network--> coarse image --+--> fine encoder -----> features --+--> decoder --> SR
                                                                +--> prior network --> maps --------+

The prior network sees only the coarse image; its teacher, the maps, comes from the HR image's landmarks
(`facial_prior`). FSRGAN is the same network, trained on against `Discriminator` and for features.

The authors' definition is not public. Defaults are the layout of two re-implementations, 3,263,691 parameters with 11
maps. There the decoder sees the prior network's *features*, and the maps only carry a loss, so that replacing the maps
would change nothing. The paper's text says that the prior itself is concatenated. What is ours, off by default:

- ``feed="maps"`` gives the decoder the maps and nothing else of the prior network: what it knows can be exchanged.
- ``late=True`` works at half the image's size, where the prior is, and enlarges last (by sub-pixels in the coarse
  network, by the deconvolution in the decoder): a quarter of the arithmetic.
- ``residual=True``: the coarse image is bicubic + a difference, SR is coarse + a difference; these and
  the maps are zero before training. (A random hourglass gives maps of size 5, whose loss would drown the image's.)
- ``norm=None`` leaves batch normalisation out of the image's path. The prior network always has it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core.degradation import bicubic
from medsr_core.networks.layers import Norm, check_arguments, conv, from_channels, normalise, start_at_zero, to_channels

Feed = Literal["features", "maps"]
Padding = Literal["zeros", "reflect"]

PAPER = {"channels": 3, "width": 64, "prior_width": 128, "maps": 11}
TEACHING = {  # ours: 0.96 M parameters
    "width": 32, "coarse": 3, "encoder": 8, "prior_width": 96, "prior": 0, "hourglasses": 2, "decoder": 4, "maps": 17,
    "feed": "maps", "norm": None, "late": True, "residual": True,
}  # fmt: skip


class FSRNet(nn.Module):
    """LR face (B, C, h, w) in [0, 1] -> SR face (B, C, factor h, factor w), about [0, 1], not clipped.

    The SR image's sides must be multiples of 16: the prior network halves them once, its hourglasses three times.
    Whole, upright, aligned faces only: where a part of the face is, it has learned from where it usually is.

    Parameters
    ----------
    channels : 1 (gray) or 3 (RGB); gray in a three-channel network is repeated and the mean returned (ours)
    width : feature maps of coarse network, encoder and decoder
    coarse, encoder, decoder : their residual blocks
    prior_width, prior, hourglasses : feature maps, residual blocks and hourglasses of the prior network
    maps : how many maps it predicts (`facial_prior` draws 17)
    feed : what the decoder sees of the prior network, its "features" (re-implementations) or its "maps" (ours)
    norm : "batch" or None (ours), in the image's path
    late : work at half size and enlarge last (ours)
    residual : predict differences (ours); else images in [-1, 1] through tanh
    factor : 2, 4 or 8 (paper: 8)
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 64,
        coarse: int = 3,
        encoder: int = 12,
        decoder: int = 3,
        prior_width: int = 128,
        prior: int = 2,
        hourglasses: int = 2,
        maps: int = 11,
        feed: Feed = "features",
        norm: Norm = "batch",
        late: bool = False,
        residual: bool = False,
        factor: int = 8,
    ):
        super().__init__()
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_arguments(channels, factor, norm)
        if feed not in ("features", "maps"):
            raise ValueError(f"feed is {feed!r}; give 'features' or 'maps'")
        self.channels, self.feed, self.residual, self.factor = channels, feed, residual, factor

        self.coarse = nn.Sequential(
            conv3(channels, width, norm=norm, stride=2 if late else 1), *normalise(width, norm), nn.ReLU(),
            *(ResidualBlock(width, norm=norm) for _ in range(coarse)),
        )  # fmt: skip
        self.coarse_image = conv3(width, 4 * channels if late else channels, norm=norm)
        self.coarse_up = nn.PixelShuffle(2) if late else nn.Identity()
        self.encoder = nn.Sequential(
            conv3(channels, width, norm=norm, stride=2), *normalise(width, norm), nn.ReLU(),
            *(ResidualBlock(width, norm=norm) for _ in range(encoder)),
            conv3(width, width, norm=norm), nn.Tanh(),
        )  # fmt: skip
        self.prior = PriorNetwork(channels, prior_width, blocks=prior, hourglasses=hourglasses, maps=maps)
        seen = width + (maps if feed == "maps" else prior_width)
        tail = width // 2 if late else width
        blocks: list[nn.Module] = [ResidualBlock(width, norm=norm) for _ in range(decoder)]
        deconvolution: list[nn.Module] = [
            nn.ConvTranspose2d(width, tail, 3, 2, 1, output_padding=1, bias=norm is None), *normalise(tail, norm),
            nn.ReLU(),
        ]  # fmt: skip
        self.decoder = nn.Sequential(
            conv3(seen, width, norm=norm), *normalise(width, norm), nn.ReLU(),
            *(blocks + deconvolution if late else deconvolution + blocks),
        )  # fmt: skip
        self.last = conv3(tail, channels, norm=norm)
        if residual:
            start_at_zero(self.coarse_image)
            start_at_zero(self.last)
            start_at_zero(self.prior.maps)

    def forward(self, lr: Tensor) -> Tensor:
        """LR face (B, 1 or channels, h, w) -> SR face (B, as many channels, factor h, factor w)."""
        return self.parts(lr)[2]

    def parts(self, lr: Tensor, *, maps: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Coarse image (B, C, H, W), predicted maps (B, maps, H / 2, W / 2), and SR image (B, C, H, W).

        maps : what the decoder sees in place of the predicted maps, for instance those of another face. A network
            whose decoder sees features refuses them.
        """
        enlarged = self._enlarged(to_channels(lr, self.channels))
        coarse = self._image(enlarged, self.coarse_up(self.coarse_image(self.coarse(2 * enlarged - 1))))
        fine = self.encoder(2 * coarse - 1)  # (B, width, H / 2, W / 2)
        features, predicted = self.prior(2 * coarse - 1)
        if maps is not None:
            self._check_maps(maps, predicted)
        prior = features if self.feed == "features" else predicted if maps is None else maps
        sr = self._image(coarse, self.last(self.decoder(torch.cat([fine, prior], 1))))
        return from_channels(coarse, lr), predicted, from_channels(sr, lr)

    def _image(self, start: Tensor, output: Tensor) -> Tensor:
        return start + output if self.residual else (torch.tanh(output) + 1) / 2

    def _enlarged(self, lr: Tensor) -> Tensor:
        height, width = (side * self.factor for side in lr.shape[-2:])
        if height % 16 or width % 16:
            least = 16 // self.factor
            raise ValueError(
                f"the hourglass halves the {height}x{width} image four times; give an LR image whose sides are "
                f"multiples of {least}, not {tuple(lr.shape[-2:])}"
            )
        with torch.autocast(lr.device.type, enabled=False):
            return bicubic(Fraction(1, self.factor))(lr.float()).to(lr.dtype)

    def _check_maps(self, maps: Tensor, predicted: Tensor) -> None:
        if self.feed != "maps":
            raise ValueError("this network's decoder sees features, not maps; build it with feed='maps'")
        if maps.shape != predicted.shape:
            raise ValueError(f"expected maps of shape {tuple(predicted.shape)}, got {tuple(maps.shape)}")


class PriorNetwork(nn.Module):
    """Where are the parts of this face? Image (B, C, H, W) in [-1, 1] -> features (B, width, H / 2, W / 2) and maps."""

    def __init__(self, channels: int, width: int, *, blocks: int, hourglasses: int, maps: int):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width // 2, 7, 2, 3, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU(),
            Bottleneck(width // 2, width),
            *(ResidualBlock(width) for _ in range(blocks)),
            *(Hourglass(width) for _ in range(hourglasses)),
        )  # fmt: skip
        self.maps = nn.Conv2d(width, maps, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image -> features and maps, at half its size."""
        features = self.features(image)
        return features, self.maps(features)


class Hourglass(nn.Module):
    """See the whole, keep the details (Newell et al. 2016): halve `depth` times and enlarge again, adding at each size
    what a bottleneck on the skip kept. (B, width, h, w) -> the same shape; h and w are multiples of 2^depth."""

    def __init__(self, width: int, *, depth: int = 3):
        super().__init__()
        self.depth = depth
        self.skip, self.before, self.after = (Bottleneck(width, width) for _ in range(3))
        self.inner: nn.Module = Hourglass(width, depth=depth - 1) if depth > 1 else Bottleneck(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        if x.shape[-2] % 2**self.depth or x.shape[-1] % 2**self.depth:
            raise ValueError(f"an hourglass of depth {self.depth} needs sides that are multiples of {2**self.depth}, "
                             f"got {tuple(x.shape[-2:])}")  # fmt: skip
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        return self.skip(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class Bottleneck(nn.Module):
    """BN-ReLU-1x1 (half the maps), BN-ReLU-3x3, BN-ReLU-1x1, plus identity, or a 1x1 where the widths differ."""

    def __init__(self, width: int, out: int):
        super().__init__()
        half = out // 2
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), conv(width, half, 1),
            nn.BatchNorm2d(half), nn.ReLU(), conv(half, half, 3),
            nn.BatchNorm2d(half), nn.ReLU(), conv(half, out, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if width == out else conv(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, out, h, w)."""
        return self.skip(x) + self.layers(x)


class ResidualBlock(nn.Module):
    """3x3-BN-ReLU-3x3-BN and an elementwise sum; the image is reflected at its border."""

    def __init__(self, width: int, *, norm: Norm = "batch"):
        super().__init__()
        self.layers = nn.Sequential(
            conv3(width, width, norm=norm, mode="reflect"), *normalise(width, norm), nn.ReLU(),
            conv3(width, width, norm=norm, mode="reflect"), *normalise(width, norm),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        return x + self.layers(x)


class Discriminator(nn.Module):
    """FSRGAN's opponent: are these patches of a face real? Image and LR image -> logits (B, 1, H / 8 - 2, W / 8 - 2).

    pix2pix's patch discriminator (Isola et al. 2017), as the paper's: 4x4 convolutions, stride 2, 2, 2, 1, 1. It sees
    the enlarged LR image beside the image, so it judges whether they belong together (a re-implementation: image only).

    width : feature maps of the first convolution (pix2pix: 64); the next have 2, 4 and 8 times as many
    """

    def __init__(self, *, channels: int = 3, width: int = 64, factor: int = 8):
        super().__init__()
        self.factor = factor
        layers: list[nn.Module] = [nn.Conv2d(2 * channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for times, stride in ((1, 2), (2, 2), (4, 1)):
            before, out = times * width, 2 * times * width
            layers += [nn.Conv2d(before, out, 4, stride, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, image: Tensor, lr: Tensor) -> Tensor:
        """Image (B, C, H, W) and its LR image, both in [0, 1] -> logits, positive for "real", one for each patch."""
        enlarged = bicubic(Fraction(1, self.factor))(lr)
        return self.layers(2 * torch.cat([image, enlarged], 1) - 1)


def objective(
    coarse: Tensor,
    maps: Tensor,
    sr: Tensor,
    hr: Tensor,
    truth: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 0.5,
    positive: float = 10.0,
) -> Tensor:
    """|HR - coarse|^2 + alpha |HR - SR|^2 + beta |truth - maps|^2, each a mean (the paper: sums, alpha = beta = 1).

    With means of images in [0, 1], `beta` = 0.5 makes the image's and the prior's part about equal in the end (ours);
    `beta` = 0 is the control without a prior: the same network, whose maps nobody teaches.
    """
    return F.mse_loss(coarse, hr) + alpha * F.mse_loss(sr, hr) + beta * prior_loss(maps, truth, positive=positive)


def prior_loss(maps: Tensor, truth: Tensor, *, positive: float = 10.0) -> Tensor:
    """Mean squared error of maps (B, M, h, w); a pixel with truth t in [0, 1] counts 1 + `positive` t times (ours).

    Almost all pixels of a heat map are zero: with equal weights a network first learns "zero everywhere" and stays.
    """
    return ((1 + positive * truth) * (maps - truth).square()).mean()


def conv3(width: int, out: int, *, norm: Norm, stride: int = 1, mode: Padding = "zeros") -> nn.Conv2d:
    """A 3x3 convolution that keeps the size (divides it by `stride`), without bias where normalisation follows."""
    return nn.Conv2d(width, out, 3, stride, 1, padding_mode=mode, bias=norm is None)
