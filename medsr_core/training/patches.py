"""What the training loop eats: aligned LR and HR patches of whole scans, cut where there is something to learn.

LR images are made by D, MATLAB's bicubic, from whole images and then cut, never from patches: a patch has other edges.
A batch is a pure function of (seed, step), so resuming a run needs a step number and no sampler state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from medsr_core.degradation import bicubic, task
from medsr_core.networks.layers import to_channels
from medsr_core.seeds import mix


class Patches:
    """HR images with the LR images that D makes of them; `batch` cuts aligned patches where there is structure.

    A patch is drawn from a source (equally often), from one of its images (equally often), at a place whose probability
    is the mean squared gradient in the patch, plus a tenth of the image's mean: medical images are smooth, and what can
    be learned lies in few pixels. Then it is flipped and turned, one of eight ways.

    enlarged : give bicubic images, enlarged as a whole and cut like HR, in place of LR patches (for SR3)
    shrink : make HR images so many times smaller first, for the first stage of a cascade
    upright : flip patches left to right only, never turn them
    """

    def __init__(
        self,
        sources: Sequence[Iterable[Tensor]],
        *,
        patch: int = 96,
        factor: int = 4,
        channels: int = 3,
        enlarged: bool = False,
        shrink: int = 1,
        upright: bool = False,
    ):
        if patch % factor:
            raise ValueError(f"patch is {patch}; give a multiple of {factor}, so that LR patches have whole pixels")
        self.patch, self.factor, self.channels, self.enlarged, self.shrink = patch, factor, channels, enlarged, shrink
        self.upright = upright
        least = patch * shrink
        self.sources = [[self._prepare(hr) for hr in source if min(hr.shape[-2:]) >= least] for source in sources]
        if not self.sources or not all(self.sources):
            raise ValueError(f"a source has no image of at least {least}x{least} pixels; give a smaller patch")

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def batch(self, seed: int, step: int, size: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """LR (B, C, patch / factor, ..) and HR (B, C, patch, patch) of one step, or process `rank`'s share of them.

        If `enlarged`, the first is as large as the second.
        """
        if size % world:
            raise ValueError(f"a batch of {size} cannot be shared among {world} processes; give a multiple")
        random = torch.Generator().manual_seed(mix(seed, step))
        pairs = [self._draw(torch.rand(5, generator=random, dtype=torch.float64)) for _ in range(size)][rank::world]
        return torch.stack([lr for lr, _ in pairs]), torch.stack([hr for _, hr in pairs])

    def _draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        source = self.sources[int(u[0] * len(self.sources))]
        hr, lr, chances = source[int(u[4] * len(source))]
        side, f = self.patch // self.factor, self.factor
        columns = hr.shape[2] // f - side + 1
        place = min(int(torch.searchsorted(chances, u[1].to(chances) * chances[-1])), len(chances) - 1)
        y, x = divmod(place, columns)
        high = hr[:, f * y : f * (y + side), f * x : f * (x + side)]
        f = f if self.enlarged else 1
        low = lr[:, f * y : f * (y + side), f * x : f * (x + side)]
        return self._turned(low, u), self._turned(high, u)

    def _turned(self, patch: Tensor, u: Tensor) -> Tensor:
        patch = torch.rot90(patch, 0 if self.upright else int(u[2] * 4), (1, 2)).expand(self.channels, -1, -1)
        return patch.flip(2) if u[3] < 0.5 else patch

    def _prepare(self, hr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(HR (C, H, W), LR (C, h, w) or enlarged, running sum of the chances of each patch position)."""
        hr = hr if hr.shape[1] == 1 else to_channels(hr, self.channels)
        if self.shrink > 1:
            hr = task(hr, self.shrink)[1]
        hr, lr = task(hr, self.factor)
        if self.enlarged:
            lr = bicubic(Fraction(1, self.factor))(lr).clamp(0, 1)
        dy, dx = hr.diff(dim=2)[..., :-1] ** 2, hr.diff(dim=3)[..., :-1, :] ** 2
        energy = F.avg_pool2d(F.pad(dy + dx, (0, 1, 0, 1)).mean(1, keepdim=True), self.factor)
        energy = F.avg_pool2d(energy + 0.1 * energy.mean() + 1e-12, self.patch // self.factor, stride=1)
        return hr[0], lr[0], energy.double().flatten().cumsum(0).float()
