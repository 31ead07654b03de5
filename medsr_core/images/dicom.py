"""DICOM in and out, for `medsr_core.images`, which says what becomes of the values."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medsr_core.images.stack import Bands, ImageFileError, Stack, check_size, is_deep, range_of, to_stack

JPEGS = "1.2.840.10008.1.2.4."  # their transfer syntaxes begin so
CODECS = {"51": "jpeg8", "57": "ljpeg", "70": "ljpeg", "80": "jpegls", "81": "jpegls", "90": "jpeg2k", "91": "jpeg2k"}
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
MOST_BYTES = 2**32 - 2  # of uncompressed pixels (PS3.5 7.1)
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def read(path: Path) -> Stack:
    """Read a DICOM file, all its frames. Declared padding does not count for the range, and is 0."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    data = _opened(path)
    if not any(name in data for name in PIXELS):
        raise ImageFileError(f"{path}: DICOM without pixels (modality {data.get('Modality', 'unknown')}); leave it out")
    size = float(data.Rows) * data.Columns * _count(data) * data.SamplesPerPixel * data.BitsAllocated / 8
    held = len(next(data[name].value for name in PIXELS if name in data) or b"")
    check_size(path, size / 2, held, packed=data.file_meta.TransferSyntaxUID.is_compressed)  # 4:2:2 holds two thirds
    array, kind, bits = _stored(data, path), data.PhotometricInterpretation, int(data.get("BitsStored") or 16)
    if kind == "PALETTE COLOR":
        array = apply_color_lut(array, data)
        bits = 8 * array.dtype.itemsize
    colour = array.ndim > 2 and array.shape[-1] == 3 and (kind == "PALETTE COLOR" or data.SamplesPerPixel == 3)
    array = array.reshape(-1, data.Rows, data.Columns, 3 if colour else 1)
    header = pydicom.Dataset({e.tag: e for e in data if e.tag.group != 0x7FE0})
    header.file_meta = data.file_meta
    padded = None if colour else _padding(data, array)
    header.padded = padded  # a plain attribute: `write` puts the padding back

    own = [_rescale(data, frame) for frame in range(len(array))]
    slope, intercept = own[0]
    known: dict[str, Any] = {"spacing": _spacing(data, path), "dtype": array.dtype.name, "header": header}
    if "ModalityLUTSequence" in data or len(set(own)) > 1:  # values that no one slope gives back
        values = apply_modality_lut(array, data) if "ModalityLUTSequence" in data else array
        values = values.astype(np.float64) * [[[[m]]] for m, _ in own] + [[[[b]]] for _, b in own]
        known["dtype"], array, slope, intercept = "float32", values, 1.0, 0.0
    if colour or array.dtype == np.uint8:
        known["value_range"] = (0.0, float(2**bits - 1))
    else:
        inside = array if padded is None or padded.all() else array[~padded]
        known["value_range"] = range_of(inside, path, sixteen_bit_is_full=False)
    stack = to_stack(array, path, **known)
    low, high = (value * slope + intercept for value in stack.value_range)
    flip = (slope < 0) != (kind == "MONOCHROME1")  # white is the greatest value, or the least for MONOCHROME1
    pixels = (1 - stack.pixels if flip else stack.pixels).clamp(0, 1)
    if padded is not None:
        pixels[torch.from_numpy(padded[..., 0])[:, None]] = 0
    return Stack(pixels, stack.spacing, (high, low) if flip else (low, high), stack.dtype, header)


def _opened(path: Path) -> Any:
    """The data set, also of a file without the 128 bytes and the four letters that a DICOM file begins with."""
    import pydicom
    from pydicom import uid
    from pydicom.errors import InvalidDicomError

    try:
        data = pydicom.dcmread(path)
    except InvalidDicomError:
        data = pydicom.dcmread(path, force=True)
        if "PixelData" not in data or "Rows" not in data:
            raise ImageFileError(
                f"{path} cannot be read as DICOM: damaged, cut short or another format; copy or download it again"
            ) from None
    if "TransferSyntaxUID" not in data.file_meta:
        data.file_meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian if data.original_encoding[0] else uid.ExplicitVRLittleEndian
        )
    return data


def _stored(data: Any, path: Path) -> np.ndarray:
    """Stored pixels: by pydicom, or by imagecodecs for JPEG Lossless, JPEG-LS, 12-bit JPEG and odd JPEG 2000."""
    import imagecodecs
    from pydicom.encaps import generate_frames
    from pydicom.pixels import convert_color_space, pixel_array

    syntax = data.file_meta.TransferSyntaxUID
    codec = CODECS.get(syntax.removeprefix(JPEGS))
    try:
        if codec in (None, "jpeg2k") or (codec == "jpeg8" and data.BitsStored <= 8):
            forgiven = [RuntimeError] if codec == "jpeg2k" else []  # Pillow refuses more parts of a tile than announced
            with suppress(*forgiven):
                return pixel_array(data)
        decode = getattr(imagecodecs, f"{codec}_decode")
        frames = [decode(frame) for frame in generate_frames(data.PixelData, number_of_frames=_count(data))]
    except (RuntimeError, NotImplementedError) as error:
        what = f"holds {syntax.name} that cannot be decoded; copy it again, or save it uncompressed"
        raise ImageFileError(f"{path} {what}") from error
    array = np.stack(frames) if len(frames) > 1 else frames[0]
    if data.PhotometricInterpretation == "YBR_FULL":
        array = convert_color_space(array, "YBR_FULL", "RGB")
    return array.astype(f"{'i' if data.PixelRepresentation else 'u'}{data.BitsAllocated // 8}")


