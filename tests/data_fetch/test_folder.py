"""The user's own files: what is taken, what is left out and said, and splits that never share a subject."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pytest
import tifffile
import torch
from PIL import Image

from data_fetch import DataError, ImageSet, load
from data_fetch.folder import _stack


def photograph(path: Path, seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (16, 24, len(mode)) if len(mode) > 1 else (16, 24)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)
    return path


def volume(path: Path, slices: int = 6, empty: int = 2, background: int = 0) -> Path:
    """A bright block in air, `empty` slices of air on top."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.full((10, 12, slices), background, np.int16)
    data[2:8, 2:9, : slices - empty] = 500 + np.arange(slices - empty)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    return path


def names_of(scans: ImageSet) -> list[str]:
    return [entry.name for entry in scans.entries]


def test_every_format_is_found_in_order_and_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.tif", ".hidden.png", "._a.png", ".git/d.png"):
        photograph(tmp_path / name)
    volume(tmp_path / "v.nii.gz")
    (tmp_path / "notes.txt").write_text("not an image")
    scans = load(tmp_path)
    assert names_of(scans) == ["a", "b", "sub_c", "v-000", "v-001", "v-002", "v-003"]
    assert [tuple(scan.pixels.shape) for scan in scans][:4] == [(1, 3, 16, 24)] * 3 + [(1, 1, 12, 10)]
    assert scans[3].spacing == (3, 2) and scans[0].spacing is None
    assert names_of(load(str(tmp_path))) == names_of(scans)


def test_one_file_is_enough(tmp_path: Path) -> None:
    (scan,) = load(photograph(tmp_path / "eye.png", mode="RGBA"))
    assert scan.name == scan.subject == "eye" and scan.pixels.shape == (1, 3, 16, 24)
    Image.new("L", (1, 1), 7).save(tmp_path / "dot_mask.png")
    assert len(load(tmp_path / "dot_mask.png")) == 1, "a file asked for by name is taken, mask or not"
    assert len(load(volume(tmp_path / "v.nii"))) == 4


@pytest.mark.parametrize("background", [0, 80, -30])
def test_empty_slices_of_volumes_are_skipped_dark_photographs_are_not(tmp_path: Path, background: int) -> None:
    volume(tmp_path / "head.nii", background=background)
    with_undershoot = nibabel.load(tmp_path / "head.nii")
    data = np.asanyarray(with_undershoot.dataobj).copy()
    data[0, 0, 0] = -100  # one voxel below the air, as resampling leaves it: air is then no longer at 0
    nibabel.save(nibabel.Nifti1Image(data, with_undershoot.affine), tmp_path / "head.nii")
    dark = np.zeros((16, 16), np.uint8)
    dark[0, :3] = (3, 4, 5)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([dark * 40, dark]), photometric="minisblack")
    with pytest.raises(DataError, match="empty slices"):
        load(tmp_path / "pages.tif")
    assert names_of(load(tmp_path)) == ["dark", "head-000", "head-001", "head-002", "head-003"]


def test_masks_are_skipped_with_one_warning(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "a_1stHO.png", "a_2ndHO.png", "b_seg.png", "01_manual1.tif", "c_gt.png", "MASK.png"):
        photograph(tmp_path / name)
    Image.fromarray(np.eye(16, dtype=bool)).save(tmp_path / "bits.png")
    Image.fromarray(np.eye(16, dtype=np.uint8) * 3).save(tmp_path / "labels.png")
    nibabel.save(nibabel.Nifti1Image(np.eye(8, dtype=np.uint8)[..., None] * 1, np.eye(4)), tmp_path / "x.nii.gz")
    with pytest.warns(UserWarning, match="skipped 9 label masks") as caught:
        scans = load(tmp_path)
    assert names_of(scans) == ["a", "b"] and len(caught) == 1
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match="only label masks"):
        load(tmp_path)


