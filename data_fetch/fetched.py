"""The sets of the catalogue, once they are in the data folder, as lazy sequences of HR images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from data_fetch import layouts, protocol, store
from data_fetch.catalogue import SOURCES, Source
from data_fetch.layouts import Image
from data_fetch.sets import DataError, Entry, ImageSet, Spacing, spread


def parse(name: str) -> tuple[Source, int] | None:
    """Source and HR side of "ffhq" or "ffhq-512" (a square set of another size than the papers'); None if unknown."""
    base, dash, side = name.partition("-")
    source = SOURCES.get(base)
    if source is None or (dash and (source.kind != "photograph" or not re.fullmatch(r"[1-9]\d{1,3}", side))):
        return None
    return source, int(side) if side else source.size[1]


def fetched_set(name: str, split: str, limit: int | None = None) -> ImageSet:
    """A set of the catalogue; pixels are read when a scan is asked for, one file at a time.

    Photographs are squares of the paper's side (see protocol.photograph). Faces: 128 pixels, for 16->128, or 512, for
    64->512, by the name "ffhq-512"; ImageNet 256, for 64->256. Volumes are axial slices without the empty ones, all
    contrasts one after the other; with a `limit`, at most so many files are opened. CAMUS frames are 1024x512.

    Raises
    ------
    DataError : the set is not here (the message says how to get it), or has nobody in this split
    """
    source, side = _known(name)
    images = _here(source)
    chosen = layouts.of_split(source, images, split)
    entries: Sequence[Entry]
    if source.kind == "volume":
        chosen = list(spread(chosen, limit))
        looks = look(source, chosen)
        entries = [entry for image in chosen for entry in _slices(source, image, looks[_index_key(image)])]
        if not entries:
            raise DataError(f"{name}: only empty slices in {layouts.few([image.key for image in chosen])}")
    elif source.kind == "ultrasound":
        entries = [Entry(i.name, i.subject, partial(_frame, i.path, source.size)) for i in chosen]
    else:
        if source.rule == "sr3":
            chosen = _large_enough(name, source, list(spread(chosen, limit)), side)
        entries = [Entry(i.name, i.subject, partial(_photograph, i.path, side, source.rule)) for i in chosen]
    return _image_set(name, source, images, spread(entries, limit))


def mask_set(name: str, split: str, limit: int | None = None) -> ImageSet:
    """Vessel masks, 0 and 1, of those images of `fetched_set(name, split)` that have one: same names, same pixels."""
    source, side = _known(name)
    if source.mask is None:
        with_masks = [other.name for other in SOURCES.values() if other.mask]
        raise DataError(f"{name} has no vessel masks; sets that have are {', '.join(with_masks)}")
    images = _here(source)
    masks = layouts.masks_in(source, layouts.files_of(source))
    entries = [
        Entry(image.name, image.subject, partial(_mask, masks[key], side))
        for image in layouts.of_split(source, images, split)
        for key in dict.fromkeys((image.name, image.name.partition("_")[0]))
        if key in masks
    ]
    if not entries:
        raise DataError(f"{name}: none of the images of this split has a mask here; masks are {source.layout}")
    return _image_set(name, source, images, spread(entries, limit))


def how_to_get(source: Source) -> str:
    """One line: what to type, and before it what to download from where."""
    if source.direct:
        some = " (or fewer images: --limit 50)" if source.room > 10**9 else ""
        return f"medsr data get {source.name}{some}, {source.volume}"
    return f"{source.how}; then: medsr data import {source.name} FILE_OR_FOLDER"


def _known(name: str) -> tuple[Source, int]:
    parsed = parse(name)
    if parsed is None:
        raise DataError(f"{name}: no set of this name; sets are {', '.join(SOURCES)}")
    return parsed


def _here(source: Source) -> list[Image]:
    images = layouts.images_in(source, layouts.files_of(source))
    if images:
        return images
    if store.parts(source.name, whole=False) != store.parts(source.name):
        raise DataError(
            f"{source.name}: files in {store.folder(source.name)} are missing or changed; again: {how_to_get(source)}"
        )
    raise DataError(f"{source.name} is not in {store.root()}. To get it: {how_to_get(source)}")


def _image_set(name: str, source: Source, images: list[Image], entries: Sequence[Entry]) -> ImageSet:
    title = f"{source.title} ({layouts.tally(source, images)})"
    about = (source.page, source.licence, source.citation)
    return ImageSet(name, title, *about, tuple(entries), upright=source.upright)


# --- opening --------------------------------------------------------------------------------------------------------


def _photograph(path: Path, side: int, rule: str) -> tuple[Tensor, Spacing]:
    from medsr_core import images

    return protocol.photograph(images.read(path).pixels[:1], side, rule), None


def _frame(path: Path, size: tuple[int, int]) -> tuple[Tensor, Spacing]:
    pixels, spacing = protocol.read_frame(path)
    return protocol.ultrasound(pixels, size, spacing)


def _mask(path: Path, side: int) -> tuple[Tensor, Spacing]:
    return protocol.mask(protocol.read_mask(path), side), None


def _slices(source: Source, image: Image, look: list[list[Any]]) -> list[Entry]:
    entries = []
    for number, (low, high, slices) in enumerate(look):
        contrast = ""
        if len(look) > 1:
            contrast = f"-{source.contrasts[number] if len(look) == len(source.contrasts) else number}"
        for index in slices:
            opener = partial(protocol.read_slice, image.path, number, index, low, high)
            entries.append(Entry(f"{image.name}{contrast}-{index:03d}", image.subject, opener))
    return entries


# --- looking into files ---------------------------------------------------------------------------------------------


def look(source: Source, images: Sequence[Image], progress: store.Progress | None = None) -> dict[str, Any]:
    """What is in the files, by index key: of volumes, see protocol.look_into_volume; of photographs, the shorter side.

    Looked at once and kept in index.json: a volume has to be decoded for it.
    """
    known = store.index(source.name)
    new = [image for image in images if _index_key(image) not in known]
    glance: Callable[[Path], Any] = protocol.look_into_volume if source.kind == "volume" else _shorter_side
    found: dict[str, Any] = {}
    with ThreadPoolExecutor(2) as pool:
        for image, seen in zip(new, pool.map(lambda image: glance(image.path), new), strict=True):
            found[_index_key(image)] = seen
            if progress:
                progress(f"looking into {source.name}", len(found), len(new))
            if len(found) % 50 == 0:
                store.index(source.name, found)
    return {**known, **(store.index(source.name, found) if found else {}), **found}


def _index_key(image: Image) -> str:
    return f"{image.key} {image.size}"


def _shorter_side(path: Path) -> int:
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as opened:
            return min(opened.size)
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem}); get or import the set again") from problem


def _large_enough(name: str, source: Source, images: list[Image], side: int) -> list[Image]:
    looks = look(source, images)
    kept = [image for image in images if looks[_index_key(image)] >= side]
    if not kept:
        largest = max(looks[_index_key(image)] for image in images)
        raise DataError(
            f"{name}: the images here have {largest} pixels along the shorter side, not {side}; {source.how}"
        )
    return kept
