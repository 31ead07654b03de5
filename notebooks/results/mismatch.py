"""What if D was not bicubic? And what else does the scanner know? The tables of notebook 11, on held-out subjects.

    python notebooks/results/mismatch.py --data ../shared/data [--limit 12] [--only NAME] [--methods sr3] [--bf16]

`--data` names a folder with the sub-folders brain and fundus that the model cards describe, or one of the two. Four
studies at factor 4:

- mismatch: every method, trained for or assuming bicubic, on LR images that eight other degradations made
- projection: answers of every method moved onto the images that explain LR (data consistency), and SR3's at each step
- contrast: FLAIR, T2 and contrast-enhanced T1, restored alone and with the sharp T1 of the same patient as a guide
- native: how much fine detail the "HR" volumes have along each axis; little through the slices means that the slices
  were thick and the volume was interpolated

Writes mismatch.json, projection.json, contrast.json and native.json beside this file, image by image. With `--methods`,
the rows of other methods stay as they are. Ten minutes on two cores without SR3, which takes as long again; in the
mismatch it is asked about every second image only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

import data_fetch
from medsr_core import degradation, images, networks, restoration, upscalers
from medsr_core.measures import metrics, stability
from medsr_workbook import studies

HERE = Path(__file__).parent
FACTOR = 4
SIDE = {"brain": 240, "fundus": 512}  # pixels of the middle that is restored


def degradations() -> dict[str, degradation.Linear | degradation.Step]:
    """Name -> D. All but "nearest" are registered with the HR image."""
    D = degradation
    return {
        "bicubic": D.bicubic(FACTOR),
        "blur 1.0": restoration.point_samples(FACTOR, sigma=1.0),
        "blur 2.0": restoration.point_samples(FACTOR, sigma=2.0),
        "box": D.box(FACTOR),
        "point samples": restoration.point_samples(FACTOR),
        "nearest": D.nearest(FACTOR),
        "noise 0.02": D.compose(D.bicubic(FACTOR), D.gaussian_noise(0.02)),
        "JPEG 50": D.compose(D.bicubic(FACTOR), D.jpeg(50)),
        "k-space": D.kspace_truncation(FACTOR),
    }


def methods(weights: str, only: list[str]) -> list[str]:
    """The methods compared: what is trained for these weights at this factor."""
    trained = [name for name in networks.TRAINED if weights in networks.available(name)]
    return [name for name in ("bicubic", "backprojection", "tv", *trained) if name in only or not only]


def held_out(folder: Path, limit: int) -> Iterator[tuple[str, int, dict, torch.Tensor]]:
    """Weights, number, names and image of the subjects that no training saw, organ by organ."""
    for name, side in SIDE.items():
        if not (folder / name).is_dir():
            continue
        for index, scan in enumerate(data_fetch.load(folder / name).of_subjects(networks.held_out(name), limit=limit)):
            names = {"data": name, "image": scan.name, "subject": data_fetch.person(scan.subject)}
            yield name, index, names, studies.middle(scan.pixels, side)
            print(name, scan.name, flush=True)


def mismatch(folder: Path, limit: int, only: list[str], bf16: bool) -> None:
    """One row per image, degradation and method."""
    for name, index, names, hr in held_out(folder, limit):
        rows = []
        for label, D in degradations().items():
            lr = D(hr, generator=torch.Generator().manual_seed(index)).clamp(0, 1)
            for method in methods(name, only):
                if method == "sr3" and index % 2:
                    continue
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and method in networks.TRAINED):
                    sr = upscalers.upscale(lr, method, factor=FACTOR, weights=name).float()
                row = names | {"degradation": label, "method": method}
                rows.append(row | {"psnr": _psnr(sr, hr), "ssim": _ssim(sr, hr)})
        studies.update(HERE / "mismatch.json", rows, by=("data", "image", "degradation", "method"))


def projection(folder: Path, limit: int, only: list[str], bf16: bool) -> None:
    """One row per image, method and way to project: none, end, and for SR3 steps."""
    D = degradation.bicubic(FACTOR)
    for name, _, names, hr in held_out(folder, limit):
        lr, rows = degradation.task(hr, FACTOR)[1], []
        for method in methods(name, only):
            for way in ("none", "end", *(("steps",) if method == "sr3" else ())):
                if method == "sr3":
                    how = None if way == "none" else way
                    sr = upscalers.samples(lr, 1, factor=FACTOR, weights=name, project=how)[0]
                else:
                    sr = upscalers.upscale(lr, method, factor=FACTOR, weights=name)
                    sr = restoration.explains(lr, D)(sr).clamp(0, 1) if way == "end" else sr
                rows.append(names | {"method": method, "project": way, **_parts(sr, hr, lr)})
        studies.update(HERE / "projection.json", rows, by=("data", "image", "method", "project"))


def contrast(folder: Path, limit: int, only: list[str], bf16: bool) -> None:
    """One row per slice, target contrast and way to restore it. The guide is the patient's sharp T1."""
    D, rows = degradation.bicubic(FACTOR), []
    patient = folder / "brain" / networks.held_out("brain")[0]
    t1 = images.read(patient / "t1.nii.gz").pixels
    for target in ("fla", "t2", "t1c"):
        volume = images.read(patient / f"{target}.nii.gz").pixels
        for index in torch.linspace(40, 115, limit).round().int().tolist():
            hr, guide = volume[index : index + 1], t1[index : index + 1]
            hr, lr = degradation.task(hr, FACTOR)
            known = restoration.explains(lr, D)
            answers = {
                "bicubic": upscalers.upscale(lr),
                "tv": restoration.least_variation(upscalers.upscale(lr), known),
                "tv, guided by T1": restoration.least_variation(upscalers.upscale(lr), known, guide=guide),
                "tv, guided by the wrong slice": restoration.least_variation(
                    upscalers.upscale(lr), known, guide=t1[index + 8 : index + 9]
                ),
                "medgan-pixel": upscalers.upscale(lr, "medgan-pixel", weights="brain"),
            }
            for method, sr in answers.items():
                row = {"target": target, "slice": index, "method": method}
                rows.append(row | {"psnr": _psnr(sr.clamp(0, 1), hr), "ssim": _ssim(sr.clamp(0, 1), hr)})
    studies.update(HERE / "contrast.json", rows, by=("target", "slice", "method"))


