"""What an image file holds, as arrays: the stack, its values and range, and the one check every image passes."""

from __future__ import annotations

import os
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
        raise ImageFileError(f"{path}: has NaN or infinite values; replace them first, e.g. with numpy.nan_to_num")
    return low, high


def levels(pixels: Tensor, top: int) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] as integers 0 to top, 255 or 65535, of shape (N, H, W) or (N, H, W, 3)."""
    array = (pixels.double() * top).round().permute(0, 2, 3, 1).numpy().astype(np.uint8 if top == 255 else np.uint16)
    return array[..., 0] if array.shape[-1] == 1 else array


def is_deep(stack: Stack) -> bool:
    """Whether the file stored more than 8 bits."""
    return stack.dtype not in ("uint8", "bool")


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
