"""Does it look real? Four measures of looks that need no download, each made for what pixels cannot tell.

==================  ================================================================================================
feature_distance    one image against its truth, in features of an ImageNet network
frechet_distance    a set of images against a set of real ones: Gaussians fitted to their features (Heusel et al. 2017)
kernel_distance     the same question without Gaussians: unbiased MMD (Binkowski et al. 2018)
NaturalScene        one image against the statistics of real ones of its modality (after NIQE, Mittal et al. 2013)
spectrum_ratio      how much fine detail there is, right or wrong, against the truth
==================  ================================================================================================

The features are those of `features.Perceptual`: EfficientNet-lite0, neither VGG nor Inception. So these numbers are not
LPIPS, FID, KID or NIQE, whose definitions include their networks and training images, and compare only among
themselves. `torchmetrics_score` gives LPIPS and FID where their weights are. Which of the measures deserves trust is
not a matter of names: notebook 09 puts each to the test on errors of known kind. Images are (B, C, H, W) in [0, 1].
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from medsr_core import degradation, restoration
from medsr_core.images.stack import check_image
from medsr_core.networks.features import Perceptual

# --- features of an ImageNet network -------------------------------------------------------------------------------


@cache
def _network() -> Perceptual:
    return Perceptual()


def feature_distance(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared distance of normalised features (`features.Perceptual`), per image: shape (B,). 0 means equal."""
    with torch.inference_mode():
        return _network().per_image(sr, hr)


def features(images: Tensor, *, cell: int = 32, dark: float = 0.05) -> Tensor:
    """What the network sees in each cell of cell x cell pixels: one row of 112 numbers per cell (ours).

    The deepest features, 112 maps at 1/16 of the size, are averaged over the cell and divided by 5, which gives them
    about unit variance on scans. The earlier ones take weak noise for worse than a blur that wipes out everything. A
    whole image as one sample, as in FID, would need thousands of images; cells make tens of samples out of each.

    cell : a multiple of 16. What is left over at the lower and right edge is not looked at
    dark : cells of a lower mean are air, where no reader looks, and do not count; 0 keeps all

    Returns (number of cells, 112). Raises ValueError for a wrong cell, or an image without one.
    """
    check_image(images, name="image", unit_range=False)
    if cell % 16 or cell < 16:
        raise ValueError(f"cell is {cell}; give a multiple of 16, the size of a feature")
    rows, columns = images.shape[-2] // cell, images.shape[-1] // cell
    if min(rows, columns) < 1:
        raise ValueError(f"an image of {images.shape[-2]}x{images.shape[-1]} pixels holds no cell of {cell}x{cell}")
    network, whole = _network(), images[..., : rows * cell, : columns * cell].float()
    with torch.inference_mode():
        maps = network.features((whole.expand(-1, 3, -1, -1) - network.mean) / network.std)[-1]
    table = F.adaptive_avg_pool2d(maps / 5, (rows, columns)).permute(0, 2, 3, 1).flatten(0, 2)
    bright = F.avg_pool2d(whole.mean(1, keepdim=True), cell).flatten() >= dark
    return table[bright].clone()


# --- two sets of images ---------------------------------------------------------------------------------------------


