"""NIfTI-1 and -2 in and out (.nii, .nii.gz, .hdr with .img), for `medsr_core.images`: axial slices, anterior up, the
patient's right on the left.

What is written has the source's order of axes and its header. qform and sform are two statements of where the voxels
are, the scanner's and often a template's; each keeps its own matrix and code, scaled by itself.
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medsr_core.images.stack import Bands, ImageFileError, Stack, check_size, range_of, to_stack


def read(path: Path) -> Stack:
    """Read a NIfTI volume, or several along a fourth axis, as axial slices."""
    import nibabel

    held = _check_gzip(path)
    if path.suffix.lower() in (".hdr", ".img"):
        other = _other(path)
        held = other.stat().st_size if path.suffix.lower() == ".hdr" else held
    image: Any = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ImageFileError(f"{path} holds no NIfTI-1 or -2 volume; convert it to .nii")
    shape, dtype = image.shape, image.get_data_dtype()
    if dtype.names or dtype.kind not in "biuf":
        raise ImageFileError(f"{path} holds colours or complex values; give one gray value for each voxel")
    check_size(path, math.prod(shape) * dtype.itemsize, held, packed=False)
    if len(image.shape) == 2:
        image = type(image)(np.asanyarray(image.dataobj)[..., None], image.affine, image.header)
    image = nibabel.squeeze_image(image)
    turn = nibabel.io_orientation(image.affine)
    array = np.asanyarray(image.dataobj)
    if array.ndim not in (3, 4):
        raise ImageFileError(f"{path} has {array.ndim} dimensions, not 2 to 4; save the volumes one by one")
    slices = _axial(array, turn)
    across, down = (float(image.header.get_zooms()[int(np.where(turn[:, 0] == axis)[0][0])]) for axis in (0, 1))
    wide = array.dtype != np.uint8
    known = {"value_range": range_of(array, path, sixteen_bit_is_full=False)} if wide else {}
    header = (type(image), image.header.copy(), turn, slices.shape[:2])
    return to_stack(slices.reshape(-1, *slices.shape[2:]), path, spacing=(down, across), header=header, **known)


def write(path: Path, pixels: Bands, like: Stack) -> None:
    """Write gray slices (N, 1, H, W) as one NIfTI volume of the same physical extent."""
    import nibabel

    count, channels, rows, columns = pixels.shape
    if channels != 1:
        raise ImageFileError("NIfTI holds gray values here; write colours as .png, .tif or .dcm")
    grown = np.array([columns / like.pixels.shape[-1], rows / like.pixels.shape[-2], 1.0])  # along x, y, z
    if isinstance(like.header, tuple):
        kind, header, turn, (times, deep) = like.header
        if count != times * deep:
            raise ImageFileError(f"{count} images for a volume of {times * deep} slices; write all of them")
        header = header.copy()
    else:
        down, across = like.spacing or (1.0, 1.0)
        kind, header, times, deep = nibabel.Nifti1Image, nibabel.Nifti1Header(), 1, count
        header.set_data_shape((1, 1, 1))
        header.set_zooms((across, down, 1.0))
        header.set_sform(np.diag([across, down, 1.0, 1.0]), 2)
        turn = np.array([[0, 1], [1, 1], [2, 1]])  # R, A, S
    axes = turn[:, 0].astype(int)
    shape = (*np.array([columns, rows, deep])[axes].tolist(), *([times] if times > 1 else []))
    dtype = np.dtype(like.dtype if like.dtype in ("uint8", "int8", "uint16", "int16", "int32") else "float32")
    forms = {name: getattr(header, f"get_{name}")(coded=True) for name in ("qform", "sform")}
    zooms = header.get_zooms()
    image = kind(np.broadcast_to(dtype.type(0), shape), None, header, dtype=dtype)
    shrink = _shrink(grown[axes])
    small = [z * s for z, s in zip(zooms[:3], np.diag(shrink), strict=False)]
    image.header.set_zooms([*small, *zooms[3 : len(shape)]])
    for name, (matrix, code) in forms.items():
        getattr(image.header, f"set_{name}")(None if matrix is None else matrix @ shrink, int(code))
    _save(image, turn, path, pixels, like.value_range)


def _axial(array: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """A view (T, Z, rows, columns) of a file's array: rows from the front back, columns from right to left."""
    import nibabel

    array = nibabel.apply_orientation(array if array.ndim == 4 else array[..., None], turn)
    return array[::-1, ::-1].transpose(3, 2, 1, 0)


