"""The catalogue, importing what was downloaded by hand, and who trains and tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import data_fetch
from data_fetch import layouts, parts
from data_fetch.catalogue import SOURCES
from data_fetch.sets import DataError
from tests.data_fetch.official import brats, camus, picture, taken, write, zipped


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_every_set_is_described_and_its_names_fit_its_layout(source):
    assert source.citation and source.licence and source.terms and source.how and source.layout
    assert all(url.startswith(("https://", "http://")) for a in source.archives for url in a.urls)
    for archive in source.archives:
        digits = {"sha256": 64, "md5": 32}
        algorithm, _, value = (archive.digest or "sha256:" + 64 * "0").partition(":")
        assert re.fullmatch(rf"[0-9a-f]{{{digits[algorithm]}}}", value)
        assert archive.urls or archive.digest
    if not isinstance(source.expected, tuple):
        return
    folder = {"drive": "training/images", "msd": "imagesTr", "celebahq": "CelebA-HQ-img"}.get(source.name, "x")
    ending = {"drive": "tif", "stare": "ppm", "chase": "jpg", "msd": "nii.gz", "camus": "nii.gz", "ffhq": "png"}
    ending |= {"celebahq": "jpg", "imagenet": "JPEG"}
    files = [(Path(), f"{folder}/{name}.{ending[source.name]}", 1) for name in source.expected]
    images = layouts.images_in(source, files)
    assert layouts.missing(source, images) == [] and len(images) == len(source.expected)
    counts = {"drive": 40, "stare": 397, "chase": 28, "msd": 750, "camus": 2000, "ffhq": 70000, "celebahq": 30000}
    assert len(images) == (counts | {"imagenet": 50000})[source.name]


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_what_is_not_here_says_in_one_line_how_to_get_it(folder, source):
    with pytest.raises(DataError, match=rf"medsr data (get|import) {source.name}") as caught:
        data_fetch.load(source.name)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_names_with_a_side_are_squares_of_that_side(folder):
    assert data_fetch.parse("ffhq-512") == (SOURCES["ffhq"], 512)
    assert all(data_fetch.parse(name) is None for name in ("ffhq-", "ffhq-x", "msd-128", "lungs", "lungs-128"))
    with pytest.raises(DataError, match=r"no such file or folder.*ffhq"):
        data_fetch.load("ffhq-x")


def test_what_is_no_such_set_is_refused_with_its_layout(folder, tmp_path):
    write(tmp_path / "holiday", {"beach.jpg": picture("JPEG")})
    with pytest.raises(DataError, match=r"holds no images of camus, which are database_nifti/patient0001"):
        taken("camus", tmp_path / "holiday")
    (tmp_path / "holiday.zip").write_bytes(zipped({"beach.jpg": b"x"}))
    with pytest.raises(DataError, match=r"it has beach.jpg and not Image_01L.jpg"):
        taken("chase", tmp_path / "holiday.zip")
    with pytest.raises(DataError, match="no such file or folder"):
        taken("chase", tmp_path / "gone.zip")
    assert parts.status(SOURCES["chase"]) == parts.status(SOURCES["camus"]) == ""


def test_a_folder_stays_where_it_is_and_is_watched(folder, tmp_path):
    place = write(tmp_path / "mine", camus(4))
    taken("camus", place)
    assert not list(folder.rglob("*.nii.gz")) and parts.check("camus") == []
    frame = place / "database_nifti/patient0002/patient0002_2CH_ED.nii.gz"
    frame.unlink()
    with pytest.raises(DataError, match="missing or changed"):
        data_fetch.load("camus")
    assert parts.check("camus") == [f"{frame} is missing"]
    assert (place / "database_nifti/patient0001/patient0001_2CH_ED.nii.gz").is_file(), "nothing of yours is deleted"


def test_splits_never_share_a_subject_and_none_is_empty(folder):
    source = SOURCES["stare"]
    for count in range(3, 60):
        images = layouts.images_in(source, [(Path(), f"x/im{n:04d}.ppm", 1) for n in range(1, count + 1)])
        split = layouts.splits(source, images)
        assert all(split.values()) and sum(map(len, split.values())) == len(set().union(*split.values())) == count
    whole = layouts.images_in(source, [(Path(), f"x/{name}.ppm", 1) for name in source.expected])
    shares = {name: len(subjects) / 397 for name, subjects in layouts.splits(source, whole).items()}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.05)
    assert layouts.splits(source, whole)["test"][:3] == ["im0004", "im0005", "im0015"], "as published: do not change"


def test_missing_contrasts_are_named(folder, tmp_path):
    files = brats(2)
    del files["BraTS20_Training_002/BraTS20_Training_002_t2.nii.gz"]
    assert "missing are BraTS20_Training_002 t2" in taken("brats", write(tmp_path / "B", files))[1]
