"""SR3's two tables, faces 16 -> 128 and photographs 64 -> 256, rebuilt on held-out images: notebook 07.

    nice python notebooks/results/faces.py --data ../shared/data [--only faces] [--scratch FOLDER]

`--data` names a folder with the sub-folders faces-heldout, faces, natural-heldout and natural that the model cards
describe. Methods with one answer and little to compute restore every face; SR3 and PULSE, which need 3 to 40 s for one,
every fifth (`--every`), and of the photographs all. SR3 draws `--count` samples of a face; a sample's score is the mean
over them, and their mean is a method of its own. Scores are of the whole image, R = 1.

Writes faces.json beside this file: one row per set, image and method, and one per set and method ("image": null) with
the Frechet distance of the images that *all* methods restored from other real ones (portraits that no weights saw; the
photographs of `natural`), with its jackknife interval. A photograph's row says whether a network trained on ImageNet
(`efficientnet.Classifier`) finds the class in its file's name first, or among the first five: SR3's table 3.

Every image is stored when it is done, and what is stored is not done again, so this can be stopped at any time and
continued; only the features for the Frechet distance are kept elsewhere, in `--scratch`, until it is known. A method
whose weights come later is added by running it again; delete a method's rows to have it done again. No picture is
stored. Half an hour on one core.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import data_fetch
from medsr_core import degradation, networks, upscalers
from medsr_core.measures import metrics, perception, tradeoff
from medsr_core.networks import pulse
from medsr_core.networks.efficientnet import Classifier
from medsr_workbook import studies

RESULT = Path(__file__).with_name("faces.json")
SETS = {"faces": ("faces-heldout", 8), "photographs": ("natural-heldout", 4)}  # folder, factor
FAST = ["bicubic", "fsrgan", "fsrnet", "regression"]
SLOW = {"faces": ["sr3", "pulse"], "photographs": ["sr3"]}
# ImageNet's number of each class in natural-heldout, by the WordNet number that its file's name starts with
CLASSES = {
    "n01496331": 5, "n01622779": 24, "n01669191": 37, "n01784675": 79, "n01806567": 85, "n01833805": 94,
    "n01872401": 102, "n01917289": 109, "n02058221": 146, "n02093859": 183, "n02093991": 184, "n02109525": 247,
    "n02111129": 255, "n02174001": 306, "n02281787": 326, "n02328150": 332, "n02443114": 358, "n02489166": 376,
    "n02500267": 384, "n02687172": 403, "n03141823": 523, "n03179701": 526, "n03345487": 555, "n03450230": 578,
    "n03670208": 627, "n03690938": 631, "n03764736": 653, "n03770439": 655, "n03781244": 663, "n03950228": 725,
    "n04133789": 774, "n04252077": 802, "n04317175": 823, "n04462240": 865, "n04501370": 877, "n04523525": 884,
    "n04554684": 897, "n07930864": 968, "n09256479": 973, "n09332890": 975,
}  # fmt: skip


def known(name: str, weights: str) -> tuple[list[str], list[str]]:
    """Methods that have these weights: those for all images, those for some."""

    def has(method: str) -> bool:
        return method in networks.CLASSICAL or weights in networks.available(method, SETS[name][1])

    return ["real", *filter(has, FAST)], list(filter(has, SLOW[name]))


def restored(method: str, lr: Tensor, hr: Tensor, factor: int, weights: str, count: int) -> tuple[Tensor, dict]:
    """Answers (answers, 1, C, H, W) of one method, and what else it says."""
    if method == "real":
        return hr[None], {}
    if method == "sr3":
        return upscalers.samples(lr, count, factor=factor, weights=weights), {}
    if method == "pulse":
        decoder = upscalers.trained("pulse", weights, factor)
        found = pulse.search(lr, decoder, first=True)
        said = {"found": float(found.found), "distance": float(found.distance), "steps": int(found.steps.max())}
        return found.best[None], said
    return upscalers.upscale(lr, method, factor=factor, weights=weights)[None], {}


def scores(sr: Tensor, hr: Tensor, lr: Tensor, factor: int) -> dict[str, float]:
    """Of one answer, against its truth."""
    return {
        "psnr": float(metrics.psnr(sr, hr, data_range=1.0)), "ssim": float(metrics.ssim(sr, hr, data_range=1.0)),
        "consistency": float(metrics.consistency(sr, lr, degradation.bicubic(factor))),
        "features": float(perception.feature_distance(sr, hr)),
    }  # fmt: skip


@cache
def classifier() -> Classifier:
    """The network that names photographs."""
    return Classifier()


def named(sr: Tensor, image: str) -> dict[str, float]:
    """Whether the class in the image's name comes first, and among the first five: 1 or 0."""
    first = classifier()(sr)[0].topk(5).indices.tolist()
    truth = CLASSES[image.split("_")[0]]
    return {"top1": float(truth == first[0]), "top5": float(truth in first)}


