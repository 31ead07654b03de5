"""Photographs: PNG, JPEG and bitmaps by Pillow, 16-bit PNG by imagecodecs, TIFF by tifffile.

The stack's header is what the file says beside its pixels: {"icc": colour profile, "dpi": (across, down)}. Both are
written again, the resolution as many times higher as the image has become larger.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from medsr_core.images.stack import (
    Bands,
    ImageFileError,
    Stack,
    check_size,
    extension_of,
    format_of,
    is_deep,
    kept,
    levels,
    to_stack,
)


def read(path: Path) -> Stack:
    """Read PNG, JPEG or a bitmap."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
        dpi = opened.info.get("dpi")
        header = {"icc": opened.info.get("icc_profile"), "dpi": dpi if dpi and min(dpi) > 1 else None}
    if _is_deep_png(path):
        import imagecodecs

        array = imagecodecs.png_decode(path.read_bytes())
        if array.ndim == 3:  # alpha dropped
            array = array[..., 0] if array.shape[-1] == 2 else array[..., :3]
    elif image.mode.startswith("I"):  # Pillow's name for 16-bit gray
        array = np.asarray(image).astype(np.uint16)
    elif image.mode == "1":
        array = np.asarray(image)
    elif image.mode in ("CMYK", "LAB"):
        array, header["icc"] = np.asarray(_managed(image, header["icc"])), None
    else:
        array = np.asarray(image.convert("L" if image.mode in ("L", "LA", "La") else "RGB"))
    return to_stack(array[None], path, header=header)


def _is_deep_png(path: Path) -> bool:
    """Whether it is a PNG of 16 bits: Pillow would read colour or alpha of those as 8 bits."""
    with path.open("rb") as file:
        start = file.read(26)
    return start[:8] == b"\x89PNG\r\n\x1a\n" and start[24] == 16


def _managed(image: Any, profile: bytes | None) -> Any:
    """A CMYK or CIE Lab picture as sRGB: by the profile in the file, or Lab's own; without one, by Pillow's formula."""
    from PIL import ImageCms

    if image.mode == "CMYK" and not profile:
        return image.convert("RGB")
    lab = image.mode == "LAB"
    source = ImageCms.createProfile("LAB") if lab else ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
    return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")


def write(path: Path, pixels: Bands, like: Stack) -> None:
    """Write one image (1, C, H, W) as JPEG or a bitmap of 8 bits; these are held in memory as a whole."""
    from PIL import Image

    array = np.concatenate([levels(rows, 255) for _, _, rows in pixels])
    options: dict[str, Any] = {}
    if format_of(path) == "JPEG":
        icc, dpi = kept(pixels.shape, like)
        kept_too = {name: value for name, value in (("icc_profile", icc), ("dpi", dpi)) if value}
        options = {"quality": 95, "subsampling": 0} | kept_too
    file = io.BytesIO()  # Pillow would not say why a file on a full disk failed
    Image.fromarray(array).save(file, extension_of(path)[1:].replace("jpg", "jpeg"), **options)
    path.write_bytes(file.getbuffer())


