"""Notebook 12, the case: a scan with hidden lesions, measured by an unknown D, restored within a budget, and judged.

A seed draws everything that is hidden: the image, how many lesions, their places, size and contrast, and what the
scanner does: a blur that is wider along one direction, noise, and, by the kind of scanner, k-space that ends early or a
JPEG file. Whoever solves the case buys an acquisition and a method, says where the lesions are, and is scored.

The case is sealed with the lecturer's word. That is an envelope, not cryptography: everything hidden follows from the
seed, and who reads this file can open it.

Images are (1, C, H, W) in [0, 1]; places are (row, column) in HR pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import data_fetch
from medsr_core import degradation, networks, restoration, upscalers
from medsr_core.measures import lesions, metrics
from medsr_core.measures.lesions import TOLERANCE, Place
from medsr_core.seeds import mix
from medsr_workbook.studies import middle

PRACTICE = 10  # seeds below are practice: open to all
SEALED = "14b693d95c45b135"  # `digest` of the lecturer's word, which lecturer.md has
BUDGET = 10
FACTORS = {2: 8, 4: 4, 8: 2}  # factor: its price; a scanner's time goes with the lines that it measures
EXTRAS = {"none": 0, "lines": 3, "contrast": 5}
MORE = 0.2  # share of the outer lines of k-space that "lines" buys
METHODS = [*networks.CLASSICAL, *(m for m in networks.TRAINED if set(networks.available(m)) - {"faces"})]
SIDE = 176  # pixels of the image, at most
ANATOMY = 0.06  # the detector's answer in the healthy truth from which a place is a spot of the anatomy
POINTS = {"found": 3, "invented": -2, "mistaken": -1}  # each lesion, and each wrong place


# --- what is hidden -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scanner:
    """The unknown D: blur (sigma in HR pixels across and along `angle`), then fewer pixels, noise, perhaps JPEG."""

    blur: tuple[float, float]
    angle: float
    noise: float
    kind: str  # k-space, Rician noise; or detector: bicubic, Gaussian noise; or file: detector, then JPEG
    quality: int

    def sees(self, x: Tensor) -> Tensor:
        """What of the object gets through the optics: (1, C, H, W)."""
        return degradation.gaussian_blur(self.blur, angle=self.angle)(x)

    def pixels(self, factor: int) -> Any:
        """The rest of D: from what gets through to the LR image."""
        if self.kind == "k-space":
            return degradation.compose(degradation.kspace_truncation(factor), degradation.rician_noise(self.noise))
        pixels = degradation.compose(degradation.bicubic(factor), degradation.gaussian_noise(self.noise))
        return degradation.compose(pixels, degradation.jpeg(self.quality)) if self.kind == "file" else pixels


@dataclass(frozen=True)
class Case:
    """What a seed draws. Shown is only what the student may know; the rest is for `measure`, `score` and `opened`."""

    data: str
    seed: int
    image: str
    region: Tensor = field(repr=False)  # boolean (H, W): where the referring doctor asks for lesions
    truth: Tensor = field(repr=False)  # HR, ill
    healthy: Tensor = field(repr=False)  # HR without the lesions
    places: tuple[Place, ...] = field(repr=False)
    radius: float = field(repr=False)
    contrast: float = field(repr=False)
    scanner: Scanner = field(repr=False)


def draw(data: str, seed: int) -> Case:
    """The case of this seed, from a data set or a folder of one's own; colour images stay in colour.

    Raises ValueError if the image that the seed takes has no even tissue to hide a lesion in.
    """
    g = torch.Generator().manual_seed(mix(seed, 12))

    def between(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=g).item()

    def one(options: Sequence[Any]) -> Any:
        return options[int(torch.randint(len(options), (), generator=g))]

    scans = data_fetch.load(data)
    scan = scans[int(torch.randint(len(scans), (), generator=g))]
    healthy = degradation.crop_to_multiple(middle(scan.pixels, SIDE), 16)
    radius, contrast, count = between(1.5, 3.0), between(0.2, 0.35), one((2, 3, 4, 5))
    places = lesions.sites(healthy, count, seed=mix(seed, 13), apart=20)
    if not places:
        raise ValueError(f"{scan.name} of {data} has no even tissue to hide a lesion in; take another seed or data set")
    width = between(0.4, 1.2)
    scanner = Scanner(
        blur=(width, width * between(1.0, 2.0)),
        angle=one((0.0, 30.0, 60.0, 90.0)),
        noise=between(0.005, 0.025),
        kind=one(("detector", "file", "k-space") if healthy.shape[1] == 1 else ("detector", "file")),
        quality=one((50, 70, 90)),
    )
    truth = lesions.place(healthy, places, radius, contrast)
    region = lesions.even_tissue(healthy)
    return Case(data, seed, scan.name, region, truth, healthy, tuple(places), radius, contrast, scanner)


# --- what is bought -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What is bought: `factor` (2, 4 or 8) and one of EXTRAS from the scanner, and a method of the table."""

    factor: int = 4
    extra: str = "none"
    method: str = "medgan-pixel"

    @property
    def prices(self) -> dict[str, int]:
        """What each choice costs: a method nothing if classical, 1 if trained, 2 if it draws samples."""
        method = networks.METHODS[self.method]
        return {
            f"factor {self.factor}": FACTORS[self.factor],
            f"extra: {self.extra}": EXTRAS[self.extra],
            self.method: 2 if method.samples else 1 if self.method in networks.TRAINED else 0,
        }