def frechet_distance(a: Tensor, b: Tensor, *, dimensions: int | None = 16) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2) of Gaussians fitted to two sets (Heusel et al. 2017, eq. 6).

    a, b : images (B, C, H, W), or rows of `features` (n, d)
    dimensions : project both sets on so many principal axes of their union first (ours); None keeps all

    Biased: two samples of *one* distribution have a distance above 0, the more so the fewer samples and the more
    dimensions. Warns below ten samples per dimension. Compare only distances of equal n, and with that of real to real.
    """
    x, y = _rows(a), _rows(b)
    if dimensions is not None and dimensions < x.shape[1]:
        both = torch.cat([x, y])
        axes = torch.linalg.eigh(both.T.cov())[1][:, -dimensions:]
        x, y = (x - both.mean(0)) @ axes, (y - both.mean(0)) @ axes
    if min(len(x), len(y)) < 10 * x.shape[1]:
        few = f"{min(len(x), len(y))} samples in {x.shape[1]} dimensions"
        warnings.warn(f"the Frechet distance of {few} is biased upwards; give more images", stacklevel=2)
    root = _root(x.T.cov())
    mixed = torch.linalg.eigvalsh(root @ y.T.cov() @ root).clamp(min=0).sqrt().sum()
    means = (x.mean(0) - y.mean(0)).square().sum()
    return float(means + x.T.cov().trace() + y.T.cov().trace() - 2 * mixed)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (x . y / d + 1)^3, unbiased (Binkowski et al. 2018, eq. 4).

    a, b : images (B, C, H, W), or rows of `features` (n, d). Two samples of one distribution have a distance around 0,
    of either sign, however few they are; but not if SR images are compared with *their own* HR images, which are more
    like them than chance allows. Give other real images.
    """
    x, y = _rows(a), _rows(b)

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return (u @ v.T / u.shape[1] + 1) ** 3

    def within(u: Tensor) -> Tensor:
        similar = kernel(u, u)
        return (similar.sum() - similar.trace()) / (len(u) * (len(u) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def _rows(sample: Tensor) -> Tensor:
    """Rows of features in float64, of images or as given."""
    rows = (features(sample) if sample.ndim == 4 else sample).double()
    if rows.ndim != 2 or len(rows) < 2 or not rows.isfinite().all():
        raise ValueError(f"expected images or two or more finite rows of features, got shape {tuple(sample.shape)}")
    return rows


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


# --- natural scene statistics ---------------------------------------------------------------------------------------


class NaturalScene:
    """How far an image's local statistics are from those of real ones: no truth needed (Mittal, Soundararajan & Bovik
    2013, "Making a completely blind image quality analyzer").

    Locally normalised pixels of undistorted photographs follow one family of curves; blur, noise and blocks change its
    shape. Fitted on photographs it is NIQE. MRI and ultrasound are no photographs, so `fit` learns from real scans of
    the modality. Colour images are made gray by their mean. Ours: patches of 48 pixels (paper: 96) that overlap by
    half, since scans are small; and only patches that have structure, in fitting *and* in scoring, since the dark
    surroundings of a head are no scene.
    """

    def __init__(self, *, patch: int = 48, sharp: float = 0.5):
        """`patch`: side in pixels. `sharp`: a patch needs this share of the sharpest one's contrast (paper: 0.75)."""
        if patch % 4 or patch < 16:
            raise ValueError(f"patch is {patch}; give a multiple of 4, of 16 pixels or more")
        self.patch, self.sharp = patch, sharp
        self.mean = self.cov = torch.empty(0)

    def fit(self, images: Iterable[Tensor]) -> NaturalScene:
        """Learn what is normal from real images, each (B, C, H, W); needs 100 patches, better several hundred."""
        rows = torch.cat([self._patches(one[None]) for image in images for one in image])
        if len(rows) < 100:
            raise ValueError(f"{len(rows)} patches cannot fix a 36-dimensional Gaussian; give more or larger images")
        self.mean, self.cov = rows.mean(0), rows.T.cov()
        return self

    def score(self, images: Tensor) -> Tensor:
        """Distance from what is normal per image, shape (B,), less is more natural (eq. 10)."""
        if not len(self.mean):
            raise ValueError("fit it on real images first: NaturalScene().fit(images)")
        return torch.stack([self._distance(self._patches(one[None])) for one in images]).float()

    def _distance(self, rows: Tensor) -> Tensor:
        cov = (self.cov + rows.T.cov()) / 2 if len(rows) > 1 else self.cov
        gap = rows.mean(0) - self.mean
        return (gap @ torch.linalg.pinv(cov, hermitian=True) @ gap).clamp(min=0).sqrt()

    def _patches(self, image: Tensor) -> Tensor:
        """(1, C, H, W) -> one row of 36 features for each patch with structure: 18 at full and 18 at half the size."""
        check_image(image, name="image", unit_range=False)
        if min(image.shape[-2:]) < self.patch:
            raise ValueError(f"{image.shape[-2]}x{image.shape[-1]} pixels hold no patch of {self.patch}x{self.patch}")
        gray, rows, kept = image.double().mean(1, keepdim=True), [], torch.empty(0)
        for side in (self.patch, self.patch // 2):
            normalised, contrast = mscn(gray)
            if side == self.patch:
                sharpness = _cut(contrast, side).mean((1, 2))
                kept = sharpness >= self.sharp * sharpness.max()
            rows.append(_statistics(_cut(normalised, side)[kept]))
            height, width = (n - n % 2 for n in gray.shape[-2:])
            gray = degradation.bicubic(2)(gray[..., :height, :width])
        return torch.cat(rows, 1)


def mscn(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Mean-subtracted, contrast-normalised pixels and the local contrast, both like `gray` (B, 1, H, W) (eqs. 1-3).

    Gaussian window of 7x7, sigma 7/6; the constant in the denominator is one gray level of 255.
    """
    tap = torch.exp(-0.5 * ((torch.arange(7, dtype=gray.dtype) - 3) / (7 / 6)) ** 2)
    window = (tap[:, None] * tap / tap.sum() ** 2)[None, None].to(gray.device)
    padded = F.pad(gray, (3, 3, 3, 3), mode="replicate")
    mean = F.conv2d(padded, window)
    contrast = (F.conv2d(padded**2, window) - mean**2).clamp(min=0).sqrt()
    return (gray - mean) / (contrast + 1 / 255), contrast


def generalised_gaussian(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape, left and right scale of an asymmetric generalised Gaussian, by moments, for each row (n, k) (eqs. 4-8).

    Density ~ exp(-(|x| / scale)^shape), with one scale for each sign. Shape 2 is a Gaussian, 1 a Laplacian. Between 0.2
    and 10 (Lasmar et al. 2009). Returns three tensors of shape (n,).
    """
    tiny = 1e-12
    left, right = ((x * (x.sign() == s)).square().sum(1) / ((x.sign() == s).sum(1) + tiny) for s in (-1, 1))
    left, right = (left + tiny).sqrt(), (right + tiny).sqrt()
    skew = left / right
    ratio = x.abs().mean(1) ** 2 / (x.square().mean(1) + tiny) * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes = torch.arange(0.2, 10, 0.001, dtype=x.dtype, device=x.device)
    known = (2 * (2 / shapes).lgamma() - (1 / shapes).lgamma() - (3 / shapes).lgamma()).exp()  # grows with the shape
    shape = shapes[torch.searchsorted(known, ratio).clamp(max=len(shapes) - 1)]
    scale = (((1 / shape).lgamma() - (3 / shape).lgamma()) / 2).exp()
    return shape, left * scale, right * scale


def _statistics(patches: Tensor) -> Tensor:
    """(n, side, side) -> (n, 18): shape and scale of the pixels; shape, mean and scales of four neighbour products."""
    shape, left, right = generalised_gaussian(patches.flatten(1))
    columns = [shape, (left + right) / 2]
    for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = generalised_gaussian((patches * patches.roll(step, (1, 2))).flatten(1))
        mean = (right - left) * ((2 / shape).lgamma() - (1 / shape).lgamma()).exp()
        columns += [shape, mean, left, right]
    return torch.stack(columns, 1)


def _cut(image: Tensor, side: int) -> Tensor:
    """(1, 1, H, W) -> (n, side, side): squares that overlap by half."""
    return image[0, 0].unfold(0, side, side // 2).unfold(1, side, side // 2).flatten(0, 1)


# --- fine detail ----------------------------------------------------------------------------------------------------


def spectrum(images: Tensor) -> tuple[Tensor, Tensor]:
    """Radially averaged power spectrum of each image, mean removed, under a Hann window, averaged over channels.

    Returns frequencies (k,) in cycles per pixel, up to 0.5, and power (B, k).
    """
    height, width = images.shape[-2:]
    frequencies = torch.arange(1, min(height, width) // 2 + 1) / (min(height, width) // 2 * 2)
    return frequencies, height * width * restoration.spectrum(images, frequencies)


def spectrum_ratio(sr: Tensor, hr: Tensor, *, band: tuple[float, float] = (0.125, 0.5)) -> Tensor:
    """Power of SR over power of HR at the frequencies of `band`, per image: shape (B,).

    band : lowest and highest frequency in cycles per pixel. 0.125 is the highest that an LR image of factor 4 has

    1: as much fine detail as the truth has. Less: too smooth. More: too rough. Blind to where the detail is.
    """
    if sr.shape != hr.shape:
        raise ValueError(f"SR is {tuple(sr.shape)} but HR is {tuple(hr.shape)}; compare images of one size")
    frequency, power = spectrum(sr)
    inside = (frequency >= band[0]) & (frequency <= band[1])
    if not inside.any():
        raise ValueError(f"no frequency lies in the band {band}; give two numbers from 0 to 0.5 cycles per pixel")
    rings = frequency[inside]  # a ring holds frequencies in proportion to its radius
    return (power[:, inside] * rings).sum(1) / (spectrum(hr)[1][:, inside] * rings).sum(1)


# --- the real ones, where their weights are -------------------------------------------------------------------------


def torchmetrics_score(name: str, sr: Tensor, hr: Tensor) -> float:
    """LPIPS (AlexNet) or FID (Inception) by torchmetrics: `name` is "lpips" or "fid". Both download weights once.

    Raises ImportError if a package is missing, OSError if the weights are not there and cannot be fetched.
    """
    if name not in ("lpips", "fid"):
        raise ValueError(f"name is {name!r}; give 'lpips' or 'fid'")
    a, b = (image.float().clamp(0, 1).expand(-1, 3, -1, -1) for image in (sr, hr))
    try:
        image = importlib.import_module("torchmetrics.image")
        if name == "lpips":
            measure = image.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
            return float(measure(a, b))
        measure = image.FrechetInceptionDistance(normalize=True)
        measure.update(b, real=True)
        measure.update(a, real=False)
        return float(measure.compute())
    except (ImportError, AttributeError) as error:
        need = "pip install torchmetrics torchvision" + (" torch-fidelity" if name == "fid" else "")
        raise ImportError(f"{name.upper()} needs packages that are not here ({error}): {need}") from None
    except OSError as error:
        raise OSError(f"{name.upper()}'s weights are not in torch's cache and could not be fetched: {error}") from error
