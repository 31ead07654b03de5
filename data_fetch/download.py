"""One file over HTTP: resumed where it broke off, retried, from mirrors, and hashed while it arrives.

pooch, which gives us the cache folder and the digests of files at rest, starts a broken download anew and hashes only
afterwards; with 10 GB over a seminar room's network neither will do. So the transfer itself is ours, over requests.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_fetch import store
from data_fetch.sets import DataError

CHUNK = 1 << 18
CHUNKS = 8  # in memory: one is being filled, the others are being hashed
TIMEOUT = (15, 60)  # seconds to connect, and without a byte
TRIES = 8  # in a row without any progress; each byte gained renews them
PAUSE = 1.0  # seconds before the second try, then doubled up to 30
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Unobtainable(Exception):
    """This server will not give the file; another one may."""


class Interrupted(Exception):
    """It broke off; the next try may do better."""

    def __init__(self, reason: str, wait: float = 0.0, tries: int | None = None):
        super().__init__(reason)
        self.wait, self.tries = wait, tries or TRIES


def download(
    urls: Sequence[str],
    target: Path,
    *,
    digest: str | None = None,
    room: int = 0,
    progress: store.Progress | None = None,
) -> str:
    """Fetch `target` from the first of `urls` that gives it, and return its digest.

    Parameters
    ----------
    urls : the provider's address, then mirrors
    target : the file to write; until it is whole and right, it is called `target`.part
    digest : "sha256:..." or "md5:..."; None if it is not known
    room : bytes that must stay free on the disk afterwards (for unpacking)
    progress : called with (file name, bytes so far, bytes in all or None)

    Raises
    ------
    DataError : no address gives it (with each one's reason), another digest than expected, or the disk is full. What
        arrived stays in `target`.part, and the next call goes on there.
    """
    algorithm = digest.partition(":")[0] if digest else "sha256"
    reasons = []
    for url in urls:
        for attempt in ("resumed", "anew"):
            sink = _Sink(target, algorithm)
            begun = sink.done
            try:
                found = _persist(url, sink, digest is not None, room, progress)
            except Unobtainable as problem:
                reasons.append(f"{url}: {problem}")
                break
            except OSError as problem:
                if problem.errno not in FULL:
                    raise
                raise DataError(
                    f"{target.parent}: the disk is full; free some space and call again, {store.in_words(sink.done)} "
                    "of the download are kept"
                ) from problem
            finally:
                sink.close()
            if digest in (None, found):
                os.replace(sink.path, target)
                sink.note.unlink(missing_ok=True)
                return found
            sink.path.unlink()
            if not begun or attempt == "anew":
                reasons.append(f"{url}: sends another file than it should ({found} instead of {digest})")
                break
    raise DataError(f"{target.name} cannot be had. " + "; ".join(reasons))


def _persist(url: str, sink: _Sink, known: bool, room: int, progress: store.Progress | None) -> str:
    """Try until the file is whole, or nothing has come for several tries."""
    import requests

    failures, furthest = 0, sink.done
    with requests.Session() as session:
        while True:
            try:
                _transfer(session, url, sink, known, room, progress)
                return sink.digest()
            except Interrupted as problem:
                failures = 1 if sink.done > furthest else failures + 1
                furthest = max(furthest, sink.done)
                if failures >= problem.tries:
                    raise Unobtainable(str(problem)) from problem
                time.sleep(problem.wait or min(PAUSE * 2 ** (failures - 1), 30))


def _transfer(session: Any, url: str, sink: _Sink, known: bool, room: int, progress: store.Progress | None) -> None:
    """One request: append what comes to the part file, after starting it over if the server cannot go on."""
    note = sink.noted()
    if sink.done and note.get("url") != url and not known:
        sink.restart()  # without a digest, pieces of two servers' files are not to be mixed
    headers = {}
    if sink.done:
        headers["Range"] = f"bytes={sink.done}-"
        if note.get("validator") and note.get("url") == url:
            headers["If-Range"] = note["validator"]
    answer = ask(session, url, headers)
    with answer:
        start, total = span(answer)
        if answer.status_code == 416:  # there is nothing after what we have
            if sink.done == total:
                return
            sink.restart()
            raise Interrupted("the file changed on the server")
        if start != sink.done or note.get("total", total) != total:
            sink.restart()
            if start:
                raise Interrupted("the server sends another range than asked for")
        store.check_room(sink.path.parent, room + (total - sink.done if total is not None else 0))
        sink.remember({"url": url, "validator": validator(answer), "total": total})
        if progress:
            progress(sink.name, sink.done, total)
        for chunk in chunks(answer, sink.free_buffer):
            if not sink.done:
                check_content(bytes(chunk[:CHUNK]), answer, sink.name)
            sink.write(chunk)
            if progress:
                progress(sink.name, sink.done, total)
    if total is not None and sink.done != total:
        raise Interrupted(f"cut off after {sink.done} of {total} bytes")
    if not sink.done:
        raise Interrupted("sends an empty file")


# --- HTTP -----------------------------------------------------------------------------------------------------------


def ask(session: Any, url: str, headers: dict[str, str]) -> Any:
    """A requests response of status 200, 206 or 416; else Unobtainable or Interrupted, saying why."""
    import requests

    fixed = {"Accept-Encoding": "identity", "User-Agent": "medsr"}
    try:
        answer = session.get(url, headers=fixed | headers, stream=True, timeout=TIMEOUT)
    except requests.exceptions.Timeout:
        raise Interrupted("does not answer", tries=3) from None
    except requests.exceptions.SSLError:
        raise Unobtainable("its certificate cannot be verified") from None
    except requests.exceptions.ConnectionError:
        raise Interrupted("no connection", tries=2) from None
    except requests.exceptions.RequestException as problem:
        raise Unobtainable(str(problem)) from None
    code = answer.status_code
    if code in (200, 206, 416):
        return answer
    answer.close()
    if code in (408, 425, 429) or code >= 500:
        wait = answer.headers.get("Retry-After", "")
        raise Interrupted(f"HTTP {code} {answer.reason}", wait=min(float(wait), 120) if wait.isdigit() else 0)
    raise Unobtainable(f"HTTP {code} {answer.reason}")


def span(answer: Any) -> tuple[int, int | None]:
    """Where the bytes of this response begin in the file, and the file's length (None: not said)."""
    found = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if answer.status_code != 200 and found:
        return int(found[1] or 0), None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() and answer.status_code == 200 else None


def validator(answer: Any) -> str | None:
    """What tells this version of the file from another (RFC 9110, 13.1.5): a strong ETag, or the date."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def chunks(answer: Any, buffer: Callable[[], bytearray]) -> Iterator[memoryview]:
    """The body as it comes, in the buffers that `buffer` gives; Interrupted where it breaks off.

    Past urllib3, which copies everything once, from http.client's response inside it (or else from urllib3's).
    """
    body = getattr(answer.raw, "_fp", answer.raw)
    while True:
        space = memoryview(buffer())
        try:
            count = body.readinto(space)
        except TimeoutError:
            raise Interrupted("stalled") from None
        except (http.client.HTTPException, OSError):
            raise Interrupted("the connection broke") from None
        if not count:
            return
        yield space[:count]


def check_content(first: bytes, answer: Any, name: str) -> None:
    """Unobtainable if these first bytes are a web page (a login, a quota, an error), or no archive of the kind."""
    begin = first[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html")) or "text/html" in answer.headers.get("Content-Type", ""):
        found = re.search(rb"<title[^>]*>\s*(.*?)\s*</title>", first, re.IGNORECASE | re.DOTALL)
        title = f" titled '{found[1][:80].decode('utf-8', 'replace')}'" if found else ""
        raise Unobtainable(f"a web page{title} in place of {name}: a login or a quota? Download it with a browser")
    if name.endswith(".zip") and not first.startswith(b"PK"):
        raise Unobtainable(f"no zip archive: it begins with {first[:16]!r}")


# --- the file -------------------------------------------------------------------------------------------------------


class _Sink:
    """The part file and its digest: a chunk is hashed in a thread while the next ones arrive."""

    def __init__(self, target: Path, algorithm: str):
        self.name, self.algorithm = target.name, algorithm
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("ab", buffering=0)  # so that `done` is what is on the disk, also when that is full
        self.done = self.path.stat().st_size
        self.worker = ThreadPoolExecutor(1)
        self.buffers = [bytearray(CHUNK) for _ in range(CHUNKS)]
        self.hashed: list[Future[None] | None] = [None] * CHUNKS  # of each buffer, whether it may be filled again
        self.turn = 0
        self._start_hash()

    def _start_hash(self) -> None:
        self._wait()
        self.hash = hashlib.new(self.algorithm, usedforsecurity=False)
        if self.done:
            self.worker.submit(self._hash_what_is_here, self.done)

    def _hash_what_is_here(self, length: int) -> None:
        with self.path.open("rb") as file:
            while length and (chunk := file.read(min(CHUNK, length))):
                self.hash.update(chunk)
                length -= len(chunk)

    def free_buffer(self) -> bytearray:
        self.turn = (self.turn + 1) % CHUNKS
        if waited := self.hashed[self.turn]:
            waited.result()
        return self.buffers[self.turn]

    def write(self, chunk: memoryview) -> None:
        rest = chunk
        while rest:
            written = self.file.write(rest)
            self.done += written
            rest = rest[written:]
        self.hashed[self.turn] = self.worker.submit(self.hash.update, chunk)

    def _wait(self) -> None:
        self.worker.submit(int).result()  # there is one worker: all before this is done

    def restart(self) -> None:
        self.file.truncate(0)
        self.done = 0
        self._start_hash()

    def digest(self) -> str:
        self._wait()
        return f"{self.algorithm}:{self.hash.hexdigest()}"

    def noted(self) -> dict[str, Any]:
        return store.read_json(self.note)

    def remember(self, facts: dict[str, Any]) -> None:
        store.write_json(self.note, facts)

    def close(self) -> None:
        self.worker.shutdown(wait=True)
        self.file.close()
