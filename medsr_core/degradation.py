"""The degradation y = D(x; delta): how a low-resolution (LR) image comes from a high-resolution (HR) one.

Every degradation is a callable ``y = D(x, generator=None)`` on floating-point tensors of shape (B, C, H, W),
on any device, in float32 or float64, differentiable in x. Three kinds, top to bottom:

1. `Separable`: two small matrices, y = R x C^T. Bicubic, box, nearest, Gaussian blur, k-space truncation.
2. `Spectral`: a periodic convolution, diagonal in Fourier space. Motion blur, oblique Gaussian blur.
   Both are linear and know their adjoint, their pseudo-inverse D^+ and the projectors onto what they
   measure (D^+ D) and what they cannot see (I - D^+ D).
3. Noise and JPEG: random or non-linear, no algebra. `compose` chains all of them.

Resampling follows MATLAB's ``imresize``: cubic kernel with a = -0.5 (Keys 1981), widened by the factor when it
shrinks an image (antialiasing), half-sample symmetric edges, output size ceil(size / factor).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache

import torch
from torch import Tensor

from medsr_core import resampling
from medsr_core.resampling import Matrix

# --- 1. separable linear operators: y = R x C^T -------------------------------------------------------------


class Separable:
    """A linear degradation that treats rows and columns alike: y = R x C^T for every channel.

    Parameters
    ----------
    name : str, shown in figures and tables
    rows, cols : functions from an input length n to a float64 matrix of shape (m, n); `cols` defaults to `rows`
    factor : HR pixels per LR pixel along an axis (1 for a blur)

    Notes
    -----
    With R = U S V^T the pseudo-inverse is R^+ = V S^-1 U^T, and (R x C^T)^+ = R^+ y (C^+)^T, since the
    Kronecker product of two pseudo-inverses is the pseudo-inverse of the Kronecker product. Singular values
    below 1e-6 of the largest count as zero (ours): what they carry is in the null space. A strong blur keeps
    values just above that, so its pseudo-inverse multiplies rounding errors a millionfold: use float64 there.
    """

    def __init__(self, name: str, rows: Matrix, cols: Matrix | None = None, *, factor: Fraction | int = 1):
        self.name, self.rows, self.cols, self.factor = name, rows, cols or rows, Fraction(factor)

    def __repr__(self) -> str:
        return self.name

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Degrade x (B, C, H, W). Raises TypeError on integers, ValueError on NaN or a wrong shape."""
        return _finite(_both_axes(_plain, self, x, _size(x)))

    def adjoint(self, y: Tensor, size: tuple[int, int]) -> Tensor:
        """D^T y, of shape (B, C, *size): <D x, y> = <x, D^T y>."""
        return _both_axes(_transpose, self, y, size)

    def pinv(self, y: Tensor, size: tuple[int, int]) -> Tensor:
        """D^+ y, of shape (B, C, *size): the smallest image (in the 2-norm) that D maps closest to y."""
        return _both_axes(_pseudo_inverse, self, y, size)

    def range_part(self, x: Tensor) -> Tensor:
        """D^+ D x: the part of x that D measures."""
        return _both_axes(_row_space, self, x, _size(x))

    def null_part(self, x: Tensor) -> Tensor:
        """(I - D^+ D) x: the part of x that D cannot see. D(x + null_part(z)) = D(x) for every z."""
        return x - self.range_part(x)


def _plain(matrix: Tensor) -> Tensor:
    return matrix


def _transpose(matrix: Tensor) -> Tensor:
    return matrix.T


def _pseudo_inverse(matrix: Tensor) -> Tensor:
    return torch.linalg.pinv(matrix, rtol=1e-6)


def _row_space(matrix: Tensor) -> Tensor:
    _, values, vt = torch.linalg.svd(matrix, full_matrices=False)
    kept = vt[values > 1e-6 * values[0]]
    return kept.T @ kept


Bands = list[tuple[int, int, Tensor]]  # 32 rows of a banded matrix: first column, last column + 1, the block between


@lru_cache(maxsize=256)
def _bands(form: Callable[[Tensor], Tensor], matrix: Matrix, n: int, dtype: torch.dtype, device: torch.device) -> Bands:
    """A 1-D matrix in one of the four forms, made in float64 and kept as the blocks that are not zero.

    Some rows of a bicubic matrix touch few columns; skipping the zeros makes the product three times faster.
    """
    bands = []
    for rows in form(matrix(n)).split(32):
        columns = rows.abs().sum(0).nonzero()
        start, stop = (columns.min().item(), columns.max().item() + 1) if len(columns) else (0, 1)
        bands.append((start, stop, rows[:, start:stop].to(dtype=dtype, device=device).contiguous()))
    return bands


