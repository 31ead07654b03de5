"""SR3's U-Net (Saharia et al., "Image super-resolution via iterative refinement", 2021) and its regression baseline.

`SR3` removes noise from an image y, given the bicubic image x and the noise level; `Regression` is the same U-Net asked
once, without noise. Diffusion itself (schedules, samplers) is in `medsr_core.diffusion`, which knows no network.

From the paper: DDPM's U-Net (Ho et al. 2020) with BigGAN's residual blocks (Brock et al. 2019), which also halve and
double the image; skips scaled by 1/sqrt 2; x concatenated to y over channels; the noise level itself as condition, not
the step; widths, multipliers and blocks of `PAPER` (its table A.1). Ours, where it is silent: attention at 16x16, an
embedding of 128 numbers (or 64); they meet the paper's parameter counts within 2 %.

The teaching size differs, so that two cores can train it and a scan of any size can be cut into tiles:

- it diffuses the *residual* HR - x, scaled to about unit range, not HR: most of a scan is in x already (Li et al. 2022)
- it predicts the velocity v = sqrt(g) noise - sqrt(1 - g) y0 (Salimans & Ho 2022), whose error does not explode where
  there is almost no signal; `denoise` turns it into what the samplers ask for
- norms take each pixel by itself and there is no attention: what a pixel becomes depends on a neighbourhood only
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core import diffusion
from medsr_core.degradation import bicubic
from medsr_core.networks.layers import conv, from_channels, start_at_zero, to_channels

# table A.1: task -> width of the first level, multipliers of it at each resolution, residual blocks at each
TASKS: dict[str, dict[str, Any]] = {
    "16-128": {"factor": 8, "width": 128, "multipliers": (1, 2, 4, 8, 8), "blocks": 3, "dropout": 0.2},
    "64-256": {"factor": 4, "width": 128, "multipliers": (1, 2, 4, 4, 8, 8), "blocks": 3},
    "64-512": {"factor": 8, "width": 64, "multipliers": (1, 2, 4, 8, 8, 16, 16), "blocks": 3},
    "256-1024": {"factor": 4, "width": 16, "multipliers": (1, 2, 4, 8, 16, 32, 32, 32), "blocks": 2, "embedding": 64},
}
PAPER = TASKS["64-256"]
TEACHING: dict[str, Any] = {  # ours
    "width": 32, "multipliers": (1, 2, 3), "blocks": 1, "embedding": 64, "norm": "pixel", "attention": False,
    "residual": True, "scale": 8.0, "predicts": "velocity", "schedule": "cosine",
}  # fmt: skip
FACES = {**TEACHING, "multipliers": (1, 2, 3, 4), "attention": True, "factor": 8}  # ours: 128x128 as a whole; 4.1 M
Norm = Literal["group", "pixel"]


class _Conditioned(nn.Module):
    """What SR3 and its baseline share: the same U-Net, which sees the bicubic image x.

    Parameters
    ----------
    channels : 1 or 3; gray in a three-channel network is repeated and the mean returned (ours)
    factor : 2, 4, 8 or 16
    width, multipliers, blocks, dropout, norm, attention, embedding : see `UNet`
    residual, scale : what is predicted: y0 = scale (HR - 1/2), or scale (HR - x) if `residual`; `training.train`
        measures the scale of residuals itself
    predicts : "noise" (the paper) or "velocity"; only diffusion needs it, and the schedule
    schedule : the noise schedule it was trained with, a name from `diffusion.SCHEDULES`
    """

    images = 1  # that the U-Net sees

    def __init__(
        self,
        *,
        channels: int = 3,
        factor: int = 4,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 4, 4, 8, 8),
        blocks: int = 3,
        dropout: float = 0.0,
        norm: Norm = "group",
        attention: bool = True,
        residual: bool = False,
        scale: float = 2.0,
        predicts: str = "noise",
        schedule: str = "linear",
        embedding: int = 128,
    ):
        super().__init__()
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        _check(self.arguments)
        self.channels, self.factor, self.residual, self.scale = channels, factor, residual, scale
        self.predicts, self.schedule = predicts, schedule
        inputs = self.images * channels
        self.unet = UNet(inputs, channels, width, multipliers, blocks, dropout, norm, attention, embedding)
        self.multiple = self.unet.multiple  # tiles of an image start at multiples of so many pixels

    def encode(self, image: Tensor, x: Tensor) -> Tensor:
        """Image in [0, 1] -> y0."""
        return self.scale * (image - (x if self.residual else 0.5))

    def decode(self, y0: Tensor, x: Tensor) -> Tensor:
        """y0 -> image, not clipped."""
        return y0 / self.scale + (x if self.residual else 0.5)


class SR3(_Conditioned):
    """What is left of y when its noise is gone? The network f(x, y, g) of the paper's algorithms 1 and 2.

    y is the noisy image: sqrt(g) y0 + sqrt(1 - g) noise.
    """

    images = 2

    def forward(self, y: Tensor, x: Tensor, noise_level: Tensor) -> Tensor:
        """Noisy y and bicubic x (B, channels, H, W), noise level (B,) in (0, 1) -> prediction, as y."""
        return self.unet(torch.cat([y, 2 * x - 1], 1), noise_level)

    def denoise(self, y: Tensor, x: Tensor, noise_level: Tensor) -> Tensor:
        """Estimate of y0 (B, channels, H, W), in float32, from an image in [0, 1]: HR has no other values."""
        g = noise_level.view(-1, 1, 1, 1)
        y0 = diffusion.Y0_FROM[self.predicts](self(y, x, noise_level).float(), y, g)
        return self.encode(self.decode(y0, x).clamp(0, 1), x)

    def first_guess(self, lr: Tensor, seed: int = 0) -> Tensor:
        """SR image in one step from pure noise, the mean of what could be there: nearly what `Regression` answers."""
        x = bicubic_start(self, lr)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device)
        last = x.new_full((len(x),), float(diffusion.schedule(self.schedule)[-1]))
        return from_channels(self.decode(self.denoise(noise, x, last), x), lr)


class Regression(_Conditioned):
    """The paper's baseline: the same U-Net, one step, trained for squared error: LR (B, C, h, w) -> SR, not clipped."""

    def forward(self, lr: Tensor) -> Tensor:
        """LR image (B, 1 or channels, h, w) in [0, 1] -> SR image (B, as many channels, factor h, factor w)."""
        return from_channels(self.from_bicubic(bicubic_start(self, lr)), lr)

    def from_bicubic(self, x: Tensor) -> Tensor:
        """The same from the bicubic image (B, channels, H, W)."""
        return self.decode(self.unet(2 * x - 1, x.new_ones(len(x))).to(x.dtype), x)


