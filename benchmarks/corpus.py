"""Files of other people: is each one read with the values its own library gives, or refused with a reason?

    python benchmarks/corpus.py [FOLDER ...] [--commands 20]

Every file in the folders (by default those that come with pydicom and nibabel) that might be an image is read, and its
values are compared with those of pydicom, nibabel, tifffile, imagecodecs or Pillow. Printed are how many are right,
refused (each with its reason), not compared (read, but its own library cannot say what a picture of it looks like),
wrong and crashed. `medsr enhance` and `medsr evaluate` then run on every n-th of those that were read, so that about
`--commands` are tried. Exit code 1: wrong or crashed.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from click.testing import CliRunner

from medsr_core import images
from medsr_core.images import ImageFileError, Stack

BUNDLED = [Path(pydicom.__file__).parent / "data", Path(nibabel.__file__).parent / "tests" / "data"]
PHOTOGRAPHS = {"L", "RGB", "1", "I;16", "LA", "RGBA", "P"}


def stored(stack: Stack) -> np.ndarray:
    """The stack's values in the file's own unit: (N, H, W, C)."""
    low, high = stack.value_range
    return (low + stack.pixels.double().numpy() * (high - low)).transpose(0, 2, 3, 1)


def reference(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray | None] | None:
    """What the format's own library reads, (N, H, W, C), and which of it counts; None if it cannot say."""
    readers = {"DICOM": of_dicom, "NIfTI": of_nifti, "TIFF": of_tiff}
    return readers.get(kind, of_photograph)(path)


def of_dicom(path: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Gray values after the modality's rescaling, without padding; colours as RGB."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    data = pydicom.dcmread(path, force=True)
    try:
        array = data.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError, ValueError):
        return None
    if "PerFrameFunctionalGroupsSequence" in data or "SharedFunctionalGroupsSequence" in data:
        return None  # pydicom does not apply what they say about values
    if data.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(array, data).reshape(-1, data.Rows, data.Columns, 3), None
    if data.SamplesPerPixel == 3:
        rgb = pydicom.pixels.pixel_array(data)  # YBR as RGB
        return rgb.reshape(-1, data.Rows, data.Columns, 3), None
    gray = apply_modality_lut(array, data).reshape(-1, data.Rows, data.Columns, 1)
    if "PixelPaddingValue" not in data:
        return gray, None
    ends = sorted((data.PixelPaddingValue, data.get("PixelPaddingRangeLimit", data.PixelPaddingValue)))
    kept = (array < ends[0]) | (array > ends[1])
    return gray, kept.reshape(gray.shape)


def of_nifti(path: Path) -> tuple[np.ndarray, None]:
    """Values of nibabel's nearest-axes array, its slices from the feet up, in rows from the front back."""
    array = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    array = array.reshape(*array.shape[:3], -1)
    return array[::-1, ::-1].transpose(3, 2, 1, 0).reshape(-1, array.shape[1], array.shape[0], 1), None


def of_tiff(path: Path) -> tuple[np.ndarray, None] | None:
    """tifffile's largest series, without palette, ink or orientation."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        page = max(tif.series, key=lambda one: np.prod(one.shape)).pages[0]
        if page.photometric not in (0, 1, 2) or (274 in page.tags and page.tags[274].value != 1):
            return None
        array = tif.series[0].asarray()
        samples = page.samplesperpixel
        if page.planarconfig != 1 and page.samplesperpixel > 1:
            return None
        array = array.reshape(-1, page.imagelength, page.imagewidth, samples)
        return array[..., :3] if samples >= 3 else array[..., :1], None


def of_photograph(path: Path) -> tuple[np.ndarray, None] | None:
    """Pillow's pixels, those of 16 bits by imagecodecs."""
    import imagecodecs
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        if opened.mode not in PHOTOGRAPHS:
            return None
        image = ImageOps.exif_transpose(opened)
        array = np.asarray(image.convert("RGB") if image.mode in ("P", "RGBA") else image.convert("L"))
        array = np.asarray(image) if image.mode in ("RGB", "1", "I;16") else array
    start = path.read_bytes()[:26]
    if start[:4] == b"\x89PNG" and start[24] == 16:
        array = imagecodecs.png_decode(path.read_bytes())
        array = array if array.ndim == 2 else array[..., 0] if array.shape[-1] == 2 else array[..., :3]
    return array.reshape(1, *array.shape[:2], -1), None


def judge(path: Path) -> tuple[str, str]:
    """(right, refused, not compared, wrong or crashed; why)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stack = images.read(path)
    except ImageFileError as error:
        return ("refused", str(error)) if "\n" not in str(error) else ("crashed", f"several lines: {error}")
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = reference(path, images.kind_of(path))
        except Exception as error:  # what ours reads its own library may refuse, and that is no fault
            return (
                "not compared",
                f"its own library: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            )
    if expected is None:
        return "not compared", ""
    values, kept = expected
    found = stored(stack)
    if found.shape != values.shape:
        return "wrong", f"shape {found.shape}, not {values.shape}"
    off = np.abs(found - values)[... if kept is None else kept].max(initial=0)
    step = np.ptp(stack.value_range) * 1e-6 + 1e-6
    return ("right", "") if off <= step else ("wrong", f"off by {off:g} of {np.ptp(stack.value_range):g}")


def command(path: Path) -> tuple[str, str]:
    """Whether `medsr enhance` and `medsr evaluate` end well or with one line."""
    from medsr_workbook.commands.main import main

    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "in" / path.name
        link.parent.mkdir()
        link.symlink_to(path)
        kind = images.kind_of(path)
        ending = {"DICOM": ".dcm", "NIfTI": ".nii.gz"}.get(kind, ".tif")
        tasks = (
            ["enhance", str(path), "-o", f"{folder}/out{ending}", "--method", "nearest", "--factor", "2"],
            ["evaluate", "--data", str(link.parent), "--methods", "nearest", "--factor", "2", "--limit", "2"],
        )
        for task in tasks:
            done = CliRunner().invoke(main, task)
            if done.exit_code not in (0, 2):
                return "crashed", f"{task[0]}: {done.exception!r}"
            if task[0] == "enhance" and done.exit_code == 0:
                small, large = images.read(path).pixels, images.read(f"{folder}/out{ending}").pixels
                if abs(large[..., ::2, ::2] - small).max() > 2 / 255:
                    return "wrong", "enhance: the enlarged file has other values"
    return "right", ""


def run(folders: list[Path], commands: int) -> dict[str, list[tuple[Path, str]]]:
    """Judge every file; those that were read are tried in the commands, about so many of them."""
    found: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    known = [path for path in files if images.extension_of(path) in images.EXTENSIONS or images.begins_as_dicom(path)]
    for path in known:
        verdict, why = judge(path)
        found[verdict].append((path, why))
    read = [path for verdict in ("right", "not compared") for path, _ in found[verdict]]
    for path in read[:: max(1, len(read) // commands)] if commands else []:
        verdict, why = command(path)
        found[f"commands {verdict}"].append((path, why))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, default=BUNDLED)
    parser.add_argument("--commands", type=int, default=20, help="try about so many files in the commands, too")
    options = parser.parse_args()
    found = run(options.folders, options.commands)
    for verdict, cases in sorted(found.items()):
        print(f"{verdict}: {len(cases)}")
        for path, why in cases:
            if why:
                print(f"    {path.name}: {why.removeprefix(str(path)).lstrip(': ')}")
    raise SystemExit(any("wrong" in verdict or "crashed" in verdict for verdict in found))


if __name__ == "__main__":
    main()
