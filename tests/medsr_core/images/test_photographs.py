"""PNG, JPEG and TIFF as photographers have them: turned, packed, in other colours, with profiles, with thumbnails."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from medsr_core.images import ImageFileError, read, write

RAMP = np.arange(6 * 10, dtype=np.uint8).reshape(6, 10) * 4
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_tiff_is_turned_as_its_tag_says(tmp_path: Path, turned: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAMP, extratags=[(274, "H", 1, turned, True)])
    exif = Image.Exif()
    exif[274] = turned
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image)) / 255
    np.testing.assert_allclose(read(tmp_path / "a.tif").pixels[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_packed_bits_have_their_own_white(tmp_path: Path, bits: int) -> None:
    stored = (np.arange(48).reshape(6, 8) % 2**bits).astype(np.uint16 if bits > 8 else np.uint8)
    stored[0, 0] = 2**bits - 1
    tifffile.imwrite(tmp_path / "a.tif", stored > 0 if bits == 1 else stored, bitspersample=bits, photometric=1)
    np.testing.assert_allclose(read(tmp_path / "a.tif").pixels[0, 0], stored / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("mode", ["YCbCr", "CMYK", "LAB"])
def test_other_colours_become_srgb(tmp_path: Path, mode: str) -> None:
    """Within what 8 bits of the other colours can hold, a photograph comes back as it was."""
    y, x = np.mgrid[0:32, 0:32]
    rgb = Image.fromarray(np.stack([80 + 3 * x, 120 + 2 * y, 200 - 2 * x], -1).astype(np.uint8))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        other = ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
    else:
        other = rgb.convert(mode)
    other.save(tmp_path / "a.tif")
    found = read(tmp_path / "a.tif").pixels[0].permute(1, 2, 0).numpy()
    apart = np.abs(found - np.asarray(rgb) / 255)
    assert apart.max() < 0.06 and apart.mean() < 0.012


def test_sixteen_bits_of_a_png_stay_with_alpha_and_in_colour(tmp_path: Path) -> None:
    gray = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300 + 7
    colour = np.stack([gray, gray // 2, gray // 3], -1)
    opaque = np.full_like(gray, 65535)
    for pixels, expected in (
        (np.stack([gray, opaque], -1), gray[None]),
        (np.concatenate([colour, opaque[..., None]], -1), colour.transpose(2, 0, 1)),
        (colour, colour.transpose(2, 0, 1)),
    ):
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
        stack = read(tmp_path / "a.png")
        assert stack.dtype == "uint16"
        np.testing.assert_allclose(stack.pixels[0], expected / 65535, atol=1e-7)


def test_a_thumbnail_first_is_not_the_picture_and_two_pictures_are_none(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(RAMP[::3, ::3], subfiletype=1)
        tif.write(RAMP)
    with pytest.warns(UserWarning, match="left out a thumbnail of 2x4"):
        assert read(tmp_path / "a.tif").pixels.shape == (1, 1, 6, 10)
    with tifffile.TiffWriter(tmp_path / "b.tif") as tif:
        tif.write(RAMP)
        tif.write(RAMP[:, :8])
    with pytest.raises(ImageFileError, match=r"several sizes .*6x10.*6x8"):
        read(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "c.tif", RAMP.astype(np.complex64))
    with pytest.raises(ImageFileError, match="complex"):
        read(tmp_path / "c.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_profile_and_resolution_are_kept(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.stack([RAMP] * 3, -1)).save(tmp_path / name, icc_profile=PROFILE, dpi=(300, 150))
    stack = read(tmp_path / name)
    write(tmp_path / f"b-{name}", stack.pixels.repeat_interleave(2, 2).repeat_interleave(4, 3), like=stack)
    with Image.open(tmp_path / f"b-{name}") as image:
        assert image.info["icc_profile"] == PROFILE
        assert [float(n) for n in image.info["dpi"]] == pytest.approx([1200, 300], rel=0.01)
    write(tmp_path / "gray.png", torch.zeros(1, 1, 6, 10), like=stack)
    with Image.open(tmp_path / "gray.png") as image:
        assert "icc_profile" not in image.info, "the profile is of colours"
