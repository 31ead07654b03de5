"""A server on loopback that behaves as badly as asked for, and tiny archives in the official layouts."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_fetch import download
from data_fetch.catalogue import SOURCES, Archive, Source


@dataclass
class Server:
    """Files by path, and how they are sent. `sent` and `asked` tell what happened."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    lengths: bool = True  # else in chunks, as a server sends what it packs on the way
    cut: Callable[[], int] | None = None  # after how many bytes of a body the connection breaks
    pause: float = 0.0  # seconds between pieces of 16 kB
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)  # given before any file
    sent: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            span = self.headers.get("Range")
            server.asked.append((self.path, span))
            if server.answers:
                status, headers, body = server.answers.pop(0)
                return self.reply(status, headers, body)
            if self.path not in server.files:
                return self.reply(404, {}, b"no such file")
            whole = server.files[self.path]
            tag = f'"{hashlib.md5(whole).hexdigest()}"'
            headers = {"ETag": tag} if server.tags else {}
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", span or "")
            if server.ranges and match and self.headers.get("If-Range", tag) == tag:
                start, end = int(match[1]), min(int(match[2] or len(whole)), len(whole) - 1)
                if start >= len(whole):
                    return self.reply(416, {"Content-Range": f"bytes */{len(whole)}"}, b"")
                headers["Content-Range"] = f"bytes {start}-{end}/{len(whole)}"
                return self.reply(206, headers, whole[start : end + 1])
            return self.reply(200, headers, whole)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            chunked = not server.lengths and status in (200, 206)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))))
            self.end_headers()
            limit = server.cut() if server.cut and status in (200, 206) else len(body)
            for begin in range(0, min(limit, len(body)), 1 << 14):
                piece = body[begin : min(begin + (1 << 14), limit)]
                try:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                except OSError:
                    break
                server.sent += len(piece)
                if server.pause:
                    time.sleep(server.pause)
            if limit < len(body):
                self.close_connection = True
            elif chunked:
                self.wfile.write(b"0\r\n\r\n")

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    httpd.daemon_threads = True
    httpd.handle_error = lambda *broken: None  # type: ignore[method-assign]
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder; pauses between tries are short."""
    place = tmp_path / "medsr data"
    monkeypatch.setenv("MEDSR_DATA", str(place))
    monkeypatch.setattr(download, "PAUSE", 0.005)
    return place


@pytest.fixture
def offer(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """offer("stare", {"all-images.zip": bytes}, expected=...) makes the server the provider of a set."""

    def make(
        name: str, files: dict[str, bytes], *, digests: bool = True, mirrors: int = 0, **changes: object
    ) -> Source:
        archives = []
        for file, content in files.items():
            server.files[f"/{file}"] = content
            known = f"sha256:{hashlib.sha256(content).hexdigest()}" if digests else None
            urls = tuple([f"{server.url}/mirror{n}/{file}" for n in range(mirrors)] + [f"{server.url}/{file}"])
            archives.append(Archive(file, urls, known))
        source = replace(SOURCES[name], archives=tuple(archives), room=10**6, **changes)  # type: ignore[arg-type]
        monkeypatch.setitem(SOURCES, name, source)
        return source

    return make