def bicubic_start(network: SR3 | Regression, lr: Tensor) -> Tensor:
    """x: the LR image enlarged by bicubic interpolation, with the network's channels, in [0, 1], in float32."""
    return bicubic(Fraction(1, network.factor))(to_channels(lr, network.channels).float()).clamp(0, 1)


def _check(arguments: dict[str, Any]) -> None:
    """ValueError for arguments that make no network, whether from a call or from the header of a file."""
    channels, factor, scale, norm = (arguments[name] for name in ("channels", "factor", "scale", "norm"))
    if channels not in (1, 3) or factor not in (2, 4, 8, 16):
        raise ValueError(f"channels={channels}, factor={factor}: channels is 1 or 3, factor 2, 4, 8 or 16")
    predicts, schedule = arguments["predicts"], arguments["schedule"]
    if predicts not in diffusion.Y0_FROM or schedule not in diffusion.SCHEDULES:
        known = f"{', '.join(diffusion.Y0_FROM)}; schedules {', '.join(diffusion.SCHEDULES)}"
        raise ValueError(f"predicts={predicts!r}, schedule={schedule!r}: known predictions are {known}")
    sizes = {name: arguments[name] for name in ("width", "multipliers", "blocks", "embedding")}
    numbers = [sizes["width"], *sizes["multipliers"], sizes["blocks"], sizes["embedding"]]
    positive = all(isinstance(number, int) and number > 0 for number in numbers)
    if not positive or len(numbers) > 11 or not sizes["multipliers"] or sizes["blocks"] > 8 or sizes["embedding"] % 2:
        raise ValueError(f"{sizes}: give whole numbers, 1 to 8 multipliers, 1 to 8 blocks, an even embedding")
    if norm not in ("group", "pixel") or not 0 < scale < math.inf:
        raise ValueError(f"norm={norm!r}, scale={scale}: norm is 'group' or 'pixel', scale above 0")


# --- the U-Net ------------------------------------------------------------------------------------------------------