def native(folder: Path, limit: int, only: list[str], bf16: bool) -> None:
    """One row per volume and axis: power at 0.19 to 0.25 cycles per mm over that at 0.03 to 0.09, in dB."""
    colin = torch.cat([scan.pixels for scan in data_fetch.load("brain", split="all")])
    volumes = {("Colin27", "t1"): colin[-128:]}
    for file in sorted((folder / "brain").glob("*/*.nii.gz")):
        pixels = images.read(file).pixels
        volumes[file.parent.name, file.name.removesuffix(".nii.gz")] = pixels[16:144, :, 60:188, 60:188]
    rows = []
    for (patient, target), volume in volumes.items():
        height, width = volume.shape[-2:]
        cube = volume[:, 0, height // 2 - 64 : height // 2 + 64, width // 2 - 64 : width // 2 + 64].double()
        for axis, name in enumerate(("through the slices", "front to back", "left to right")):
            line = cube.movedim(axis, -1) * torch.hann_window(128, dtype=torch.float64)
            power = torch.fft.rfft(line).abs().square().mean((0, 1))
            fine = 10 * torch.log10(power[24:32].mean() / power[4:12].mean()).item()
            rows.append({"patient": patient, "contrast": target, "axis": name, "fine": round(fine, 2)})
    studies.update(HERE / "native.json", rows, by=("patient", "contrast", "axis"))


def _parts(sr: torch.Tensor, hr: torch.Tensor, lr: torch.Tensor) -> dict:
    D = degradation.bicubic(FACTOR)
    split, detail = stability.split_error(sr, hr, D), stability.detail(sr, hr, D)
    numbers = {
        "psnr": _psnr(sr, hr),
        "consistency": metrics.consistency(sr, lr, D).item(),
        "measured": split.measured.item(),
        "invented": split.invented.item(),
        "amount": detail.amount.item(),
        "agreement": detail.agreement.item(),
    }
    return studies.short(numbers)


def _psnr(sr: torch.Tensor, hr: torch.Tensor) -> float:
    return round(metrics.psnr(sr, hr, data_range=1.0, crop_border=FACTOR).item(), 4)


def _ssim(sr: torch.Tensor, hr: torch.Tensor) -> float:
    return round(metrics.ssim(sr, hr, data_range=1.0, crop_border=FACTOR).item(), 5)


if __name__ == "__main__":
    known = {"mismatch": mismatch, "projection": projection, "contrast": contrast, "native": native}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with brain and fundus")
    parser.add_argument("--limit", type=int, default=12, help="images per modality, evenly spread (default 12)")
    parser.add_argument("--only", choices=list(known), help="one of the studies")
    parser.add_argument("--methods", default="", help="only these, such as sr3,regression (default: all)")
    parser.add_argument("--bf16", action="store_true", help="networks in bfloat16: twice as fast, within 0.02 dB")
    given = parser.parse_args()
    with torch.inference_mode():
        for name in [given.only] if given.only else known:
            known[name](given.data, given.limit, given.methods.split(",") if given.methods else [], given.bf16)
