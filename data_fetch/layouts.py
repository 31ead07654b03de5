"""What the files of a set are: its images, masks and subjects, what is missing, and who trains and who tests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_fetch import store
from data_fetch.catalogue import Source
from data_fetch.sets import SPLITS, DataError

TEST, VALIDATION = 0.15, 0.15  # shares of the subjects (ours)
_CONTRASTS = {"BraTS-": {"t1n", "t1c", "t2w", "t2f"}, "": {"t1", "t1ce", "t2", "flair"}}


class Image(NamedTuple):
    """One file with images; `key` names it within its set, `test` says that the providers test on it."""

    path: Path
    key: str
    name: str
    subject: str
    test: bool
    contrast: str | None
    size: int


def images_in(source: Source, files: Iterable[tuple[Path, str, int]]) -> list[Image]:
    """The images among `files` (path, name within the set, bytes), sorted; of two with one name, the larger file."""
    found: dict[str, Image] = {}
    for path, key, size in files:
        match = re.search(source.image, key)
        if not match or Path(key).name.startswith("._"):
            continue
        groups = match.groupdict()
        image = Image(
            path, key, stem(key), groups["subject"], bool(groups.get("test")), groups.get("contrast"), size
        )  # fmt: skip
        if image.name not in found or found[image.name].size < size:
            found[image.name] = image
    return sorted(found.values(), key=lambda image: (image.subject, image.name))


def masks_in(source: Source, files: Iterable[tuple[Path, str, int]]) -> dict[str, Path]:
    """Vessel masks by what the names of their images begin with."""
    matches = ((re.search(source.mask or r"(?!)", key), path) for path, key, _ in files)
    return {match["image"]: path for match, path in matches if match}


def needed(source: Source, name: str) -> bool:
    """Whether a loader reads the file of this name, in the set's folder or its archives."""
    patterns = [source.image, source.mask or r"(?!)"]
    if source.kind == "ultrasound":
        patterns.append(r"(?:^|/)patient\d{4}_[24]CH_E[DS]\.z?raw$")
    return any(re.search(pattern, name) for pattern in patterns)


def files_of(source: Source) -> list[tuple[Path, str, int]]:
    """Every file of the set that is here, whole parts only."""
    return [
        (place / file, f"{place.name}/{file}", size)
        for part in store.parts(source.name)
        for place in [store.path_of(source.name, part)]
        for file, (size, _) in part.files.items()
    ]


def missing(source: Source, images: Sequence[Image]) -> list[str]:
    """Names of the official images that are not among `images`; a number of them where the names are not known."""
    here = {image.name for image in images}
    if isinstance(source.expected, int):
        lacking = source.expected - len(here)
        return [f"{lacking} images"] if lacking > 0 else []
    lacks = [name for name in source.expected or () if name not in here]
    contrasts: dict[str, set[str]] = {}
    for image in images:
        if image.contrast:
            visit = re.sub(r"[_-]" + image.contrast + "$", "", image.name)
            contrasts.setdefault(visit, set()).add(image.contrast)
    for visit, there in contrasts.items():
        wanted = next(names for prefix, names in _CONTRASTS.items() if visit.startswith(prefix))
        lacks += [f"{visit} {contrast}" for contrast in sorted(wanted - there)]
    return lacks


def tally(source: Source, images: Sequence[Image]) -> str:
    """How much of the set there is, in words: "40 images" or "20 of 40 images"."""
    official = source.expected if isinstance(source.expected, int) else len(source.expected or ())
    kind = "volumes" if source.kind == "volume" else "images"
    lacking = len(missing(source, images))
    there = official - lacking if isinstance(source.expected, tuple) else len(images)
    return f"{there} of {official} {kind}" if official and there < official else f"{len(images)} {kind}"


def few(names: Sequence[str], count: int = 4) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def stem(name: str) -> str:
    """The file's name without folder and extension."""
    return re.sub(r"(\.nii\.gz|\.[^./]+)$", "", name.rpartition("/")[2])


# --- splits ---------------------------------------------------------------------------------------------------------


def splits(source: Source, images: Sequence[Image]) -> dict[str, list[str]]:
    """Subjects to train, validate and test on; written to splits/NAME.json, so that a paper can cite it.

    The providers' test part, where they have one, is the test split. Otherwise a subject's place follows from a hash of
    its name alone, so that it is the same in every copy, also in one fetched with --limit: 15 % test, 15 % validation.
    Where so few subjects are here that a split would be empty, it takes the next in that order.
    """
    official = "(?P<test>" in source.image
    subjects = sorted({image.subject for image in images if not image.test})
    parts = {"test": sorted({image.subject for image in images if image.test})}
    order = sorted((_fraction(source.name, subject), subject) for subject in subjects)
    test = 0 if official else _count(order, TEST)
    validation = _count(order[test:], VALIDATION if official else TEST + VALIDATION)
    if len(order) < (2 if official else 3):
        test, validation = 0, 0
    parts["test"] += sorted(subject for _, subject in order[:test])
    parts["validation"] = sorted(subject for _, subject in order[test : test + validation])
    parts["train"] = sorted(subject for _, subject in order[test + validation :])
    return {split: parts[split] for split in SPLITS[:3]}


def _count(order: Sequence[tuple[float, str]], share: float) -> int:
    """How many of the ordered subjects lie below the share: at least one, and at least one is left over."""
    return min(max(1, sum(fraction < share for fraction, _ in order)), max(0, len(order) - 1))


def _fraction(name: str, subject: str) -> float:
    return int(hashlib.sha256(f"{name}/{subject}".encode()).hexdigest()[:12], 16) / 16**12


def write_splits(source: Source, images: Sequence[Image]) -> None:
    """Write splits/NAME.json in the data folder, if it is not that already."""
    parts = splits(source, images)
    rule = "the providers' test part; the others by SHA-256 of set/subject, 15 % validation"
    if "(?P<test>" not in source.image:
        rule = "by SHA-256 of set/subject: 15 % test, 15 % validation"
    content = {
        "set": source.name,
        "images": len(images),
        "rule": rule,
        "sha256": hashlib.sha256(repr(parts).encode()).hexdigest(),
        "subjects": parts,
    }
    path = store.root() / "splits" / f"{source.name}.json"
    if store.read_json(path) != content:
        store.write_json(path, content)


def of_split(source: Source, images: Sequence[Image], split: str) -> list[Image]:
    """The images of the subjects of one split; DataError if nobody is in it."""
    if split == "all":
        return list(images)
    subjects = set(splits(source, images)[split])
    chosen = [image for image in images if image.subject in subjects]
    if not chosen:
        lacks = missing(source, images)
        missed = f" (missing: {few(lacks)})" if lacks else ""
        raise DataError(
            f"{source.name}: no {split} split in what is here{missed}; take split='all', or get or import the rest"
        )
    return chosen
