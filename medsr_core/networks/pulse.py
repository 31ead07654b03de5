"""PULSE (Menon et al., "PULSE: Self-supervised photo upsampling via latent space exploration of generative models",
CVPR 2020, section 3): of all faces that a generator can draw, look for one that D maps to the LR image.

No network is trained for super-resolution: `Decoder` has learned to draw faces from random numbers z and has never seen
an LR image; `search` walks over the z until D(G(z)) is the LR image, up to a tolerance eps. Nothing ties what it finds
to the person in the picture: another start ends at another person, and all of them explain the LR image.

As the authors' code does it: a Gaussian's mass lies near a sphere, so every z stays on the sphere of the radius that it
was drawn with; Adam, projected after every step; no gradient once the squared error is below eps = 2e-3 (the paper's
text has 1e-3). Ours:

- the generator is the decoder of a VAE/GAN (Larsen et al. 2016), small enough for two cores, and not their StyleGAN
- it has one vector z. The paper's term for 18 of them, the cross loss that keeps them close together (GEOCROSS), has
  nothing to act on and is left out
- the tolerance is each image's own. The code sums over the batch values of at least eps each and compares the sum with
  eps, so that with two images it never finds one
- Adam is given the gradient's part along the sphere. At the nearest point of the sphere the gradient need not be zero,
  only along z; Adam divides each of its numbers by that number's size, which leads away from there again
- the image kept is the best one, which the code tracks, and not the last one, which it returns
- the rate is theirs, 0.4, but it starts there, see `rates`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core.degradation import bicubic
from medsr_core.images.stack import check_image
from medsr_core.networks.layers import conv, from_channels, to_channels
from medsr_core.seeds import mix

EPS = 2e-3  # mean squared error on [0, 1]: 27 dB
TEACHING = {"latent": 128, "widths": (160, 160, 128, 96, 64, 32)}  # ours: 2.26 M parameters, 128x128


class Decoder(nn.Module):
    """z ~ N(0, I) (B, latent) -> image (B, 3, size, size) in [0, 1]. What draws the faces.

    Parameters
    ----------
    latent : numbers in z, and in w
    widths : feature maps of each block; the first has 4x4 pixels, every next one twice the side: `size` is 128 for six
    """

    channels = 3

    def __init__(self, *, latent: int = 128, widths: Sequence[int] = (160, 160, 128, 96, 64, 32)):
        super().__init__()
        self.arguments = {"latent": latent, "widths": widths}
        if not 1 <= len(widths) <= 8 or not all(isinstance(n, int) and n > 0 for n in (latent, *widths)):
            raise ValueError(f"latent={latent}, widths={widths}: give whole numbers above 0, 1 to 8 widths")
        self.latent, self.size = latent, 4 * 2 ** (len(widths) - 1)
        self.map = nn.Sequential(nn.Linear(latent, latent), leaky(), nn.Linear(latent, latent), leaky())
        self.first = nn.Linear(latent, 16 * widths[0])
        inside = (widths[0], *widths[:-1])
        self.blocks = nn.ModuleList(
            Block(i, o, latent=latent, double=n > 0) for n, (i, o) in enumerate(zip(inside, widths, strict=True))
        )
        self.last = conv(widths[-1], self.channels, 3)

    def forward(self, z: Tensor) -> Tensor:
        """Latents (B, latent) -> images (B, 3, size, size) in [0, 1]."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"this decoder draws from {self.latent} numbers: (B, {self.latent}), got {tuple(z.shape)}")
        w = self.map(z)
        x = self.first(z).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            x = block(x, w)
        return self.last(x).sigmoid()