def read_tiff(path: Path) -> Stack:
    """Read all pages of a TIFF; a thumbnail is left out with a warning, and pictures of several sizes are refused."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        series = _picture(tif.series, path)
        page = series.pages[0]
        held = path.stat().st_size
        tile = float(page.tilewidth) * page.tilelength * page.samplesperpixel if page.is_tiled else 0.0
        promised = max(float(np.prod(series.shape, dtype=float)), tile) * np.min(page.bitspersample) / 8
        check_size(path, promised, held, packed=page.compression != tifffile.COMPRESSION.NONE)
        kind, bits = page.photometric, int(np.max(page.bitspersample))
        pillow = {tifffile.PHOTOMETRIC.SEPARATED, tifffile.PHOTOMETRIC.CIELAB, tifffile.PHOTOMETRIC.ICCLAB}
        raw_ycbcr = kind == tifffile.PHOTOMETRIC.YCBCR and page.compression not in (6, 7)  # JPEG's are RGB by now
        if kind in pillow or raw_ycbcr:
            if len(tif.pages) > 1:
                raise ImageFileError(f"{path}: {len(tif.pages)} pages of {kind.name} colours; save them as RGB")
            return read(path)
        array, axes, colormap = series.asarray(), series.axes, page.colormap
        header = {"icc": page.iccprofile, "dpi": _dpi(page)}
        turned = int(page.tags[274].value) if 274 in page.tags else 1
    if np.iscomplexobj(array):
        raise ImageFileError(f"{path}: complex values; give their magnitude")
    if kind == tifffile.PHOTOMETRIC.PALETTE and colormap is not None:
        array, axes = (np.moveaxis(colormap[:, array], 0, -1) >> 8).astype(np.uint8), axes + "S"
        bits = 8
    if "S" in axes:
        array, axes = np.moveaxis(array, axes.index("S"), -1), axes.replace("S", "") + "S"
        array = array[..., : 3 if array.shape[-1] >= 3 else 1]  # alpha dropped
    else:
        array = array[..., None]
    array = _upright(array.reshape(-1, *array.shape[-3:]), turned)
    known: dict[str, Any] = {"header": header}
    if np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1:
        known["value_range"] = (0.0, 1.0)
    elif array.dtype.kind == "u" and bits < 8 * array.dtype.itemsize:
        known["value_range"] = (0.0, float(2**bits - 1))
    stack = to_stack(array, path, **known)
    if kind != tifffile.PHOTOMETRIC.MINISWHITE:
        return stack
    return Stack(1 - stack.pixels, None, stack.value_range[::-1], stack.dtype, header)


def _picture(series: Any, path: Path) -> Any:
    """The series that is the picture: the largest; others are thumbnails, or too much for one stack."""
    largest = max(series, key=lambda one: np.prod(one.shape))
    for other in series:
        if other is largest:
            continue
        size = "x".join(map(str, other.shape))
        if np.prod(other.shape) > np.prod(largest.shape) / 4:
            sizes = ", ".join("x".join(map(str, one.shape)) for one in series)
            raise ImageFileError(f"{path} holds pictures of several sizes ({sizes}); save each in a file of its own")
        warnings.warn(f"{path}: left out a thumbnail of {size}", stacklevel=4)
    return largest


def _dpi(page: Any) -> tuple[float, float] | None:
    """Pixels per inch across and down, where the file states a unit."""
    unit = {2: 1.0, 3: 2.54}.get(int(page.tags[296].value) if 296 in page.tags else 2)
    if unit is None or not {282, 283} <= {tag.code for tag in page.tags}:
        return None
    across, down = (unit * n / d if d else 0.0 for n, d in (page.tags[code].value for code in (282, 283)))
    return (across, down) if across > 0 and down > 0 else None


def _upright(array: np.ndarray, turned: int) -> np.ndarray:
    """Undo the orientation tag of pages (N, H, W, C): 2 to 4 mirror, 5 to 8 exchange rows and columns, too."""
    array = array.swapaxes(1, 2) if turned in (5, 6, 7, 8) else array
    array = array[:, ::-1] if turned in (3, 4, 7, 8) else array
    return array[:, :, ::-1] if turned in (2, 3, 6, 7) else array


def write_tiff(path: Path, pixels: Bands, like: Stack) -> None:
    """Write images (N, C, H, W) as the pages of a TIFF."""
    import tifffile

    count, channels, *size = pixels.shape
    top, (icc, dpi) = 65535 if is_deep(like) else 255, kept(pixels.shape, like)
    options: dict[str, Any] = {"photometric": "minisblack" if channels == 1 else "rgb", "iccprofile": icc}
    if dpi:
        options |= {"resolution": dpi, "resolutionunit": "INCH"}
    shape = (*([count] if count > 1 else []), *size, *([channels] if channels > 1 else []))
    tifffile.imwrite(path, shape=shape, dtype=np.uint8 if top == 255 else np.uint16, **options)
    with tifffile.TiffFile(path) as tif:
        start = int(tif.series[0].dataoffset or 0)  # all pages lie one after another
    with path.open("r+b") as file:
        file.seek(start)
        for _, _, rows in pixels:
            file.write(levels(rows, top).tobytes())
