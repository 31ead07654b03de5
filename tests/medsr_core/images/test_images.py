"""Files in and out: every expected value is known from how the file was built, not from our own reader."""

from __future__ import annotations

import os
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
from pydicom.data import get_testdata_file

from medsr_core import images
from medsr_core.images import ImageFileError, read, write

RAMP = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([RAMP, 255 - RAMP, RAMP[::-1]], -1)


def enlarge(pixels: torch.Tensor, rows: int = 2, columns: int = 2) -> torch.Tensor:
    return pixels.repeat_interleave(rows, -2).repeat_interleave(columns, -1)


def bundled(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert path, f"{name} is not in this pydicom"
    return Path(path)


def dicom(path: Path, pixels: np.ndarray, kind: str = "MONOCHROME2", **tags: object) -> Path:
    """Write a small DICOM file without our writer."""
    data = pydicom.dcmread(bundled("CT_small.dcm"))
    for name in ("RescaleSlope", "RescaleIntercept"):
        del data[name]
    data.set_pixel_data(pixels, kind, 8 * pixels.dtype.itemsize)
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


def nifti(path: Path, data: np.ndarray) -> Path:
    """Write a NIfTI file without our writer: 1x2x3 mm, x to the right, y to the front, z up."""
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 2, 3, 1])), path)
    return path


# --- photographs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".png", ".tif", ".bmp", ".ppm"])
def test_colours_are_divided_by_255(tmp_path: Path, extension: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"a{extension}")
    stack = read(tmp_path / f"a{extension}")
    assert stack.pixels.shape == (1, 3, 6, 8) and stack.pixels.dtype == torch.float32
    assert stack.value_range == (0, 255) and stack.spacing is None
    np.testing.assert_allclose(stack.pixels[0].permute(1, 2, 0), COLOUR / 255, atol=1e-7)


def test_sixteen_bits_are_divided_by_65535_not_by_the_maximum(tmp_path: Path) -> None:
    deep = RAMP.astype(np.uint16) * 17
    Image.fromarray(deep).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", deep)
    for name in ("a.png", "a.tif"):
        stack = read(tmp_path / name)
        assert stack.value_range == (0, 65535)
        np.testing.assert_allclose(stack.pixels[0, 0], deep / 65535, atol=1e-7)


def test_sixteen_bit_colour_and_lzw_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "deep.tif", COLOUR.astype(np.uint16) * 257, photometric="rgb")
    Image.fromarray(COLOUR).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    for name in ("deep.tif", "lzw.tif"):
        np.testing.assert_allclose(read(tmp_path / name).pixels[0].permute(1, 2, 0), COLOUR / 255, atol=1e-7)


def test_planar_palette_white_is_zero_and_cmyk_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "planar.tif", COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    Image.fromarray(COLOUR).quantize(40).save(tmp_path / "palette.tif")
    tifffile.imwrite(tmp_path / "white.tif", RAMP, photometric="miniswhite")
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    np.testing.assert_allclose(read(tmp_path / "planar.tif").pixels[0].permute(1, 2, 0), COLOUR / 255, atol=1e-7)
    palette = np.asarray(Image.open(tmp_path / "palette.tif").convert("RGB"))
    np.testing.assert_allclose(read(tmp_path / "palette.tif").pixels[0].permute(1, 2, 0), palette / 255, atol=1e-7)
    np.testing.assert_allclose(read(tmp_path / "white.tif").pixels[0, 0], 1 - RAMP / 255, atol=1e-7)
    assert read(tmp_path / "cmyk.tif").pixels[0, :, 0, 0].tolist() == [1, 0, 0]


def test_pages_and_float_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([RAMP, RAMP + 1, RAMP + 2]), photometric="minisblack")
    tifffile.imwrite(tmp_path / "unit.tif", np.full((4, 4), 0.25, np.float32))
    tifffile.imwrite(tmp_path / "wide.tif", np.linspace(-100, 300, 16, dtype=np.float32).reshape(4, 4))
    assert read(tmp_path / "pages.tif").pixels.shape == (3, 1, 6, 8)
    assert read(tmp_path / "pages.tif").pixels[2, 0, 0, 0].item() == pytest.approx(2 / 255)
    assert (read(tmp_path / "unit.tif").pixels == 0.25).all()
    wide = read(tmp_path / "wide.tif")
    assert wide.value_range == (-100, 300) and wide.pixels.aminmax() == (0, 1)


