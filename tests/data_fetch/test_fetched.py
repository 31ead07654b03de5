"""Loaders: the official layouts as the papers' HR images, imported or fetched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import data_fetch
from data_fetch import acquire, parts, protocol, store
from data_fetch.catalogue import SOURCES
from data_fetch.sets import DataError
from medsr_core import degradation
from tests.data_fetch.official import (
    brats,
    camus,
    chase,
    drive,
    head,
    msd,
    nifti,
    picture,
    stare,
    taken,
    tarred,
    write,
    zipped,
)

# --- fundus ---------------------------------------------------------------------------------------------------------


def test_drive_comes_in_two_archives_with_its_own_split_and_masks(folder, tmp_path):
    (tmp_path / "training.zip").write_bytes(zipped(drive("training", range(21, 24))))
    (tmp_path / "test.zip").write_bytes(zipped(drive("test", range(1, 3))))
    said = taken("drive", tmp_path / "training.zip")
    assert "training.zip is not the file as published (sha256:" in said[0]
    assert "drive: 3 of 40 images" in said[1] and "01_test, 02_test" in said[2] and "and 31 more" in said[2]
    with pytest.raises(DataError, match=r"drive: no test split in what is here \(missing: 01_test"):
        data_fetch.load("drive")
    taken("drive", tmp_path / "test.zip")
    assert [scan.name for scan in data_fetch.load("drive")] == ["01_test", "02_test"]
    train = data_fetch.load("drive", split="train").entries + data_fetch.load("drive", split="validation").entries
    assert sorted(entry.subject for entry in train) == ["21", "22", "23"]
    for scan, mask in zip(data_fetch.load("drive"), data_fetch.masks("drive"), strict=True):
        assert scan.pixels.shape == (1, 3, 512, 512) and mask.pixels.shape == (1, 1, 512, 512)
        assert scan.name == mask.name and set(mask.pixels.unique().tolist()) <= {0.0, 1.0}
    # the folder with both archives, and the unpacked folder, do as well
    for place in (tmp_path, write(tmp_path / "DRIVE", drive("training", range(21, 24)))):
        store.forget("drive", "training")
        taken("drive", place)
        assert len(data_fetch.load("drive", split="all")) == 5


def test_a_photograph_is_its_central_square_by_bicubic_and_its_mask_fits(tmp_path):
    image = torch.rand(1, 3, 605, 700, generator=torch.Generator().manual_seed(0))
    square = image[..., 47 : 47 + 605]
    from fractions import Fraction

    expected = degradation.bicubic(Fraction(605, 512))(square).clamp(0, 1)
    torch.testing.assert_close(protocol.photograph(image, 512, "medical"), expected, atol=1e-5, rtol=0)
    small = protocol.photograph(image[..., :100, :], 512, "medical")
    assert torch.equal(small, image[..., 2:98, 302:398]), "nothing is enlarged"
    dots = (image[:, :1] > 0.5).float()
    mask = protocol.mask(dots, 512)
    kept = protocol.photograph(dots, 512, "sr3")
    assert torch.equal(mask, (kept >= 0.5).float()) and mask.shape == (1, 1, 512, 512)


def test_area_resampling_is_the_mean_over_the_pixel(tmp_path):
    image = torch.rand(1, 1, 96, 120, generator=torch.Generator().manual_seed(0))
    got = protocol.photograph(image, 32, "sr3")
    expected = image[..., 12:108].unfold(2, 3, 3).unfold(3, 3, 3).mean((-1, -2))
    torch.testing.assert_close(got, expected)
    pillow = Image.fromarray(image[0, 0, :, 12:108].numpy()).resize((37, 37), Image.Resampling.BOX, reducing_gap=None)
    fraction = protocol.photograph(image, 37, "sr3")[0, 0]
    # with a fraction, Pillow's box takes whole input pixels or none: equal on average only
    assert abs(float(fraction.mean()) - float(np.asarray(pillow).mean())) < 2e-3
    edges = np.linspace(0, 96, 38)
    weights = np.clip(np.minimum(edges[1:, None], np.arange(1, 97)) - np.maximum(edges[:-1, None], np.arange(96)), 0, 1)
    weights /= weights.sum(1, keepdims=True)
    by_hand = weights @ image[0, 0, :, 12:108].double().numpy() @ weights.T
    np.testing.assert_allclose(fraction.numpy(), by_hand, atol=1e-6)


def test_stare_and_chase_have_masks_of_the_same_place(server, folder, offer):
    offer("stare", stare(), expected=tuple(f"im{n:04d}" for n in range(1, 7)))
    offer("chase", {"CHASEDB1.zip": chase()})
    acquire.get(["stare", "chase"], accept=True)
    assert [scan.name for scan in data_fetch.masks("stare", split="all")] == ["im0001", "im0002"]
    first = data_fetch.masks("stare", split="all")[0].pixels
    drawn = np.random.default_rng(0).random((41, 46)) < 0.2
    np.testing.assert_array_equal(first[0, 0].numpy(), drawn[4:36, 6:38])
    assert {scan.subject for scan in data_fetch.load("chase")} == {"11", "12", "13", "14"}
    others = [{e.subject for e in data_fetch.load("chase", split=s).entries} for s in ("train", "validation")]
    assert all(others) and not others[0] & others[1] and len(others[0] | others[1]) == 10
    names = [scan.name for scan in data_fetch.load("chase")]
    assert names == [scan.name for scan in data_fetch.masks("chase")] and len(names) == 8
    with pytest.raises(DataError, match="no vessel masks; sets that have are drive, stare, chase"):
        data_fetch.masks("isic")


# --- brain ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [2020, 2023])
def test_brats_is_axial_slices_without_empty_ones_by_patient(folder, tmp_path, year):
    files = brats(6, year)
    said = taken("brats", write(tmp_path / f"BraTS{year}", files))
    assert "brats: 24 volumes" in said[0] and len(said) == 1
    scans = data_fetch.load("brats", split="all")
    assert len(scans) == 24 * 6 and all(scan.pixels.shape == (1, 1, 32, 32) for scan in scans)
    assert not any("seg" in scan.name for scan in scans)
    assert {entry.name[-3:] for entry in scans.entries} == {f"{z:03d}" for z in range(2, 8)}
    assert len({entry.subject for entry in scans.entries}) == (6 if year == 2020 else 3)
    subjects = [{e.subject for e in data_fetch.load("brats", split=s).entries} for s in data_fetch.SPLITS[:3]]
    assert all(subjects) and sum(map(len, subjects)) == len(set().union(*subjects))


def test_a_slice_is_seen_from_below_and_scaled_to_the_range_of_its_volume(folder, tmp_path):
    array = head(3)
    for name, affine in (("a", [-1, -1, 1, 1]), ("b", [1, 1, 1, 1]), ("c", [2, -3, 4, 1])):
        for contrast in ("t1", "t1ce", "t2", "flair"):
            write(tmp_path / "own", {f"{name}_{contrast}.nii.gz": nifti(array, np.diag(affine).astype(float))})
    taken("brats", tmp_path / "own")
    scans = {scan.name: scan for scan in data_fetch.load("brats", split="all")}
    # the picture's first row is the front and its first column the patient's right; the file's axes x and y point to
    # the left and back (a), to the right and front (b), to the right and back (c)
    for name, down, across in (("a", 1, 1), ("b", -1, -1), ("c", 1, -1)):
        expected = array[:, :, 4].T[::down, ::across]
        got = scans[f"{name}_t1-004"].pixels[0, 0].numpy()
        np.testing.assert_allclose(got, (expected - array.min()) / np.ptp(array), atol=1e-6)
    assert scans["c_t1-004"].spacing == (3, 2)
    from medsr_core import images

    whole = images.read(tmp_path / "own" / "c_t2.nii.gz").pixels
    np.testing.assert_allclose(scans["c_t2-005"].pixels, whole[5:6], atol=1e-6)


def test_msd_has_four_contrasts_in_a_file_and_can_be_had_in_part(server, folder, offer):
    names = tuple(f"BRATS_{n:03d}" for n in (1, 2, 3, 4, 485))
    offer("msd", {"Task01_BrainTumour.tar": tarred(msd())}, expected=names)
    acquire.get(["msd"], accept=True, limit=2)
    assert parts.status(SOURCES["msd"]) == "2 of 5 volumes"
    acquire.get(["msd"])
    assert [scan.name for scan in data_fetch.load("msd", limit=4)] == [
        "BRATS_485-flair-005", "BRATS_485-t1-005", "BRATS_485-t1gd-005", "BRATS_485-t2-005",
    ]  # fmt: skip
    assert len(data_fetch.load("msd", split="all")) == 5 * 4 * 6
    volume = head(485, (32, 32, 10, 4))
    scan = {scan.name: scan for scan in data_fetch.load("msd")}["BRATS_485-t2-003"]
    expected = volume[:, :, 3, 3].T / volume[..., 3].max()
    np.testing.assert_allclose(scan.pixels[0, 0].numpy(), expected, atol=1e-6)


def test_with_a_limit_few_files_are_opened_and_none_twice(folder, tmp_path, monkeypatch):
    taken("brats", write(tmp_path / "B", brats(4)))
    assert len(store.index("brats")) == 16
    opened = []
    original = nibabel.load
    monkeypatch.setattr(nibabel, "load", lambda path: (opened.append(path), original(path))[1])
    protocol._volume.cache_clear()
    scans = data_fetch.load("brats", split="all", limit=5)
    assert not opened and len(list(scans)) == 5 and len(opened) == 5
    protocol._volume.cache_clear()
    opened.clear()
    assert len(list(data_fetch.load("brats", split="all"))) == 96 and len(opened) == 16


def test_iterating_slices_needs_little_memory(folder, tmp_path):
    """300 slices of 240x240: 69 MB as float32, and 12 whole volumes would be 107 MB."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("peak memory is read from /proc")  # ru_maxrss begins at the parent's
    shape = (240, 240, 30)
    files = {}
    for n in range(12):
        data = np.zeros(shape, np.int16)
        data[60:180, 60:180, :] = np.random.default_rng(n).integers(1, 900, (120, 120, 1))
        files[f"P{n // 4}/P{n // 4}_{('t1', 't1ce', 't2', 'flair')[n % 4]}.nii.gz"] = nifti(data)
    taken("brats", write(tmp_path / "B", files))
    code = (
        "import re, data_fetch\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024\n"
        "scans = data_fetch.load('brats', split='all', limit=300)\n"
        "scans[0]; before = peak()\n"
        "total = sum(scan.pixels.shape[-1] == 240 for scan in scans)\n"
        "print(total, peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    count, grown = done.stdout.split()
    assert int(count) == 300 and float(grown) < 40, done


# --- heart ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["nii.gz", "mhd"])
def test_camus_frames_are_1024x512_in_views_and_phases(folder, tmp_path, kind):
    taken("camus", write(tmp_path / "CAMUS", camus(kind=kind)))
    scans = data_fetch.load("camus", split="all")
    assert [e.name for e in scans.entries[:4]] == [f"patient0001_{v}CH_E{p}" for v in (2, 4) for p in "DS"]
    assert len(scans) == 16 and len({entry.subject for entry in scans.entries}) == 4
    for number, scan in ((1, scans[0]), (2, scans[4])):
        assert scan.pixels.shape == (1, 1, 1024, 512)
        frame = np.random.default_rng(number).integers(0, 256, (50, 90), np.uint8).T.astype(np.float32) / 255
        enlarged = np.asarray(Image.fromarray(frame).resize((512, 1024), Image.Resampling.BICUBIC)).clip(0, 1)
        inside = np.s_[40:-40, 40:-40]  # Pillow has another edge
        np.testing.assert_allclose(scan.pixels[0, 0].numpy()[inside], enlarged[inside], atol=1e-4)
        assert scan.spacing == pytest.approx((0.15 * 90 / 1024, 0.3 * 50 / 512), rel=1e-5)


# --- skin, faces, photographs ---------------------------------------------------------------------------------------


def test_faces_come_in_both_sizes_of_sr3(folder, tmp_path):
    thumbs = {
        f"thumbnails128x128/{n // 1000 * 1000:05d}/{n:05d}.png": picture("PNG", (128, 128, 3), n)
        for n in (0, 1, 2, 60001)
    }
    place = write(tmp_path / "ffhq", thumbs)
    listing = {
        str(n): {"thumbnail": {"file_path": name, "file_md5": hashlib.md5(content).hexdigest()}}
        for n, (name, content) in enumerate(thumbs.items())
    }
    (place / "ffhq-dataset-v2.json").write_text(json.dumps(listing))
    taken("ffhq", place)
    (scan,) = data_fetch.load("ffhq")
    assert data_fetch.load("ffhq").upright
    assert scan.name == "60001" and scan.pixels.shape == (1, 3, 128, 128)
    with Image.open(io.BytesIO(thumbs["thumbnails128x128/60000/60001.png"])) as image:
        np.testing.assert_allclose(scan.pixels[0].permute(1, 2, 0).numpy() * 255, np.asarray(image), atol=1e-3)
    with pytest.raises(DataError, match="the images here have 128 pixels along the shorter side, not 512"):
        data_fetch.load("ffhq-512")
    assert data_fetch.load("ffhq-64")[0].pixels.shape == (1, 3, 64, 64)
    write(place, {"thumbnails128x128/00000/00001.png": picture("PNG", (128, 128, 3), 77)})
    with pytest.raises(DataError, match=r"00001.png is not the file as published"):
        taken("ffhq", place)


def test_celeba_hq_and_isic_by_name(folder, tmp_path):
    files = {f"CelebAMask-HQ/CelebA-HQ-img/{n}.jpg": picture("JPEG", (160, 160, 3), n) for n in range(12)}
    files["CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_hair.png"] = picture("PNG")
    (tmp_path / "CelebAMask-HQ.zip").write_bytes(zipped(files))
    taken("celebahq", tmp_path / "CelebAMask-HQ.zip")
    assert len(data_fetch.load("celebahq", split="all")) == 12
    assert data_fetch.load("celebahq")[0].pixels.shape == (1, 3, 128, 128)
    inner = write(tmp_path / "CelebA-HQ-img", {"0.jpg": picture("JPEG", (160, 160, 3))})
    store.forget("celebahq", "CelebAMask-HQ")
    taken("celebahq", inner)
    assert len(data_fetch.load("celebahq", split="all")) == 1
    sizes = [(600, 700), (512, 530), (900, 640)]
    skin = {f"ISIC2018_Task1-2_Training_Input/ISIC_{n:07d}.jpg": picture("JPEG", (*s, 3)) for n, s in enumerate(sizes)}
    (tmp_path / "isic.zip").write_bytes(zipped(skin))
    taken("isic", tmp_path / "isic.zip")
    assert all(scan.pixels.shape == (1, 3, 512, 512) for scan in data_fetch.load("isic", split="all"))


def test_imagenet_as_its_tars_and_as_torchvision_unpacks_it(folder, tmp_path):
    val = {f"ILSVRC2012_val_{n:08d}.JPEG": picture("JPEG", (260 + n, 300, 3), n) for n in range(1, 4)}
    val["ILSVRC2012_val_00000009.JPEG"] = picture("JPEG", (255, 400, 3))
    train = {f"n{c:08d}.tar": tarred({f"n{c:08d}_{n}.JPEG": picture("JPEG", (256, 280, 3), n) for n in (1, 2)})
             for c in (1440764, 1443537)}  # fmt: skip
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(tarred(val))
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(tarred(train))
    taken("imagenet", tmp_path / "ILSVRC2012_img_val.tar")
    assert [scan.name[-3:] for scan in data_fetch.load("imagenet")] == ["001", "002", "003"], "one is too small for 256"
    with pytest.raises(DataError, match="no train split"):
        data_fetch.load("imagenet", split="train")
    taken("imagenet", tmp_path / "ILSVRC2012_img_train.tar")
    assert len(data_fetch.load("imagenet", split="train")) + len(data_fetch.load("imagenet", split="validation")) == 4
    assert all(scan.pixels.shape == (1, 3, 256, 256) for scan in data_fetch.load("imagenet", split="all"))
    for label in ("ILSVRC2012_img_val", "ILSVRC2012_img_train"):
        store.forget("imagenet", label)
    unpacked = {f"val/n01440764/{name}": content for name, content in val.items()}
    taken("imagenet", write(tmp_path / "imagenet", unpacked))
    assert len(data_fetch.load("imagenet")) == 3
