"""PNG, JPEG, TIFF, DICOM and NIfTI in and out, and the one check every image passes.

Inside the workbook an image is a float tensor in [0, 1] of shape (B, C, H, W), C = 1 or 3.

`read` never guesses the data range of a photograph: 8-bit values are divided by 255, 16-bit values by 65535. Scanner
data deeper than that (DICOM, NIfTI, float TIFF) has no agreed white; the file's own minimum and maximum over all its
slices become 0 and 1 (ours), and `Stack.value_range` remembers them, so that `write` can undo it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from medsr_core.files import whole
from medsr_core.images import dicom, nifti, photographs, png
from medsr_core.images.stack import (
    EXTENSIONS,
    FORMATS,
    Bands,
    ImageFileError,
    Stack,
    begins_as_dicom,
    check_image,
    extension_of,
    format_of,
    is_deep,
    kind_of,
    levels,
    range_of,
    to_stack,
)

__all__ = [
    "EXTENSIONS", "FORMATS", "Bands", "ImageFileError", "Stack", "begins_as_dicom", "check_image",
    "extension_of", "format_of", "is_deep", "kind_of", "levels", "range_of", "read", "to_stack", "write"
]  # fmt: skip


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
    path = Path(path)
    kind = kind_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ImageFileError(f"{path}: the file is empty; copy or download it again")
    readers: dict[str, Callable[[Path], Stack]]
    readers = {"TIFF": photographs.read_tiff, "DICOM": dicom.read, "NIfTI": nifti.read}
    try:
        return readers.get(kind, photographs.read)(path)
    except (ImageFileError, MemoryError):
        raise
    except Exception as error:  # each library has its own exceptions for a damaged file
        what = "damaged, cut short or another format; copy or download it again"
        raise ImageFileError(f"{path} cannot be read as {kind}: {what}") from error


def write(path: str | os.PathLike[str], pixels: Tensor | Bands, *, like: Stack | None = None) -> None:
    """Write images; the extension names the format (see `FORMATS`). Nothing is lost if it fails half-way.

    Parameters
    ----------
    path : the file to write or replace
    pixels : Tensor of shape (N, C, H, W) in [0, 1], or `Bands` of it, which are written as they come; only TIFF, DICOM
        and NIfTI hold N > 1, and NIfTI only C = 1
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
    path = Path(path)
    kind = format_of(path)
    if isinstance(pixels, Tensor):
        pixels = Bands(tuple(check_image(pixels, name="pixels").shape), [pixels])
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder; create it first")
    if pixels.shape[0] > 1 and kind not in ("TIFF", "DICOM", "NIfTI"):
        raise ImageFileError(
            f"{path}: {kind} holds one image, not {pixels.shape[0]}; write them one by one, or to .tif"
        )
    writers: dict[str, Callable[[Path, Bands, Stack], None]]
    writers = {"PNG": png.write, "TIFF": photographs.write_tiff, "DICOM": dicom.write, "NIfTI": nifti.write}
    try:
        with whole(path) as part:
            writers.get(kind, photographs.write)(part, pixels, like or Stack(torch.zeros(()).expand(pixels.shape)))
    except ImageFileError as error:
        raise ImageFileError(f"{path}: {error}") from None