def image_rows(name: str, method: str, scan: data_fetch.Scan, weights: str, count: int, keep: Path) -> list[dict]:
    """The rows of one method on one image; its features go into the file `keep`."""
    factor = SETS[name][1]
    hr, lr = degradation.task(scan.pixels, factor)
    answers, said = restored(method, lr, hr, factor, weights, count)
    called = {method: answers} | {f"sr3 mean of {2**k}": answers[: 2**k].mean(0)[None]
                                  for k in range(1, len(answers).bit_length())}  # fmt: skip
    rows = []
    for label, images in called.items():
        row = {"set": name, "image": scan.name, "method": label, "weights": weights} | said
        if method != "real":
            each = [scores(sr, hr, lr, factor) for sr in images]
            row |= {key: sum(one[key] for one in each) / len(each) for key in each[0]}
        if name == "photographs":
            row |= named(images[0], scan.name)
        rows.append(studies.short(row))
    save_file({label: perception.features(images[0], dark=0) for label, images in called.items()}, keep)
    return rows


def frechet_rows(name: str, chosen: list[str], others: data_fetch.ImageSet, at: Callable[[str, str], Path]) -> None:
    """The row of the set of each method that restored all the chosen images."""
    real = torch.cat([perception.features(scan.pixels, dark=0) for scan in others])
    weights = weights_of(name)
    for method in itertools.chain(*known(name, weights)):
        files = [load_file(at(method, image)) for image in chosen if at(method, image).exists()]
        for label in files[0] if len(files) == len(chosen) else ():
            found = tradeoff.set_distance(perception.frechet_distance, [file[label] for file in files], real)
            row = {"set": name, "image": None, "method": label, "weights": weights, "n": found.n}
            row = studies.short(row | {"frechet": list(found[:3])})
            studies.update(RESULT, [row], by=("set", "image", "method"))
            print(name, label, row["frechet"], flush=True)


def weights_of(name: str) -> str:
    """Those for faces; for photographs their own if there are some, else those that saw four kinds of medical image."""
    return "faces" if name == "faces" else networks.weights_for("natural", "sr3")


def study(folder: Path, name: str, every: int, count: int, scratch: Path) -> None:
    """Store the rows of one set."""
    scans, weights = data_fetch.load(folder / SETS[name][0]), weights_of(name)
    some = scans[::every] if name == "faces" else scans
    fast, slow = known(name, weights)
    print(name, "without weights:", sorted({*FAST, *SLOW[name]} - {*fast, *slow}) or "none", flush=True)

    def at(method: str, image: str) -> Path:
        return scratch / f"{name}-{method}-{image}.safetensors"

    plan = [(method, entry.name) for method in fast for entry in scans.entries]
    plan += [(method, entry.name) for entry in some.entries for method in slow]
    places = {entry.name: i for i, entry in enumerate(scans.entries)}
    stored = studies.load(RESULT, set=name) if RESULT.exists() else []
    done = {(row["method"], row["image"]) for row in stored if row["weights"] == weights}
    for method, image in plan:
        if (method, image) in done and ((method, None) in done or at(method, image).exists()):
            continue
        drawn = count if name == "faces" else 1
        rows = image_rows(name, method, scans[places[image]], weights, drawn, at(method, image))
        studies.update(RESULT, rows, by=("set", "image", "method"))
        print(name, image, {row["method"]: row.get("psnr") for row in rows}, flush=True)
    others = data_fetch.load(folder / ("faces" if name == "faces" else "natural"))
    others = others.of_subjects(networks.held_out("faces")) if name == "faces" else others
    frechet_rows(name, [entry.name for entry in some.entries], others, at)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces-heldout, faces, natural(-heldout)")
    parser.add_argument("--only", choices=SETS, help="one of the two (default: both)")
    parser.add_argument("--every", type=int, default=5, help="SR3 and PULSE restore one face in so many (default 5)")
    parser.add_argument("--count", type=int, default=4, help="samples of each face (default 4)")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "medsr-faces")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    for name in [given.only] if given.only else SETS:
        study(given.data, name, given.every, given.count, given.scratch)