def _both_axes(form: Callable[[Tensor], Tensor], operator: Separable, x: Tensor, size: tuple[int, int]) -> Tensor:
    """R x C^T, with the matrices in the given form; `size` is the HR size that they are made for."""
    _check(x)
    down = form in (_plain, _row_space)
    expected = size if down else (len(operator.rows(size[0])), len(operator.cols(size[1])))
    if _size(x) != tuple(expected):
        raise ValueError(f"{operator.name} to {size[0]}x{size[1]} starts from {expected} pixels, got {_size(x)}")
    rows = _bands(form, operator.rows, size[0], x.dtype, x.device)
    cols = _bands(form, operator.cols, size[1], x.dtype, x.device)
    with torch.autocast(x.device.type, enabled=False):  # it is for networks; D keeps all its digits
        x = torch.cat([block @ x[..., start:stop, :] for start, stop, block in rows], -2)
        return torch.cat([x[..., start:stop] @ block.T for start, stop, block in cols], -1)


def bicubic(factor: float | Fraction, *, antialias: bool = True) -> Separable:
    """MATLAB's ``imresize(x, 1/factor, 'bicubic')``: the D of both papers.

    factor : any positive integer or rational number; 4 shrinks by four, Fraction(1, 4) enlarges by four.
    """
    return _resize("bicubic", factor, resampling.cubic, 4, antialias)


def bilinear(factor: float | Fraction, *, antialias: bool = True) -> Separable:
    """MATLAB's ``imresize(x, 1/factor, 'bilinear')``."""
    return _resize("bilinear", factor, resampling.triangle, 2, antialias)


def lanczos(factor: float | Fraction, *, antialias: bool = True) -> Separable:
    """MATLAB's ``imresize(x, 1/factor, 'lanczos3')``."""
    return _resize("Lanczos", factor, resampling.lanczos3, 6, antialias)


def box(factor: float | Fraction) -> Separable:
    """Mean over factor x factor pixels: a detector whose cells collect all their light."""
    return _resize("box", factor, resampling.box, 1, True)


def nearest(factor: float | Fraction) -> Separable:
    """One pixel of each factor x factor block, as MATLAB picks it. Even factors shift the picture by half a pixel."""
    return _resize("nearest", factor, resampling.box, 1, False)


def gaussian_blur(sigma: float | tuple[float, float], *, angle: float = 0.0) -> Separable | Spectral:
    """Gaussian point-spread function. `sigma` in pixels, one number or (vertical, horizontal).

    Upright kernels have half-sample symmetric edges and end at 4 sigma (as ``scipy.ndimage.gaussian_filter``);
    with an `angle` (degrees, counter-clockwise) the convolution is periodic.
    """
    sigma_y, sigma_x = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    if min(sigma_y, sigma_x) < 0:
        raise ValueError(f"sigma is {sigma}; a width in pixels cannot be negative")
    name = f"Gaussian blur {sigma_y:g}" if sigma_y == sigma_x else f"Gaussian blur {sigma_y:g}x{sigma_x:g}"
    if angle % 180 and sigma_y != sigma_x:
        return Spectral(f"{name} at {angle:g} deg", lambda fy, fx: _gaussian_transfer(fy, fx, sigma_y, sigma_x, angle))
    return Separable(name, resampling.gaussian_matrix(sigma_y), resampling.gaussian_matrix(sigma_x))


def kspace_truncation(factor: float | Fraction) -> Separable:
    """Keep the central 1/factor of k-space along both axes: how an MR scanner makes a low-resolution image.

    The centres of the first and last pixels' cells are kept (ours), so the result is registered with the HR image;
    for an even number of kept lines the two Nyquist lines share their weight, so a real image stays real.
    """
    factor = _factor(factor)
    return Separable(f"k-space x{factor}", resampling.fourier_matrix(factor), factor=factor)


