"""From an unpacked archive to a part of a set that counts as here; and whether it is still as it came.

Everything is done beside the place where it counts: an archive is downloaded and unpacked under other names, checked,
renamed, and recorded last (see `store`). So whatever is killed in the middle, nothing half is ever counted as here, and
the same command again goes on.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data_fetch import embedded, fetched, layouts, store
from data_fetch.catalogue import SOURCES, Archive, Source
from data_fetch.download import FULL
from data_fetch.sets import DataError
from data_fetch.store import Part, Progress

Say = Callable[[str], None]


def source_of(name: str) -> Source:
    """The catalogue's entry; DataError listing the names if there is none."""
    if name not in SOURCES:
        also = " (comes with a package, is here already)" if name in embedded.names() else ""
        raise DataError(f"{name}: no set to fetch or import{also}; those are {', '.join(SOURCES)}")
    return SOURCES[name]


def check_content(source: Source, archive: Archive, part: Part, staging: Path, *, whole: bool) -> None:
    """DataError if an archive does not hold what it should."""
    files = [(staging / name, f"{part.label}/{name}", size) for name, (size, _) in part.files.items()]
    images = layouts.images_in(source, files)
    lacks = layouts.missing(source, images) if whole else []
    if lacks or not (images or layouts.masks_in(source, files)):
        found = layouts.few(sorted(part.files)) or "nothing"
        what = f"it lacks {layouts.few(lacks)}" if images else f"it has {found} and not {source.layout}"
        raise DataError(f"{archive.file} is not the archive it should be: {what}")


def commit(source: Source, part: Part, staging: Path) -> None:
    """Put an unpacked archive in its place and record it (under the set's lock)."""
    store.forget(source.name, part.label)
    place = store.path_of(source.name, part)
    shutil.rmtree(place, ignore_errors=True)
    os.rename(staging, place)
    store.record(source.name, part)
    for archive in source.archives:
        if label(archive) == part.label:
            if part.digest and archive.pinned and not archive.digest:
                store.pin(f"{source.name}/{archive.file}", part.digest)
            for file in (store.folder(source.name) / "download").glob(f"{archive.file}*"):
                file.unlink()


def finish(source: Source, progress: Progress | None) -> str:
    """Write the split, look into volumes, and say what there is."""
    images = layouts.images_in(source, layouts.files_of(source))
    layouts.write_splits(source, images)
    if source.kind == "volume":
        fetched.look(source, images, progress)
    return f"{source.name}: {status(source)}, in {store.folder(source.name)}"


def status(source: Source) -> str:
    """What of the set is here, in words; "" if nothing."""
    images = layouts.images_in(source, layouts.files_of(source))
    if images:
        return layouts.tally(source, images)
    damaged = store.parts(source.name, whole=False) != store.parts(source.name)
    return "damaged: get or import it again" if damaged else ""


def check(name: str, *, progress: Progress | None = None) -> list[str]:
    """Compare every file with the digest it had when it came; return what is wrong, nothing if all is well.

    A part with a damaged file is no longer counted as here, so that getting or importing it again brings it back.

    Raises
    ------
    DataError : nothing of the set is here
    """
    source = source_of(name)
    parts = store.parts(name, whole=False)
    if not parts:
        raise DataError(f"{name} is not in {store.root()}. To get it: {fetched.how_to_get(source)}")
    wrong = []
    for part in parts:
        place, damaged = store.path_of(name, part), []
        for count, (file, (size, digest)) in enumerate(part.files.items(), 1):
            path = place / file
            if not path.is_file():
                damaged.append(f"{path} is missing")
            elif path.stat().st_size != size or hashed(path, None) != f"sha256:{digest}":
                damaged.append(f"{path} is not as it came")
            if progress:
                progress(f"checking {name}/{part.label}", count, len(part.files))
        if damaged:
            with store.lock(name):
                store.forget(name, part.label)
        wrong += damaged
    return wrong


def hashed(path: Path, like: str | None) -> str:
    """Digest of a file, by the algorithm of another digest ("md5:..."; None: SHA-256)."""
    import pooch

    algorithm = like.partition(":")[0] if like else "sha256"
    return f"{algorithm}:{pooch.file_hash(str(path), alg=algorithm)}"


def label(archive: Archive) -> str:
    """What the part is called that an archive becomes: its name without extension."""
    return re.sub(r"(\.tar)?\.\w+$", "", archive.file)


def emptied(source: Source, archive: Archive) -> Path:
    """A folder to unpack to that nobody looks at, without what a killed process left there."""
    staging = store.folder(source.name) / f".{label(archive)}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


@contextmanager
def full_disk(source: Source) -> Iterator[None]:
    """Turn a full disk into a DataError, and free what was being unpacked."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in FULL:
            raise
        place = store.folder(source.name)
        for path in place.glob(".*"):
            if path.is_dir() and not path.name.endswith("-some"):
                shutil.rmtree(path, ignore_errors=True)
        raise DataError(f"{place}: the disk is full; free some space and call again") from problem
