"""NIfTI in and out: every expected value is known from how the file was built, not from our own reader."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medsr_core.images import ImageFileError, read, write


def enlarge(pixels: torch.Tensor, rows: int = 2, columns: int = 2) -> torch.Tensor:
    return pixels.repeat_interleave(rows, -2).repeat_interleave(columns, -1)


def nifti(path: Path, turned: str, data: np.ndarray | None = None) -> Path:
    """A 5x6x4 head (x to the right, y to the front, z up) of 1x2x3 mm stored in the axis order `turned`."""
    if data is None:
        data = np.zeros((5, 6, 4), np.int16)
        data[4, 5, 0] = 100  # right, front, lowest
        data[0, 5, 0] = 40  # left, front, lowest
        data[2, 2, 3] = -20
    image = nibabel.Nifti1Image(data, np.array([[1, 0, 0, -2], [0, 2, 0, -5], [0, 0, 3, 7], [0, 0, 0, 1.0]]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(turned)
    )
    nibabel.save(image.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("turned", ["RAS", "LPS", "LAS", "SRA", "PIR"])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_front_is_up_and_the_right_hand_on_the_left(tmp_path: Path, turned: str, extension: str) -> None:
    stack = read(nifti(tmp_path / f"a{extension}", turned))
    assert stack.pixels.shape == (4, 1, 6, 5) and stack.spacing == pytest.approx((2, 1))
    assert stack.value_range == (-20, 100)
    lowest = stack.pixels[0, 0]
    assert lowest[0, 0] == 1, "the patient's right front corner is top left"
    assert lowest[0, 4].item() == pytest.approx(0.5), "the left front corner is top right"
    assert stack.pixels[3, 0, 3, 2] == 0


@pytest.mark.parametrize("turned", ["RAS", "LPS", "PIR"])
def test_nifti_keeps_its_physical_extent(tmp_path: Path, turned: str) -> None:
    stack = read(nifti(tmp_path / "a.nii.gz", turned))
    write(tmp_path / "b.nii.gz", enlarge(stack.pixels, 4, 4), like=stack)
    stored = nibabel.load(tmp_path / "b.nii.gz")
    assert "".join(nibabel.aff2axcodes(stored.affine)) == turned and stored.get_data_dtype() == np.int16
    image = nibabel.as_closest_canonical(stored)
    assert image.shape == (20, 24, 4)
    np.testing.assert_allclose(image.header.get_zooms(), (0.25, 0.5, 3))
    # outer faces: 5 voxels of 1 mm from -2.5, 6 of 2 mm from -6, 4 of 3 mm from 5.5
    corners = np.array([[-0.5, -0.5, -0.5, 1], [19.5, 23.5, 3.5, 1]]) @ image.affine.T
    np.testing.assert_allclose(corners[:, :3], [[-2.5, -6, 5.5], [2.5, 6, 17.5]], atol=1e-6)
    assert (np.asarray(image.dataobj)[16:, 20:, 0] == 100).all() and (np.asarray(image.dataobj)[:4, 20:, 0] == 40).all()
    assert torch.equal(read(tmp_path / "b.nii.gz").pixels, enlarge(stack.pixels, 4, 4))


def test_bytes_time_and_scaling_of_nifti(tmp_path: Path) -> None:
    small = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    assert read(nifti(tmp_path / "bytes.nii", "RAS", small)).value_range == (0, 255)
    film = np.zeros((5, 6, 2, 3), np.float32)
    film[..., 1] = 0.5
    film[0, 0, 1, 2] = 2
    stack = read(nifti(tmp_path / "film.nii", "RAS", film))
    assert stack.pixels.shape == (6, 1, 6, 5), "the slices of each volume in turn"
    assert stack.pixels.mean((1, 2, 3))[2:4].tolist() == [0.25, 0.25] and stack.pixels[5, 0, 5, 4] == 1
    write(tmp_path / "again.nii", stack.pixels, like=stack)
    np.testing.assert_allclose(np.asarray(nibabel.load(tmp_path / "again.nii").dataobj), film, atol=1e-6)
    scaled = nibabel.Nifti1Image(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.eye(4))
    scaled.header.set_slope_inter(3, -1)
    nibabel.save(scaled, tmp_path / "scaled.nii")
    image = nibabel.load(tmp_path / "scaled.nii")
    values = np.asarray(image.dataobj)
    assert read(tmp_path / "scaled.nii").value_range == (values.min(), values.max())


def faces_of(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The outer corners of a volume, in millimetres."""
    corners = np.array([[a, b, c, 1] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    corners[:, :3] = corners[:, :3] * shape[:3] - 0.5
    return (corners @ matrix.T)[:, :3]


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".hdr"])
@pytest.mark.parametrize("kind", ["Nifti1", "Nifti2"])
@pytest.mark.parametrize("codes", [(1, 4), (1, 0), (0, 2), (0, 0)])
def test_each_of_the_two_forms_keeps_its_matrix_and_code(
    tmp_path: Path, extension: str, kind: str, codes: tuple[int, int]
) -> None:
    """The scanner's qform, oblique and left-handed, and a template's sform elsewhere: nobody's place is lost."""
    turn = np.deg2rad(20)
    scanner = np.eye(4)
    scanner[:3, :3] = np.array([[-np.cos(turn), np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) * [
        2,
        1,
        3,
    ]
    scanner[:3, 3] = 12, -30, 7
    template = np.diag([-2.5, 1.25, 3.5, 1])
    template[:3, 3] = 90, -126, -72
    data = np.random.default_rng(0).integers(0, 900, (5, 6, 4)).astype(np.int16)
    image = getattr(nibabel, f"{kind}{'Pair' if extension == '.hdr' else 'Image'}")(data, None)
    image.header.set_zooms((2, 1, 3))
    image.header.set_qform(scanner, codes[0]) if codes[0] else None
    image.header.set_sform(template, codes[1]) if codes[1] else None
    image.header["descrip"], image.header["intent_code"] = b"head, second echo", 1001
    image.header.set_xyzt_units("mm", "sec")
    if extension != ".hdr":
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    nibabel.save(image, tmp_path / f"a{extension}")
    stack = read(tmp_path / f"a{extension}")
    write(tmp_path / f"b{extension}", enlarge(stack.pixels, 3, 2), like=stack)
    new = nibabel.load(tmp_path / f"b{extension}")
    old = nibabel.load(tmp_path / f"a{extension}")
    assert type(new) is type(old) and new.shape != old.shape
    assert nibabel.aff2axcodes(new.affine) == nibabel.aff2axcodes(old.affine)
    for name, code in zip(("qform", "sform"), codes, strict=True):
        (before, _), (after, kept) = (getattr(x.header, f"get_{name}")(coded=True) for x in (old, new))
        assert kept == code and (code == 0) == (after is None)
        if code:
            np.testing.assert_allclose(faces_of(after, new.shape), faces_of(before, old.shape), atol=1e-4)
    along = np.divide(new.shape, old.shape)
    np.testing.assert_allclose(new.header.get_zooms(), np.divide(old.header.get_zooms(), along), rtol=1e-6)
    for field in ("descrip", "xyzt_units", "intent_code"):
        assert new.header[field] == old.header[field], field
    assert [e.get_content() for e in new.header.extensions] == [e.get_content() for e in old.header.extensions]
    assert torch.equal(read(tmp_path / f"b{extension}").pixels, enlarge(stack.pixels, 3, 2))


def test_a_damaged_gzip_is_noticed_though_the_reader_would_not(tmp_path: Path) -> None:
    raw = bytearray(gzip.compress(nifti(tmp_path / "a.nii", "RAS").read_bytes(), compresslevel=0))
    raw[-30] ^= 1  # a stored byte of the last voxels: the checksum after them knows
    (tmp_path / "b.nii.gz").write_bytes(raw)
    with pytest.raises(ImageFileError, match=r"is damaged: .*CRC"):
        read(tmp_path / "b.nii.gz")
    (tmp_path / "c.nii.gz").write_bytes(raw[:-40])
    with pytest.raises(ImageFileError, match="is damaged: it cannot be unpacked"):
        read(tmp_path / "c.nii.gz")
    (tmp_path / "d.nii").write_bytes(gzip.compress(b"x"))
    with pytest.raises(ImageFileError, match=r"is gzipped: name it d\.nii\.gz"):
        read(tmp_path / "d.nii")
