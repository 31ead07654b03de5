"""Take in what cannot be fetched: official archives and folders that you downloaded yourself."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from data_fetch import archives, layouts, parts, store
from data_fetch.catalogue import Archive, Source
from data_fetch.parts import Say
from data_fetch.sets import DataError
from data_fetch.store import Files, Part, Progress


def bring(name: str, path: Path, *, progress: Progress | None = None, say: Say = lambda line: None) -> None:
    """Take in an official archive, or a folder with the files of one, that you downloaded yourself.

    Archives are unpacked into the data folder. A folder stays where it is and is only recorded, with the digests of its
    files. Sets that come in several archives are imported one after the other; each adds to what is here.

    Raises
    ------
    DataError : `path` is neither, or holds none of the set's images (says what they are called), or the archive is
        hostile or damaged, or a file is not what the provider's list of digests says (FFHQ)
    """
    source = parts.source_of(name)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; {source.how}")
    with (
        store.lock(name, lambda: say(f"waiting for another process that is busy with {name}")),
        parts.full_disk(source),
    ):
        inside = [path / archive.file for archive in source.archives if (path / archive.file).is_file()]
        if path.is_dir() and not inside:
            _bring_folder(source, path.absolute(), progress)
        for archive in inside or ([] if path.is_dir() else [path]):
            _bring_archive(source, archive, progress, say)
        say(parts.finish(source, progress))
    lacks = layouts.missing(source, layouts.images_in(source, layouts.files_of(source)))
    if lacks:
        say(f"{name}: missing are {layouts.few(lacks, 6)}; import the rest the same way, or use what is here")


def _bring_archive(source: Source, path: Path, progress: Progress | None, say: Say) -> None:
    official = next((archive for archive in source.archives if archive.file == path.name), None)
    digest = None
    if official is not None and official.digest:
        digest = parts.hashed(path, official.digest)
        if digest != official.digest:
            say(f"warning: {path.name} is not the file as published ({digest} instead of {official.digest})")
    archive = official or Archive(re.sub(r"[^\w.-]", "_", path.name).lstrip("."))
    staging = parts.emptied(source, archive)
    store.check_room(staging.parent, path.stat().st_size)
    bound = archives.bound_of(path.stat().st_size)
    try:
        files = archives.unpack(path, staging, bound=bound, progress=progress)
        files = archives.unpack_nested(staging, files, bound) if source.nested else files
        part = Part(parts.label(archive), parts.label(archive), files, str(path), digest)
        parts.check_content(source, Archive(path.name), part, staging, whole=False)
        _check_listed(source, staging, part.files)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    parts.commit(source, part, staging)


def _bring_folder(source: Source, path: Path, progress: Progress | None) -> None:
    names = []
    for place, folders, inside in os.walk(path):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        names += [Path(place, file).relative_to(path).as_posix() for file in inside if not file.startswith(".")]
    useful = sorted(name for name in names if layouts.needed(source, f"{path.name}/{name}"))
    if not any(re.search(source.image, f"{path.name}/{name}") for name in useful):
        raise DataError(f"{path}: holds no images of {source.name}, which are {source.layout}; {source.how}")
    files: Files = {}
    for name in useful:
        files[name] = ((path / name).stat().st_size, parts.hashed(path / name, None).partition(":")[2])
        if progress:
            progress(f"reading {path.name}", len(files), len(useful))
    _check_listed(source, path, files)
    label = re.sub(r"\W", "_", path.as_posix()).strip("_")
    store.record(source.name, Part(label, str(path), files, str(path)))


def _check_listed(source: Source, place: Path, files: Files) -> None:
    """Compare FFHQ's images with its ffhq-dataset-v2.json, if that is beside them."""
    listing = next((path for path in (place / "ffhq-dataset-v2.json", place.parent / "ffhq-dataset-v2.json")
                    if source.name == "ffhq" and path.is_file()), None)  # fmt: skip
    if listing is None:
        return
    published = {}
    for entry in json.loads(listing.read_text(encoding="utf-8")).values():
        for kind in ("image", "thumbnail"):
            if kind in entry:
                published[entry[kind]["file_path"]] = entry[kind]["file_md5"]
    for name in files:
        for known in ("/".join((place / name).parts[-count:]) for count in (2, 3)):
            if known in published and parts.hashed(place / name, "md5:") != f"md5:{published[known]}":
                raise DataError(f"{name} is not the file as published; download it again")
