"""Unpacking what came from elsewhere, zip or tar, into a new folder and nowhere else.

Python's tarfile has a `data` filter and zipfile cleans names, but one repairs and the other refuses, and neither bounds
what a member inflates to or notices duplicates; so both are read as the same stream of members, which meet the same
rules. Refused with the whole archive: absolute paths, `..`, drive letters, links (no official archive has any), device
files, encryption, duplicate names (also such as differ by case only), members larger than they claim, and more than
`bound` bytes in all. Dropped: what macOS and Windows leave behind (`._*`, `__MACOSX`, `.DS_Store`, `Thumbs.db`).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from data_fetch.sets import DataError
from data_fetch.store import Files, Progress

CHUNK = 1 << 20
_LITTER = re.compile(r"(^|/)(\._[^/]*|__MACOSX(/.*)?|\.DS_Store|Thumbs\.db|desktop\.ini)$")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)


class Member(NamedTuple):
    """A regular file in an archive; `name` is relative, with "/", and safe."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def bound_of(size: int) -> int:
    """Most bytes that an archive of `size` bytes may unpack to (ours): 20 times as many, and 100 MB in any case."""
    return max(20 * size, 100 * 10**6)


def unpack(
    archive: Path | IO[bytes],
    into: Path,
    *,
    bound: int,
    only: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Files:
    """Write the members of `archive` below the folder `into`; return their names, sizes and SHA-256.

    only : names of the members to write; None for all. A file of such a selection that is there already is kept, since
        it was written whole or not at all

    Raises
    ------
    DataError : the archive is hostile, damaged, or neither zip nor tar. What was written so far stays: unpack into a
        folder that nobody looks at, and rename it.
    """
    label = f"unpacking {_label(archive)}"
    files: Files = {}
    left = bound
    for member in members(archive):
        left -= member.size
        if left < 0:
            raise DataError(f"{_label(archive)}: refused, it unpacks to more than {bound} bytes")
        if only is not None and member.name not in only:
            continue
        target = into / member.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            files[member.name] = _digest(target) if only and target.is_file() else _write(member, into, archive)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"{_label(archive)}: refused, '{member.name}' is a file and a folder at once") from None
        except _BROKEN as problem:
            raise _damaged(archive, problem) from problem
        if progress:
            progress(label, len(files), len(only) if only is not None else None)
    return files


def members(archive: Path | IO[bytes]) -> Iterator[Member]:
    """The regular files of an archive in its order; DataError at the first thing that should not be in one."""
    seen: dict[str, str] = {}
    try:
        for raw, size, kind, opener in _zip(archive) if _is_zip(archive) else _tar(archive):
            name = raw.replace("\\", "/")
            if _LITTER.search(name.rstrip("/")):
                continue
            name = _safe(name, archive)
            if kind == "folder":
                continue
            if kind != "file":
                raise DataError(f"{_label(archive)}: refused, '{name}' is a {kind}")
            key = unicodedata.normalize("NFC", name).casefold()
            if key in seen:
                raise DataError(f"{_label(archive)}: refused, it has '{seen[key]}' and '{name}', the same name twice")
            seen[key] = name
            yield Member(name, size, opener)
    except _BROKEN as problem:
        raise _damaged(archive, problem) from problem


def unpack_nested(place: Path, files: Files, bound: int) -> Files:
    """Unpack the archives among `files` too, each to a folder of its name, and delete them."""
    unpacked: Files = {}
    for name, facts in files.items():
        if not name.lower().endswith((".zip", ".tar")):
            unpacked[name] = facts
            continue
        folder = name[:-4]
        if (place / folder).exists():
            raise DataError(f"{place.name}: refused, '{name}' would unpack over '{folder}'")
        for inner, inner_facts in unpack(place / name, place / folder, bound=bound).items():
            unpacked[f"{folder}/{inner}"] = inner_facts
        (place / name).unlink()
    return unpacked


def _write(member: Member, into: Path, archive: Path | IO[bytes]) -> tuple[int, str]:
    """Write one member beside the folder, then move it in, so that what is in there is whole."""
    part = into.with_name(f"{into.name}.{threading.get_ident()}")
    digest, size = hashlib.sha256(usedforsecurity=False), 0
    target = into / member.name
    if target.exists():
        raise FileExistsError(target)
    with member.open() as source, part.open("wb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > member.size:
                break
            digest.update(chunk)
            file.write(chunk)
    if size != member.size:
        raise DataError(f"{_label(archive)}: refused, '{member.name}' does not have the {member.size} bytes it claims")
    os.rename(part, target)
    return size, digest.hexdigest()


def _digest(path: Path) -> tuple[int, str]:
    import pooch

    return path.stat().st_size, pooch.file_hash(str(path))


def _safe(name: str, archive: Path | IO[bytes]) -> str:
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name) or re.search(r"[\0-\x1f\x7f]", name):
        raise DataError(f"{_label(archive)}: refused, {name!r} leads out of the folder")
    return "/".join(part for part in parts if part not in ("", "."))


# --- the two formats ------------------------------------------------------------------------------------------------

_Raw = Iterator[tuple[str, int, str, Callable[[], IO[bytes]]]]


def _is_zip(archive: Path | IO[bytes]) -> bool:
    """By its first bytes: zipfile.is_zipfile looks at the end, where a tar may hold a zip."""
    if isinstance(archive, Path):
        with archive.open("rb") as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")
    archive.seek(0)
    return archive.read(4) in (b"PK\3\4", b"PK\5\6")


def _zip(archive: Path | IO[bytes]) -> _Raw:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "file"
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "link" if stat.S_ISLNK(mode) else "device file"
            if info.flag_bits & 1:
                kind = "file with a password"
            yield info.orig_filename, info.file_size, kind, lambda info=info: file.open(info)  # type: ignore[misc]


def _tar(archive: Path | IO[bytes]) -> _Raw:
    try:
        if isinstance(archive, Path):
            file = tarfile.open(archive)  # noqa: SIM115 (closed below)
        else:
            archive.seek(0)
            file = tarfile.open(fileobj=archive, mode="r:")  # noqa: SIM115
    except tarfile.ReadError:
        raise DataError(f"{_label(archive)}: neither a zip nor a tar archive, or a damaged one; get it again") from None
    with file:
        for info in file:
            kind = "folder" if info.isdir() else "file" if info.isreg() and not info.issparse() else "device file"
            if info.issym() or info.islnk():
                kind = "link"
            yield info.name, info.size, kind, lambda info=info: _extract(file, info)  # type: ignore[misc]
            file.members = []  # type: ignore[attr-defined]  # else a tar of a million files is remembered file by file
        stream: Any = file.fileobj
        stream.seek(file.offset)
        if stream.read(512) != bytes(512):  # tarfile takes a damaged header for the end
            raise tarfile.ReadError("it breaks off, or a header is damaged")
        if isinstance(archive, Path) and len(stream.read(CHUNK)) == CHUNK:  # to the end, so that gzip compares its CRC
            raise tarfile.ReadError("something follows its end")


def _extract(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    opened = file.extractfile(info)
    if opened is None:
        raise tarfile.ReadError(f"'{info.name}' cannot be read")
    return opened


def _label(archive: Path | IO[bytes]) -> str:
    return archive.name if isinstance(archive, Path) else Path(str(getattr(archive, "name", "archive"))).name


def _damaged(archive: Path | IO[bytes], problem: BaseException) -> DataError:
    return DataError(f"{_label(archive)}: damaged ({problem or type(problem).__name__}); get it again")