def check(case: Case, plan: Plan) -> str:
    """The weights that the plan's method gets for this case ("general" if it needs none).

    ValueError if the plan is no choice of those above, costs more than BUDGET, or the method has no weights for it.
    """
    known: dict[str, Collection[Any]] = {"factor": FACTORS, "extra": EXTRAS, "method": METHODS}
    for name, options in known.items():
        if (value := getattr(plan, name)) not in options:
            raise ValueError(f"{name} is {value!r}; give one of {', '.join(map(str, options))}")
    if (total := sum(plan.prices.values())) > BUDGET:
        prices = ", ".join(f"{name} {price}" for name, price in plan.prices.items())
        raise ValueError(f"this costs {total} of {BUDGET} points ({prices}); buy less")
    if plan.method in networks.CLASSICAL:
        return "general"
    fitting = [case.data, "general"] + ["brain"] * (case.truth.shape[1] == 1)
    networked = [method for method in METHODS if method not in networks.CLASSICAL]
    there = {m: [name for name in fitting if name in networks.available(m, plan.factor)] for m in networked}
    if not there[plan.method]:
        others = ", ".join(m for m, names in there.items() if names) or "a classical method"
        raise ValueError(f"{plan.method} has no weights for {case.data} and factor {plan.factor}; take {others}")
    return there[plan.method][0]


@dataclass(frozen=True)
class Acquired:
    """What came out of the scanner: the LR image, and the second contrast or the lines of k-space, if bought."""

    lr: Tensor
    guide: Tensor | None = None
    lines: Any = None  # restoration.Projection: puts the measured samples back


def acquire(case: Case, plan: Plan) -> Acquired:
    """Measure the case as planned. The same plan measures the same noise."""
    check(case, plan)
    g = torch.Generator().manual_seed(mix(case.seed, 14))
    seen = case.scanner.sees(case.truth)
    lr = case.scanner.pixels(plan.factor)(seen, generator=g).clamp(0, 1)
    if plan.extra == "contrast":
        half = lesions.place(case.healthy, case.places[::2], case.radius, case.contrast)
        guide = (3 * case.scanner.sees(half).mean(1, keepdim=True)).sin().square()  # made up, as in notebook 11
        return Acquired(lr, guide=guide + case.scanner.noise * torch.randn(guide.shape, generator=g))
    if plan.extra == "lines":
        samples = restoration.kspace(seen + case.scanner.noise * torch.randn(seen.shape, generator=g))
        mask = restoration.scan_lines((seen.shape[-2], seen.shape[-1]), plan.factor, extra=MORE, seed=case.seed)
        return Acquired(lr, lines=restoration.keeps(samples, mask))
    return Acquired(lr)