def _shrink(grown: np.ndarray) -> np.ndarray:
    """Index in the small grid of a voxel of the large one, which is `grown` times finer: their outer faces coincide."""
    shrink = np.diag([*(1 / grown), 1.0])
    shrink[:3, 3] = (1 / grown - 1) / 2
    return shrink


def _save(image: Any, turn: np.ndarray, path: Path, pixels: Bands, value_range: tuple[float, float]) -> None:
    """Save header and zeros, then put the slices where they belong; `path` itself is the caller's part file.

    Slices do not come in the order of the file, and gzip is only written in order: it is packed at the end.
    """
    import nibabel

    pair, low, high = path.suffix.lower() in (".hdr", ".img"), *value_range
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        header, data = (Path(folder) / f"a{ending}" for ending in ((".hdr", ".img") if pair else (".nii", ".nii")))
        if pair:
            two = isinstance(image.header, nibabel.Nifti2Header)
            image = (nibabel.Nifti2Pair if two else nibabel.Nifti1Pair).from_image(image)
        nibabel.save(image, header)
        proxy: Any = nibabel.load(header)
        stored = proxy.dataobj
        real = stored.dtype.kind == "f"
        for index, top, rows in pixels:
            values = low + rows[0].double().numpy() * (high - low)
            slices = _axial(np.memmap(data, stored.dtype, "r+", stored.offset, stored.shape, order="F"), turn)
            slices[*divmod(index, slices.shape[1]), top : top + len(values)] = values if real else np.rint(values)
        if path.suffix.lower() == ".gz":
            with data.open("rb") as plain, nibabel.openers.ImageOpener(str(path), "wb") as packed:
                shutil.copyfileobj(plain, packed, 1 << 20)
            return
        if pair:
            other = ".img" if path.suffix.lower() == ".hdr" else ".hdr"
            target = path.with_name(path.name.split(".", 2)[2])  # .1234abcd.NAME.hdr
            os.replace(data if other == ".img" else header, target.with_suffix(other))
        os.replace(data if path.suffix.lower() in (".img", ".nii") else header, path)


def _other(path: Path) -> Path:
    """The .img of a .hdr, and the other way round."""
    names = [
        path.with_suffix(ending) for ending in ((".img", ".IMG") if path.suffix.lower() == ".hdr" else (".hdr", ".HDR"))
    ]
    found = next((name for name in names if name.is_file()), None)
    if found is None:
        raise ImageFileError(f"{path} is half of a pair, and {names[0].name} is missing; put it into the same folder")
    return found


def _check_gzip(path: Path) -> int:
    """Read a gzipped file to its end, where its checksum is: a reader that stops at the last voxel misses damage.

    Returns the bytes that it holds, unpacked.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if zipped and path.suffix.lower() != ".gz":
        raise ImageFileError(f"{path} is gzipped: name it {path.name}.gz")
    if path.suffix.lower() != ".gz":
        return path.stat().st_size
    held = 0
    try:
        with gzip.open(path) as file:
            while read := len(file.read(1 << 22)):
                held += read
    except (OSError, EOFError, zlib.error) as error:
        what = "checksum (CRC) and content differ" if "CRC" in str(error) else "it cannot be unpacked to its end"
        raise ImageFileError(f"{path} is damaged: {what}; copy or download it again") from None
    return held