@cache
def _resize(name: str, factor: float | Fraction, kernel: Callable, width: int, antialias: bool) -> Separable:
    factor = _factor(factor)
    suffix = "" if antialias or factor <= 1 or kernel is resampling.box else ", no antialias"

    @cache
    def matrix(n: int) -> Tensor:
        return resampling.resize_matrix(n, math.ceil(n / factor), float(1 / factor), kernel, width, antialias)

    return Separable(f"{name} x{factor}{suffix}", matrix, factor=factor)


# --- 2. spectral linear operators: periodic convolutions -------------------------------------------------------


class Spectral:
    """A periodic convolution with a real, even transfer function: y = F^-1 (h . F x). Edges wrap around.

    Parameters
    ----------
    name : str
    transfer : function of two frequency grids (fy, fx), in cycles per pixel, to the transfer function h

    Notes
    -----
    Real and even means self-adjoint. Frequencies with abs(h) < 1e-6 count as lost (ours): the null space.
    """

    factor = Fraction(1)

    def __init__(self, name: str, transfer: Callable[[Tensor, Tensor], Tensor]):
        self.name, self.transfer = name, transfer

    def __repr__(self) -> str:
        return self.name

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Blur x (B, C, H, W). Raises TypeError on integers, ValueError on NaN or a wrong shape."""
        return _finite(self._filter(x, lambda h: h))

    def adjoint(self, y: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """D^T y; D is its own adjoint."""
        return self._filter(y, lambda h: h)

    def pinv(self, y: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """D^+ y: divide by h where it is not zero."""
        return self._filter(y, lambda h: torch.where(h.abs() < 1e-6, 0, 1 / h))

    def range_part(self, x: Tensor) -> Tensor:
        """D^+ D x: the frequencies of x that D passes on, however faintly."""
        return self._filter(x, lambda h: (h.abs() >= 1e-6).double())

    def null_part(self, x: Tensor) -> Tensor:
        """(I - D^+ D) x: the frequencies of x that D removes."""
        return x - self.range_part(x)

    def _filter(self, x: Tensor, form: Callable[[Tensor], Tensor]) -> Tensor:
        _check(x)
        fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64, device=x.device) for n in _size(x))
        h = self.transfer(fy[:, None], fx)
        h = (h + h.flip(0, 1).roll((1, 1), (0, 1))) / 2  # even at the Nyquist lines too
        return torch.fft.ifft2(torch.fft.fft2(x) * form(h).to(x.dtype)).real


def motion_blur(length: float, angle: float = 0.0) -> Spectral:
    """Mean along a line of `length` pixels at `angle` degrees (counter-clockwise from the horizontal)."""
    if length < 0:
        raise ValueError(f"length is {length}; give 0 pixels or more")
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return Spectral(
        f"motion blur {length:g} px at {angle:g} deg", lambda fy, fx: torch.sinc(length * (fx * cos - fy * sin))
    )


def _gaussian_transfer(fy: Tensor, fx: Tensor, sigma_y: float, sigma_x: float, angle: float) -> Tensor:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = fx * cos - fy * sin, fx * sin + fy * cos
    return torch.exp(-2 * math.pi**2 * ((sigma_x * along) ** 2 + (sigma_y * across) ** 2))


Linear = Separable | Spectral


# --- 3. noise, compression, composition ------------------------------------------------------------------------


class Step:
    """A degradation without linear algebra: a name and a function of (x, generator)."""

    factor = Fraction(1)

    def __init__(self, name: str, function: Callable[[Tensor, torch.Generator | None], Tensor]):
        self.name, self.function = name, function

    def __repr__(self) -> str:
        return self.name

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Degrade x (B, C, H, W); `generator` makes the noise repeatable."""
        _check(x)
        return _finite(self.function(x, generator))


def gaussian_noise(sigma: float) -> Step:
    """y = x + sigma n, n standard normal: electronics. `sigma` in the image's units; the result is not clipped."""
    sigma = _level(sigma)
    return Step(f"Gaussian noise {sigma:g}", lambda x, g: x + sigma * _normal(x, g))


def rician_noise(sigma: float) -> Step:
    """y = abs(x + sigma (n1 + i n2)): the magnitude of a complex MR signal (Gudbjartsson & Patz 1995)."""
    sigma = _level(sigma)

    def magnitude(x: Tensor, g: torch.Generator | None) -> Tensor:
        return torch.hypot(x + sigma * _normal(x, g), sigma * _normal(x, g))

    return Step(f"Rician noise {sigma:g}", magnitude)