def test_alpha_is_dropped_not_composited(tmp_path: Path) -> None:
    alpha = np.zeros((6, 8, 1), np.uint8)
    Image.fromarray(np.concatenate([COLOUR, alpha], -1), "RGBA").save(tmp_path / "a.png")
    Image.fromarray(np.concatenate([COLOUR, alpha], -1), "RGBA").save(tmp_path / "a.tif")
    Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(alpha[..., 0])]).save(tmp_path / "gray.png")
    for name in ("a.png", "a.tif"):
        np.testing.assert_allclose(read(tmp_path / name).pixels[0].permute(1, 2, 0), COLOUR / 255, atol=1e-7)
    np.testing.assert_allclose(read(tmp_path / "gray.png").pixels[0, 0], RAMP / 255, atol=1e-7)


def test_palette_one_bit_and_equal_channels(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png")
    Image.fromarray(RAMP > 100).save(tmp_path / "bit.png")
    Image.fromarray(np.stack([RAMP] * 3, -1)).save(tmp_path / "gray_rgb.png")
    assert read(tmp_path / "palette.png").pixels[0, :, 0].T.tolist() == [[1, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(read(tmp_path / "bit.png").pixels[0, 0], RAMP > 100)
    assert read(tmp_path / "gray_rgb.png").pixels.shape[1] == 3, "RGB as stored stays RGB"


def test_exif_orientation_of_a_jpeg(tmp_path: Path) -> None:
    picture = np.zeros((16, 32), np.uint8)
    picture[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise to look at it
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif)
    pixels = read(tmp_path / "a.jpg").pixels[0, 0]
    assert pixels.shape == (32, 16) and pixels[:14].min() > 0.9 and pixels[18:].max() < 0.1


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bit_round_trip_is_exact(tmp_path: Path, extension: str, channels: int) -> None:
    pixels = torch.randint(0, 256, (1, channels, 9, 7), generator=torch.Generator().manual_seed(0)) / 255
    write(tmp_path / f"a{extension}", pixels)
    assert torch.equal(read(tmp_path / f"a{extension}").pixels, pixels)


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_sixteen_bit_round_trip_is_exact(tmp_path: Path, extension: str) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257 + 3).save(tmp_path / "a.png")
    stack = read(tmp_path / "a.png")
    write(tmp_path / f"b{extension}", stack.pixels, like=stack)
    again = read(tmp_path / f"b{extension}")
    assert torch.equal(again.pixels, stack.pixels) and again.dtype == "uint16"


def test_jpeg_is_close_and_pages_survive(tmp_path: Path) -> None:
    smooth = torch.linspace(0, 1, 32).expand(2, 3, 32, 32)
    write(tmp_path / "a.jpg", smooth[:1])
    assert (read(tmp_path / "a.jpg").pixels - smooth[:1]).abs().max() < 0.03
    write(tmp_path / "a.tif", smooth)
    assert read(tmp_path / "a.tif").pixels.shape == (2, 3, 32, 32)


# --- DICOM ----------------------------------------------------------------------------------------------------------


def test_rescale_gives_hounsfield_units() -> None:
    path = bundled("CT_small.dcm")
    data = pydicom.dcmread(path)
    hounsfield = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    stack = read(path)
    assert stack.value_range == (hounsfield.min(), hounsfield.max()) == (-896, 1167)
    low, high = stack.value_range
    np.testing.assert_allclose(low + stack.pixels[0, 0] * (high - low), hounsfield, atol=1e-3)
    assert stack.spacing == (0.661468, 0.661468)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    first, second = RAMP, RAMP.astype(np.int16) * 9 - 500
    for number, pixels in enumerate((first, second)):
        normal = read(dicom(tmp_path / "two.dcm", pixels))
        path = dicom(tmp_path / f"one{number}.dcm", pixels, "MONOCHROME1")
        stack = read(path)
        assert torch.allclose(stack.pixels, 1 - normal.pixels, atol=1e-6)
        write(tmp_path / "again.dcm", stack.pixels, like=stack)
        again = pydicom.dcmread(tmp_path / "again.dcm")
        assert again.PhotometricInterpretation == "MONOCHROME1"
        np.testing.assert_array_equal(again.pixel_array, pixels)


def test_frames_share_one_range(tmp_path: Path) -> None:
    frames = np.stack([np.full((4, 6), value, np.uint16) for value in (100, 300, 500)])
    stack = read(dicom(tmp_path / "a.dcm", frames, RescaleSlope=2, RescaleIntercept=-10))
    assert stack.pixels.shape == (3, 1, 4, 6) and stack.value_range == (190, 990)
    assert stack.pixels.mean((1, 2, 3)).tolist() == [0, 0.5, 1]


def test_dicom_colours() -> None:
    ybr = read(bundled("SC_ybr_full_422_uncompressed.dcm"))
    assert ybr.pixels.shape == (1, 3, 100, 100)
    np.testing.assert_allclose(ybr.pixels[0, :, 5, 50], [254 / 255, 0, 0], atol=0.01)  # its first stripe is red
    clip = read(bundled("examples_ybr_color.dcm"))
    assert clip.pixels.shape == (30, 3, 240, 320)
    assert (clip.pixels.amax(1) - clip.pixels.amin(1)).mean() < 0.02, "the heart is gray: YBR was not converted"
    palette = read(bundled("examples_palette.dcm"))
    assert palette.pixels.shape[1] == 3 and 0 < palette.pixels.mean() < 1


def test_ultrasound_region_gives_the_spacing(tmp_path: Path) -> None:
    region = pydicom.Dataset()
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 7, 5
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    path = dicom(tmp_path / "a.dcm", RAMP, PixelSpacing=None, SequenceOfUltrasoundRegions=[region])
    assert read(path).spacing == pytest.approx((0.3, 0.2))
    assert read(bundled("examples_ybr_color.dcm")).spacing is None, "its region describes a picture twice this size"


def test_derived_dicom_says_so_and_keeps_the_patient(tmp_path: Path) -> None:
    source = pydicom.dcmread(bundled("CT_small.dcm"))
    stack = read(bundled("CT_small.dcm"))
    write(tmp_path / "a.dcm", enlarge(stack.pixels, 2, 4), like=stack)
    derived = pydicom.dcmread(tmp_path / "a.dcm")
    assert list(derived.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert derived.SOPInstanceUID != source.SOPInstanceUID == pydicom.dcmread(bundled("CT_small.dcm")).SOPInstanceUID
    assert derived.SOPInstanceUID == derived.file_meta.MediaStorageSOPInstanceUID
    assert derived.SeriesInstanceUID != source.SeriesInstanceUID
    assert derived.StudyInstanceUID == source.StudyInstanceUID
    assert (derived.PatientName, derived.PatientID) == (source.PatientName, source.PatientID)
    assert (derived.Rows, derived.Columns) == (256, 512)
    assert [float(mm) for mm in derived.PixelSpacing] == pytest.approx([0.661468 / 2, 0.661468 / 4])
    assert (derived.RescaleSlope, derived.RescaleIntercept) == (source.RescaleSlope, source.RescaleIntercept)
    assert not derived.file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(derived.pixel_array[::2, ::4], source.pixel_array)
    # the outer corner stays where it was: half a pixel outside the centre of the first one
    for data in (source, derived):
        (x, y, _), (down, right) = data.ImagePositionPatient, data.PixelSpacing
        data.corner = [float(x) - float(right) / 2, float(y) - float(down) / 2]
    assert derived.corner == pytest.approx(source.corner)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # in the file rtdose.dcm itself
@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle_16bit_2frame.dcm",
                                  "examples_palette.dcm", "rtdose.dcm"])  # fmt: skip
def test_dicom_round_trip(tmp_path: Path, name: str) -> None:
    stack = read(bundled(name))
    write(tmp_path / "a.dcm", stack.pixels, like=stack)
    again = read(tmp_path / "a.dcm")
    assert torch.allclose(again.pixels, stack.pixels, atol=2e-5)
    assert again.value_range == pytest.approx(stack.value_range) and again.spacing == stack.spacing


def test_from_one_format_to_another(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", torch.from_numpy(RAMP / 255).float()[None, None])
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "a.dcm").pixel_array, RAMP)
    stack = read(bundled("CT_small.dcm"))
    write(tmp_path / "a.nii", enlarge(stack.pixels), like=stack)
    again = read(tmp_path / "a.nii")
    assert again.value_range == (-896, 1167) and again.spacing == pytest.approx((0.330734, 0.330734))
    head = read(nifti(tmp_path / "b.nii", np.linspace(-20, 100, 120).astype(np.int16).reshape(5, 6, 4)))
    write(tmp_path / "b.dcm", enlarge(head.pixels), like=head)
    again = read(tmp_path / "b.dcm")
    assert again.pixels.shape == (4, 1, 12, 10) and again.spacing == (1, 0.5)
    assert again.value_range == pytest.approx((-20, 100))
    torch.testing.assert_close(again.pixels, enlarge(head.pixels), rtol=0, atol=1e-5)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.dcm").write_text("not an image")
    (tmp_path / "text.nii.gz").write_text("not an image")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    for extension in (".png", ".jpg", ".tif"):
        noise.save(tmp_path / f"whole{extension}")
        data = (tmp_path / f"whole{extension}").read_bytes()
        (tmp_path / f"cut{extension}").write_bytes(data[: len(data) // 2])
    nifti(tmp_path / "whole.nii", np.zeros((5, 6, 4), np.int16))
    (tmp_path / "cut.nii").write_bytes((tmp_path / "whole.nii").read_bytes()[:400])
    names = ("empty.png", "text.dcm", "text.nii.gz", "cut.png", "cut.jpg", "cut.tif", "cut.nii")
    for name in names:
        with pytest.raises(ImageFileError, match=name):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read(tmp_path / "gone.png")
    with pytest.raises(ImageFileError, match=r"unknown extension '\.xyz'; known are \.png"):
        read(tmp_path / "a.xyz")
    with pytest.raises(ImageFileError, match=r"without pixels \(modality RTPLAN"):
        read(bundled("rtplan.dcm"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_a_number_is_refused(tmp_path: Path, bad: float) -> None:
    data = np.ones((4, 4, 4), np.float32)
    data[1, 1, 1] = bad
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    for path in (nifti(tmp_path / "a.nii", data), tmp_path / "a.tif"):
        with pytest.raises(ImageFileError, match="NaN or infinite"):
            read(path)


def test_one_pixel_and_a_flat_volume(tmp_path: Path) -> None:
    Image.new("L", (1, 1), 51).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").pixels.tolist() == [[[[pytest.approx(0.2)]]]]
    flat = read(nifti(tmp_path / "a.nii", np.full((2, 2, 2), 7, np.int16)))
    assert (flat.pixels == 0).all() and flat.value_range == (7, 7)
    write(tmp_path / "b.nii", flat.pixels, like=flat)
    assert (np.asarray(nibabel.load(tmp_path / "b.nii").dataobj) == 7).all()


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.png", torch.full((1, 1, 8, 8), 0.5))
    before = (tmp_path / "a.png").read_bytes()
    code = (
        "import resource, sys, torch; from medsr_core.images import write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"  # every file longer than 1000 bytes is cut off
        "write(sys.argv[1], torch.rand(1, 1, 99, 99))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True)
    assert done.returncode and "File too large" in done.stderr
    assert (tmp_path / "a.png").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"], "no half-written file stays behind"


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    pixels = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for name, message in (("two.png", "holds one image"), ("a.nope", "unknown extension"), ("c.nii", "gray values")):
        with pytest.raises(ImageFileError, match=message):
            write(tmp_path / name, pixels.expand(2, 3, 8, 8))
    with pytest.raises(FileNotFoundError, match="create it first"):
        write(tmp_path / "no" / "a.png", pixels)
    with pytest.raises(ValueError, match=r"values in \[0, 2\]"):
        write(tmp_path / "a.png", torch.tensor([0.0, 2.0]).view(1, 1, 1, 2))
    assert not os.listdir(tmp_path)


def test_check_image_says_what_is_wrong() -> None:
    good = torch.rand(2, 3, 4, 4)
    assert images.check_image(good) is good
    for bad, message in ((good[0], "expected"), (good * 3, "clamp"), (good / 0 * 0, "NaN")):
        with pytest.raises(ValueError, match=message):
            images.check_image(bad)
    with pytest.raises(TypeError, match="255"):
        images.check_image((good * 255).byte())
