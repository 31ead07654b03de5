"""When more is known than one LR image, or less: another D, more of k-space, a second contrast, a blur to be guessed.

`least_variation` restores by total variation under whatever can be projected onto: any linear D (`explains`), measured
k-space samples (`keeps`). A `guide`, another contrast of the same patient, tells it where edges may be. `blur_width`
estimates the Gaussian blur of a degradation that nobody wrote down. Images are (B, C, H, W) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from medsr_core import degradation
from medsr_core.degradation import Linear, Separable, compose, gaussian_blur
from medsr_core.images.stack import check_image

Projection = Callable[[Tensor], Tensor]  # image -> the nearest image that agrees with what was measured


def point_samples(factor: int, *, sigma: float = 0.0) -> Separable:
    """D: Gaussian blur of `sigma` HR pixels, then one interpolated point in the middle of each LR pixel.

    Registered with the HR image, as bicubic(factor) is; `degradation.nearest` is off by half an HR pixel.
    """
    sampled = compose(gaussian_blur(sigma), degradation.bicubic(factor, antialias=False))
    assert isinstance(sampled, Separable)
    return sampled


def as_if_bicubic(lr: Tensor, D: Separable, factor: int) -> Tensor:
    """Translate LR = D(HR) into what bicubic(factor) would have made, for methods that assume it: (B, C, h, w).

    bicubic(x) of the image x that explains LR and is nearest to its bicubic interpolation (ours).
    """
    start = degradation.bicubic(Fraction(1, factor))(lr)
    return degradation.bicubic(factor)(explains(lr, D)(start)).clamp(0, 1)


def textbook_truncation(hr: Tensor, factor: int) -> Tensor:
    """The middle of k-space, cut out and transformed back: right detail, in the wrong place, in [0, 1].

    Its first pixel lies on HR's first pixel instead of in the middle of the first block: (factor - 1) / 2 pixels off.
    `degradation.kspace_truncation` keeps the same lines and the place.
    """
    height, width = (n // factor for n in hr.shape[-2:])
    top, left = hr.shape[-2] // 2 - height // 2, hr.shape[-1] // 2 - width // 2
    centred = torch.fft.fftshift(torch.fft.fft2(hr), (-2, -1))[..., top : top + height, left : left + width]
    scale = height * width / (hr.shape[-2] * hr.shape[-1])  # 1 / factor^2, unless the size is no multiple of it
    return (torch.fft.ifft2(torch.fft.ifftshift(centred, (-2, -1))).real * scale).clamp(0, 1)


# --- what was measured ----------------------------------------------------------------------------------------------


def explains(lr: Tensor, D: Linear) -> Projection:
    """Data consistency: projection onto the images that D maps to LR, x + D^+ (LR - D x). Not clipped."""
    return lambda x: x + D.pinv(lr - D(x), (x.shape[-2], x.shape[-1]))


def keeps(samples: Tensor, mask: Tensor, *, weight: float = 1.0) -> Projection:
    """Replace k-space samples of an image by measured ones (Schlemper et al. 2018, eq. 6), where `mask` is true.

    samples : complex (B, C, H, W), as `kspace` gives them
    mask : boolean (H, W), symmetric (see `scan_lines`), in the order of ``torch.fft.fft2``
    weight : 1 replaces them (noise-free samples), less mixes: lambda / (1 + lambda) of that paper
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}; give 0 (keep the image's samples) to 1 (take the measured ones)")

    def replace(x: Tensor) -> Tensor:
        own = kspace(x)
        return torch.fft.ifft2(own + weight * mask * (samples - own), norm="ortho").real

    return replace


def kspace(x: Tensor) -> Tensor:
    """The image's 2-D Fourier transform, orthonormal: what an MR scanner samples."""
    return torch.fft.fft2(x, norm="ortho")


def scan_lines(size: tuple[int, int], factor: int, *, extra: float = 0.0, seed: int = 0) -> Tensor:
    """Which k-space samples a scanner takes: the central block of a `factor` times smaller image, and extra lines.

    extra : share of the other lines (rows of k-space) that are acquired too, in full; drawn at random, those near the
        centre more often (by 1 / distance^2; Lustig et al. 2007), each with its mirror image, which is known without
        measuring since the image is real

    Returns a boolean mask (H, W) in the order of ``torch.fft.fft2``.
    """
    if not 0 <= extra <= 1:
        raise ValueError(f"extra is {extra}; give a share of lines, 0 to 1")
    row, column = (torch.fft.fftfreq(n).abs() * n for n in size)
    inner = row < size[0] / factor / 2
    mask = inner[:, None] & (column < size[1] / factor / 2)
    outer = row[~inner].unique()
    wanted = round(extra * len(outer))
    if not wanted:
        return mask
    drawn = torch.multinomial(1 / outer**2, wanted, generator=torch.Generator().manual_seed(seed))
    return mask | torch.isin(row, outer[drawn])[:, None]


# --- restoration ----------------------------------------------------------------------------------------------------


def least_variation(
    start: Tensor, project: Projection, *, guide: Tensor | None = None, edge: float = 0.03, iterations: int = 60
) -> Tensor:
    """Of all images that agree with the measurement, the one of least (directional) total variation, not clipped.

    Minimises sum |P grad x| over the images that `project` leaves as they are, by Chambolle & Pock 2011, algorithm 1:
    the dual variable p of the image's gradient is kept in the unit disc, the image on what was measured.
    Without a guide P = I, total variation: isotropic, channels coupled (`tv`). With one, P = I - xi xi^T and
    xi = grad v / sqrt(|grad v|^2 + edge^2): an edge along an edge of the guide v costs nothing (Ehrhardt & Betcke 2016,
    eq. 3.6). Only the place and direction of the guide's edges count, not which side is
    brighter.

    start : where to begin, (B, C, H, W)
    guide : (B or 1, 1, H, W), registered with HR
    edge : gradient of the guide that counts as an edge (ours)
    """
    check_image(start, name="start", unit_range=False)
    xi = start.new_zeros(2, 1, 1, 1, 1)
    if guide is not None:
        if guide.shape[-2:] != start.shape[-2:] or guide.shape[1] != 1:
            raise ValueError(f"the guide is {tuple(guide.shape)}; it must be gray and as large as {tuple(start.shape)}")
        xi = _gradient(guide)
        xi = xi / (xi.square().sum(0, keepdim=True) + edge**2).sqrt()

    def across(p: Tensor) -> Tensor:
        return p - xi * (xi * p).sum(0, keepdim=True)

    x = ahead = project(start)
    p = x.new_zeros(2, *x.shape)
    primal, dual = 0.01, 1 / (8 * 0.01)  # primal * dual * |gradient|^2 <= 1; 0.01 converges fastest on scans (ours)
    for _ in range(iterations):
        p = p + dual * across(_gradient(ahead))
        p = p / p.square().sum((0, 2), keepdim=True).sqrt().clamp(min=1)
        before, x = x, project(x + primal * _divergence(across(p)))
        ahead = 2 * x - before
    return x


def _gradient(x: Tensor) -> Tensor:
    """Forward differences down and to the right, zero at the last row and column: (2, B, C, H, W)."""
    pad = torch.nn.functional.pad
    return torch.stack([pad(x.diff(dim=-2), (0, 0, 0, 1)), pad(x.diff(dim=-1), (0, 1))])


def _divergence(p: Tensor) -> Tensor:
    """The negative adjoint of `_gradient`."""
    pad = torch.nn.functional.pad
    return pad(p[0][..., :-1, :], (0, 0, 1, 1)).diff(dim=-2) + pad(p[1][..., :-1], (1, 1)).diff(dim=-1)


# --- an unknown blur ------------------------------------------------------------------------------------------------


def spectrum(images: Tensor, frequencies: Tensor) -> Tensor:
    """Mean power of each image (B, C, H, W), its mean removed, under a Hann window, in rings around `frequencies`.

    frequencies : (K,) evenly spaced, in cycles per pixel; a ring reaches half-way to the next. Mean over channels:
    (B, K), in float64. Raises ValueError if a ring holds no frequency of an image of this size.
    """
    down, across = (torch.hann_window(n, periodic=False, dtype=torch.float64) for n in images.shape[-2:])
    x = (images - images.mean((-2, -1), keepdim=True)).double() * (down[:, None] * across).to(images.device)
    power = kspace(x).abs().square().mean(1).flatten(1)
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in images.shape[-2:])
    width = float(frequencies[1] - frequencies[0])
    ring = ((torch.hypot(fy[:, None], fx) - float(frequencies[0])) / width).round().long().flatten()
    inside = (ring >= 0) & (ring < len(frequencies))
    counts = torch.bincount(ring[inside], minlength=len(frequencies))
    if not counts.all():
        size = f"{images.shape[-2]}x{images.shape[-1]}"
        raise ValueError(f"{size} pixels are too few for rings of {width:.3g} cycles/pixel")
    total = power.new_zeros(len(images), len(frequencies)).index_add_(1, ring[inside], power[:, inside])
    return total / counts


