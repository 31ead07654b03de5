"""PNG, JPEG, TIFF, DICOM and NIfTI in and out, and the one check every image passes.

Inside the workbook an image is a float tensor in [0, 1] of shape (B, C, H, W), C = 1 or 3.

`read` never guesses the data range of a photograph: 8-bit values are divided by 255, 16-bit values by 65535. Scanner
data deeper than that (DICOM, NIfTI, float TIFF) has no agreed white; the file's own minimum and maximum over all its
slices become 0 and 1 (ours), and `Stack.value_range` remembers them, so that `write` can undo it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
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
    "NIfTI": (".nii", ".nii.gz"),
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


def read(path: str | os.PathLike[str]) -> Stack:
    """Read an image, volume or clip. The extension names the format (see `FORMATS`).

    Photographs: alpha is dropped, not composited (the colours under it are the data); a palette becomes RGB, 1-bit
    becomes 0 and 1, CMYK becomes RGB, the EXIF orientation is applied. RGB stays RGB even if its channels are equal.
    A TIFF of N pages gives N images; a float TIFF within [0, 1] is taken as it is. Pillow reads 16-bit *colour* PNG
    as 8 bits; use TIFF for those.
    DICOM: rescale slope and intercept are applied, MONOCHROME1 is inverted (1 is always white), YBR and palette
    colours become RGB.
    NIfTI: axial slices from feet to head, anterior up, the patient's right on the left of the picture (radiological
    convention), whatever the order in the file; of a 4-D file, the slices of each volume in turn.

    Raises
    ------
    FileNotFoundError : there is no such file
    ImageFileError : unknown extension; empty, truncated or unreadable file; no pixels in it; NaN or infinite pixels
    """
    from medsr_core.images import dicom, nifti

    path = Path(path)
    kind = format_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ImageFileError(f"{path}: the file is empty; copy or download it again")
    readers: dict[str, Callable[[Path], Stack]] = {"TIFF": _read_tiff, "DICOM": dicom.read, "NIfTI": nifti.read}
    try:
        return readers.get(kind, _read_photograph)(path)
    except ImageFileError:
        raise
    except Exception as error:  # each library has its own exceptions for a damaged file
        raise ImageFileError(f"{path}: cannot be read as {kind} ({error}); truncated, or another format?") from error


def write(path: str | os.PathLike[str], pixels: Tensor, *, like: Stack | None = None) -> None:
    """Write images; the extension names the format (see `FORMATS`). Nothing is lost if it fails half-way.

    Parameters
    ----------
    path : the file to write or replace
    pixels : Tensor of shape (N, C, H, W) in [0, 1]; only TIFF, DICOM and NIfTI hold N > 1, and NIfTI only C = 1
    like : the stack these images were made from: gives the depth, the value range, the spacing (divided by the
        upscale factor) and, from DICOM to DICOM and NIfTI to NIfTI, the header. Without it: 8 bits, no spacing.

    PNG and TIFF are 16-bit where the source was deeper than 8 (0 -> 0 and 1 -> 65535), else 8-bit; JPEG is 8-bit,
    quality 95, full-resolution colour. NIfTI is written in closest-canonical order with an affine of the same
    physical extent. DICOM is a derived, uncompressed image: ImageType DERIVED\\SECONDARY, new SOP and series UIDs.

    Raises
    ------
    TypeError, ValueError : `pixels` is no image batch (see `check_image`)
    FileNotFoundError : the folder does not exist
    ImageFileError : unknown extension, or the format cannot hold these images
    """
    from medsr_core.images import dicom, nifti

    path = Path(path)
    kind = format_of(path)
    pixels = check_image(pixels, name="pixels").detach().cpu().clamp(0, 1)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder; create it first")
    if len(pixels) > 1 and kind not in ("TIFF", "DICOM", "NIfTI"):
        raise ImageFileError(f"{path}: {kind} holds one image, not {len(pixels)}; write them one by one, or to .tif")
    writers = {"TIFF": _write_tiff, "DICOM": dicom.write, "NIfTI": nifti.write}
    # a complete file beside the old one, then a swap: a full disk or a kill leaves the old one whole
    part = path.with_name(f".{uuid.uuid4().hex}{_extension(path)}")
    try:
        writers.get(kind, _write_photograph)(part, pixels, like or Stack(pixels))
        os.replace(part, path)
    except ImageFileError as error:
        raise ImageFileError(f"{path}: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def format_of(path: str | os.PathLike[str]) -> str:
    """Name of the format, a key of `FORMATS`; ImageFileError listing the known extensions if it is none of them."""
    extension = _extension(Path(path))
    for kind, extensions in FORMATS.items():
        if extension in extensions:
            return kind
    raise ImageFileError(f"{path}: unknown extension '{extension}'; known are {', '.join(EXTENSIONS)}")


def _extension(path: Path) -> str:
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


# --- PNG, JPEG, TIFF ------------------------------------------------------------------------------------------------


def _read_photograph(path: Path) -> Stack:
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # Pillow's name for 16-bit gray
        array = np.asarray(image).astype(np.uint16)
    elif image.mode == "1":
        array = np.asarray(image)
    else:
        array = np.asarray(image.convert("L" if image.mode in ("L", "LA", "La") else "RGB"))
    return to_stack(array[None], path)


def _write_photograph(path: Path, pixels: Tensor, like: Stack) -> None:
    from PIL import Image

    gray_png = pixels.shape[1] == 1 and _extension(path) == ".png"
    array = levels(pixels, 65535 if gray_png and is_deep(like) else 255)[0]
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if format_of(path) == "JPEG" else {}
    Image.fromarray(array).save(path, **options)


def _read_tiff(path: Path) -> Stack:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        page, series = tif.pages.first, tif.series[0]
        if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:  # CMYK: Pillow knows the conversion
            return _read_photograph(path)
        array, axes, colormap = series.asarray(), series.axes, page.colormap
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and colormap is not None:
        array, axes = (np.moveaxis(colormap[:, array], 0, -1) >> 8).astype(np.uint8), axes + "S"
    if "S" in axes:
        array, axes = np.moveaxis(array, axes.index("S"), -1), axes.replace("S", "") + "S"
        array = array[..., : 3 if array.shape[-1] >= 3 else 1]  # alpha dropped
    else:
        array = array[..., None]
    array = array.reshape(-1, *array.shape[-3:])
    unit = np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1
    stack = to_stack(array, path, value_range=(0.0, 1.0) if unit else None)
    return Stack(1 - stack.pixels, None, stack.value_range[::-1], stack.dtype) if inverted else stack


def _write_tiff(path: Path, pixels: Tensor, like: Stack) -> None:
    import tifffile

    array = levels(pixels, 65535 if is_deep(like) else 255)
    photometric = "minisblack" if pixels.shape[1] == 1 else "rgb"
    tifffile.imwrite(path, array[0] if len(array) == 1 else array, photometric=photometric)


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
