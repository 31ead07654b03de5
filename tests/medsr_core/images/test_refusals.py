"""Every refusal of the readers: one line that names the file and says what to do, in no programmer's words."""

import gzip
import re
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file

from medsr_core.images import ImageFileError, read

SPOKEN_BY_PYTHON = re.compile(
    r"\w+(Error|Exception|Warning)\b|\bNone\b|dtype|\baxis\b|\bndarray\b|<class|object has no|\(\d+,|\[Errno|numpy"
)
ADVICE = ("copy or download it again", "copy it again", "save", "convert", "give", "replace", "put it", "name it",
          "leave it out", "known are")  # fmt: skip
GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def dicom(path: Path, **tags: object) -> None:
    data = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    for name, value in tags.items():
        if value is None:
            del data[name]
        else:
            setattr(data, name, value)
    data.save_as(path)


def volume(path: Path, array: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def cut(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def half(make):
    return lambda path: (make(path), cut(path, 0.6))


def not_a_number(path: Path) -> None:
    tifffile.imwrite(path, np.full((4, 4), np.nan, np.float32))


def too_many_voxels(path: Path) -> None:
    volume(path, np.zeros((4, 5, 3), np.int16))
    content = bytearray(path.read_bytes())
    content[42:44] = (30000).to_bytes(2, "little")
    path.write_bytes(content)


def damaged_gzip(path: Path) -> None:
    content = bytearray(gzip.compress(b"x" * 1000, compresslevel=0))
    content[500] ^= 1
    path.write_bytes(content)


def two_pictures(path: Path) -> None:
    with tifffile.TiffWriter(path) as tif:
        tif.write(GRAY)
        tif.write(GRAY[:5])


CASES = {
    "empty.png": Path.touch,
    "text.png": lambda path: path.write_text("no image"),
    "half.png": half(lambda path: Image.effect_noise((64, 64), 50).save(path)),
    "half.jpg": half(lambda path: Image.effect_noise((64, 64), 50).save(path)),
    "unknown.xyz": lambda path: path.write_text("x"),
    "text.tif": lambda path: path.write_text("no image"),
    "half.tif": half(lambda path: tifffile.imwrite(path, np.zeros((64, 64), np.uint16))),
    "nan.tif": not_a_number,
    "complex.tif": lambda path: tifffile.imwrite(path, np.ones((4, 4), np.complex64)),
    "two.tif": two_pictures,
    "pages.tif": lambda path: Image.new("CMYK", (8, 6)).save(
        path, save_all=True, append_images=[Image.new("CMYK", (8, 6))]
    ),
    "text.dcm": lambda path: path.write_text("no image"),
    "plan.dcm": lambda path: path.write_bytes(Path(get_testdata_file("rtplan.dcm", download=False)).read_bytes()),
    "half.dcm": half(dicom),
    "rows.dcm": lambda path: dicom(path, Rows=60000),
    "bits.dcm": lambda path: dicom(path, BitsAllocated=None),
    "sign.dcm": lambda path: dicom(path, PixelRepresentation=None),
    "packed.dcm": lambda path: path.write_bytes(
        Path(get_testdata_file("GDCMJ2K_TextGBR.dcm", download=False)).read_bytes()[:20000]
    ),
    "text.nii": lambda path: path.write_text("no image"),
    "text.nii.gz": lambda path: path.write_text("no image"),
    "half.nii": half(lambda path: volume(path, np.zeros((9, 9, 9), np.int16))),
    "many.nii": too_many_voxels,
    "named.nii": lambda path: path.write_bytes(gzip.compress(b"x")),
    "crc.nii.gz": damaged_gzip,
    "half.nii.gz": half(lambda path: volume(path, np.random.default_rng(0).random((9, 9, 9)))),
    "complex.nii": lambda path: volume(path, np.ones((3, 3, 3), np.complex64)),
    "five.nii": lambda path: volume(path, np.ones((3, 3, 3, 2, 2), np.int16)),
    "pair.hdr": lambda path: (
        nibabel.save(nibabel.Nifti1Pair(np.ones((3, 3, 3), np.int16), np.eye(4)), path),
        path.with_suffix(".img").unlink(),
    ),
    "lone.img": lambda path: path.write_bytes(b"x" * 100),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_that_says_what_and_what_to_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    CASES[name](path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageFileError) as refused:
            read(path)
    message = str(refused.value)
    assert message.startswith(str(path)) and "\n" not in message
    said = message.removeprefix(str(path))
    assert not SPOKEN_BY_PYTHON.search(said), said
    assert any(advice in said for advice in ADVICE), said
