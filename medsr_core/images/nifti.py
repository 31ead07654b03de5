"""NIfTI-1 and -2 in and out (.nii, .nii.gz, .hdr with .img), for `medsr_core.images`: axial slices, anterior up, the
patient's right on the left.

What is written has the source's order of axes and its header. qform and sform are two statements of where the voxels
are, the scanner's and often a template's; each keeps its own matrix and code, scaled by itself.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medsr_core.images.stack import ImageFileError, Stack, range_of, to_stack


def read(path: Path) -> Stack:
    """Read a NIfTI volume, or several along a fourth axis, as axial slices."""
    import nibabel

    _check_gzip(path)
    image: Any = nibabel.load(path)
    if len(image.shape) == 2:
        image = type(image)(np.asanyarray(image.dataobj)[..., None], image.affine, image.header)
    image = nibabel.squeeze_image(image)
    turn = nibabel.io_orientation(image.affine)
    array = nibabel.apply_orientation(np.asanyarray(image.dataobj), turn)
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
        raise ImageFileError(f"{path}: shape {array.shape}, type {array.dtype}; expected gray values (X, Y, Z[, T])")
    array = array[..., None] if array.ndim == 3 else array
    # RAS axes: x to the patient's right, y to the front. Rows from the front back, columns from right to left
    slices = array[::-1, ::-1].transpose(3, 2, 1, 0)  # (T, Z, rows, columns)
    across, down = (float(image.header.get_zooms()[int(np.where(turn[:, 0] == axis)[0][0])]) for axis in (0, 1))
    wide = array.dtype != np.uint8
    known = {"value_range": range_of(array, path, sixteen_bit_is_full=False)} if wide else {}
    header = (type(image), image.header.copy(), turn, slices.shape[:2])
    return to_stack(slices.reshape(-1, *slices.shape[2:]), path, spacing=(down, across), header=header, **known)


def write(path: Path, pixels: Tensor, like: Stack) -> None:
    """Write gray slices (N, 1, H, W) as one NIfTI volume of the same physical extent."""
    import nibabel

    if pixels.shape[1] != 1:
        raise ImageFileError("NIfTI holds gray values here; write colours as .png, .tif or .dcm")
    rows, columns = pixels.shape[-2:]
    grown = np.array([columns / like.pixels.shape[-1], rows / like.pixels.shape[-2], 1.0])  # along x, y, z
    if isinstance(like.header, tuple):
        kind, header, turn, grid = like.header
        if len(pixels) != grid[0] * grid[1]:
            raise ImageFileError(f"{len(pixels)} images for a volume of {grid[0] * grid[1]} slices; write all of them")
        header = header.copy()
    else:
        down, across = like.spacing or (1.0, 1.0)
        kind, header, grid = nibabel.Nifti1Image, nibabel.Nifti1Header(), (1, len(pixels))
        header.set_data_shape((1, 1, 1))
        header.set_zooms((across, down, 1.0))
        header.set_sform(np.diag([across, down, 1.0, 1.0]), 2)
        turn = np.array([[0, 1], [1, 1], [2, 1]])
    low, high = like.value_range
    values = low + pixels[:, 0].double().numpy() * (high - low)
    whole = like.dtype in ("uint8", "int8", "uint16", "int16", "int32")
    values = np.rint(values).astype(like.dtype) if whole else values.astype(np.float32)
    values = values.reshape(*grid, rows, columns).transpose(3, 2, 1, 0)[::-1, ::-1]
    values = values[..., 0] if grid[0] == 1 else values
    values = nibabel.apply_orientation(values, nibabel.orientations.ornt_transform(_standing(), turn))
    forms = {name: getattr(header, f"get_{name}")(coded=True) for name in ("qform", "sform")}
    zooms = header.get_zooms()
    image = kind(values, None, header, dtype=values.dtype)
    shrink = _shrink(grown[turn[:, 0].astype(int)])
    image.header.set_zooms(
        [z * s for z, s in zip(zooms[:3], np.diag(shrink), strict=False)] + list(zooms[3 : values.ndim])
    )
    for name, (matrix, code) in forms.items():
        getattr(image.header, f"set_{name}")(None if matrix is None else matrix @ shrink, int(code))
    _save(image, path)


def _standing() -> np.ndarray:
    """The orientation of an array whose axes are R, A, S."""
    return np.array([[0, 1], [1, 1], [2, 1]])


def _shrink(grown: np.ndarray) -> np.ndarray:
    """Index in the small grid of a voxel of the large one, which is `grown` times finer: their outer faces coincide."""
    shrink = np.diag([*(1 / grown), 1.0])
    shrink[:3, 3] = (1 / grown - 1) / 2
    return shrink


def _save(image: Any, path: Path) -> None:
    """Save, and of a pair bring the other file into place first; `path` itself is the caller's part file."""
    import nibabel

    if path.suffix.lower() not in (".hdr", ".img"):
        nibabel.save(image, path)
        return
    pair = nibabel.Nifti2Pair if isinstance(image.header, nibabel.Nifti2Header) else nibabel.Nifti1Pair
    target = path.with_name(path.name.removeprefix(".").rsplit(".", 2)[0])  # .NAME.hdr.1234abcd.hdr
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        nibabel.save(pair.from_image(image), Path(folder) / f"a{path.suffix}")
        other = ".img" if path.suffix.lower() == ".hdr" else ".hdr"
        os.replace(Path(folder) / f"a{other}", target.with_suffix(other))
        os.replace(Path(folder) / f"a{path.suffix}", path)


def _check_gzip(path: Path) -> None:
    """Read a gzipped file to its end, where its checksum is: a reader that stops at the last voxel misses damage."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if zipped and path.suffix.lower() != ".gz":
        raise ImageFileError(f"{path} is gzipped: name it {path.name}.gz")
    if path.suffix.lower() != ".gz":
        return
    try:
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise ImageFileError(f"{path} is damaged ({error}); copy or download it again") from None
