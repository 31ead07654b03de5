"""Files that are never half written, what to do where none can be written, and where a package's file lies."""

from __future__ import annotations

import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

REASONS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "the disk is full; make room, or name another place"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "this folder takes no files from you; name another place"
    ),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a part of this path is a file, not a folder; name another place"),
    errno.EFBIG: "too large for this disk or account; name another place",
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
    errno.ENOENT: "no such folder; create it first",
    errno.EISDIR: "this is a folder; name a file in it",
}


def in_package(package: str, file: str) -> Path | None:
    """Where a file of an installed package lies, without importing it; None if it is not there."""
    with suppress(metadata.PackageNotFoundError):
        path = Path(str(metadata.distribution(package).locate_file(file)))
        return path if path.is_file() else None
    return None


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path to write to instead of `path`, in its folder (made if it is missing) and with its extension.

    At the end of the block what was written takes the place of `path` in one go; of a link, the place of the file that
    it leads to. If the block raises, or the process is killed, the old file stays as it was.

    Raises
    ------
    OSError : the place cannot be written to, a read-only file is there, or the disk is full; the message names `path`
        and what to do
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}")
    try:
        _refuse_read_only(Path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        os.replace(part, target)
    except OSError as error:
        if error.errno not in REASONS or not Path(error.filename or target).is_relative_to(target.parent):
            raise  # of another file
        raise type(error)(f"{path}: {REASONS[error.errno]}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Fail before the work, not after it: OSError, as of `whole`, if `path` could not be written. Makes its folder."""
    path = Path(path)
    target = Path(os.path.realpath(path))
    _refuse_read_only(path)
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise type(error)(f"{path}: {REASONS.get(error.errno or 0, error.strerror)}") from error


def _refuse_read_only(path: Path) -> None:
    if os.path.isfile(path) and not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(f"{path} is read-only and stays as it is; name another file, or allow writing to it")


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all; what no file can hold (names in another coding) as a backslash code."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def _umask() -> int:
    """What the user does not want new files to allow."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