class UNet(nn.Module):
    """Image (B, inputs, H, W) and noise level (B,) -> image (B, outputs, H, W); H, W of any size.

    Parameters
    ----------
    inputs, outputs : channels
    width : feature maps at full resolution
    multipliers : feature maps at each resolution, in multiples of `width`; every next one is half as large
    blocks : residual blocks at each resolution, and one more on the way up
    dropout : in every residual block
    norm : "group" (DDPM's) or "pixel" (each pixel's feature maps by themselves, ours)
    attention : self-attention in the middle and at the last resolution but one (16x16 in all tasks of the paper)
    embedding : numbers that describe the noise level
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        dropout: float,
        norm: Norm,
        attention: bool,
        embedding: int = 128,
    ):
        super().__init__()
        self.multiple = 2 ** (len(multipliers) - 1)
        self.embed = nn.Sequential(
            Sinusoids(embedding), nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )

        def block(inside: int, out: int, resample: Literal["down", "up"] | None = None) -> ResBlock:
            return ResBlock(inside, out, embedding=embedding, norm=norm, dropout=dropout, resample=resample)

        def attend(level: int, width: int) -> nn.Module:
            return Attention(width, norm) if attention and level == len(multipliers) - 2 else nn.Identity()

        widths = [width * m for m in multipliers]
        self.first = conv(inputs, width, 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        passed, now = [width], width  # feature maps that the way up will find
        for level, out in enumerate(widths):
            for _ in range(blocks):
                self.down.append(Level(block(now, out), attend(level, out)))
                now = out
                passed.append(now)
            if level + 1 < len(widths):
                self.down.append(Level(block(now, now, "down"), nn.Identity()))
                passed.append(now)
        middle = Attention(now, norm) if attention else nn.Identity()
        self.middle = nn.ModuleList([Level(block(now, now), middle), Level(block(now, now), nn.Identity())])
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(Level(block(now + passed.pop(), out), attend(level, out)))
                now = out
            if level:
                self.up.append(Level(block(now, now, "up"), nn.Identity()))
        last = conv(now, outputs, 3)
        start_at_zero(last)
        self.last = nn.Sequential(normalise(now, norm), nn.SiLU(), last)

    def forward(self, image: Tensor, noise_level: Tensor) -> Tensor:
        """Image (B, inputs, H, W), noise level (B,) in (0, 1] -> (B, outputs, H, W)."""
        height, width = image.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        x = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        e = self.embed(noise_level)  # (B, embedding)
        x = self.first(x)
        passed = [x]
        for level in self.down:
            x = level(x, e)
            passed.append(x)
        for level in self.middle:
            x = level(x, e)
        for level in self.up:
            x = level(x, e) if level.resamples else level(torch.cat([x, passed.pop()], 1), e)
        return self.last(x)[..., :height, :width]


class Level(nn.Module):
    """A residual block and, where there is some, attention."""

    def __init__(self, block: ResBlock, attention: nn.Module):
        super().__init__()
        self.block, self.attention = block, attention
        self.resamples = block.resample is not None

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, C, H, W), embedding (B, E) -> (B, C', H', W')."""
        return self.attention(self.block(x, e))


class ResBlock(nn.Module):
    """BigGAN's residual block: norm, SiLU, (resample), conv, norm with the noise level's scale and shift, SiLU, conv.

    The sum with the shortcut is divided by sqrt 2, so that its variance stays.
    """

    def __init__(
        self, inside: int, out: int, *, embedding: int, norm: Norm, dropout: float, resample: str | None = None
    ):
        super().__init__()
        self.resample = resample
        self.norm1, self.conv1 = normalise(inside, norm), conv(inside, out, 3)
        self.modulate = nn.Linear(embedding, 2 * out)
        self.norm2, self.conv2 = normalise(out, norm), conv(out, out, 3)
        start_at_zero(self.conv2)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.shortcut = nn.Conv2d(inside, out, 1) if inside != out or resample else nn.Identity()

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, inside, H, W), embedding (B, E) -> (B, out, H', W'), resampled if it does that."""
        h = self.conv1(_resampled(F.silu(self.norm1(x)), self.resample))
        scale, shift = self.modulate(F.silu(e))[:, :, None, None].chunk(2, 1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        h = self.conv2(self.dropout(F.silu(h)))
        return (_resampled(self.shortcut(x), self.resample) + h) * math.sqrt(0.5)


def _resampled(x: Tensor, how: str | None) -> Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2.0, mode="nearest") if how == "up" else x


class Attention(nn.Module):
    """Every pixel asks every other one (Vaswani et al. 2017), one head, added to what it knew."""

    def __init__(self, width: int, norm: Norm):
        super().__init__()
        self.norm, self.ask = normalise(width, norm), nn.Conv2d(width, 3 * width, 1)
        self.answer = nn.Conv2d(width, width, 1)
        start_at_zero(self.answer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        query, key, value = self.ask(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)  # (B, H W, C) each
        heard = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape)
        return (x + self.answer(heard)) * math.sqrt(0.5)


class PixelNorm(nn.Module):
    """Layer normalisation of each pixel's feature maps: no pixel learns anything of another one."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        pixels = x.permute(0, 2, 3, 1)  # no copy where memory is channels-last
        return F.layer_norm(pixels, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


def normalise(width: int, norm: Norm) -> nn.Module:
    """Group normalisation over up to 32 groups, as DDPM's, or `PixelNorm`."""
    return PixelNorm(width) if norm == "pixel" else nn.GroupNorm(math.gcd(32, width), width)


class Sinusoids(nn.Module):
    """The noise level as sines and cosines of many frequencies (WaveGrad, Chen et al. 2021): (B,) -> (B, size)."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, noise_level: Tensor) -> Tensor:
        """(B,) -> (B, size)."""
        half = self.size // 2
        rates = torch.exp(torch.arange(half, device=noise_level.device) * (-math.log(1e4) / half))
        angles = 5000 * noise_level[:, None].float() * rates  # 5000: WaveGrad's scale
        return torch.cat([angles.sin(), angles.cos()], 1)
