"""Tiny archives in the exact layouts of the official ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from data_fetch import bring


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


def drive(part: str, numbers: range) -> dict[str, bytes]:
    files = {}
    for n in numbers:
        files[f"{part}/images/{n:02d}_{part}.tif"] = picture("TIFF", (584, 565, 3), n)
        files[f"{part}/1st_manual/{n:02d}_manual1.gif"] = vessels("GIF", (584, 565), n)
        files[f"{part}/mask/{n:02d}_{part}_mask.gif"] = vessels("GIF", (584, 565), n + 50)
    return files


def brats(patients: int = 4, year: int = 2020) -> dict[str, bytes]:
    files = {}
    for n in range(1, patients + 1):
        name = f"BraTS20_Training_{n:03d}" if year == 2020 else f"BraTS-GLI-{(n + 1) // 2:05d}-{n % 2:03d}"
        contrasts = ("_t1", "_t1ce", "_t2", "_flair") if year == 2020 else ("-t1n", "-t1c", "-t2w", "-t2f")
        for k, contrast in enumerate(contrasts):
            files[f"{name}/{name}{contrast}.nii.gz"] = nifti(head(10 * n + k))
        files[f"{name}/{name}{'_' if year == 2020 else '-'}seg.nii.gz"] = nifti(head(n))
    return files


def msd(patients: range = range(1, 5)) -> dict[str, bytes]:
    files = {}
    for n in patients:
        volume = head(n, (32, 32, 10, 4)).astype(np.float32)
        files[f"Task01_BrainTumour/imagesTr/._BRATS_{n:03d}.nii.gz"] = b"litter"
        files[f"Task01_BrainTumour/imagesTr/BRATS_{n:03d}.nii.gz"] = nifti(volume)
        files[f"Task01_BrainTumour/labelsTr/BRATS_{n:03d}.nii.gz"] = nifti(volume[..., 0])
    files["Task01_BrainTumour/imagesTs/BRATS_485.nii.gz"] = nifti(head(485, (32, 32, 10, 4)).astype(np.float32))
    files["Task01_BrainTumour/dataset.json"] = b"{}"
    return files


def camus(patients: int = 4, kind: str = "nii.gz") -> dict[str, bytes]:
    files = {}
    for n in range(1, patients + 1):
        for view in ("2CH", "4CH"):
            base = f"patient{n:04d}/patient{n:04d}_{view}"
            for phase in ("ED", "ES"):
                frame = np.random.default_rng(n).integers(0, 256, (50, 90), np.uint8)  # x, y
                if kind == "nii.gz":
                    image = nibabel.Nifti1Image(frame, np.diag([-0.3, -0.15, 1, 1]))
                    files[f"database_nifti/{base}_{phase}.nii.gz"] = gzip.compress(image.to_bytes())
                    files[f"database_nifti/{base}_{phase}_gt.nii.gz"] = gzip.compress(image.to_bytes())
                    continue
                pressed = n % 2 == 0
                raw = frame.tobytes(order="F")
                name = f"{Path(base).name}_{phase}.{'zraw' if pressed else 'raw'}"
                files[f"training/{base}_{phase}.mhd"] = (
                    f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {pressed}\n"
                    "ElementSpacing = 0.3 0.15 1\nDimSize = 50 90 1\nElementType = MET_UCHAR\n"
                    f"ElementDataFile = {name}\n"
                ).encode()
                files[f"training/{Path(base).parent}/{name}"] = zlib.compress(raw) if pressed else raw
            half = nibabel.Nifti1Image(np.zeros((5, 9, 4), np.uint8), np.eye(4))
            files[f"database_nifti/{base}_half_sequence.nii.gz"] = gzip.compress(half.to_bytes())
    return files


def write(place: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def taken(name: str, path: Path) -> list[str]:
    said: list[str] = []
    bring.bring(name, path, say=said.append)
    return said
