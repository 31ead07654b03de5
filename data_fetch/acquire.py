"""Fetch the sets of the catalogue that need no account: all of them, or only some of their images."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from data_fetch import archives, fetched, layouts, parts, remote, store
from data_fetch.catalogue import Archive, Source
from data_fetch.download import Interrupted, Unobtainable, download
from data_fetch.parts import Say
from data_fetch.sets import DataError, spread
from data_fetch.store import Files, Part, Progress

PARALLEL = 4  # archives at once
REQUESTS = 6  # members of an archive at once, with a limit


def get(
    names: Sequence[str],
    *,
    accept: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    say: Say = lambda line: None,
) -> None:
    """Fetch sets that need no account, several at once; what is here already is left alone.

    Parameters
    ----------
    names : of `catalogue.SOURCES`
    accept : you have read the terms (`catalogue.SOURCES[name].terms`) and keep to them; asked once
    limit : at most so many image files of each set, evenly spread, the same every time. Where the server allows it
        only those are transferred; their checksums are those in the archive's own directory
    progress : called with (what is being done, how much of it, of how much)
    say : called with lines to show

    Raises
    ------
    DataError : a set needs an account, its terms are not accepted, no server gives it, it is not what it should be, or
        the disk is full; says what to do. Sets that could be had are here nevertheless.
    """
    sources = [parts.source_of(name) for name in dict.fromkeys(names)]
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; give at least 1, or None for all")
    for source in sources:
        if not source.direct:
            raise DataError(f"{source.name} cannot be fetched without an account: {fetched.how_to_get(source)}")
        if not accept and store.accepted(source.name) != source.terms:
            raise DataError(f"{source.name}: its terms are not accepted yet: {source.terms} To accept them: --accept")
    stop = threading.Event()

    def watched(label: str, done: int, total: int | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        if progress:
            progress(label, done, total)

    problems = []
    with ExitStack() as stack:
        for source in sorted(sources, key=lambda source: source.name):  # one order for all, so that none wait in a ring
            waiting = f"waiting for another process that is busy with {source.name}"
            stack.enter_context(store.lock(source.name, lambda waiting=waiting: say(waiting)))  # type: ignore[misc]
            store.accepted(source.name, source.terms)
        pool = stack.enter_context(ThreadPoolExecutor(PARALLEL))
        jobs = {
            pool.submit(_obtain, source, archive, limit, watched, say): source
            for source in sources
            for archive in _lacking(source, limit, say)
        }
        try:
            pending = set(jobs)
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)  # so that Ctrl-C is heard
                for job in done:
                    try:
                        parts.commit(jobs[job], *job.result())
                    except DataError as problem:
                        problems.append(f"{jobs[job].name}: {problem}")
        except BaseException:
            stop.set()
            raise
        for source in {source.name: source for source in jobs.values()}.values():
            if layouts.files_of(source):
                say(parts.finish(source, watched))
    if problems:
        raise DataError("; ".join(problems))


def _lacking(source: Source, limit: int | None, say: Say) -> list[Archive]:
    """The archives to fetch: those not here whole, or here only in part when more is wanted."""
    here = {part.label: part for part in store.parts(source.name)}
    lacking = []
    for archive in source.archives:
        part = here.get(parts.label(archive))
        count = sum(bool(re.search(source.image, name)) for name in part.files) if part else 0
        enough = part is not None and (not part.subset or (limit is not None and count >= limit))
        if archive.urls and not enough:
            lacking.append(archive)
        elif enough:
            for file in (store.folder(source.name) / "download").glob(f"{archive.file}*"):
                file.unlink()  # of a process that was killed when all was in its place
    if not lacking:
        say(f"{source.name} is here: {parts.status(source)}, {store.folder(source.name)}")
    return lacking


def _obtain(source: Source, archive: Archive, limit: int | None, progress: Progress, say: Say) -> tuple[Part, Path]:
    """Download and unpack one archive; return it as a part, and the folder it is in for now."""
    some = limit if archive is source.archives[0] else None  # masks and the like come whole
    with parts.full_disk(source):
        if some is not None:
            try:
                return _subset(source, archive, some, progress)
            except (Unobtainable, Interrupted) as problem:
                say(f"{archive.file}: no single images to be had ({problem}); fetching all of it")
        target = store.folder(source.name) / "download" / archive.file
        digest = _whole(source, archive, target, progress)
        staging = parts.emptied(source, archive)
        try:
            chosen = None
            if some is not None:
                chosen = _chosen(source, (member.name for member in archives.members(target)), some)
            bound = archives.bound_of(target.stat().st_size)
            files = archives.unpack(target, staging, bound=bound, only=chosen, progress=progress)
            files = archives.unpack_nested(staging, files, bound) if source.nested else files
            part = Part(parts.label(archive), parts.label(archive), files, archive.urls[0], digest, some is not None)
            parts.check_content(source, archive, part, staging, whole=archive is source.archives[0] and some is None)
        except DataError:  # not to be unpacked again: the next call fetches it anew
            shutil.rmtree(staging, ignore_errors=True)
            target.unlink()
            raise
    return part, staging


def _whole(source: Source, archive: Archive, target: Path, progress: Progress) -> str:
    """Download an archive, unless a whole one is left from before; return its digest."""
    known = archive.digest or (store.pin(f"{source.name}/{archive.file}") if archive.pinned else None)
    if target.is_file():
        digest = parts.hashed(target, known)
        if known in (None, digest):
            return digest
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        return download(archive.urls, target, digest=known, room=source.room // 2, progress=progress)
    except DataError as problem:
        hint = ""
        if known and not archive.digest and known in str(problem):
            hint = f"; {known} is what it was at first: if a new release was announced, delete it in "
            hint += str(store.root() / "pins.json")
        raise DataError(f"{problem}{hint}. Once you have the file: medsr data import {source.name} FILE") from problem


def _subset(source: Source, archive: Archive, limit: int, progress: Progress) -> tuple[Part, Path]:
    """Fetch only some members of an archive, from the first server that allows ranges."""
    refusals: list[Unobtainable | Interrupted] = []
    for url in archive.urls:
        try:
            with remote.opened(url, archive.file) as file:
                sizes = {member.name: member.size for member in archives.members(file)}
                packed, zipped = file.seek(0, os.SEEK_END), archive.file.endswith(".zip")
            break
        except (Unobtainable, Interrupted) as problem:
            refusals.append(problem)
    else:
        raise refusals[0]
    chosen = _chosen(source, sizes, limit)
    staging = store.folder(source.name) / f".{parts.label(archive)}-some"  # kept when broken off: its files are whole
    staging.mkdir(parents=True, exist_ok=True)
    store.check_room(staging, sum(sizes[name] for name in chosen))
    done: dict[int, int] = {}

    def fetch(number: int, names: list[str]) -> Files:
        def count(label: str, count: int, total: int | None) -> None:
            done[number] = count
            progress(f"{archive.file}, {len(chosen)} of its images", sum(done.values()), len(chosen))

        with remote.opened(url, archive.file) as file:
            return archives.unpack(file, staging, bound=archives.bound_of(packed), only=names, progress=count)

    workers = REQUESTS if zipped else 1  # a tar has no directory: each worker would have to walk through it
    files: Files = {}
    try:
        with ThreadPoolExecutor(workers) as pool:
            for some in pool.map(fetch, range(workers), [chosen[number::workers] for number in range(workers)]):
                files |= some
    except (Unobtainable, Interrupted) as problem:
        raise DataError(f"{url}: {problem}; call again, the images that came are kept") from problem
    for path in [path for path in staging.rglob("*") if path.is_file()]:
        if path.relative_to(staging).as_posix() not in files:
            path.unlink()  # of an earlier selection
    return Part(parts.label(archive), parts.label(archive), files, url, None, True), staging


def _chosen(source: Source, names: Iterable[str], limit: int) -> list[str]:
    """Names of `limit` images, evenly spread, and of their masks."""
    members = sorted(names)
    chosen = spread([name for name in members if re.search(source.image, name)], limit)
    if not chosen:
        raise DataError(f"{source.name}: the archive has no images as expected: {source.layout}")
    stems = {layouts.stem(name) for name in chosen}
    masks = [name for name in members for match in re.finditer(source.mask or r"(?!)", name) if match["image"] in stems]
    return [*chosen, *masks]
