"""How an image of a catalogued set becomes an HR image of the size the papers name.

The medical GAN's paper (Ahmad et al. 2022) gives sizes, 512x512, 240x240 and 1024x512, and not how images of other
sizes get there; SR3 (Saharia et al. 2021, section 4) says that it takes the largest central crop and area resampling,
and leaves out images that are smaller. LR images are made later, from these, by MATLAB-equivalent bicubic.
"""

from __future__ import annotations

import gzip
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_fetch.sets import DataError, Spacing
from medsr_core import images
from medsr_core.resampling import cubic, resize_matrix

EMPTY = 0.05  # a slice needs this share of its pixels above the air (ours)


def photograph(pixels: Tensor, side: int, rule: str) -> Tensor:
    """HR (1, C, side, side) of a photograph (1, C, H, W) in [0, 1].

    rule "medical" (DRIVE 565x584, STARE 700x605, CHASE_DB1 999x960, ISIC any size; ours): the largest central square,
        by antialiased bicubic to side x side. Nothing is enlarged: a smaller square stays as it is, cut evenly to a
        multiple of 16.
    rule "sr3" (faces, ImageNet): the largest central square, by area resampling to side x side; smaller ones are left
        out before they get here.
    """
    square = _centre(pixels, *[min(pixels.shape[-2:])] * 2)
    if square.shape[-1] < side:
        kept = max(16, square.shape[-1] // 16 * 16)
        return _centre(square, kept, kept)
    return _resize(square, (side, side), "cubic" if rule == "medical" else "box")


def ultrasound(pixels: Tensor, size: tuple[int, int], spacing: Spacing) -> tuple[Tensor, Spacing]:
    """HR (1, 1, 1024, 512) of a CAMUS frame of any size, and its spacing.

    Ours: the whole frame, by bicubic to exactly that many rows and columns, each axis by its own factor, antialiased
    where it shrinks. CAMUS frames have more rows than columns, as the paper's size has; those with fewer than 1024 rows
    are enlarged along the rows, so that their HR images hold no detail of that size: scores on them read high.
    """
    rows, columns = pixels.shape[-2:]
    down, across = spacing or (0.0, 0.0)
    resized = _resize(pixels, size, "cubic")
    return resized, (down * rows / size[0], across * columns / size[1]) if spacing else None


def mask(pixels: Tensor, side: int) -> Tensor:
    """The mask that goes with `photograph(..., side, "medical")`: same crop, area resampling, 1 from a half on."""
    square = _centre(pixels, *[min(pixels.shape[-2:])] * 2)
    if square.shape[-1] < side:
        return photograph(square, side, "medical")
    return (_resize(square, (side, side), "box") >= 0.5).float()


def axial(pixels: Tensor) -> Tensor:
    """A slice (1, 1, H, W) as it is stored, 240x240 in BraTS; other sizes are cut evenly to multiples of 16 (ours)."""
    height, width = pixels.shape[-2:]
    return _centre(pixels, max(16, height - height % 16), max(16, width - width % 16))


def _centre(pixels: Tensor, height: int, width: int) -> Tensor:
    height, width = min(height, pixels.shape[-2]), min(width, pixels.shape[-1])
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width].clone()


def _resize(pixels: Tensor, size: tuple[int, int], kernel: str) -> Tensor:
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels.clone()
    rows, columns = (_matrix(n, m, kernel) for n, m in zip(pixels.shape[-2:], size, strict=True))
    return (rows @ pixels @ columns.T).clamp(0, 1)


@lru_cache(maxsize=32)
def _matrix(n: int, m: int, kernel: str) -> Tensor:
    function, width = (cubic, 4.0) if kernel == "cubic" else (_area(m / n), 2.0)
    return resize_matrix(n, m, m / n, function, width, antialias=True).float()


def _area(scale: float) -> Any:
    """Share of an input pixel that an output pixel covers: area resampling, exact also for factors with a fraction."""
    edge = min(scale, 1.0) / 2  # half an input pixel, in output pixels

    def overlap(x: Tensor) -> Tensor:
        return ((x.abs() + edge).clamp(max=0.5) - (x.abs() - edge).clamp(min=-0.5)).clamp(min=0)

    return overlap