def _count(data: Any) -> int:
    return int(data.get("NumberOfFrames") or 1)


def _padding(data: Any, array: np.ndarray) -> np.ndarray | None:
    """Which stored values are declared to be padding (PS3.3 C.7.5.1.1.2): bool like `array`, None if none is."""
    first = data.get("PixelPaddingValue")
    if first is None:
        return None
    low, high = sorted((int(first), int(data.get("PixelPaddingRangeLimit", first))))
    padded = (array >= low) & (array <= high)
    return padded if padded.any() else None


def _groups(data: Any, name: str, frame: int | None = None) -> list[Any]:
    """Items of a functional-group sequence: those of a frame, then the shared ones; all of them without a frame."""
    per_frame = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    chosen = per_frame if frame is None else per_frame[frame : frame + 1]
    groups = [*chosen, *(data.get("SharedFunctionalGroupsSequence") or [])]
    return [item for group in groups for item in group.get(name) or []]


def _rescale(data: Any, frame: int) -> tuple[float, float]:
    """Slope and intercept of a frame."""
    for item in [*_groups(data, "PixelValueTransformationSequence", frame), data]:
        if item.get("RescaleSlope") is not None:
            return float(item.RescaleSlope), float(item.get("RescaleIntercept") or 0)
    return 1.0, float(data.get("RescaleIntercept") or 0)


def _two(element: Any, path: Path | None = None) -> tuple[float, float] | None:
    """Two positive numbers, also with a decimal comma; None, with a warning that names the file, for anything else."""
    values = [element.value] if isinstance(element.value, str | float | int) else list(element.value)
    try:
        down, across = (float(str(value).replace(",", ".")) for value in values)
    except ValueError:
        down = across = 0.0
    good = down > 0 and across > 0
    if path is not None and (not good or "," in str(values[0])):
        what = f"taken as {down:g} and {across:g} mm" if good else "read without it"
        warnings.warn(f"{path}: {element.keyword} is {element.value}, not two numbers; {what}", stacklevel=4)
    return (down, across) if good else None


def _spacing(data: Any, path: Path) -> tuple[float, float] | None:
    """Millimetres between rows and columns: PixelSpacing, its enhanced, detector and film forms, then ultrasound's."""
    for item in [*_groups(data, "PixelMeasuresSequence", 0), data]:
        for name in SPACINGS:
            if item.get(name) and (found := _two(item[name], path)):
                return found
    for region in data.get("SequenceOfUltrasoundRegions") or []:
        inside = region.RegionLocationMaxX1 < data.Columns and region.RegionLocationMaxY1 < data.Rows
        if inside and region.PhysicalUnitsXDirection == region.PhysicalUnitsYDirection == 3:  # centimetres
            return abs(10 * float(region.PhysicalDeltaY)), abs(10 * float(region.PhysicalDeltaX))
    return None