def restore(case: Case, plan: Plan, acquired: Acquired) -> Tensor:
    """SR, in [0, 1]: by the plan's method, which assumes bicubic, and then by what else was bought.

    Measured lines replace the method's; with "tv", total variation is the least under all of them. A second contrast
    guides total variation that starts from the method's answer (`restoration.least_variation`).
    """
    sr = upscalers.upscale(acquired.lr, plan.method, factor=plan.factor, weights=check(case, plan))
    if acquired.lines:
        sr = restoration.least_variation(sr, acquired.lines) if plan.method == "tv" else acquired.lines(sr)
    if acquired.guide is not None:
        explained = restoration.explains(acquired.lr, degradation.bicubic(plan.factor))
        sr = restoration.least_variation(sr, explained, guide=acquired.guide)
    return sr.clamp(0, 1)


def suspects(sr: Tensor, region: Tensor, threshold: float) -> list[Place]:
    """Where the detector of `lesions` answers above the threshold, within the region."""
    return [place for place in lesions.detections(sr, threshold) if region[int(place[0]), int(place[1])]]


# --- what it was worth ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """Of the stated places: lesions found of how many, spots that the truth has not, anatomy taken for a lesion."""

    found: int
    lesions: int
    invented: int
    mistaken: int
    psnr: float
    gain: float  # dB over bicubic interpolation of what factor 4 measures

    @property
    def points(self) -> int:
        """POINTS for places, and a point for each full decibel of gain, at most three and none below zero."""
        counted = sum(points * getattr(self, name) for name, points in POINTS.items())
        return counted + math.floor(min(max(self.gain, 0), 3))


def score(case: Case, sr: Tensor, places: Sequence[Place]) -> Score:
    """Hold an answer and the stated places against the truth."""
    near = [[math.dist(place, true) <= TOLERANCE for true in case.places] for place in places]
    wrong = [place for place, hits in zip(places, near, strict=True) if not any(hits)]
    anatomy = lesions.detections(case.healthy, ANATOMY)
    mistaken = sum(any(math.dist(place, spot) <= TOLERANCE for spot in anatomy) for place in wrong)
    found = sum(any(column) for column in zip(*near, strict=True))
    plain = Plan(4, "none", "bicubic")
    answers = (sr, restore(case, plain, acquire(case, plain)))
    reached, base = (metrics.psnr(x, case.truth, data_range=1.0).item() for x in answers)
    return Score(found, len(case.places), len(wrong) - mistaken, mistaken, reached, reached - base)


def sheet(case: Case, plan: Plan, threshold: float, places: Sequence[Place]) -> str:
    """What is handed in, as Markdown: the case, what was bought, and where lesions are stated to be."""
    bought = ", ".join(f"{name} ({price})" for name, price in plan.prices.items())
    stated = ", ".join(f"({row:.0f}, {column:.0f})" for row, column in places) or "none"
    cost = sum(plan.prices.values())
    return (
        f"**Case {case.seed} of {case.data}.** Bought: {bought}, {cost} of {BUDGET} points. "
        f"Lesions stated above the threshold {threshold:g}, at (row, column): {stated}."
    )


def key(case: Case, word: str = "") -> str:
    """What was hidden, as Markdown, if the case may be opened (`opened`), else how it gets opened."""
    if not opened(case, word):
        return "Sealed. Hand in your notebook; the lecturer's word opens it (`word`)."
    scanner, places = case.scanner, ", ".join(f"({row:.0f}, {column:.0f})" for row, column in case.places)
    ends = "k-space that ends early" if scanner.kind == "k-space" else "bicubic"
    last = f", JPEG of quality {scanner.quality}" if scanner.kind == "file" else ""
    return (
        f"{len(case.places)} lesions of radius {case.radius:.1f} pixels and contrast {case.contrast:.2f} in "
        f"{case.image}, at {places}. *D*: blur of σ = {scanner.blur[1]:.1f} pixels at {scanner.angle:.0f}° and "
        f"{scanner.blur[0]:.1f} across, {ends}, noise of {scanner.noise:.3f}{last}."
    )


def digest(word: str) -> str:
    """What is stored of the lecturer's word."""
    return hashlib.sha256(word.strip().lower().encode()).hexdigest()[:16]


def opened(case: Case, word: str = "") -> bool:
    """May what is hidden be shown? Practice cases to all, others to whoever knows the lecturer's word."""
    return case.seed < PRACTICE or digest(word) == SEALED
