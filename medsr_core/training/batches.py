"""Batches and noise of a training: functions of (seed, step), so it does not matter which process makes them.

Made in the training's own process, or ahead of it by others, they are the same numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medsr_core import diffusion
from medsr_core.degradation import gaussian_blur
from medsr_core.seeds import mix
from medsr_core.training.patches import Patches
from medsr_core.training.players import TrainingError
from medsr_core.training.run import Run


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
        """The batches of these steps, on the device; `run.workers` processes make them ahead.

        TrainingError if one of these processes was killed.
        """
        cuda = device.type == "cuda"
        workers = self.run.workers if self.run.workers is not None else 3 if cuda else 0
        made: Iterable[tuple[Tensor, ...]] = (self[step] for step in steps)
        if workers:
            made = DataLoader(self, batch_size=None, sampler=steps, num_workers=workers, pin_memory=cuda)
        try:
            for batch in made:
                yield tuple(_to(tensor, device) for tensor in batch)
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
