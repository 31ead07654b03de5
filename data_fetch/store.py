"""The data folder: where fetched and imported sets are, and what counts as being here.

    MEDSR_DATA/                     or --data-dir; else the user's cache folder, which pooch knows for every system
      pins.json                     digests of archives that came without one, as first seen
      accepted.json                 whose terms were accepted, and when
      splits/stare.json             which subjects train, validate and test
      stare/record.json             what is here: files with size and SHA-256. Written last, so that nothing half counts
      stare/all-images/...          the files of one archive: a part of the set
      stare/download/               what is under way; a broken download goes on from here

A part counts as here if the record has it and every file has the recorded size; `medsr data check` also compares
digests. Folders of your own are recorded where they are and not copied.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_fetch.sets import DataError
from medsr_core.files import write_whole

ENVIRONMENT = "MEDSR_DATA"
Progress = Callable[[str, int, int | None], None]  # label, bytes or files done, of how many (None: not known)
Files = dict[str, tuple[int, str]]  # path with "/" -> size in bytes, SHA-256


@dataclass(frozen=True)
class Part:
    """The files of one archive, or of one folder of yours."""

    label: str
    root: str  # a folder within the set's, or an absolute path
    files: Files
    origin: str
    digest: str | None = None  # of the archive
    subset: bool = False  # fetched with a limit
    date: str = ""


def root() -> Path:
    """The data folder; it need not exist."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return Path(given).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("medsr"))


def folder(name: str) -> Path:
    """The folder of one set; it need not exist."""
    return root() / name


def path_of(name: str, part: Part) -> Path:
    """The folder a part's file names are relative to."""
    return folder(name) / part.root


def parts(name: str, *, whole: bool = True) -> list[Part]:
    """What is recorded of the set; with `whole`, only parts whose every file is there in its size."""
    recorded = read_json(folder(name) / "record.json").get("parts", {})
    found = [Part(label, **facts) for label, facts in recorded.items()]
    return [part for part in found if not whole or not damage(name, part)]


def damage(name: str, part: Part) -> list[str]:
    """Files of a part that are missing or have another size."""
    place = path_of(name, part)
    return [file for file, (size, _) in part.files.items() if _size(place / file) != size]


def record(name: str, part: Part) -> None:
    """Count a part as here from now on (call under `lock`)."""
    _change(name, part.label, {**asdict(part), "date": today()})


def forget(name: str, label: str) -> None:
    """Count a part as here no longer; of its files, those in the data folder are deleted (call under `lock`)."""
    place = next((path_of(name, part) for part in parts(name, whole=False) if part.label == label), None)
    _change(name, label, None)
    if place is not None and place.parent == folder(name):
        shutil.rmtree(place, ignore_errors=True)


def _change(name: str, label: str, facts: dict[str, Any] | None) -> None:
    recorded = read_json(folder(name) / "record.json").get("parts", {})
    recorded.pop(label, None)
    if facts is not None:
        recorded[label] = {key: value for key, value in facts.items() if key != "label"}
    write_json(folder(name) / "record.json", {"name": name, "parts": recorded})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


# --- small facts ----------------------------------------------------------------------------------------------------


def pin(archive: str, digest: str | None = None) -> str | None:
    """The digest first seen of `archive` ("set/file"); given one, remember it."""
    return _fact("pins.json", archive, digest)


def accepted(name: str, terms: str | None = None) -> str | None:
    """The terms of a set as they were accepted; given some, remember them."""
    return _fact("accepted.json", name, terms)


def _fact(file: str, key: str, value: str | None) -> str | None:
    if value is None:
        return read_json(root() / file).get(key, [None])[0]
    with lock(""):
        write_json(root() / file, {**read_json(root() / file), key: [value, today()]})
    return value


def index(name: str, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """What was seen when looking into files, by path and size, so that it need not be looked at again."""
    if found is not None:
        with suppress(OSError):  # a shared folder that may only be read
            write_json(folder(name) / "index.json", {**index(name), **found})
    return read_json(folder(name) / "index.json")


def write_json(path: Path, content: Any) -> None:
    """Write the file whole or not at all."""
    write_whole(path, json.dumps(content, indent=1))


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote; {} if there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise DataError(f"{path} is damaged; delete it, then get or import the set again") from None


def today() -> str:
    """The date, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


@contextmanager
def lock(name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """One process at a time changes a set; `waiting` is called if another one does. A killed one leaves no lock."""
    import filelock

    folder(name).mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(folder(name) / ".lock")
    try:
        held.acquire(blocking=False)
    except filelock.Timeout:
        waiting()
        held.acquire()
    try:
        for pattern in (".*.record.json", ".*.[0-9]*", "download/.*"):  # what a killed process left half written
            for part in folder(name).glob(pattern):
                part.unlink()
        yield
    finally:
        held.release()


def check_room(place: Path, needed: int) -> None:
    """DataError if the disk that holds `place` has not `needed` bytes free."""
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DataError(
            f"{place} has {in_words(free)} free, {in_words(needed)} are needed; free some, or name another "
            f"folder with --data-dir or {ENVIRONMENT}"
        )


def in_words(size: int) -> str:
    """A number of bytes to read: 7.6 GB."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.3g} {unit}"
    return f"{size} bytes"
