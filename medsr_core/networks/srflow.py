"""SRFlow (Lugmayr, Danelljan, Van Gool & Timofte, "SRFlow: Learning the Super-Resolution Space with Normalizing Flow",
ECCV 2020): one network that can be run both ways between an image and noise, given the LR image.

    encode: HR -> z, with the exact log-density of HR given LR        decode: z ~ N(0, temperature^2) -> SR

The only loss is -log p(HR | LR). Level by level (section 3.2): squeeze 2x2 pixels into channels, two transition steps,
`steps` conditional steps, then half of the channels leave as latents. Maps that an RRDB network (see `esrgan`) makes of
the LR image are given to every conditional step.

As in the authors' code and unlike the paper's text, scales are sigmoid(.) and not exp(.): dividing by small
exponentials made others' samples NaN. Ours: half of the channels leave after *every* level but the last (the code
leaves out one); densities are of 8-bit images with uniform noise in their cells, and bits per dimension count C H W
dimensions (the code counts H W). ``base=True`` (ours) lets the flow describe what is left of HR when RRDB's image is
taken away: a shift that depends on LR only, so densities stay exact, and a short training starts near the truth.
"""

from __future__ import annotations

from math import log, log2, pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core.diffusion import Noise
from medsr_core.networks import esrgan
from medsr_core.networks.layers import from_channels, start_at_zero, to_channels

PAPER = {"channels": 3, "width": 64, "depth": 23, "growth": 32, "taps": (1, 8, 15, 22), "steps": 16, "hidden": 64,
         "splits": 1}  # fmt: skip
FACES = PAPER | {"depth": 8, "taps": (1, 3, 5, 7), "factor": 8, "splits": 2}
TEACHING = {"width": 32, "depth": 4, "growth": 16, "residual": True, "taps": (1, 3), "steps": 4, "hidden": 32,
            "base": True}  # fmt: skip
TEMPERATURE = 0.8  # of samples; the paper's for faces


