"""Photographs: PNG, JPEG and bitmaps by Pillow, TIFF by tifffile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medsr_core.images.stack import Stack, extension_of, format_of, is_deep, levels, to_stack


def read(path: Path) -> Stack:
    """Read PNG, JPEG or a bitmap by Pillow."""
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


def write(path: Path, pixels: Tensor, like: Stack) -> None:
    """Write one image (1, C, H, W) as PNG, JPEG or a bitmap."""
    from PIL import Image

    gray_png = pixels.shape[1] == 1 and extension_of(path) == ".png"
    array = levels(pixels, 65535 if gray_png and is_deep(like) else 255)[0]
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if format_of(path) == "JPEG" else {}
    Image.fromarray(array).save(path, **options)


def read_tiff(path: Path) -> Stack:
    """Read all pages of the first series of a TIFF."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        page, series = tif.pages.first, tif.series[0]
        if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:  # CMYK: Pillow knows the conversion
            return read(path)
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


def write_tiff(path: Path, pixels: Tensor, like: Stack) -> None:
    """Write images (N, C, H, W) as the pages of a TIFF."""
    import tifffile

    array = levels(pixels, 65535 if is_deep(like) else 255)
    photometric = "minisblack" if pixels.shape[1] == 1 else "rgb"
    tifffile.imwrite(path, array[0] if len(array) == 1 else array, photometric=photometric)