class Block(nn.Module):
    """Twice the side (`double`), then twice: convolution, instance normalisation, scale and shift from w, LeakyReLU."""

    def __init__(self, inside: int, out: int, *, latent: int, double: bool):
        super().__init__()
        self.doubles = double
        self.conv1, self.mod1 = conv(inside, out, 3), nn.Linear(latent, 2 * out)
        self.conv2, self.mod2 = conv(out, out, 3), nn.Linear(latent, 2 * out)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, inside, s, s), w (B, latent) -> (B, out, s, s), or (B, out, 2s, 2s)."""
        if self.doubles:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        for convolve, modulate in ((self.conv1, self.mod1), (self.conv2, self.mod2)):
            scale, shift = modulate(w)[:, :, None, None].chunk(2, 1)
            x = F.leaky_relu(torch.addcmul(shift, F.instance_norm(convolve(x)), 1 + scale), 0.2)
        return x


def leaky() -> nn.LeakyReLU:
    """The decoder's activation."""
    return nn.LeakyReLU(0.2)


# --- the search -----------------------------------------------------------------------------------------------------


class Draws(Protocol):
    """What `search` needs of a generator: `Decoder`, or any other differentiable one."""

    latent: int
    size: int
    channels: int

    def __call__(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, channels, size, size)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights; the search runs in their dtype."""
        ...


@dataclass(frozen=True)
class Found:
    """What every start of a search came to, for every LR image.

    images : (starts, B, C, size, size) in [0, 1]; of each start the image nearest to the LR image, found or not
    latents : (starts, B, latent), what they were drawn from
    distances : (starts, B), the mean squared error between D(image) and the LR image
    steps : (starts, B), calls of the generator until the image was found, or all of them
    eps : the tolerance
    """

    images: Tensor
    latents: Tensor
    distances: Tensor
    steps: Tensor
    eps: float

    @property
    def successes(self) -> Tensor:
        """Which starts got within eps: bool (starts, B)."""
        return self.distances <= self.eps

    @property
    def found(self) -> Tensor:
        """For which LR images a start got within eps: bool (B,)."""
        return self.successes.any(0)

    @property
    def distance(self) -> Tensor:
        """Of the best start: (B,)."""
        return self.distances.amin(0)

    @property
    def best(self) -> Tensor:
        """For each LR image the nearest image of all starts, whether `found` or not: (B, C, size, size)."""
        return self.images[self.distances.argmin(0), torch.arange(self.images.shape[1], device=self.images.device)]


@torch.enable_grad()
def search(
    lr: Tensor,
    decoder: Draws,
    *,
    eps: float = EPS,
    starts: int = 4,
    steps: int = 100,
    rate: float = 0.4,
    seed: int = 0,
    first: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Found:
    """Look for images of `decoder` that D = bicubic(factor) maps to the LR images, by descent on a sphere.

    Parameters
    ----------
    lr : (B, C, side, side) in [0, 1], floating point; factor = decoder.size / side. A gray image is repeated, and the
        mean over the channels of what is found is returned: D of it is no farther from the LR image than before
    eps : tolerance of the mean squared error between D(image) and the LR image; an image is finished when it is reached
    starts : from how many z; start i depends on (seed, i), not on `starts`, and is the same for every LR image
    steps : calls of the decoder for each start, at most; a face where there is none ends here
    rate : of Adam over the first half of the steps, see `rates`
    first : be content with one start of an image: the others stop where they are. A face then takes 4 to 40 steps of
        four starts, some 5 s on one core; the full 100, where there is nothing to find, 35 s
    report : called after each step with (steps done, steps in all)

    Raises ValueError for an LR image that is not square or whose side does not divide the decoder's, values outside
    [0, 1] or NaN, no start, no step, eps or rate out of range; TypeError for integer pixels.
    """
    _check(lr, decoder, eps=eps, starts=starts, steps=steps, rate=rate)
    D = bicubic(decoder.size // lr.shape[-1])
    target = to_channels(lr, decoder.channels).to(next(decoder.parameters()).dtype).repeat(starts, 1, 1, 1)
    z = start_latents(decoder.latent, starts, seed).to(target).repeat_interleave(len(lr), 0).requires_grad_()
    radius = z.detach().norm(dim=1, keepdim=True)
    adam = torch.optim.Adam([z], lr=rate)
    images = target.new_empty(len(z), decoder.channels, decoder.size, decoder.size)
    latents, distances = z.detach().clone(), target.new_full((len(z),), math.inf)
    taken = torch.zeros(len(z), dtype=torch.long, device=z.device)

    for step, share in enumerate(rates(steps)):
        active = (~_finished(distances <= eps, starts, first)).nonzero().flatten()
        if not len(active):
            break
        drawn = decoder(z[active])
        error = (D(drawn) - target[active]).square().mean((1, 2, 3))
        nearer = error.detach() < distances[active]
        for kept, now in ((images, drawn), (latents, z[active]), (distances, error)):
            kept[active[nearer]] = now.detach()[nearer]
        taken[active] += 1
        (gradient,) = torch.autograd.grad(tolerated(error, eps).sum(), z)  # a sum: each image's gradient is its own
        z.grad = tangential(gradient, z.detach())
        adam.param_groups[0]["lr"] = rate * share
        adam.step()
        with torch.no_grad():
            z.copy_(on_sphere(z, radius))
        if report:
            report(step + 1, steps)
    images = from_channels(images, lr).to(lr.dtype)
    images, latents, distances, taken = (
        kept.unflatten(0, (starts, -1)) for kept in (images, latents, distances, taken)
    )
    return Found(images, latents, distances, taken, eps)


def start_latents(latent: int, starts: int, seed: int) -> Tensor:
    """z ~ N(0, I) (starts, latent); number i depends on (seed, i)."""
    generators = (torch.Generator().manual_seed(mix(seed, start)) for start in range(starts))
    return torch.stack([torch.randn(latent, generator=generator) for generator in generators])


def on_sphere(z: Tensor, radius: Tensor) -> Tensor:
    """The point on the sphere nearest to each z (B, latent): the same direction, length `radius` (B, 1)."""
    return z * (radius / z.norm(dim=1, keepdim=True))


def tangential(gradient: Tensor, z: Tensor) -> Tensor:
    """The part of each gradient (B, latent) along the sphere: the direction of z taken out."""
    along = z / z.norm(dim=1, keepdim=True)
    return gradient - (gradient * along).sum(1, keepdim=True) * along


def tolerated(error: Tensor, eps: float) -> Tensor:
    """The error of each image (B,), but at least eps: below it there is no gradient, nothing is left to gain."""
    return error.clamp(min=eps)


def rates(steps: int) -> list[float]:
    """Share of the largest rate at each step: 1 over the first half, then in a straight line to 0.

    Ours. The authors' code goes up from 0.1 to 1 and down again, and most faces are found before it has come up.
    """
    return [min(1.0, 2 * (1 - step / steps)) for step in range(steps)]


def _finished(successes: Tensor, starts: int, first: bool) -> Tensor:
    """Of all pairs of a start and an image (starts B,), those that need no further step."""
    if not first:
        return successes
    return successes.unflatten(0, (starts, -1)).any(0).repeat(starts)


def _check(lr: Tensor, decoder: Draws, *, eps: float, starts: int, steps: int, rate: float) -> None:
    check_image(lr, name="LR image")
    height, width = lr.shape[-2:]
    if height != width or decoder.size % height:
        raise ValueError(
            f"the LR image has {height}x{width} pixels, and the decoder draws images of {decoder.size}x{decoder.size}: "
            f"give a square whose side divides {decoder.size}, such as {decoder.size // 8}x{decoder.size // 8} for 8x"
        )
    if starts < 1 or steps < 1:
        raise ValueError(f"starts={starts}, steps={steps}: give 1 or more of each")
    if not 0 <= eps < math.inf or not 0 < rate < math.inf:
        raise ValueError(f"eps={eps}, rate={rate}: eps is 0 or more, rate above 0")