class SRFlow(nn.Module):
    """p(HR | LR) with C H W latents to (C, H, W) pixels.

    Parameters
    ----------
    channels : 1 (gray) or 3 (RGB)
    factor : 2, 4 or 8; there are log2(factor) + 1 levels, the last at half of LR's size
    width, depth, growth, residual : of the RRDB network that reads the LR image
    taps : after which of its blocks, counted from 1, maps are taken
    steps : conditional steps of each level (paper: 16)
    hidden : feature maps inside the steps (paper: 64)
    splits : after how many levels half of the channels leave (None: all but the last)
    base : describe HR - RRDB's image instead of HR (ours)
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        factor: int = 4,
        width: int = 64,
        depth: int = 23,
        growth: int = 32,
        residual: bool = False,
        taps: tuple[int, ...] = (1, 8, 15, 22),
        steps: int = 16,
        hidden: int = 64,
        splits: int | None = None,
        base: bool = False,
    ):
        super().__init__()
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.channels, self.factor, self.taps, self.base = channels, factor, taps, base
        self.encoder = esrgan.Generator(
            channels=channels, width=width, depth=depth, growth=growth, residual=residual, factor=factor
        )
        if not taps or not all(1 <= tap <= depth for tap in taps):
            raise ValueError(f"taps are {taps}; give numbers of blocks from 1 to {depth}")
        levels = round(log2(factor)) + 1
        splits = levels - 1 if splits is None else splits
        self.levels = nn.ModuleList()
        inside, given = channels, width * (len(taps) + 1)
        for i in range(levels):
            self.levels.append(Level(4 * inside, given, steps=steps, hidden=hidden, split=i < splits))
            inside = 2 * inside if i < splits else 4 * inside

    @classmethod
    def around(cls, rrdb: esrgan.Generator, **arguments: Any) -> SRFlow:
        """A new flow that listens to a trained RRDB network, which stays as it is (the paper's first half)."""
        own = {name: value for name, value in rrdb.arguments.items()}
        flow = cls(**{**TEACHING, **own, **arguments})
        flow.encoder.load_state_dict(rrdb.state_dict())
        flow.encoder.requires_grad_(False)
        return flow

    # --- both ways ----------------------------------------------------------------------------------------------------

    def encode(self, hr: Tensor, lr: Tensor, *, u: Tensor | float = 0.5) -> tuple[Tensor, Tensor]:
        """Latents and log-density of HR given LR.

        hr : (B, C, factor h, factor w) in [0, 1], of which h and w are even
        lr : (B, C, h, w)
        u : where in its cell of an 8-bit image the density is taken, [0, 1); uniform noise while training

        Returns z (B, C (2 factor)^2, h / 2, w / 2), as many numbers as pixels, and log p (B,) of (255 hr + u) / 256.
        ValueError if the sizes do not fit each other or the squeezes.
        """
        self._check(hr, lr)
        maps, base = self._listen(lr)
        h = (255 * to_channels(hr, self.channels) + u) / 256 - base
        log_det, latents = hr.new_zeros(len(hr)), []
        for level, given in zip(self.levels, maps, strict=True):
            h, leaving, more = level(h, given)
            log_det = log_det + more
            latents.append(leaving)
        z = self._gathered([*latents, h])
        prior = -0.5 * (z.square() + log(2 * pi)).sum((1, 2, 3))
        return z, prior + log_det

    def decode(self, lr: Tensor, z: Tensor) -> Tensor:
        """The image (B, 1 or C, factor h, factor w) that `encode` maps to z, not clipped. ValueError for NaN."""
        if not torch.isfinite(z).all():
            raise ValueError("the latents have NaN or infinite values; draw them from a normal distribution")
        shape = self.latent_shape(lr)
        if tuple(z.shape) != shape:
            raise ValueError(f"latents of this LR image have shape {shape}, not {tuple(z.shape)}")
        maps, base = self._listen(lr)
        latents, h = self._scattered(z)
        levels: list[Any] = list(self.levels)
        for level, given, leaving in zip(levels[::-1], maps[::-1], latents[::-1], strict=True):
            h = level.inverse(h, leaving, given)
        return from_channels((256 * (h + base) - 0.5) / 255, lr)

    def forward(self, lr: Tensor) -> Tensor:
        """The image at temperature 0, of LR images of any size: the flow's one best-known answer, not its mean."""
        return self.sample(lr, torch.zeros_like, temperature=0.0)

    def sample(self, lr: Tensor, noise: Noise, *, temperature: float = TEMPERATURE) -> Tensor:
        """An image for latents temperature * noise(latents); LR images of odd sizes are mirrored by a pixel before.

        noise : a tensor -> standard normal noise of its shape
        ValueError for a temperature below 0.
        """
        if not temperature >= 0:
            raise ValueError(f"temperature is {temperature}; give 0 (one image) or more, such as {TEMPERATURE}")
        h, w = lr.shape[-2:]
        even = F.pad(lr, (0, w % 2, 0, h % 2), mode="reflect" if min(h, w) > 1 else "replicate")
        sr = self.decode(even, temperature * noise(even.new_empty(self.latent_shape(even))))
        return sr[..., : self.factor * h, : self.factor * w]

    def bits(self, hr: Tensor, lr: Tensor, *, u: Tensor | float = 0.5) -> Tensor:
        """Bits per dimension (B,) that HR, rounded to 8 bits, costs given LR: 8 if every image were equally likely."""
        _, density = self.encode((255 * hr).round() / 255, lr, u=u)
        return 8 - density / (log(2) * self.channels * hr.shape[-2] * hr.shape[-1])

    def latent_shape(self, lr: Tensor) -> tuple[int, ...]:
        """Shape of z for an LR image (B, C, h, w) of even sides."""
        b, _, h, w = lr.shape
        if h % 2 or w % 2:
            raise ValueError(f"the last squeeze halves the LR image: its sides must be even, not {h}x{w}")
        return b, self.channels * (2 * self.factor) ** 2, h // 2, w // 2

    # --- inside -------------------------------------------------------------------------------------------------------

    def _listen(self, lr: Tensor) -> tuple[list[Tensor], Tensor]:
        """What each level is given (B, maps, its height, its width), and the image that HR is compared with, or 0."""
        x = to_channels(lr, self.channels)
        blocks, ladder = self.encoder.maps(x)
        taken = torch.cat([blocks[tap - 1] for tap in self.taps], 1)
        maps = []
        for own in reversed(ladder[:-1]):  # from half of HR's size down to LR's
            times = own.shape[-1] // taken.shape[-1]
            maps.append(torch.cat([F.interpolate(taken, scale_factor=times, mode="nearest"), own], 1))
        maps.append(F.avg_pool2d(maps[-1], 2))
        return maps, self.encoder.image(ladder[-1], x) if self.base else x.new_zeros(())

    def _gathered(self, latents: list[Tensor | None]) -> Tensor:
        """All latents as one tensor at the size of the last level: 2x2 pixels become channels as often as it takes."""
        smallest = latents[-1].shape[-1]  # type: ignore[union-attr]
        return torch.cat([F.pixel_unshuffle(z, z.shape[-1] // smallest) for z in latents if z is not None], 1)

    def _scattered(self, z: Tensor) -> tuple[list[Tensor | None], Tensor]:
        """The other way round: what leaves each level (None if nothing does), and what is left in the end."""
        parts: list[Tensor | None] = []
        for i, level in enumerate(self.levels):
            times = 2 ** (len(self.levels) - 1 - i)
            count = level.leaving * times**2
            parts.append(F.pixel_shuffle(z[:, :count], times) if count else None)
            z = z[:, count:]
        return parts, z

    def _check(self, hr: Tensor, lr: Tensor) -> None:
        expected = [self.factor * side for side in lr.shape[-2:]]
        if list(hr.shape[-2:]) != expected or len(hr) != len(lr):
            raise ValueError(f"an LR image of {tuple(lr.shape[-2:])} at {self.factor}x belongs to an HR image of "
                             f"{tuple(expected)}, not {tuple(hr.shape[-2:])}")  # fmt: skip
        self.latent_shape(lr)


class Level(nn.Module):
    """Squeeze, two transition steps (no coupling: they only mix what the squeeze put side by side), conditional steps,
    split."""

    def __init__(self, width: int, given: int, *, steps: int, hidden: int, split: bool):
        super().__init__()
        self.transitions = nn.ModuleList(nn.ModuleList([ActNorm(width), Invertible1x1(width)]) for _ in range(2))
        self.steps = nn.ModuleList(
            nn.ModuleList([ActNorm(width), Invertible1x1(width), Injector(width, given, hidden),
                           Coupling(width, given, hidden)]) for _ in range(steps)
        )  # fmt: skip
        self.split = Split(width) if split else None
        self.leaving = width // 2 if split else 0

    def forward(self, h: Tensor, given: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """(B, C, H, W) -> what stays (B, 2C or 4C, H/2, W/2), what leaves, log |det| (B,)."""
        h, log_det, leaving = F.pixel_unshuffle(h, 2), h.new_zeros(len(h)), None
        for layer in self._layers():
            h, more = layer(h, given)
            log_det = log_det + more
        if self.split is not None:
            h, leaving, more = self.split(h)
            log_det = log_det + more
        return h, leaving, log_det

    def inverse(self, h: Tensor, leaving: Tensor | None, given: Tensor) -> Tensor:
        """What `forward` was given."""
        if self.split is not None and leaving is not None:
            h = self.split.inverse(h, leaving)
        for layer in reversed(self._layers()):
            h = layer.inverse(h, given)
        return F.pixel_shuffle(h, 2)

    def _layers(self) -> list[Any]:
        steps: list[Any] = [*self.transitions, *self.steps]
        return [layer for step in steps for layer in step]


class ActNorm(nn.Module):
    """(h + bias) exp(log_scale): mean 0 and spread 1 for each channel of the first batch it is trained on.

    That it has seen one is a buffer, saved with the weights: otherwise a second training would start it anew.
    """

    initialised: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, h: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> the same shape, log |det| (B,)."""
        if self.training and not self.initialised:
            with torch.no_grad():
                self.bias.copy_(-h.mean((0, 2, 3), keepdim=True))
                self.log_scale.copy_(-(h.std((0, 2, 3), keepdim=True, correction=0) + 1e-6).log())
                self.initialised.fill_(True)
        log_det = self.log_scale.sum() * h.shape[-2] * h.shape[-1]
        return (h + self.bias) * self.log_scale.exp(), log_det.expand(len(h))

    def inverse(self, h: Tensor, given: Tensor | None = None) -> Tensor:
        """What `forward` was given."""
        return h * (-self.log_scale).exp() - self.bias


class Invertible1x1(nn.Module):
    """Every pixel's channels times one matrix, a random rotation at first (Kingma & Dhariwal 2018, Glow)."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(width, width))[0])

    def forward(self, h: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> the same shape, log |det| (B,)."""
        log_det = torch.linalg.slogdet(self.weight.double())[1] * h.shape[-2] * h.shape[-1]
        return F.conv2d(h, self.weight[:, :, None, None]), log_det.to(h.dtype).expand(len(h))

    def inverse(self, h: Tensor, given: Tensor | None = None) -> Tensor:
        """What `forward` was given; the matrix is inverted in float64, where its determinant is taken, too."""
        return F.conv2d(h, torch.linalg.inv(self.weight.double()).to(h.dtype)[:, :, None, None])


class Injector(nn.Module):
    """Affine injector: every channel is shifted and scaled by what the LR image says about its pixel."""

    def __init__(self, width: int, given: int, hidden: int):
        super().__init__()
        self.net = ShiftAndScale(given, width, hidden)

    def forward(self, h: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> the same shape, log |det| (B,)."""
        shift, scale = self.net(given)
        return (h + shift) * scale, scale.log().sum((1, 2, 3))

    def inverse(self, h: Tensor, given: Tensor) -> Tensor:
        """What `forward` was given."""
        shift, scale = self.net(given)
        return h / scale - shift


class Coupling(nn.Module):
    """Conditional affine coupling: half of the channels shift and scale the others, knowing the LR image."""

    def __init__(self, width: int, given: int, hidden: int):
        super().__init__()
        self.kept = width // 2
        self.net = ShiftAndScale(self.kept + given, width - self.kept, hidden)

    def forward(self, h: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> the same shape, log |det| (B,)."""
        first, second = h[:, : self.kept], h[:, self.kept :]
        shift, scale = self.net(torch.cat([first, given], 1))
        return torch.cat([first, (second + shift) * scale], 1), scale.log().sum((1, 2, 3))

    def inverse(self, h: Tensor, given: Tensor) -> Tensor:
        """What `forward` was given: the first half is unchanged, so it can be asked again."""
        first, second = h[:, : self.kept], h[:, self.kept :]
        shift, scale = self.net(torch.cat([first, given], 1))
        return torch.cat([first, second / scale - shift], 1)


class ShiftAndScale(nn.Module):
    """3x3-ActNorm-ReLU-1x1-ActNorm-ReLU-3x3, the last started at zero: shifts 0, scales sigmoid(2) + 1e-4 = 0.88."""

    def __init__(self, width: int, out: int, hidden: int):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(width, hidden, 3, padding=1, bias=False), ActNorm(hidden)
        self.second, self.norm2 = nn.Conv2d(hidden, hidden, 1, bias=False), ActNorm(hidden)
        self.last = nn.Conv2d(hidden, 2 * out, 3, padding=1)
        self.log_gain = nn.Parameter(torch.zeros(1, 2 * out, 1, 1))
        start_at_zero(self.last)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width, H, W) -> shifts and scales (B, out, H, W), scales between 1e-4 and 1.0001."""
        x = self.norm1(self.first(x))[0].relu()
        x = self.norm2(self.second(x))[0].relu()
        x = self.last(x) * (3 * self.log_gain).exp()
        return x[:, ::2], torch.sigmoid(x[:, 1::2] + 2) + 1e-4


class Split(nn.Module):
    """Half of the channels leave, standardised by a mean and a spread that the other half predicts."""

    def __init__(self, width: int):
        super().__init__()
        self.stays = width - width // 2
        self.net = nn.Conv2d(self.stays, 2 * (width // 2), 3, padding=1)
        self.log_gain = nn.Parameter(torch.zeros(1, 2 * (width // 2), 1, 1))
        start_at_zero(self.net)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) -> what stays, latents, log |det| (B,)."""
        stays, leaves = h[:, : self.stays], h[:, self.stays :]
        mean, log_spread = self._expected(stays)
        return stays, (leaves - mean) * (-log_spread).exp(), -log_spread.sum((1, 2, 3))

    def inverse(self, stays: Tensor, latents: Tensor) -> Tensor:
        """What `forward` was given."""
        mean, log_spread = self._expected(stays)
        return torch.cat([stays, latents * log_spread.exp() + mean], 1)

    def _expected(self, stays: Tensor) -> tuple[Tensor, Tensor]:
        x = self.net(stays) * (3 * self.log_gain).exp()
        return x[:, ::2], x[:, 1::2]
