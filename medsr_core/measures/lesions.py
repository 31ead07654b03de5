"""The lesion test: would a small finding survive, and is one invented where there is none?

A lesion of known radius and contrast is placed in HR, the image degraded and restored, and a detector asked. The
detector is classical: the scale-normalised Laplacian of Gaussian (Lindeberg 1998), a matched filter for spots, whose
response to a disc is proportional to its contrast. Bright spots stand for white-matter hyperintensities on MRI, dark
red ones for microaneurysms on the retina. Placing and detecting is ours and simple: it compares methods, it is no
clinical study.

Images are (B, C, H, W) in [0, 1]; places are (row, column) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medsr_core.degradation import gaussian_blur
from medsr_core.measures.intervals import Interval, bootstrap, resampled

Place = tuple[float, float]
BRIGHT = (1.0,)  # MRI: a hyperintense spot
DARK_RED = (-0.4, -1.0, -0.6)  # retina: a microaneurysm takes most light from green
SCALES = (1.0, 1.5, 2.0, 3.0)  # radii in pixels that the detector looks for
TOLERANCE = 3.0  # pixels between a lesion and its detection


# --- placing --------------------------------------------------------------------------------------------------------


def lesion(size: tuple[int, int], centre: tuple[float, float], radius: float, contrast: float = 1.0) -> Tensor:
    """A disc of `radius` pixels, edge softened over one pixel, height `contrast`: (1, 1, H, W), zero elsewhere."""
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in size)
    distance = torch.hypot(rows[:, None] - centre[0], columns - centre[1])
    return contrast * (radius + 0.5 - distance).clamp(0, 1)[None, None]


def place(hr: Tensor, places: Sequence[Place], radius: float, contrast: float) -> Tensor:
    """`hr` with a lesion at every place: bright in gray images, dark red in colour, clipped to [0, 1].

    radius : in pixels, edge softened over one pixel
    contrast : change of the grey value in the middle (in colour images of green); 0 leaves the image as it is
    """
    colour = hr.new_tensor(BRIGHT if hr.shape[1] == 1 else DARK_RED).view(1, -1, 1, 1)
    size = (hr.shape[-2], hr.shape[-1])
    spots = sum((lesion(size, centre, radius) for centre in places), torch.zeros(1, 1, *size))
    return (hr + contrast * colour * spots.clamp(max=1).to(hr)).clamp(0, 1)


def sites(hr: Tensor, count: int, *, seed: int = 0, border: int = 16, apart: float = 24.0) -> list[Place]:
    """Up to `count` random places for lesions (as there is room) in even tissue, `apart` from each other."""
    free = even_tissue(hr, border=border).nonzero().float()
    free = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))]
    chosen: list[Place] = []
    for row, column in free.tolist():
        if len(chosen) < count and all(math.dist((row, column), other) >= apart for other in chosen):
            chosen.append((row, column))
    return chosen


def even_tissue(hr: Tensor, *, border: int = 16) -> Tensor:
    """Where one image (1, C, H, W) is an even background for lesions (ours): boolean (H, W).

    Grey value of the surroundings over 0.15 and under 0.7, local standard deviation below the median of such places.
    """
    gray = signal(hr).abs()
    mean = gaussian_blur(4.0)(gray)
    rough = (gaussian_blur(4.0)(gray**2) - mean**2).clamp(min=0)
    tissue = (mean > 0.15) & (mean < 0.7)
    tissue[..., :border, :] = tissue[..., tissue.shape[-2] - border :, :] = False
    tissue[..., :border] = tissue[..., tissue.shape[-1] - border :] = False
    return (tissue & (rough <= rough[tissue].median() if tissue.any() else tissue))[0, 0]


def signal(image: Tensor) -> Tensor:
    """The channel in which lesions are bright, (B, 1, H, W): gray itself; of colour images green, negative."""
    return image if image.shape[1] == 1 else -image[:, 1:2]


# --- detecting ------------------------------------------------------------------------------------------------------


def response(image: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """How much each pixel looks like the middle of a spot, (B, 1, H, W), best of all scales.

    -s^2 Laplacian(Gaussian_s * image) with s = radius / sqrt(2), where a disc of that radius answers most strongly; the
    constant makes the answer to a large disc of contrast c on zero just c.
    """
    x = signal(image)
    answers = []
    for radius in scales:
        s = radius / math.sqrt(2)
        smooth = gaussian_blur(s)(x)
        padded = torch.nn.functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
        neighbours = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        answers.append(-(s**2) * (neighbours - 4 * smooth) * math.e / 2)
    return torch.stack(answers).amax(0)


def scores_at(image: Tensor, places: Sequence[Place], tolerance: float = TOLERANCE) -> Tensor:
    """The detector's strongest answer within `tolerance` of each place, in one image (1, C, H, W): (places,)."""
    strength = response(image)[0, 0]
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in strength.shape)
    near = [torch.hypot(rows[:, None] - row, columns - column) <= tolerance for row, column in places]
    return torch.stack([strength[disc].max() for disc in near]) if near else strength.new_zeros(0)


