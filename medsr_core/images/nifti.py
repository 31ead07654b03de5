"""NIfTI in and out, for `medsr_core.images`: axial slices, anterior up, the patient's right on the left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medsr_core.images.stack import ImageFileError, Stack, range_of, to_stack


def read(path: Path) -> Stack:
    """Read a NIfTI volume, or several along a fourth axis, as axial slices."""
    import nibabel

    image: Any = nibabel.load(path)
    if len(image.shape) == 2:
        image = nibabel.Nifti1Image(np.asanyarray(image.dataobj)[..., None], image.affine, image.header)
    image = nibabel.as_closest_canonical(nibabel.squeeze_image(image))
    array = np.asanyarray(image.dataobj)
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
        raise ImageFileError(f"{path}: shape {array.shape}, type {array.dtype}; expected gray values (X, Y, Z[, T])")
    array = array[..., None] if array.ndim == 3 else array
    # RAS axes: x to the patient's right, y to the front. Rows from the front back, columns from right to left
    slices = array[::-1, ::-1].transpose(3, 2, 1, 0)  # (T, Z, rows, columns)
    header = (image.header.copy(), image.affine, slices.shape[:2])
    across, down = image.header.get_zooms()[:2]
    wide = array.dtype != np.uint8
    known = {"value_range": range_of(array, path, sixteen_bit_is_full=False)} if wide else {}
    spacing = (float(down), float(across))
    return to_stack(slices.reshape(-1, *slices.shape[2:]), path, spacing=spacing, header=header, **known)


def write(path: Path, pixels: Tensor, like: Stack) -> None:
    """Write gray slices (N, 1, H, W) as one NIfTI volume of the same physical extent."""
    import nibabel

    if pixels.shape[1] != 1:
        raise ImageFileError("NIfTI holds gray values here; write colours as .png, .tif or .dcm")
    rows, columns = pixels.shape[-2:]
    fy, fx = rows / like.pixels.shape[-2], columns / like.pixels.shape[-1]
    if isinstance(like.header, tuple):
        header, affine, grid = like.header
        if len(pixels) != grid[0] * grid[1]:
            raise ImageFileError(f"{len(pixels)} images for a volume of {grid[0] * grid[1]} slices; write all of them")
    else:
        down, across = like.spacing or (1.0, 1.0)
        header, affine, grid = nibabel.Nifti1Header(), np.diag([across, down, 1.0, 1.0]), (1, len(pixels))
        header["sform_code"] = 2
    # index in the small grid of a voxel of the large one: the outer faces of both coincide
    shrink = np.diag([1 / fx, 1 / fy, 1.0, 1.0])
    shrink[:2, 3] = (1 / fx - 1) / 2, (1 / fy - 1) / 2
    low, high = like.value_range
    values = low + pixels[:, 0].double().numpy() * (high - low)
    whole = like.dtype in ("uint8", "int8", "uint16", "int16", "int32")
    values = np.rint(values).astype(like.dtype) if whole else values.astype(np.float32)
    values = values.reshape(*grid, rows, columns).transpose(3, 2, 1, 0)[::-1, ::-1]
    image = nibabel.Nifti1Image(values[..., 0] if grid[0] == 1 else values, affine @ shrink, header, dtype=values.dtype)
    for name in ("sform", "qform"):
        getattr(image, f"set_{name}")(affine @ shrink, int(header[f"{name}_code"]) or (2 if name == "sform" else 0))
    nibabel.save(image, path)