def write(path: Path, pixels: Bands, like: Stack) -> None:
    """Write images (N, C, H, W) as one derived, uncompressed DICOM file."""
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    count, channels, height, width = pixels.shape
    derived, colour = hasattr(like.header, "file_meta"), channels == 3
    data = _derived_header(pixels.shape, like) if derived else _new_header(pixels.shape, like)
    fits = derived and like.dtype in ("uint8", "int8", "uint16", "int16")
    dtype = np.dtype(like.dtype if fits else "uint16" if is_deep(like) else "uint8")
    if count * channels * height * width * dtype.itemsize >= MOST_BYTES:
        raise ImageFileError("DICOM holds less than 4 GiB of pixels; give a smaller --factor, or write to .tif")
    top = float(np.iinfo(dtype).max)
    low, high = like.value_range if fits or not colour else (0.0, top)
    if colour or fits:  # the stored integers mean what they meant
        slope, intercept = _rescale(data, 0)
    else:
        slope, intercept = abs(high - low) / top or 1.0, min(low, high)
        for item in _groups(data, "PixelValueTransformationSequence") or [data]:
            item.RescaleSlope, item.RescaleIntercept, item.RescaleType = _decimal(slope), _decimal(intercept), "US"
    padded = getattr(like.header, "padded", None) if fits else None
    if padded is None:
        for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            data.pop(name, None)
    kind = "RGB" if colour else "MONOCHROME1" if low > high else "MONOCHROME2"
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SeriesInstanceUID = generate_uid()
    data.SOPClassUID = data.get("SOPClassUID") or SecondaryCaptureImageStorage
    one = np.zeros((count, 1, 1, channels), dtype)[:, :, :, 0 if not colour else slice(None)]
    by_bits = fits and (colour or dtype == np.uint8) and like.header.PhotometricInterpretation != "PALETTE COLOR"
    bits = int(like.header.BitsStored) if by_bits else 8 * dtype.itemsize
    data.set_pixel_data(one[0] if count == 1 else one, kind, bits)
    data.Rows, data.Columns = height, width
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    with tempfile.TemporaryFile(dir=path.parent) as stored:
        for image, first, rows in pixels:
            values = low + rows.permute(1, 2, 0).double().numpy() * (high - low)
            values = np.rint((values - intercept) / slope).astype(dtype.newbyteorder("<"))
            if padded is not None:
                down, across = height // padded.shape[1], width // padded.shape[2]
                mask = padded[image, np.arange(first, first + len(values)) // down].repeat(across, 1)
                values[mask] = int(data.PixelPaddingValue)
            stored.write(values.tobytes())
        stored.seek(0)
        data.PixelData = stored  # pydicom copies it piece by piece
        data.save_as(path, enforce_file_format=True)


def _derived_header(shape: tuple[int, ...], like: Stack) -> Any:
    """Copy of the source's DICOM header with everything that described its pixel grid made true again."""
    import copy

    if shape[0] != len(like.pixels):
        raise ImageFileError(f"{shape[0]} images for a DICOM file of {len(like.pixels)} frames; write all of them")
    data = copy.deepcopy(like.header)
    rows, columns = (new / old for new, old in zip(shape[-2:], like.pixels.shape[-2:], strict=True))
    data.ImageType = ["DERIVED", "SECONDARY", *list(data.get("ImageType") or [])[2:]]
    data.DerivationDescription = "Upscaled by super-resolution; detail below the source's resolution is an estimate"
    _move(data, rows, columns)
    for item in [data, *_groups(data, "PixelMeasuresSequence")]:
        for name in SPACINGS:
            if item.get(name) and (found := _two(item[name])):
                setattr(item, name, [_decimal(found[0] / rows), _decimal(found[1] / columns)])
    for region in data.get("SequenceOfUltrasoundRegions") or []:
        for axis, factor in (("X", columns), ("Y", rows)):
            for name, end in ((f"RegionLocationMin{axis}0", 0), (f"RegionLocationMax{axis}1", 1)):
                setattr(region, name, round((region[name].value + end) * factor) - end)
            if f"ReferencePixel{axis}0" in region:
                setattr(region, f"ReferencePixel{axis}0", round(region[f"ReferencePixel{axis}0"].value * factor))
            setattr(region, f"PhysicalDelta{axis}", region[f"PhysicalDelta{axis}"].value / factor)
    stale = [e.keyword for e in data if "PaletteColor" in e.keyword or e.keyword.endswith("ImagePixelValue")]
    for overlay in [e.tag for e in data if 0x6000 <= e.tag.group < 0x6100]:
        del data[overlay]
    for name in [*stale, "ModalityLUTSequence"]:
        data.pop(name, None)
    return data


def _move(data: Any, rows: float, columns: float) -> None:
    """Move the centre of each frame's first pixel, so that the outer edges stay; before the spacing is divided."""

    def of(frame: int | None, sequence: str, name: str) -> Any:
        items = [*(_groups(data, sequence, frame) if frame is not None else []), data]
        return next((item for item in items if item.get(name)), None)

    frames: list[int | None] = [None, *range(len(data.get("PerFrameFunctionalGroupsSequence") or []))]
    moved: list[Any] = []
    for frame in frames:
        place = of(frame, "PlanePositionSequence", "ImagePositionPatient")
        turn = of(frame, "PlaneOrientationSequence", "ImageOrientationPatient")
        step = of(frame, "PixelMeasuresSequence", "PixelSpacing")
        spacing = _two(step["PixelSpacing"]) if step is not None else None
        if place is None or turn is None or spacing is None or any(place is other for other in moved):
            continue
        right, down = (np.array(turn.ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
        start = np.array(place.ImagePositionPatient, float)
        start += right * spacing[1] * (1 / columns - 1) / 2 + down * spacing[0] * (1 / rows - 1) / 2
        place.ImagePositionPatient = [_decimal(value) for value in start]
        moved.append(place)


def _new_header(shape: tuple[int, ...], like: Stack) -> Any:
    """The least a secondary-capture DICOM needs (PS3.3 A.8)."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.SOPClassUID = uid.SecondaryCaptureImageStorage
    if shape[0] > 1:
        gray = uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
        if not is_deep(like):
            gray = uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        data.SOPClassUID = gray if shape[1] == 1 else uid.MultiFrameTrueColorSecondaryCaptureImageStorage
    data.StudyInstanceUID = uid.generate_uid()
    data.Modality, data.ConversionType, data.ImageType = "OT", "WSD", ["DERIVED", "SECONDARY"]
    data.PatientName = data.PatientID = ""
    if like.spacing:
        grids = zip(like.spacing, like.pixels.shape[-2:], shape[-2:], strict=True)
        data.PixelSpacing = [_decimal(mm * old / new) for mm, old, new in grids]
    return data


def _decimal(value: float) -> str:
    return f"{value:.10g}"  # a DICOM decimal string has at most 16 characters
