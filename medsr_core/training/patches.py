"""What the training loop eats: aligned LR and HR patches of whole scans, cut where there is something to learn.

LR images are made by D, MATLAB's bicubic, from whole images and then cut, never from patches: a patch has other edges.
A batch is a pure function of (seed, step), and so is the noise that a step needs: resuming needs a step number and no
sampler state, and batches that other processes make ahead are the same numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medsr_core import diffusion
from medsr_core.degradation import bicubic, gaussian_blur, task
from medsr_core.networks.layers import to_channels
from medsr_core.seeds import mix
from medsr_core.training.players import TrainingError
from medsr_core.training.run import Run


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


class Batches(Dataset[tuple[Tensor, ...]]):
    """``batches[step]``: LR (or bicubic) and HR patches, and what noise the step needs, on the CPU.

    A denoising step needs noise levels (B,) and noise like HR; a likelihood step noise in [0, 1) like HR.
    alpha_bar : of a denoising network; rank, world : this process and how many share each batch
    """

    def __init__(self, run: Run, patches: Patches, alpha_bar: Tensor | None = None, *, rank: int = 0, world: int = 1):
        self.run, self.patches, self.alpha_bar, self.rank, self.world = run, patches, alpha_bar, rank, world

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        run, share = self.run, slice(self.rank, None, self.world)
        lr, hr = self.patches.batch(run.seed, step, run.batch, self.rank, self.world)
        if run.blur:
            random = torch.Generator().manual_seed(mix(run.seed + 2, step))
            lr = blurred(lr, run.blur * torch.rand(run.batch, generator=random)[share])
        random = torch.Generator().manual_seed(mix(run.seed + 1, step))
        shape = (run.batch, *hr.shape[1:])
        if run.about.stage == "likelihood":
            return lr, hr, torch.rand(shape, generator=random)[share]
        if self.alpha_bar is None:
            return lr, hr
        u = (torch.rand((), generator=random) + torch.randperm(run.batch, generator=random) / run.batch) % 1
        return lr, hr, diffusion.level_at(self.alpha_bar, u)[share], torch.randn(shape, generator=random)[share]

    def feed(self, steps: Iterable[int], device: torch.device) -> Iterator[tuple[Tensor, ...]]:
        """The batches of these steps, on the device; `run.workers` processes make them ahead (`killed_is_said`)."""
        cuda = device.type == "cuda"
        workers = self.run.workers if self.run.workers is not None else 3 if cuda else 0
        made: Iterable[tuple[Tensor, ...]] = (self[step] for step in steps)
        if workers:
            made = DataLoader(self, batch_size=None, sampler=steps, num_workers=workers, pin_memory=cuda)
        for batch in made:
            yield tuple(_to(tensor, device) for tensor in batch)


@contextmanager
def killed_is_said() -> Iterator[None]:
    """TrainingError if a process that makes batches was killed; torch raises that anywhere, when the signal comes."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        what = "a process that makes batches was killed, perhaps for want of memory"
        raise TrainingError(f"{what}. Go on from the last checkpoint with resume, and fewer workers") from error


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, images with their channels together; from pinned memory the copy does not wait."""
    memory = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(device, memory_format=memory, non_blocking=True)


def blurred(x: Tensor, widths: Tensor) -> Tensor:
    """Each image blurred by a Gaussian of its own width in pixels."""
    return torch.cat([gaussian_blur(max(float(w), 0.1))(image[None]) for image, w in zip(x, widths, strict=True)])