def attenuation(
    lrs: Sequence[Tensor], examples: Sequence[Tensor], factor: int, *, rings: int = 12
) -> tuple[Tensor, Tensor]:
    """Frequencies (cycles per HR pixel) and how much of their power is left in LR images, against sharp HR images.

    lrs : LR images (1, C, h, w) made in the same unknown way; their mean counts, one image is too few for a good guess
    examples : HR images of the same kind, of any size and of any patient
    """
    f = torch.linspace(0.06, 0.34, rings) / factor  # inside: too few pixels; outside: aliasing (ours)
    left = factor**2 * torch.cat([spectrum(lr, f * factor) for lr in lrs]).mean(0)  # of as many times fewer pixels
    return f, left / torch.cat([spectrum(hr, f) for hr in examples]).mean(0)


def blur_width(frequencies: Tensor, left: Tensor) -> float:
    """Sigma in pixels of the Gaussian that leaves `left` of the power at `frequencies` (cycles per pixel), any gain.

    A Gaussian leaves exp(-4 pi^2 sigma^2 f^2): the logarithm is a line in f^2, found by least squares.
    """
    if not (left > 0).all():
        raise ValueError("power must be positive")
    square = frequencies.double() ** 2
    square, log = square - square.mean(), left.double().log()
    slope = (square @ (log - log.mean())) / (square @ square)
    return math.sqrt(max(-slope.item(), 0.0)) / (2 * math.pi)


# --- the classical methods: LR (B, C, h, w) in [0, 1] -> SR (B, C, factor h, factor w), not clipped -----------------


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
    return explains(lr, degradation.bicubic(factor))(bicubic(lr, factor))


def tv(lr: Tensor, factor: int, iterations: int = 60) -> Tensor:
    """Of all images with D(SR) = LR, the one with the least total variation; RGB channels share their edges"""
    return least_variation(bicubic(lr, factor), explains(lr, degradation.bicubic(factor)), iterations=iterations)