# --- volumes --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _volume(path: Path, modified: int) -> tuple[np.ndarray, Spacing]:
    """Array (contrasts, slices, rows, columns) in the file's own type, mapped from the disk if it is not compressed.

    Anterior up, the patient's right on the left, feet first, whatever the order in the file (as medsr_core.images).
    """
    import nibabel

    try:
        image: Any = nibabel.as_closest_canonical(nibabel.load(path))
        array = np.asanyarray(image.dataobj)
    except Exception as problem:  # nibabel, gzip and zlib each have their own
        raise DataError(f"{path}: cannot be read as NIfTI ({problem}); get or import the set again") from problem
    if array.ndim not in (3, 4) or array.dtype.kind not in "iuf":
        raise DataError(f"{path}: shape {array.shape}, type {array.dtype}; expected gray values (X, Y, Z[, contrasts])")
    across, down = image.header.get_zooms()[:2]
    array = array[..., None] if array.ndim == 3 else array
    return array[::-1, ::-1].transpose(3, 2, 1, 0), (float(down), float(across))


def look_into_volume(path: Path) -> list[list[Any]]:
    """For each contrast [least value, greatest value, slices that are not empty].

    A slice counts if at least 5 % of its pixels are above the air, which is what the volume's corner holds (ours).
    """
    array, _ = _volume(path, path.stat().st_mtime_ns)
    found = []
    for contrast in array:
        low, high = float(contrast.min()), float(contrast.max())
        if not np.isfinite([low, high]).all():
            raise DataError(f"{path}: has NaN or infinite values")
        air = contrast[0, 0, 0]
        found.append([low, high, [k for k, plane in enumerate(contrast) if (plane > air).mean() >= EMPTY]])
    return found


def read_slice(path: Path, contrast: int, index: int, low: float, high: float) -> tuple[Tensor, Spacing]:
    """One axial slice (1, 1, H, W); the volume's least and greatest value of that contrast are 0 and 1 (ours)."""
    array, spacing = _volume(path, path.stat().st_mtime_ns)
    plane = (array[contrast, index].astype(np.float32) - low) / ((high - low) or 1.0)
    return axial(torch.from_numpy(np.ascontiguousarray(plane, np.float32))[None, None]), spacing


# --- CAMUS and masks ------------------------------------------------------------------------------------------------


def read_frame(path: Path) -> tuple[Tensor, Spacing]:
    """A CAMUS frame (1, 1, H, W), NIfTI or MetaImage: the file's first axis is the columns, the second the rows."""
    if path.suffix == ".mhd":
        array, spacing = _metaimage(path)
    else:
        import nibabel

        try:
            image: Any = nibabel.squeeze_image(nibabel.load(path))
            array = np.asanyarray(image.dataobj)
        except Exception as problem:
            raise DataError(f"{path}: cannot be read as NIfTI ({problem}); get or import the set again") from problem
        spacing = tuple(float(side) for side in image.header.get_zooms()[:2])
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise DataError(f"{path}: shape {array.shape}; expected one frame (columns, rows)")
    pixels = torch.from_numpy(np.ascontiguousarray(array.T, np.float32))[None, None] / 255
    return images.check_image(pixels, name=str(path)), (spacing[1], spacing[0])


def _metaimage(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """An ITK MetaImage (.mhd and .raw beside it) of 8-bit pixels, axes in the file's order (x first)."""
    header = dict(re.findall(r"^(\w+) *= *(.*?) *$", path.read_text(encoding="latin-1"), re.MULTILINE))
    try:
        shape = tuple(int(number) for number in header["DimSize"].split())
        spacing = tuple(float(number) for number in header["ElementSpacing"].split())
        raw = (path.parent / Path(header["ElementDataFile"]).name).read_bytes()
        if header.get("CompressedData") == "True":
            raw = zlib.decompress(raw)
        if header["ElementType"] != "MET_UCHAR":
            raise ValueError(f"type {header['ElementType']}, expected MET_UCHAR")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F"), spacing
    except (KeyError, ValueError, OSError, zlib.error) as problem:
        raise DataError(f"{path}: cannot be read as MetaImage ({problem}); get or import the set again") from problem


def read_mask(path: Path) -> Tensor:
    """A vessel mask (1, 1, H, W) of 0 and 1: GIF, PNG or (gzipped) PPM, white on black."""
    from PIL import Image

    opened: Any = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    try:
        with opened as file, Image.open(file) as image:
            array = np.asarray(image.convert("L"))
    except Exception as problem:
        raise DataError(f"{path}: cannot be read as a mask ({problem}); get or import the set again") from problem
    return torch.from_numpy((array > 127).astype(np.float32))[None, None]
