"""Where images come from: sets inside installed packages, sets fetched or brought along, and the user's own files.

>>> scans = load("brain")                         # the test split of an embedded set
>>> scans = load("stare", split="train")          # after `medsr data get stare`; see data_fetch.catalogue
>>> vessels = masks("stare", split="train")       # vessel masks of those images that have one
>>> scans = load("path/to/my/scans", limit=20)    # PNG, JPEG, TIFF, DICOM, NIfTI
>>> scans[0].pixels.shape                         # (1, C, H, W), float32 in [0, 1]
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_fetch.catalogue import SOURCES
from data_fetch.embedded import embedded_set, names
from data_fetch.fetched import fetched_set, mask_set, parse
from data_fetch.folder import folder_set, person
from data_fetch.sets import SPLITS, DataError, ImageSet, Scan, spread

__all__ = [
    "SOURCES", "SPLITS", "DataError", "ImageSet", "Scan", "describe", "load", "masks", "names", "parse", "person",
]  # fmt: skip

_NO_SKIN = (
    "skin: no package carries dermoscopy pictures, so none are embedded. The public ISIC archive has them: "
    "medsr data get isic --limit 50, and then the set is called isic; or give a folder of your own images"
)

_ONLY_TO_LOOK_AT = (
    "{name}: its {count} portraits are for looking at (split='test'), too few to train on. For a training: medsr data "
    "import ffhq FILE_OR_FOLDER, or a folder of your own images"
)


def load(name_or_path: str | os.PathLike[str], *, split: str | None = None, limit: int | None = None) -> ImageSet:
    """Scans of an embedded set, of a fetched or imported one, or of a file or folder of your own, as a lazy sequence.

    Parameters
    ----------
    name_or_path : one of `names()`, one of `SOURCES` (squares of another side, too: "ffhq-512"), or a path (a folder
        called like a set is reached as "./brain")
    split : "train", "validation", "test" or "all"; None means "test" of a set and "all" of a path
    limit : at most so many scans, evenly spread over the set; None for all

    Returns
    -------
    ImageSet of `Scan(name, subject, pixels (1, C, H, W) float32 in [0, 1], spacing in mm or None)`

    Raises
    ------
    DataError : unknown name or split, a set that is not here (says how to get it) or has nothing in this split, a path
        that is not there or holds no image, a missing package
    """
    if split not in (None, *SPLITS):
        raise DataError(f"split is {split!r}; give one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; give at least 1, or None for all")
    if isinstance(name_or_path, str) and name_or_path in names():
        scans = embedded_set(name_or_path, split or "test")
        if not scans.entries:
            raise DataError(_ONLY_TO_LOOK_AT.format(name=name_or_path, count=len(embedded_set(name_or_path, "all"))))
        return replace(scans, entries=spread(scans.entries, limit))
    if isinstance(name_or_path, str) and parse(name_or_path):
        return fetched_set(name_or_path, split or "test", limit)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return folder_set(path, split or "all", limit)
    if str(name_or_path) == "skin":
        raise DataError(_NO_SKIN)
    known = ", ".join((*names(), *SOURCES))
    raise DataError(f"{name_or_path}: no such file or folder, and no set of this name; sets are {known}")


def masks(name: str, *, split: str | None = None, limit: int | None = None) -> ImageSet:
    """Vessel masks (1, 1, H, W) of 0 and 1 by the first observer: drive, stare (20 images have one), chase.

    A mask has the name, size and place of its image in `load(name, split=split)`.

    Raises
    ------
    DataError : as `load`, or the set has no masks
    """
    if split not in (None, *SPLITS):
        raise DataError(f"split is {split!r}; give one of {', '.join(SPLITS)}")
    return mask_set(name, split or "test", limit)


def describe(name: str) -> dict[str, Any]:
    """What a list of sets shows.

    Returns
    -------
    dict with name, title, scans (split -> number), size (channels, height, width of the first test scan), spacing
    (mm between rows and columns, or None), upright, origin, licence, citation

    Raises
    ------
    DataError : no embedded set of this name, or its package is missing
    """
    if name not in names():
        raise DataError(_NO_SKIN if name == "skin" else f"{name}: no set of this name; sets are {', '.join(names())}")
    scans = load(name)
    first = scans[0]
    return {
        "name": name,
        "title": scans.title,
        "scans": {split: len(embedded_set(name, split)) for split in SPLITS},
        "size": tuple(first.pixels.shape[1:]),
        "spacing": first.spacing,
        "upright": scans.upright,
        "origin": scans.origin,
        "licence": scans.licence,
        "citation": scans.citation,
    }
