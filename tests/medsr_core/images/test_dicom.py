"""DICOM as hospitals have it: values, spacing and place of each frame, padding, codecs, files without a beginning."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from medsr_core.images import ImageFileError, read, write

RAMP = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) * 50


def source(pixels: np.ndarray = RAMP, kind: str = "MONOCHROME2", **tags: Any) -> Dataset:
    """A data set with these pixels and tags; None leaves a tag out."""
    path = get_testdata_file("CT_small.dcm", download=False)
    data = pydicom.dcmread(path)
    for name in ("RescaleSlope", "RescaleIntercept", "PixelPaddingValue"):
        data.pop(name, None)
    for name in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        data.pop(name, None)
    data.set_pixel_data(pixels, kind, 8 * pixels.dtype.itemsize)
    for name, value in tags.items():
        data.pop(name, None)
        if value is not None and "Padding" in name:
            data.add_new(tag_for_keyword(name), "SS", value)
        elif value is not None:
            setattr(data, name, value)
    return data


def saved(path: Path, data: Dataset, **how: Any) -> Path:
    data.save_as(path, **how)
    return path


def item(**values: Any) -> Dataset:
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def groups(**sequences: Dataset) -> Dataset:
    return item(**{name: [value] for name, value in sequences.items()})


def enlarged(path: Path, out: Path, factor: int = 2) -> Dataset:
    stack = read(path)
    big = stack.pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    write(out, big, like=stack)
    return pydicom.dcmread(out)


# --- values ---------------------------------------------------------------------------------------------------------


def test_each_frame_has_its_own_slope_and_intercept(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP, RAMP])
    own = [
        groups(PixelValueTransformationSequence=item(RescaleSlope=s, RescaleIntercept=b))
        for s, b in ((1, 0), (2, 5), (4, -3))
    ]
    data = source(frames, PerFrameFunctionalGroupsSequence=own)
    path = saved(tmp_path / "a.dcm", data)
    stack = read(path)
    low, high = stack.value_range
    expected = np.stack([RAMP * 1.0, RAMP * 2.0 + 5, RAMP * 4.0 - 3])
    np.testing.assert_allclose(low + (high - low) * stack.pixels[:, 0].double().numpy(), expected, atol=1e-2)
    assert (low, high) == (expected.min(), expected.max())
    new = enlarged(path, tmp_path / "b.dcm")
    again = read(tmp_path / "b.dcm")
    assert (
        len({str(g.PixelValueTransformationSequence[0].RescaleSlope) for g in new.PerFrameFunctionalGroupsSequence})
        == 1
    )
    np.testing.assert_allclose(again.value_range, stack.value_range, atol=0.1)
    torch.testing.assert_close(again.pixels[:, :, ::2, ::2], stack.pixels, atol=1e-4, rtol=0)


def test_a_modality_table_comes_before_everything_else(tmp_path: Path) -> None:
    table = (np.arange(256) ** 2 // 20).astype(np.uint16)
    lut = item(LUTDescriptor=[256, 0, 16], ModalityLUTType="US")
    lut.add_new("LUTData", "OW", table.tobytes())
    stored = (np.arange(48, dtype=np.uint8) * 5).reshape(6, 8)
    path = saved(tmp_path / "a.dcm", source(stored, ModalityLUTSequence=[lut]))
    stack = read(path)
    low, high = stack.value_range
    np.testing.assert_allclose(low + (high - low) * stack.pixels[0, 0].double().numpy(), table[stored], atol=1e-2)
    new = enlarged(path, tmp_path / "b.dcm")
    assert "ModalityLUTSequence" not in new and read(tmp_path / "b.dcm").value_range == pytest.approx(
        (low, high), abs=0.1
    )


@pytest.mark.parametrize("limit", [None, -1900])
def test_declared_padding_is_outside_the_range_and_stays(tmp_path: Path, limit: int | None) -> None:
    pixels = np.where(np.arange(48).reshape(6, 8) < 8, -2000, RAMP.astype(np.int16)).astype(np.int16)
    pixels[1, 0] = -1950 if limit else -2000
    path = saved(tmp_path / "a.dcm", source(pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=limit))
    stack = read(path)
    assert stack.value_range == (450, 2350), "of the tissue"
    assert (stack.pixels[0, 0, 0] == 0).all() and stack.pixels[0, 0, 1, 0] == 0 and stack.pixels.max() == 1
    new = enlarged(path, tmp_path / "b.dcm")
    assert new.PixelPaddingValue == -2000 and (new.pixel_array[:2] == -2000).all()
    assert (new.pixel_array[2:, 2:] >= 450).all()


def test_colours_of_more_than_eight_bits_have_their_own_white(tmp_path: Path) -> None:
    rgb = np.full((6, 8, 3), 1000, np.uint16)
    rgb[0, 0] = 40000
    assert read(saved(tmp_path / "a.dcm", source(rgb, "RGB"))).pixels[0, :, 1, 1].tolist() == pytest.approx(
        [1000 / 65535] * 3
    )
    data = source(np.zeros((6, 8), np.uint8), "MONOCHROME2")
    data.PhotometricInterpretation = "PALETTE COLOR"
    for colour, value in (("Red", 3000), ("Green", 200), ("Blue", 0)):
        data.add_new(tag_for_keyword(f"{colour}PaletteColorLookupTableDescriptor"), "US", [256, 0, 16])
        setattr(data, f"{colour}PaletteColorLookupTableData", np.full(256, value, np.uint16).tobytes())
    found = read(saved(tmp_path / "b.dcm", data)).pixels[0, :, 0, 0]
    assert found.tolist() == pytest.approx([3000 / 65535, 200 / 65535, 0])


# --- place and size -------------------------------------------------------------------------------------------------


def test_spacing_and_place_of_each_frame(tmp_path: Path) -> None:
    def frame(z: float) -> Dataset:
        return groups(
            PixelMeasuresSequence=item(PixelSpacing=[0.8, 0.4]),
            PlanePositionSequence=item(ImagePositionPatient=[10, 20, z]),
        )

    shared = groups(PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    tags = {"PixelSpacing": None, "ImagePositionPatient": None, "ImageOrientationPatient": None}
    data = source(np.stack([RAMP, RAMP]), **tags, SharedFunctionalGroupsSequence=[shared])
    data.PerFrameFunctionalGroupsSequence = [frame(5), frame(9)]
    path = saved(tmp_path / "a.dcm", data)
    assert read(path).spacing == (0.8, 0.4)
    new = enlarged(path, tmp_path / "b.dcm", 4)
    for group, z in zip(new.PerFrameFunctionalGroupsSequence, (5, 9), strict=True):
        assert [float(v) for v in group.PixelMeasuresSequence[0].PixelSpacing] == [0.2, 0.1]
        # the outer edge stays: centre of the first pixel half a new pixel from it
        edge = [10 - 0.2 + 0.05, 20 - 0.4 + 0.1, z]
        assert [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient] == pytest.approx(edge)


@pytest.mark.parametrize("name", ["ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_detectors_and_scanned_films_have_spacings_of_their_own(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "a.dcm", source(PixelSpacing=None, **{name: [0.2, 0.3]}))
    assert read(path).spacing == (0.2, 0.3)
    assert [float(v) for v in enlarged(path, tmp_path / "b.dcm")[name].value] == pytest.approx([0.1, 0.15])


def test_all_pixel_places_of_an_ultrasound_region_grow(tmp_path: Path) -> None:
    region = item(RegionLocationMinX0=1, RegionLocationMinY0=2, RegionLocationMaxX1=7, RegionLocationMaxY1=5)
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.05, 0.1
    region.ReferencePixelX0, region.ReferencePixelY0 = 3, 4
    path = saved(tmp_path / "a.dcm", source(PixelSpacing=None, SequenceOfUltrasoundRegions=[region]))
    (new,) = enlarged(path, tmp_path / "b.dcm").SequenceOfUltrasoundRegions
    corners = [new[f"RegionLocation{name}"].value for name in ("MinX0", "MaxX1", "MinY0", "MaxY1")]
    assert corners == [2, 15, 4, 11]
    assert (new.ReferencePixelX0, new.ReferencePixelY0, new.PhysicalDeltaX) == (6, 8, 0.025)


@pytest.mark.parametrize("spacing, found", [(b"0,5\\0,25", (0.5, 0.25)), (b"0.5 ", None), (b"1\\2\\3 ", None)])
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_a_spacing_that_is_not_two_numbers_is_read_with_a_warning(
    tmp_path: Path, spacing: bytes, found: tuple[float, float] | None
) -> None:
    raw = saved(tmp_path / "a.dcm", source(PixelSpacing=[7.0, 7.0])).read_bytes()
    old = b"\x28\x00\x30\x00DS\x08\x007.0\\7.0 "
    assert raw.count(old) == 1
    spacing += b" " * (len(spacing) % 2)
    (tmp_path / "a.dcm").write_bytes(raw.replace(old, b"\x28\x00\x30\x00DS" + bytes([len(spacing), 0]) + spacing))
    with pytest.warns(UserWarning, match="PixelSpacing is .* not two numbers"):
        stack = read(tmp_path / "a.dcm")
    assert stack.spacing == found
    write(tmp_path / "b.dcm", stack.pixels, like=stack)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax, encode",
    [
        ("1.2.840.10008.1.2.4.70", imagecodecs.ljpeg_encode),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
        ("1.2.840.10008.1.2.4.81", imagecodecs.jpegls_encode),
    ],
)
@pytest.mark.parametrize("frames", [1, 2])
def test_lossless_jpeg_and_jpeg_ls(tmp_path: Path, syntax: str, encode: Any, frames: int) -> None:
    pixels = np.stack([RAMP + 7 * k for k in range(frames)])
    data = source(pixels if frames > 1 else pixels[0])
    data.PixelData = encapsulate([encode(np.ascontiguousarray(one)) for one in pixels])
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data["PixelData"].VR = "OB"
    stack = read(saved(tmp_path / "a.dcm", data))
    low, high = stack.value_range
    np.testing.assert_allclose(low + (high - low) * stack.pixels[:, 0].double().numpy(), pixels, atol=1e-2)


def test_colours_of_jpeg_ls_become_rgb(tmp_path: Path) -> None:
    """YBR_FULL (PS3.3 C.7.6.3.1.2): pure red is (76, 85, 255), and gray has 128 twice."""
    ybr = np.tile(np.array([[76, 85, 255], [100, 128, 128]], np.uint8), (4, 1)).reshape(4, 2, 3)
    data = source(ybr, "RGB")
    data.PhotometricInterpretation = "YBR_FULL"
    data.PixelData = encapsulate([imagecodecs.jpegls_encode(ybr)])
    data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.80")
    data["PixelData"].VR = "OB"
    red, gray = read(saved(tmp_path / "a.dcm", data)).pixels[0, :, 0].T * 255
    np.testing.assert_allclose(red, [255, 0, 0], atol=1.5)
    np.testing.assert_allclose(gray, [100, 100, 100], atol=1.5)


def test_an_intercept_without_a_slope_counts(tmp_path: Path) -> None:
    low, high = read(saved(tmp_path / "a.dcm", source(RescaleIntercept=-1000))).value_range
    assert (low, high) == (-1000, int(RAMP.max()) - 1000)


def test_jpeg_of_12_bits(tmp_path: Path) -> None:
    """Process 4: values up to 4095 come back within the loss of the best quality."""
    data = source()
    waves = 2048 + 2000 * np.sin(np.add.outer(np.arange(24) / 5, np.arange(32) / 9))
    pixels = np.rint(waves).astype(np.uint16)
    data.set_pixel_data(pixels, "MONOCHROME2", 12)
    stream = imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=12)
    assert stream[(at := stream.index(b"\xff\xc1")) + 4] == 12, at  # extended sequential, 12 bits
    data.PixelData = encapsulate([stream])
    data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.51")
    data["PixelData"].VR = "OB"
    stack = read(saved(tmp_path / "a.dcm", data))
    low, high = stack.value_range
    values = low + (high - low) * stack.pixels[0, 0].double().numpy()
    assert pixels.max() > 4000
    np.testing.assert_allclose(values, pixels, atol=2)


def in_parts(stream: bytes, announced: int) -> bytes:
    """A JPEG 2000 codestream of tiles of one part each, with a second, empty part of each after all the first ones."""
    start = stream.index(b"\xff\x90")
    head, tiles = stream[:start], []
    while stream[start : start + 2] == b"\xff\x90":
        length = int.from_bytes(stream[start + 6 : start + 10], "big")
        tiles.append(stream[start + 12 : start + length])
        start += length
    bodies = [*enumerate(tiles), *((tile, b"\xff\x93") for tile in range(len(tiles)))]
    parts = [
        b"\xff\x90" + struct.pack(">HHIBB", 10, tile, 12 + len(body), i // len(tiles), announced) + body
        for i, (tile, body) in enumerate(bodies)
    ]
    return head + b"".join(parts) + b"\xff\xd9"


def test_jpeg_2000_whose_tiles_have_more_parts_than_they_say(tmp_path: Path) -> None:
    """As in pydicom's GDCMJ2K_TextGBR.dcm, which Pillow refuses; three other decoders agree on its values."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True, tile_size=(64, 64), mct=1)
    stream = in_parts(buffer.getvalue(), announced=1)
    with pytest.raises(OSError):
        Image.open(io.BytesIO(stream)).load()
    data = source(pixels, "RGB")
    data.PhotometricInterpretation = "YBR_RCT"
    data.PixelData = encapsulate([stream])
    data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.90")
    data["PixelData"].VR = "OB"
    stack = read(saved(tmp_path / "a.dcm", data))
    np.testing.assert_array_equal((stack.pixels[0] * 255).round().permute(1, 2, 0).numpy(), pixels)
    data.PixelData = encapsulate([stream[: len(stream) // 2]])
    with pytest.raises(ImageFileError, match=r"JPEG 2000 .* cannot be decoded; copy it again"):
        read(saved(tmp_path / "half.dcm", data))


def test_a_file_without_class_preamble_or_ending_is_read(tmp_path: Path) -> None:
    data = source()
    expected = read(saved(tmp_path / "a.dcm", data)).pixels
    del data.SOPClassUID
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=False)
    (tmp_path / "b.dcm").write_bytes(buffer.getvalue())
    whole = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "c.dcm").write_bytes(whole[132:])
    (tmp_path / "IM000001").write_bytes(whole)
    for name in ("b.dcm", "c.dcm", "IM000001"):
        stack = read(tmp_path / name)
        assert torch.equal(stack.pixels, expected), name
        write(tmp_path / "out.dcm", stack.pixels, like=stack)
        assert pydicom.dcmread(tmp_path / "out.dcm").SOPClassUID
    (tmp_path / "words.dcm").write_text("no image " * 100)
    with pytest.raises(ImageFileError, match="cannot be read as DICOM") as caught:
        read(tmp_path / "words.dcm")
    assert "force" not in str(caught.value)


@pytest.mark.parametrize("bits, channels", [(1, 1), (6, 1), (12, 3)])
def test_an_enlarged_mask_is_as_white_as_before(tmp_path: Path, bits: int, channels: int) -> None:
    """Fewer bits stored than there is room for: their white is kept, not that of the bytes."""
    white = 2**bits - 1
    pixels = np.full((6, 8, channels), white, np.uint8 if bits <= 8 else np.uint16)
    pixels[:3] = 0
    data = source(pixels if channels == 3 else pixels[..., 0], "RGB" if channels == 3 else "MONOCHROME2")
    data.BitsStored, data.HighBit = bits, bits - 1
    new = enlarged(saved(tmp_path / "a.dcm", data), tmp_path / "b.dcm")
    assert (new.BitsStored, new.HighBit) == (bits, bits - 1)
    np.testing.assert_array_equal(new.pixel_array.reshape(12, 16, channels)[::2, ::2], pixels)
    assert torch.equal(read(tmp_path / "b.dcm").pixels[..., ::2, ::2], read(tmp_path / "a.dcm").pixels)