def detections(image: Tensor, threshold: float) -> list[Place]:
    """Places in one image (1, C, H, W) where the answer is a local maximum (of 5x5 pixels) above the threshold."""
    strength = response(image)
    peak = (strength == torch.nn.functional.max_pool2d(strength, 5, 1, 2)) & (strength > threshold)
    return [(float(row), float(column)) for row, column in peak[0, 0].nonzero().tolist()]


def false_lesions(sr: Tensor, hr: Tensor, threshold: float, tolerance: float = TOLERANCE) -> list[Place]:
    """Detections in a restored image that the true one has not: spots that the method invented.

    The true image is searched at 0.8 times the threshold (ours): a spot of the anatomy that comes back a little
    stronger is no invention.
    """
    true = detections(hr, 0.8 * threshold)
    return [spot for spot in detections(sr, threshold) if all(math.dist(spot, other) > tolerance for other in true)]


def recovered(ill: Tensor, healthy: Tensor, places: Sequence[Place], radius: float, contrast: float) -> Tensor:
    """Share of the lesions' contrast that comes back: by least squares, change = share * contrast * disc, (places,).

    ill, healthy : one image (1, C, H, W) restored with and without the lesions; contrast : of the lesions, above 0
    """
    change = (signal(ill) - signal(healthy))[0, 0]
    discs = [lesion((change.shape[0], change.shape[1]), centre, radius)[0, 0] for centre in places]
    shares = [(change * disc).sum() / (contrast * disc.square().sum()) for disc in discs]
    return torch.stack(shares) if shares else change.new_zeros(0)


# --- counting -------------------------------------------------------------------------------------------------------


def roc(present: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    """Share of false alarms and of hits for every threshold from high to low, both from 0 to 1.

    present, absent : the detector's scores where a lesion is and where none is
    """
    thresholds = torch.cat([present, absent]).unique().flip(0)
    alarms, hits = ((scores[:, None] >= thresholds).double().mean(0) for scores in (absent, present))
    start = alarms.new_zeros(1)
    return torch.cat([start, alarms]), torch.cat([start, hits])


def auc(present: Tensor, absent: Tensor) -> float:
    """Area under the ROC: the chance that a lesion scores higher than a place without one (ties count half)."""
    difference = present[:, None] - absent
    return ((difference > 0).double() + (difference == 0).double() / 2).mean().item()


def auc_interval(
    present: Tensor, absent: Tensor, groups: Sequence[str], *, seed: int = 0, resamples: int = 1000
) -> Interval:
    """`auc` with its 95 % bootstrap interval; whole groups (images or subjects) are drawn, with all their places.

    present, absent : (places,) scores of the same places with and without a lesion; groups : the group of each. With
        one group only, places are drawn: the interval then says nothing of other images.
    Raises ValueError if they are not equally many.
    """
    if not len(present) == len(absent) == len(groups):
        raise ValueError(f"{len(present)} scores with, {len(absent)} without, {len(groups)} groups; give equally many")
    member, drawn = resampled(groups, len(present), seed=seed, resamples=resamples)
    wins = (present[:, None] > absent).double() + (present[:, None] == absent).double() / 2
    one_hot = torch.nn.functional.one_hot(member, drawn.shape[1]).double()
    pairs = one_hot.T @ wins @ one_hot  # won pairs between groups
    size = one_hot.sum(0)
    weight = torch.nn.functional.one_hot(drawn, drawn.shape[1]).double().sum(1)
    values = ((weight @ pairs) * weight).sum(1) / (weight @ size).square()
    low, high = torch.quantile(values, values.new_tensor([0.025, 0.975])).tolist()
    return Interval(auc(present, absent), low, high, len(present))


def detection_rate(scores: Tensor, threshold: float, groups: Sequence[str]) -> Interval:
    """Share of lesions above the threshold with its bootstrap interval over groups (images or subjects)."""
    return bootstrap((scores > threshold).double(), groups=groups)


def pooled(rows: Sequence[dict[str, Any]], radius: float) -> tuple[Tensor, Tensor, list[str]]:
    """All scores of one method in a stored study: with lesions of `radius`, without, and the group of each place.

    rows : with image, subject and radius; those of `radius` have a list "present", those of radius 0 a list "absent".
    Groups are the subjects, or the images if all are of one subject.
    """
    several = len({row["subject"] for row in rows}) > 1
    group = {row["image"]: row["subject"] if several else row["image"] for row in rows}
    absent = {row["image"]: row["absent"] for row in rows if row["radius"] == 0}
    present = {row["image"]: row["present"] for row in rows if row["radius"] == radius}
    groups = [group[image] for image, scores in present.items() for _ in scores]
    with_it, without = (torch.tensor([x for image in present for x in part[image]]) for part in (present, absent))
    return with_it, without, groups
