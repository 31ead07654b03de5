"""The user's own scans: one file, or a folder of any of the formats of `medsr_core.images`."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor

from data_fetch.sets import DataError, Entry, ImageSet, Spacing, spread
from medsr_core import images

_MASK_NAME = re.compile(r"(^|_)(seg|gt|mask|1stHO|2ndHO|manual1)$", re.IGNORECASE)
_MANY_VOLUMES = 24
# what a look into a file gives: its usable slices, None for a label mask, or why it cannot be read
_Look = tuple[int, ...] | None | Exception


def person(subject: str) -> str:
    """Both eyes of a child, and all frames of a heart, are one subject: Image_09L is Image_09."""
    return re.sub(r"(?<=\d)[LR]$|(PRE|POST)(_.*)?$", "", subject)


def folder_set(path: Path, split: str, limit: int | None = None) -> ImageSet:
    """Every image, slice and frame below `path` (recursive, sorted; hidden files and `._*` skipped).

    Subjects: a file directly in the folder is a subject of its own, named by its stem; files in a sub-folder have
    that first sub-folder as subject, so give the folder whose children are the patients. Nothing more is guessed:
    the two eyes `Image_01L.jpg` and `Image_01R.jpg` of one child are two subjects, unless you put them in a folder.
    Splits are by subject, 70/15/15, by a hash of the subjects' names: always the same, none empty from 3 subjects on.

    Left out: of volumes and clips, slices where fewer than 5 % of the pixels are brighter than the background (the
    5 % quantile) by 5 % of the range (ours; a photograph is never left out); label masks, that is files of at most
    two distinct values or named `*_seg`, `*_gt`, `*_mask`, `*_1stHO`, `*_2ndHO`, `*_manual1` (JPEG by name only),
    with one warning that counts them; unreadable files, with a warning that names them. A single file given as
    `path` is taken whatever it is called or holds.

    Photographs are opened one at a time and at most two files are held in memory. Finding a volume's empty slices
    means decoding it once, here: of a folder of many NIfTI files, only those of the split, and no more than `limit`.

    Raises
    ------
    DataError : nothing readable there, or a split of fewer than three subjects
    """
    single = path.is_file()
    if single and not _is_image(path):
        raise DataError(f"{path}: unknown extension '{path.suffix}'; known are {', '.join(images.EXTENSIONS)}")
    files = [path] if single else _files(path)
    looks: dict[Path, _Look] = {file: None for file in files if not single and _MASK_NAME.search(_stem(file))}
    volumes = [file for file in files if file not in looks and images.kind_of(file) == "NIfTI"]
    later = volumes if split == "all" or len(volumes) > _MANY_VOLUMES else []
    looks |= _look(file for file in files if file not in looks and file not in later)

    subjects = {file: _subject(file, path) for file in files if file in later or isinstance(looks[file], tuple)}
    chosen = _of_split(set(subjects.values()), split) if subjects else set()
    looks |= _look(spread([file for file in later if subjects[file] in chosen], limit))
    if single and looks[path] is None:
        looks[path] = tuple(range(len(_opened(path))))
    _warn(path, looks)
    _warn_of_series(path, [file for file in looks if isinstance(looks[file], tuple) and file.parent == path])

    entries = [
        Entry(_name(file, path, index, len(look) > 1), subjects.get(file, _stem(file)), partial(_scan, file, index))
        for file, look in sorted(looks.items())
        if isinstance(look, tuple) and (single or subjects[file] in chosen)
        for index in look
    ]
    if not entries:
        raise DataError(_nothing(path, looks))
    return ImageSet(
        path.name or str(path),
        f"your own images in {path}",
        str(path),
        "yours: as you obtained them",
        "none known",
        spread(entries, limit),
    )


def _files(path: Path) -> list[Path]:
    inside = (file for file in path.rglob("*") if not any(p.startswith(".") for p in file.relative_to(path).parts))
    known = sorted(file for file in inside if file.is_file() and _is_image(file))
    return [file for file in known if file.suffix.lower() != ".img" or file.with_suffix(".hdr") not in known]


def _is_image(file: Path) -> bool:
    if file.name.lower().endswith(images.EXTENSIONS):
        return True
    return not file.suffix and images.begins_as_dicom(file)


def _stem(file: Path) -> str:
    return re.sub(r"\.nii$", "", file.stem, flags=re.IGNORECASE)


def _subject(file: Path, root: Path) -> str:
    parts = file.relative_to(root).parts
    return parts[0] if len(parts) > 1 else _stem(file)


def _name(file: Path, root: Path, index: int, many: bool) -> str:
    name = "_".join((*file.relative_to(root).parts[:-1], _stem(file)))
    return f"{name}-{index:03d}" if many else name


def _of_split(subjects: set[str], split: str) -> set[str]:
    if split == "all":
        return subjects
    if len(subjects) < 3:
        raise DataError(
            f"a {split} split needs at least 3 subjects, here: {', '.join(sorted(subjects))}; add scans, take "
            "split='all', or give the folder whose children are the patients"
        )
    order = sorted(subjects, key=lambda subject: hashlib.sha256(subject.encode()).hexdigest())
    share = max(1, round(0.15 * len(order)))
    parts = {"test": order[:share], "validation": order[share : 2 * share], "train": order[2 * share :]}
    return set(parts[split])


# --- looking into files ---------------------------------------------------------------------------------------------


def _look(files: Iterable[Path]) -> dict[Path, _Look]:
    looks: dict[Path, _Look] = {}
    for file in files:
        try:
            looks[file] = _jpeg_is_whole(file) if images.kind_of(file) == "JPEG" else _usable(file)
        except (images.ImageFileError, OSError) as error:
            looks[file] = error
    return looks


def _usable(file: Path) -> tuple[int, ...] | None:
    """Indices of the slices with something in them; None for a label mask."""
    pixels = _opened(file)
    low, high = pixels.aminmax()
    if ((pixels == low) | (pixels == high)).all():
        return None
    if len(pixels) == 1:
        return (0,)
    sample = pixels.flatten()[:: 1 + pixels.numel() // 100_000]
    background = sample.kthvalue(1 + len(sample) // 20).values  # 0, unless resampling left voxels below zero
    filled = (pixels.amax(1) > background + 0.05).float().mean((1, 2)) >= 0.05
    return tuple(filled.nonzero().flatten().tolist())


def _jpeg_is_whole(file: Path) -> tuple[int, ...]:
    """(0,) after a glance at both ends of the file, since decoding thousands of photographs takes minutes."""
    data = file.read_bytes()
    if not data.startswith(b"\xff\xd8") or b"\xff\xd9" not in data[-4096:]:
        raise images.ImageFileError(f"{file}: is no complete JPEG; copy or download it again")
    return (0,)


def _scan(file: Path, index: int) -> tuple[Tensor, Spacing]:
    stack = _stack(file, file.stat().st_mtime_ns)
    return stack.pixels[index : index + 1].clone(), stack.spacing


def _opened(file: Path) -> Tensor:
    return _stack(file, file.stat().st_mtime_ns).pixels


@lru_cache(maxsize=2)
def _stack(file: Path, modified: int) -> images.Stack:
    return images.read(file)


# --- what to say ----------------------------------------------------------------------------------------------------


def _warn(path: Path, looks: dict[Path, _Look]) -> None:
    errors = [look for look in looks.values() if isinstance(look, Exception)]
    masks = sum(look is None for look in looks.values())
    if not any(isinstance(look, tuple) for look in looks.values()):
        return  # nothing usable is an error, not a warning
    for error in errors:
        warnings.warn(f"skipped: {error}", stacklevel=4)
    if masks:
        warnings.warn(f"skipped {masks} label masks in {path} (two values only, or named so)", stacklevel=4)


def _warn_of_series(path: Path, files: list[Path]) -> None:
    """Say so if DICOM files that count as subjects of their own are of fewer patients, or of several series."""
    import pydicom

    tags = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"]
    scans = [file for file in files if images.kind_of(file) == "DICOM"]
    headers = [pydicom.dcmread(scan, force=True, stop_before_pixels=True, specific_tags=tags) for scan in scans]
    patients = {header.get("PatientID") or header.get("StudyInstanceUID") for header in headers}
    if len(patients) == len(headers):
        return
    names = [f"{h.get('SeriesNumber')} {h.get('SeriesDescription') or h.get('Modality')}" for h in headers]
    series = Counter(zip((str(h.get("SeriesInstanceUID")) for h in headers), names, strict=True))
    listed = ", ".join(f"{name}: {count} files" for (_, name), count in series.items())
    warnings.warn(
        f"{path}: {len(headers)} DICOM files of {len(patients)} patient(s) count as {len(headers)} subjects, all "
        f"series together ({listed}); put each patient's files into a folder of their own, only of the series you mean",
        stacklevel=3,
    )


def _nothing(path: Path, looks: dict[Path, _Look]) -> str:
    known = f"known are {', '.join(images.EXTENSIONS)}"
    if not looks:
        return f"{path}: no image in this folder; {known}"
    errors = [str(look) for look in looks.values() if isinstance(look, Exception)]
    if errors:
        return f"{path}: none of {len(looks)} files can be used; the first: {errors[0]} ({known})"
    return f"{path}: only label masks or empty slices in {len(looks)} files; give the folder of the scans themselves"
