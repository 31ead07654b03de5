"""What an image file holds, as arrays: the stack, its values and range, and the one check every image passes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    "DICOM": (".dcm", ".dicom"),
    "NIfTI": (".nii", ".nii.gz", ".hdr", ".img"),
    "bitmap": (".bmp", ".ppm", ".pgm"),
}
PACKED = 5000  # bytes that one byte of a compressed picture may stand for, at most (deflate: 1032)
ROWS = 256  # of an image, at most, that a writer holds at once
EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)


class ImageFileError(ValueError):
    """A file that is no image we can read, or an image that its file format cannot hold; the message says which."""


@dataclass(frozen=True)
class Stack:
    """What one file holds.

    Attributes
    ----------
    pixels : Tensor of shape (N, C, H, W), float32 in [0, 1]; N slices, frames or pages, C = 1 or 3
    spacing : millimetres between the centres of neighbouring (rows, columns), None if the file does not say
    value_range : the stored values (after DICOM or NIfTI rescaling) that 0 and 1 stand for
    dtype : numpy name of the type the file stores, for writing back
    header : what `write` needs to write the same kind of file again: for DICOM the data set without its pixels,
        for NIfTI (header, canonical affine, shape)
    """

    pixels: Tensor
    spacing: tuple[float, float] | None = None
    value_range: tuple[float, float] = (0.0, 255.0)
    dtype: str = "uint8"
    header: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Bands:
    """Images that are made while they are written, so that they need not fit into memory.

    Attributes
    ----------
    shape : (N, C, H, W) of all of them
    bands : their rows, Tensors (n, C, rows, W) in [0, 1]: from the top of the first image to the bottom of the last;
        several images at once only if their rows are whole (rows = H)
    """

    shape: tuple[int, ...]
    bands: Iterable[Tensor]

    def __iter__(self) -> Iterator[tuple[int, int, Tensor]]:
        """(image, first row, rows), checked and in [0, 1], of shape (C, rows, W), at most `ROWS` at a time."""
        image = top = 0
        for band in self.bands:
            for picture in check_image(band, name="pixels").detach():
                for rows in picture.split(ROWS, -2):
                    yield image, top, rows.cpu().clamp(0, 1)
                    top += rows.shape[-2]
                image, top = (image + 1, 0) if top == self.shape[-2] else (image, top)
        if (image, top) != (self.shape[0], 0):
            raise ValueError(f"{self.shape[0]} images were to be written; only {image}, and {top} rows, came")


def format_of(path: str | os.PathLike[str]) -> str:
    """Name of the format, a key of `FORMATS`; ImageFileError listing the known extensions if it is none of them."""
    extension = extension_of(Path(path))
    for kind, extensions in FORMATS.items():
        if extension in extensions:
            return kind
    raise ImageFileError(f"{path}: unknown extension '{extension}'; known are {', '.join(EXTENSIONS)}")


def kind_of(path: str | os.PathLike[str]) -> str:
    """`format_of`, or DICOM for a file of another name that begins as one: those on hospitals' discs have no ending."""
    path = Path(path)
    if extension_of(path) not in EXTENSIONS and path.is_file() and begins_as_dicom(path):
        return "DICOM"
    return format_of(path)


def begins_as_dicom(path: Path) -> bool:
    """128 bytes and the letters DICM, and not the index of a disc."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" and path.name.upper() != "DICOMDIR"


def extension_of(path: Path) -> str:
    """The extension in small letters, both parts of .nii.gz."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def check_size(path: Path, promised: float, held: int, *, packed: bool) -> None:
    """ImageFileError if the header promises more bytes than the file can hold, before memory is asked for them."""
    if promised > held * (PACKED if packed else 1):
        raise ImageFileError(
            f"{path} is cut short or damaged: its header promises more pixels than it holds; copy or download it again"
        )


# --- values ---------------------------------------------------------------------------------------------------------


def to_stack(array: np.ndarray, path: Path, **known: Any) -> Stack:
    """Make a stack of an array (N, H, W) or (N, H, W, C); without a range, that of the type or min..max."""
    low, high = known.pop("value_range", None) or range_of(array, path)
    unit: Any = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    unit = (unit - low) / ((high - low) or 1.0)
    unit = unit[:, None] if unit.ndim == 3 else unit.transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(np.ascontiguousarray(unit, dtype=np.float32))
    return Stack(pixels, value_range=(float(low), float(high)), **{"dtype": array.dtype.name, **known})


def range_of(array: np.ndarray, path: Path, *, sixteen_bit_is_full: bool = True) -> tuple[float, float]:
    """Return the values that 0 and 1 stand for: of the type for photographs, the least and greatest otherwise."""
    if array.dtype == bool:
        return 0.0, 1.0
    if array.dtype == np.uint8 or (array.dtype == np.uint16 and sixteen_bit_is_full):
        return 0.0, float(np.iinfo(array.dtype).max)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ImageFileError(f"{path}: has NaN or infinite values; replace them, e.g. by 0")
    return low, high


def levels(rows: Tensor, top: int) -> np.ndarray:
    """Rows (C, h, W) in [0, 1] as integers 0 to top, 255 or 65535, of shape (h, W) or (h, W, 3)."""
    array = (rows.double() * top).round().permute(1, 2, 0).numpy().astype(np.uint8 if top == 255 else np.uint16)
    return array[..., 0] if array.shape[-1] == 1 else array


def is_deep(stack: Stack) -> bool:
    """Whether the file stored more than 8 bits."""
    return stack.dtype not in ("uint8", "bool")


def kept(shape: tuple[int, ...], like: Stack) -> tuple[bytes | None, tuple[float, float] | None]:
    """Colour profile and resolution of a photograph that has grown to `shape`."""
    header = like.header if isinstance(like.header, dict) else {}
    dpi = header.get("dpi")
    if dpi:
        rows, columns = (new / old for new, old in zip(shape[-2:], like.pixels.shape[-2:], strict=True))
        dpi = (float(dpi[0]) * columns, float(dpi[1]) * rows)
    return (header.get("icc") if shape[1] == like.pixels.shape[1] else None), dpi


# --- the check ------------------------------------------------------------------------------------------------------


def check_image(image: Tensor, *, name: str = "image", unit_range: bool = True) -> Tensor:
    """Return `image` unchanged if it is one, else say what is wrong and what to do.

    Parameters
    ----------
    image : Tensor of shape (B, C, H, W), floating point, C = 1 or 3
    name : what the error message calls it
    unit_range : whether values must lie in [0, 1] (up to 1e-4, since resampling overshoots)

    Raises
    ------
    TypeError : not a tensor, or an integer tensor
    ValueError : wrong number of axes or channels, NaN or infinite pixels, values outside [0, 1]
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"{name} is a {type(image).__name__}; expected a torch tensor of shape (B, C, H, W)")
    if not image.is_floating_point():
        raise TypeError(f"{name} has integer pixels ({image.dtype}); convert with image.float() / 255 (8-bit data)")
    if image.ndim != 4 or image.shape[1] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"{name} has shape {tuple(image.shape)}; expected (B, C, H, W), C = 1 or 3, no empty axis")
    low, high = (value.item() for value in image.detach().aminmax())
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise ValueError(f"{name} has NaN or infinite pixels; replace them first, e.g. with torch.nan_to_num")
    if unit_range and (low < -1e-4 or high > 1 + 1e-4):
        raise ValueError(f"{name} has values in [{low:.4g}, {high:.4g}]; scale to [0, 1], or use image.clamp(0, 1)")
    return image
