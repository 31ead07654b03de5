"""PNG out, row by row (ISO/IEC 15948): libraries want the whole picture in memory before they write any of it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medsr_core.images.stack import Bands, Stack, is_deep, kept, levels

UP = 2  # the filter: each row as the difference from the row above, so that smooth pictures pack well


def write(path: Path, pixels: Bands, like: Stack) -> None:
    """Write one image (1, C, H, W): 16-bit where the source was deeper than 8, with its profile and resolution."""
    _, channels, height, width = pixels.shape
    deep, colour_type = is_deep(like), {1: 0, 3: 2}[channels]
    icc, dpi = kept(pixels.shape, like)
    packer = zlib.compressobj()
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16 if deep else 8, colour_type, 0, 0, 0))
        if icc:
            _chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
        if dpi:
            _chunk(file, b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in dpi), 1))
        above = np.zeros((1, width * channels * (2 if deep else 1)), np.uint8)
        for _, _, rows in pixels:
            values = levels(rows, 65535 if deep else 255)
            data = np.ascontiguousarray(values.astype(values.dtype.newbyteorder(">"))).view(np.uint8)
            data = np.concatenate([above, data.reshape(len(values), -1)])
            filtered = np.pad(data[1:] - data[:-1], ((0, 0), (1, 0)), constant_values=UP)
            _chunk(file, b"IDAT", packer.compress(filtered.tobytes()))
            above = data[-1:]
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
