"""A file on a server that allows ranges, to be read from anywhere, so that zipfile and tarfile take it for a local one.

The directory of a zip archive is at its end: with it, 50 images out of 10 GB are 50 requests. (The package remotezip
does this for zip; this does it for tar too, goes on where a connection breaks, and notices a file that changes.)
"""

from __future__ import annotations

import io
import time
from typing import IO, Any

from data_fetch import download


class RemoteFile(io.RawIOBase):
    """Read-only and seekable.

    Raises
    ------
    Unobtainable : the server has no such file, or no ranges
    Interrupted : it does not answer, however often it is asked
    """

    def __init__(self, url: str, name: str):
        import requests

        self.url, self.name = url, name
        self.session = requests.Session()
        self.position = 0
        self.validator: str | None = None
        _, self.size = self._request(0, 1023, first=True)

    def _request(self, begin: int, end: int, *, first: bool = False) -> tuple[bytes, int]:
        failures, length = 0, end + 1 - begin
        while True:
            try:
                headers = {"Range": f"bytes={begin}-{end}"}
                with download.ask(self.session, self.url, headers) as answer:
                    start, total = download.span(answer)
                    if answer.status_code != 206 or total is None or start != begin:
                        raise download.Unobtainable("the server sends only whole files")
                    if first:
                        self.validator = download.validator(answer)
                    elif (download.validator(answer), total) != (self.validator, self.size):
                        raise download.Unobtainable("the file changed on the server meanwhile")
                    body = b"".join(bytes(chunk) for chunk in download.chunks(answer, lambda: bytearray(length)))
                    if first:
                        download.check_content(body, answer, self.name)
                if len(body) != min(end + 1, total) - begin:
                    raise download.Interrupted(f"cut off after {len(body)} bytes")
                return body, total
            except download.Interrupted as problem:
                failures += 1
                if failures >= problem.tries:
                    raise
                time.sleep(problem.wait or min(download.PAUSE * 2 ** (failures - 1), 30))

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, by one request."""
        end = min(self.position + len(buffer), self.size)
        if end <= self.position:
            return 0
        body, _ = self._request(self.position, end - 1)
        buffer[: len(body)] = body
        self.position += len(body)
        return len(body)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is asked of the server."""
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def close(self) -> None:
        """Close the connection."""
        self.session.close()
        super().close()


def opened(url: str, name: str) -> IO[bytes]:
    """The file at `url`, read 64 kB ahead."""
    return io.BufferedReader(RemoteFile(url, name), buffer_size=1 << 16)
