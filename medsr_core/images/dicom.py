"""DICOM in and out, for `medsr_core.images`, which says what becomes of the values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medsr_core.images.stack import ImageFileError, Stack, is_deep, range_of, to_stack


def read(path: Path) -> Stack:
    """Read a DICOM file, all its frames."""
    import pydicom
    from pydicom.pixels import apply_color_lut, pixel_array

    data = pydicom.dcmread(path)
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ImageFileError(f"{path}: DICOM without pixels (modality {data.get('Modality', 'unknown')}); leave it out")
    array, kind = pixel_array(data), data.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        array = apply_color_lut(array, data)
    colour = array.ndim > 2 and array.shape[-1] == 3 and (kind == "PALETTE COLOR" or data.SamplesPerPixel == 3)
    array = array.reshape(-1, data.Rows, data.Columns, 3 if colour else 1)
    header = pydicom.Dataset({e.tag: e for e in data if e.tag.group != 0x7FE0})
    header.file_meta = data.file_meta

    slope, intercept = float(data.get("RescaleSlope") or 1), float(data.get("RescaleIntercept") or 0)
    known: dict[str, Any] = {"spacing": _spacing(data), "dtype": array.dtype.name, "header": header}
    if array.dtype == np.uint8:
        known["value_range"] = (0.0, float(255 if colour else 2**data.BitsStored - 1))
    else:
        known["value_range"] = range_of(array, path, sixteen_bit_is_full=False)
    stack = to_stack(array, path, **known)
    low, high = (value * slope + intercept for value in stack.value_range)
    flip = (slope < 0) != (kind == "MONOCHROME1")  # white is the greatest value, or the least for MONOCHROME1
    pixels = 1 - stack.pixels if flip else stack.pixels
    return Stack(pixels, stack.spacing, (high, low) if flip else (low, high), stack.dtype, header)


def _spacing(data: Any) -> tuple[float, float] | None:
    """Millimetres between rows and columns: PixelSpacing, its enhanced and detector forms, then ultrasound's."""
    for group in data.get("SharedFunctionalGroupsSequence") or []:
        for measures in group.get("PixelMeasuresSequence") or []:
            data = measures if "PixelSpacing" in measures else data
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        if data.get(name):
            return float(data[name].value[0]), float(data[name].value[1])
    for region in data.get("SequenceOfUltrasoundRegions") or []:
        inside = region.RegionLocationMaxX1 < data.Columns and region.RegionLocationMaxY1 < data.Rows
        if inside and region.PhysicalUnitsXDirection == region.PhysicalUnitsYDirection == 3:  # centimetres
            return abs(10 * float(region.PhysicalDeltaY)), abs(10 * float(region.PhysicalDeltaX))
    return None


def write(path: Path, pixels: Tensor, like: Stack) -> None:
    """Write images (N, C, H, W) as one derived, uncompressed DICOM file."""
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    derived, colour = hasattr(like.header, "file_meta"), pixels.shape[1] == 3
    data = _derived_header(pixels, like) if derived else _new_header(pixels, like)
    fits = derived and like.dtype in ("uint8", "int8", "uint16", "int16")
    dtype = np.dtype(like.dtype if fits else "uint16" if is_deep(like) else "uint8")
    top = float(np.iinfo(dtype).max)
    low, high = like.value_range if fits or not colour else (0.0, top)
    if colour or fits:  # the stored integers mean what they meant
        slope, intercept = float(data.get("RescaleSlope") or 1), float(data.get("RescaleIntercept") or 0)
    else:
        slope, intercept = abs(high - low) / top or 1.0, min(low, high)
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = _decimal(slope), _decimal(intercept), "US"
    values = low + pixels.permute(0, 2, 3, 1).double().numpy() * (high - low)
    stored = np.rint((values - intercept) / slope).astype(dtype)
    stored = stored if colour else stored[..., 0]
    kind = "RGB" if colour else "MONOCHROME1" if low > high else "MONOCHROME2"
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SeriesInstanceUID = generate_uid()
    data.set_pixel_data(stored[0] if len(stored) == 1 else stored, kind, 8 * dtype.itemsize)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.save_as(path, enforce_file_format=True)


def _derived_header(pixels: Tensor, like: Stack) -> Any:
    """Copy of the source's DICOM header with everything that described its pixel grid made true again."""
    import copy

    if len(pixels) != len(like.pixels):
        raise ImageFileError(f"{len(pixels)} images for a DICOM file of {len(like.pixels)} frames; write all of them")
    data = copy.deepcopy(like.header)
    rows, columns = (new / old for new, old in zip(pixels.shape[-2:], like.pixels.shape[-2:], strict=True))
    data.ImageType = ["DERIVED", "SECONDARY", *list(data.get("ImageType") or [])[2:]]
    data.DerivationDescription = "Upscaled by super-resolution; detail below the source's resolution is an estimate"
    place, turn, step = (data.get(name) for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    if place and turn and step:  # the centre of the first pixel moves, so that the outer edges do not
        right, down = np.array(turn[:3], float) * step[1], np.array(turn[3:], float) * step[0]
        moved = np.array(place, float) + right * (1 / columns - 1) / 2 + down * (1 / rows - 1) / 2
        data.ImagePositionPatient = [_decimal(value) for value in moved]
    shared = [m for g in data.get("SharedFunctionalGroupsSequence") or [] for m in g.get("PixelMeasuresSequence") or []]
    for item in [data, *shared]:
        for name in ("PixelSpacing", "ImagerPixelSpacing"):
            if item.get(name):
                down, across = item[name].value
                setattr(item, name, [_decimal(float(down) / rows), _decimal(float(across) / columns)])
    for region in data.get("SequenceOfUltrasoundRegions") or []:
        for axis, factor in (("X", columns), ("Y", rows)):
            for name in (f"RegionLocationMin{axis}0", f"RegionLocationMax{axis}1"):
                setattr(region, name, round(region[name].value * factor))
            setattr(region, f"PhysicalDelta{axis}", region[f"PhysicalDelta{axis}"].value / factor)
    stale = [e.keyword for e in data if "PaletteColor" in e.keyword or e.keyword.endswith("ImagePixelValue")]
    for overlay in [e.tag for e in data if 0x6000 <= e.tag.group < 0x6100]:
        del data[overlay]
    for name in [*stale, "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence"]:
        data.pop(name, None)
    return data


def _new_header(pixels: Tensor, like: Stack) -> Any:
    """The least a secondary-capture DICOM needs (PS3.3 A.8)."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.SOPClassUID = uid.SecondaryCaptureImageStorage
    if len(pixels) > 1:
        gray = uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
        if not is_deep(like):
            gray = uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        data.SOPClassUID = gray if pixels.shape[1] == 1 else uid.MultiFrameTrueColorSecondaryCaptureImageStorage
    data.StudyInstanceUID = uid.generate_uid()
    data.Modality, data.ConversionType, data.ImageType = "OT", "WSD", ["DERIVED", "SECONDARY"]
    data.PatientName = data.PatientID = ""
    if like.spacing:
        grids = zip(like.spacing, like.pixels.shape[-2:], pixels.shape[-2:], strict=True)
        data.PixelSpacing = [_decimal(mm * old / new) for mm, old, new in grids]
    return data


def _decimal(value: float) -> str:
    return f"{value:.10g}"  # a DICOM decimal string has at most 16 characters