def test_unreadable_among_readable_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "cut.png", "cut.jpg"):
        photograph(tmp_path / name)
    for name in ("cut.png", "cut.jpg"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "text.nii.gz").write_text("not an image")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scans = load(tmp_path)
    assert names_of(scans) == ["a", "b"]
    said = " ".join(str(warning.message) for warning in caught)
    assert len(caught) == 3 and all(name in said for name in ("cut.png", "cut.jpg", "text.nii.gz"))
    assert {warning.filename for warning in caught} == {__file__}, "the warning points at the caller's line"


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image in this folder; known are \.png.*\.nii\.gz"):
        load(tmp_path)
    (tmp_path / "bad.png").write_text("not an image")
    for path in (tmp_path, tmp_path / "bad.png"):
        with pytest.raises(DataError, match=r"(?s)bad\.png.*known are"):
            load(path)
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(DataError, match="unknown extension"):
        load(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no such file or folder"):
        load(tmp_path / "gone")


@pytest.mark.parametrize("count", [3, 4, 7, 20])
def test_splits_share_no_subject_and_none_is_empty(tmp_path: Path, count: int) -> None:
    for number in range(count):
        for contrast in ("t1", "t2"):
            photograph(tmp_path / f"patient{number}" / f"{contrast}.png", seed=number)
    parts = {s: load(tmp_path, split=s) for s in ("train", "validation", "test")}
    subjects = {s: {entry.subject for entry in scans.entries} for s, scans in parts.items()}
    assert all(subjects.values()) and len(subjects["train"]) >= len(subjects["test"])
    assert sum(len(names) for names in subjects.values()) == len(set().union(*subjects.values())) == count
    assert sorted(n for scans in parts.values() for n in names_of(scans)) == sorted(names_of(load(tmp_path)))
    assert all(names_of(load(tmp_path, split=s)) == names_of(scans) for s, scans in parts.items())


def test_a_split_does_not_depend_on_where_the_folder_is_or_on_what_is_broken(tmp_path: Path) -> None:
    for place in ("one", "two"):
        for number in range(8):
            photograph(tmp_path / place / f"eye{number}.png", seed=number)
    (tmp_path / "two" / "broken.png").write_text("not an image")
    with pytest.warns(UserWarning, match=r"broken\.png"):
        assert names_of(load(tmp_path / "two", split="test")) == names_of(load(tmp_path / "one", split="test"))


def test_too_few_subjects_for_a_split(tmp_path: Path) -> None:
    photograph(tmp_path / "images" / "a.png")
    photograph(tmp_path / "images" / "b.png")
    with pytest.raises(DataError, match=r"at least 3 subjects, here: images; .*whose children are the patients"):
        load(tmp_path, split="test")


def test_limit_is_spread_over_files_and_slices(tmp_path: Path) -> None:
    for number in range(10):
        photograph(tmp_path / "photos" / f"{number}.png", seed=number)
    assert names_of(load(tmp_path / "photos", limit=5)) == ["1", "3", "5", "7", "9"]
    for number in range(4):
        volume(tmp_path / "heads" / f"{number}.nii", slices=12)
    assert names_of(load(tmp_path / "heads", limit=2)) == ["1-005", "3-005"]
    assert len(load(tmp_path / "heads", limit=13)) == 13


def test_a_folder_is_not_held_in_memory(tmp_path: Path) -> None:
    for number in range(12):
        photograph(tmp_path / f"{number:02d}.png", seed=number)
    scans = load(tmp_path)
    _stack.cache_clear()
    for scan in scans:
        assert scan.pixels.shape == (1, 3, 16, 24)
    del scan
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o) is torch.Tensor and o.shape == (1, 3, 16, 24)]
    assert len(alive) <= 2


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png", seed=0)
    before = load(path)[0].pixels
    path.unlink()
    photograph(path, seed=1)
    assert not torch.equal(load(path)[0].pixels, before)


def test_a_hospitals_disc_has_files_without_endings(tmp_path):
    """DICOM is known by its content; the disc's index and other files are no images."""
    source = Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    disc = tmp_path / "disc" / "A" / "B"
    disc.mkdir(parents=True)
    for name in ("IM000000", "IM000001"):
        (disc / name).write_bytes(source)
    (tmp_path / "disc" / "DICOMDIR").write_bytes(source)
    (tmp_path / "disc" / "README").write_text("for the doctor")
    assert [scan.subject for scan in load(tmp_path / "disc")] == ["A", "A"]
    assert len(load(disc / "IM000000")) == 1


def test_files_of_one_patient_in_a_heap_are_told_with_their_series(tmp_path):
    data = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    for i, (number, name, uid) in enumerate([(2, "T1", "1.2.3"), (2, "T1", "1.2.3"), (5, "FLAIR", "1.2.4")]):
        data.SeriesNumber, data.SeriesDescription, data.SeriesInstanceUID = number, name, uid
        data.save_as(tmp_path / f"{i}.dcm")
    what = r"3 DICOM files of 1 patient.* 3 subjects.* \(2 T1: 2 files, 5 FLAIR: 1 files\); put each patient"
    with pytest.warns(UserWarning, match=what):
        assert len(load(tmp_path)) == 3
    for i in range(3):
        folder = tmp_path / "each" / f"patient {i}"
        folder.mkdir(parents=True)
        (tmp_path / f"{i}.dcm").rename(folder / "a.dcm")
    data.PatientID = "another"
    data.save_as(tmp_path / "other.dcm")
    assert len(load(tmp_path)) == 4


def test_a_pair_of_header_and_image_is_one_volume(tmp_path):
    volume = np.random.default_rng(0).integers(0, 900, (20, 24, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Pair(volume, np.eye(4)), tmp_path / "head.hdr")
    assert len(load(tmp_path)) == 3
