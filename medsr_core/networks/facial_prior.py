"""What FSRNet knows about faces: maps drawn from 68 landmarks, the teacher of its prior network.

Chen et al. 2018 draw one Gaussian for each of Helen's 194 landmarks and fill polygons between them (9 parsing maps).
Here (ours): 68 landmarks in the usual order (contour 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67), their
Gaussians grouped into 8 maps by part of the face, and Helen's 9 parsing maps: 17 maps at half the image's size.
"Right" and "left" are the person's: the right eye is on the left side of the image.

Landmarks are (x, y) in pixels of the HR image; (0, 0) is the centre of the top left pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS: dict[str, list[int]] = {  # heat maps: which landmarks get a Gaussian
    "contour points": [*range(17)],
    "right brow points": [*range(17, 22)],
    "left brow points": [*range(22, 27)],
    "nose points": [*range(27, 36)],
    "right eye points": [*range(36, 42)],
    "left eye points": [*range(42, 48)],
    "outer mouth points": [*range(48, 60)],
    "inner mouth points": [*range(60, 68)],
}
AREAS: dict[str, list[int]] = {  # parsing maps: closed polygons
    "face": [*range(17), *range(26, 16, -1)],
    "nose": [27, *range(31, 36)],
    "upper lip": [*range(48, 55), 64, 63, 62, 61, 60],
    "lower lip": [*range(54, 60), 48, 60, 67, 66, 65, 64],
    "mouth opening": [*range(60, 68)],
    "right eye": [*range(36, 42)],
    "left eye": [*range(42, 48)],
}
STROKES: dict[str, list[int]] = {"right brow": [*range(17, 22)], "left brow": [*range(22, 27)]}  # two pixels wide
MAPS = [*POINTS, *AREAS, *STROKES]

# Landmark i of a mirrored face is landmark MIRROR[i] of the face: right and left change places.
MIRROR = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
]  # fmt: skip
_SWAPPED = {"right": "left", "left": "right"}
MIRRORED_MAPS = [MAPS.index(" ".join(_SWAPPED.get(word, word) for word in name.split())) for name in MAPS]


def facial_prior(landmarks: Tensor, *, image: int = 128, sigma: float = 1.0) -> Tensor:
    """Landmarks (B, 68, 2) of square images -> maps (B, 17, image / 2, image / 2) in [0, 1], in the order of `MAPS`.

    image : side of the HR image in pixels, whose grid the landmarks are on
    sigma : of the Gaussians, in pixels of the maps (a re-implementation of FSRNet: 3, with a map for each landmark)
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2) or not landmarks.isfinite().all():
        raise ValueError(f"expected finite landmarks of shape (B, 68, 2), got {tuple(landmarks.shape)}")
    if image % 2:
        raise ValueError(f"the maps have half the image's size; {image} is odd")
    points, size = (landmarks.float() + 0.5) / 2 - 0.5, image // 2  # pixel centres, on the maps' grid
    maps = [heat_maps(points[:, part], size, sigma=sigma).amax(1) for part in POINTS.values()]
    maps += [filled(points[:, part], size) for part in AREAS.values()]
    maps += [stroke(points[:, part], size) for part in STROKES.values()]
    return torch.stack(maps, 1)


def mirrored_landmarks(landmarks: Tensor, *, image: int = 128) -> Tensor:
    """Landmarks (B, 68, 2) of the images flipped left to right."""
    flipped = landmarks[:, MIRROR].clone()
    flipped[..., 0] = image - 1 - flipped[..., 0]
    return flipped


def mirrored_maps(maps: Tensor) -> Tensor:
    """Maps (B, 17, h, w) of the images flipped left to right: the right eye's map becomes the left eye's."""
    return maps[:, MIRRORED_MAPS].flip(-1)


def heat_maps(points: Tensor, size: int, *, sigma: float) -> Tensor:
    """A Gaussian of height 1 for each point: (B, P, 2) -> (B, P, size, size); its sum is about 2 pi sigma^2."""
    grid = torch.arange(size, dtype=points.dtype)
    x, y = (torch.exp(-((grid - points[..., axis, None]) ** 2) / (2 * sigma**2)) for axis in (0, 1))  # (B, P, size)
    return y[..., :, None] * x[..., None, :]


def filled(corners: Tensor, size: int, *, samples: int = 4) -> Tensor:
    """The inside of polygons (B, P, 2) -> (B, size, size) in [0, 1]: the part of `samples`^2 places in a pixel that is
    inside, by the even-odd rule (a ray to the right crosses the outline an odd number of times)."""
    places = (torch.arange(size * samples, dtype=corners.dtype) + 0.5) / samples - 0.5
    crossings = torch.zeros((len(corners), len(places), len(places)), dtype=torch.bool)
    for (x0, y0), (x1, y1) in zip(corners.permute(1, 2, 0), corners.roll(-1, 1).permute(1, 2, 0), strict=True):
        y = places[None, :]
        spans = (y0[:, None] > y) != (y1[:, None] > y)  # (B, rows): this edge crosses the row
        slope = (x1 - x0) / torch.where(y1 == y0, 1.0, y1 - y0)
        crossing = x0[:, None] + (y - y0[:, None]) * slope[:, None]
        crossings ^= spans[:, :, None] & (places[None, None, :] < crossing[:, :, None])
    return F.avg_pool2d(crossings[:, None].to(corners.dtype), samples)[:, 0]


def stroke(points: Tensor, size: int, *, width: float = 2.0) -> Tensor:
    """A line of `width` pixels through points (B, P, 2) -> (B, size, size) in [0, 1], with soft edges.

    A brow's five landmarks lie on its ridge: between them is no area to fill.
    """
    grid = torch.arange(size, dtype=points.dtype)
    place = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)[None, None]  # (1, 1, size, size, 2)
    start, step = points[:, :-1, None, None], points.diff(dim=1)[:, :, None, None]  # (B, P - 1, 1, 1, 2)
    along = ((place - start) * step).sum(-1) / step.square().sum(-1).clamp_min(1e-12)
    distance = (place - start - along.clamp(0, 1)[..., None] * step).norm(dim=-1).amin(1)
    return (width / 2 + 0.5 - distance).clamp(0, 1)