def speckle_noise(sigma: float) -> Step:
    """y = x (1 + sigma n): noise in proportion to the signal, the simplest model of ultrasound speckle."""
    sigma = _level(sigma)
    return Step(f"speckle {sigma:g}", lambda x, g: x * (1 + sigma * _normal(x, g)))


def jpeg(quality: int) -> Step:
    """8-bit baseline JPEG (Pillow, chroma 4:2:0 for RGB) at `quality` 1..100; x is clipped to [0, 1] first.

    The gradient is passed straight through, since rounding has none (ours).
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; JPEG knows 1 (smallest file) to 100 (best picture)")

    def compress(x: Tensor, g: torch.Generator | None) -> Tensor:
        decoded = torch.stack([_through_jpeg(image, quality) for image in x.detach().clamp(0, 1).cpu()])
        return x + (decoded.to(x) - x).detach()

    return Step(f"JPEG {quality}", compress)


def compose(*steps: Linear | Step) -> Linear | Step:
    """Apply `steps` from left to right. A chain of separable operators is again `Separable`, with its algebra."""
    if not steps:
        raise ValueError("compose needs at least one degradation")
    if len(steps) == 1:
        return steps[0]
    name = " + ".join(step.name for step in steps)
    factor = math.prod((step.factor for step in steps), start=Fraction(1))
    separable = [step for step in steps if isinstance(step, Separable)]
    if len(separable) == len(steps):
        return Separable(name, _chain([s.rows for s in separable]), _chain([s.cols for s in separable]), factor=factor)

    def chain(x: Tensor, g: torch.Generator | None) -> Tensor:
        for step in steps:
            x = step(x, generator=g)
        return x

    chained = Step(name, chain)
    chained.factor = factor
    return chained


def _chain(matrices: list[Matrix]) -> Matrix:
    @cache
    def matrix(n: int) -> Tensor:
        product = torch.eye(n, dtype=torch.float64)
        for step in matrices:
            product = step(len(product)) @ product
        return product

    return matrix


# --- the task of the papers ------------------------------------------------------------------------------------


def task(hr: Tensor, factor: int, D: Linear | Step | None = None) -> tuple[Tensor, Tensor]:
    """A pair (HR, LR): HR (B, C, H, W) cropped to a multiple of `factor`, and LR = D(HR) clipped to [0, 1].

    The one way to make a pair, in training as in scoring. D : by default `bicubic(factor)`, that of both papers
    """
    hr = crop_to_multiple(hr, factor)
    return hr, (D or bicubic(factor))(hr).clamp(0, 1)


def crop_to_multiple(x: Tensor, factor: int) -> Tensor:
    """Cut the right and lower edge so that height and width are multiples of `factor` (the papers' protocol)."""
    height, width = (n - n % factor for n in _size(x))
    if not (height and width):
        raise ValueError(f"an image of {x.shape[-2]}x{x.shape[-1]} pixels has no {factor}x{factor} block to keep")
    return x[..., :height, :width]


# --- checks ----------------------------------------------------------------------------------------------------


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _factor(factor: float | Fraction) -> Fraction:
    exact = Fraction(factor).limit_denominator(1000) if math.isfinite(factor) else Fraction(0)
    if exact <= 0:
        raise ValueError(f"factor is {factor}; give a positive number: 4 shrinks by four, Fraction(1, 4) enlarges")
    return exact


def _level(sigma: float) -> float:
    if not sigma >= 0:
        raise ValueError(f"sigma is {sigma}; a noise level is 0 or more")
    return float(sigma)


def _normal(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    """One (C, H, W) image in [0, 1] through a JPEG file in memory."""
    import numpy as np
    from PIL import Image

    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels).save(file, "JPEG", quality=quality)
    decoded = torch.from_numpy(np.array(Image.open(file))).reshape(pixels.shape)
    return decoded.permute(2, 0, 1) / 255


def _check(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"expected a floating-point tensor, got {kind}; 8-bit pixels: image.float() / 255")
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"expected shape (B, C, H, W) without an empty axis, got {tuple(x.shape)}")


def _finite(y: Tensor) -> Tensor:
    """Return y unless it is not finite. A NaN in x reaches y, and y is small: the check costs next to nothing."""
    if not torch.isfinite(y.detach().sum()):
        raise ValueError("the image has NaN or infinite pixels; replace them first, e.g. with torch.nan_to_num")
    return y
