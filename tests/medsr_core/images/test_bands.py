"""Images that are written while they are made: the same files as from whole images, in memory that does not grow."""

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
import torch
from PIL import Image

from medsr_core import upscalers
from medsr_core.images import Bands, Stack, read, write


def cut(pixels, *rows):
    """Bands of the given heights, image by image."""
    return Bands(tuple(pixels.shape), [band for image in pixels.split(1) for band in image.split(rows, -2)])


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".bmp", ".dcm", ".nii", ".nii.gz", ".hdr"])
@pytest.mark.parametrize("dtype, top", [("uint8", 255), ("uint16", 65535)])
@pytest.mark.parametrize("count, channels", [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_bands_give_the_pixels_of_the_whole_image(tmp_path: Path, extension, dtype, top, count, channels):
    nifti = extension in (".nii", ".nii.gz", ".hdr")
    if (count > 1 and extension in (".png", ".jpg", ".bmp")) or (channels > 1 and nifti):
        return
    pixels = torch.rand(count, channels, 301, 17, generator=torch.Generator().manual_seed(0))
    like = Stack(pixels, value_range=(0.0, float(top)), dtype=dtype)
    write(tmp_path / f"whole{extension}", pixels, like=like)
    write(tmp_path / f"bands{extension}", cut(pixels, 1, 258, 42), like=like)
    stored = values(tmp_path / f"bands{extension}")
    np.testing.assert_array_equal(stored, values(tmp_path / f"whole{extension}"))
    if extension not in (".jpg", ".bmp"):
        top = 255 if extension == ".dcm" and channels == 3 and dtype == "uint8" else top
        expected = np.rint(pixels.double().numpy() * top).transpose(0, 2, 3, 1)  # (N, H, W, C)
        if nifti:
            stored = stored.reshape(17, 301, count).transpose(2, 1, 0)[:, ::-1, ::-1]
        np.testing.assert_array_equal(stored.reshape(expected.shape), expected)


def values(path: Path) -> np.ndarray:
    """The numbers in a file, by its own library."""
    if path.suffix == ".tif":
        return tifffile.imread(path)
    if path.suffix == ".dcm":
        return pydicom.dcmread(path).pixel_array
    if path.suffix in (".nii", ".gz", ".hdr"):
        return np.asarray(nibabel.load(path).dataobj)
    if path.suffix == ".png":
        import imagecodecs

        return imagecodecs.png_decode(path.read_bytes())
    return np.asarray(Image.open(path))


def test_png_is_what_others_expect_of_one(tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((40, 30)).save(tmp_path / "a.png", dpi=(100, 200), icc_profile=b"a profile")
    stack = read(tmp_path / "a.png")
    write(tmp_path / "b.png", stack.pixels.repeat_interleave(2, -2).repeat_interleave(2, -1), like=stack)
    with Image.open(tmp_path / "b.png") as image:
        image.verify()
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == "L" and image.info["icc_profile"] == b"a profile"
        assert image.info["dpi"] == pytest.approx((200, 400), rel=1e-3)


def test_rows_that_never_came_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"only 0, and 5 rows, came"):
        write(tmp_path / "a.png", Bands((1, 1, 9, 9), [torch.zeros(1, 1, 5, 9)]))
    with pytest.raises(ValueError, match="NaN"):
        write(tmp_path / "a.png", Bands((1, 1, 9, 9), [torch.full((1, 1, 9, 9), float("nan"))]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method, most", [("nearest", 0), ("bilinear", 1e-6), ("bicubic", 1e-6), ("lanczos", 1e-6),
                                          ("backprojection", 1e-5), ("tv", 1e-4), ("srresnet", 1e-3)])  # fmt: skip
def test_bands_show_no_seam(method: str, most: float) -> None:
    lr = torch.rand(1, 3, 70, 40, generator=torch.Generator().manual_seed(0))
    made = list(upscalers.bands(lr, method, tile=32))
    assert [band.shape[-2] for band in made] == [92, 96, 92]
    assert (torch.cat(made, -2) - upscalers.upscale(lr, method)).abs().max() <= most


@pytest.mark.parametrize("extension", [".png", ".tif", ".dcm", ".nii.gz"])
@pytest.mark.slow
def test_memory_does_not_grow_with_the_output(tmp_path: Path, extension: str) -> None:
    """Peaks of `medsr enhance` in processes of their own: 16 times the pixels, 92 MB as floats, in 60 MB more."""
    peaks = []
    for side in (200, 800):
        Image.linear_gradient("L").resize((side, side)).save(tmp_path / "a.png")
        code = (
            "import resource, sys; from medsr_workbook.commands.main import main\n"
            "main(sys.argv[1:], standalone_mode=False)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = ["enhance", "a.png", "-o", f"b{extension}", "--method", "nearest", "--factor", "6", "--tile", "32"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        peaks.append(int(done.stdout.split()[-1]) / (1024 if sys.platform != "darwin" else 1024**2))
    assert peaks[1] - peaks[0] < 60, peaks
