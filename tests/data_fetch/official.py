"""Tiny archives in the exact layouts of the official ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import nibabel
import numpy as np
from PIL import Image


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def picture(kind: str, shape: tuple[int, ...] = (40, 48, 3), seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def vessels(kind: str, shape: tuple[int, int] = (40, 48), seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    array = np.random.default_rng(seed).random(shape) < 0.2
    Image.fromarray(array if kind in ("PNG", "GIF") else array.astype(np.uint8) * 255).save(buffer, kind)
    return buffer.getvalue()


def nifti(array: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    image = nibabel.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]) if affine is None else affine)
    return gzip.compress(image.to_bytes(), 1)


def head(seed: int = 0, shape: tuple[int, ...] = (32, 32, 10), empty: int = 2) -> np.ndarray:
    """A skull-stripped volume: bright inside, `empty` slices of air at both ends, one bright voxel in one of them."""
    data = np.zeros(shape, np.int16)
    bright = np.random.default_rng(seed).integers(50, 900, (16, 20, shape[2] - 2 * empty, *shape[3:]))
    data[8:24, 6:26, empty : shape[2] - empty] = bright
    data[3, 3, 0] = 700
    return data


def stare(count: int = 6) -> dict[str, bytes]:
    """All-images.zip and labels-ah.tar, the first `count` images; masks of two."""
    names = [f"im{number:04d}" for number in range(1, count + 1)]
    images = {f"{name}.ppm": picture("PPM", (41, 46, 3), seed) for seed, name in enumerate(names)}
    masks = {f"{name}.ah.ppm.gz": gzip.compress(vessels("PPM", (41, 46), seed)) for seed, name in enumerate(names[:2])}
    return {"all-images.zip": zipped(images), "labels-ah.tar": tarred(masks)}


def chase() -> bytes:
    files = {}
    for number in range(1, 15):
        for eye in "LR":
            files[f"Image_{number:02d}{eye}.jpg"] = picture("JPEG", (48, 50, 3), number)
            files[f"Image_{number:02d}{eye}_1stHO.png"] = vessels("PNG", (48, 50), number)
            files[f"Image_{number:02d}{eye}_2ndHO.png"] = vessels("PNG", (48, 50), number + 99)
    return zipped(files)
