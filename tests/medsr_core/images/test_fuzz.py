"""Damaged files of every kind: read with the values of the format's own library, or refused in one line.

`MEDSR_FUZZ=2500 pytest tests/medsr_core/images/test_fuzz.py` tries so many files of each of the four formats, 10,000 in
all; without it, a hundred of each.
"""

import importlib.util
import io
import os
import resource
import struct
import sys
import time
import zlib
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

SPEC = importlib.util.spec_from_file_location(
    "corpus", Path(__file__).resolve().parents[3] / "benchmarks" / "corpus.py"
)
corpus = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(corpus)

EXAMPLES, SECONDS, BYTES = int(os.environ.get("MEDSR_FUZZ", 100)), 10, 2 * 1024**3
SIZE = (6, 8)
NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from([255, 256, 32767, 65535]), st.integers(0, 65535))
EDITS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


def pixels(dtype, *shape):
    top = min(np.iinfo(dtype).max, 4000) if np.dtype(dtype).kind in "iu" else 1
    return (np.random.default_rng(0).random(shape or SIZE) * top).astype(dtype)


@cache
def png(mode, deep, compressed):
    if deep:
        array = pixels(np.uint16)
        return _saved(Image.fromarray(array), "png")
    array = Image.fromarray(pixels(np.uint8, *SIZE, 3), "RGB")
    return _saved(array.quantize(8) if mode == "P" else array.convert(mode), "png", compress_level=compressed)


def _saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_fields(content, width, height, depth, colours, interlace):
    """Another header, whose checksum is right."""
    fields = list(struct.unpack(">IIBBBBB", content[16:29]))
    for place, value in ((0, width), (1, height), (2, depth), (3, colours), (6, interlace)):
        fields[place] = fields[place] if value is None else value
    header = b"IHDR" + struct.pack(">IIBBBBB", *fields)
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


@cache
def tiff(dtype, colours, packing, tile):
    file = io.BytesIO()
    options = {"tile": (16, 16)} if tile else {"rowsperstrip": 2}
    data = pixels(dtype, *SIZE, 3) if colours else pixels(dtype)
    tifffile.imwrite(file, data, photometric="rgb" if colours else "minisblack", compression=packing, **options)
    return file.getvalue()


@cache
def nifti(dtype, scaled):
    image = nibabel.Nifti1Image(pixels(dtype, 4, 5, 3), np.diag([-2.0, 1, 3, 1]))
    if scaled:
        image.header.set_slope_inter(2, -5)
    return image.to_bytes()


@cache
def dicom_file():
    data = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    data.set_pixel_data(pixels(np.uint16), "MONOCHROME2", 16)
    return data


def dicom(changes):
    file = io.BytesIO()
    data = pydicom.dcmread(io.BytesIO(_plain_dicom()))
    for name, value in changes:
        setattr(data, name, value)
    try:
        data.save_as(file)
    except (OSError, ValueError):  # pydicom does not write that
        reject()
    return file.getvalue()


@cache
def _plain_dicom():
    file = io.BytesIO()
    dicom_file().save_as(file)
    return file.getvalue()


def edited(content, edits, length):
    """Some bytes replaced, and the end cut off."""
    changed = bytearray(content)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed[: int(len(changed) * length)])


def holds(path, content):
    """Judge the file; not longer than 10 seconds, not more than 2 GiB."""
    path.write_bytes(content)
    start = time.monotonic()
    verdict, why = corpus.judge(path)
    assert verdict not in ("wrong", "crashed"), why
    assert time.monotonic() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1) < BYTES


LENGTH = st.sampled_from([1, 1, 1, 0.9, 0.5])
fuzzed = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES == 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
SOME = st.one_of(st.none(), NUMBERS)


@fuzzed
@given(st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "1"]), st.booleans(), st.integers(0, 9), st.data())
def test_png(tmp_path, mode, deep, compressed, data):
    content = png(mode, deep, compressed)
    if data.draw(st.booleans()):
        content = png_fields(content, *(data.draw(SOME) for _ in range(2)), *(data.draw(st.one_of(
            st.none(), st.integers(0, 17))) for _ in range(3)))  # fmt: skip
    holds(tmp_path / "a.png", edited(content, data.draw(EDITS), data.draw(LENGTH)))


@fuzzed
@given(st.sampled_from(["uint8", "uint16", "int16", "float32"]), st.booleans(),
       st.sampled_from([None, "deflate", "lzw", "packbits"]), st.booleans(), EDITS, LENGTH)  # fmt: skip
def test_tiff(tmp_path, dtype, colours, packing, tile, edits, length):
    holds(tmp_path / "a.tif", edited(tiff(dtype, colours, packing, tile), edits, length))


FIELDS = {40: "h", 42: "h", 44: "h", 46: "h", 48: "h", 70: "h", 72: "h", 108: "f", 112: "f", 116: "f", 252: "h",
          254: "h", 280: "f", 296: "f", 312: "f", 344: "i"}  # fmt: skip


@fuzzed
@given(st.sampled_from(["uint8", "int16", "uint16", "float32", "float64"]), st.booleans(),
       st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), st.integers(-9, 600)), max_size=2), EDITS,
       LENGTH)  # fmt: skip
def test_nifti(tmp_path, dtype, scaled, fields, edits, length):
    content = bytearray(nifti(dtype, scaled))
    for place, value in fields:
        struct.pack_into("<" + FIELDS[place], content, place, value)
    holds(tmp_path / "a.nii", edited(content, edits, length))


TAGS = st.one_of(
    st.tuples(st.sampled_from(["Rows", "Columns", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation",
                               "PlanarConfiguration", "NumberOfFrames", "PixelPaddingValue"]), NUMBERS),
    st.tuples(st.just("BitsAllocated"), st.sampled_from([1, 8, 12, 16, 32, 64])),
    st.tuples(st.sampled_from(["RescaleSlope", "RescaleIntercept"]), st.sampled_from(["0", "-1", "2.5", "1e9", ""])),
    st.tuples(st.just("PhotometricInterpretation"), st.sampled_from(["MONOCHROME1", "RGB", "PALETTE COLOR", ""])),
    st.tuples(st.just("PixelSpacing"), st.sampled_from([None, ["0", "1"], ["2", "3"]])),
)  # fmt: skip


@fuzzed
@given(st.lists(TAGS, max_size=3), EDITS, LENGTH)
def test_dicom(tmp_path, changes, edits, length):
    holds(tmp_path / "a.dcm", edited(dicom(changes), edits, length))
