"""One training loop: pixel pre-training, the adversarial game, denoising. Read it from `train` downwards.

- Batches are a pure function of (seed, step): resuming needs a step number, no sampler state.
- Several processes (``torchrun --nproc-per-node 2 -m medsr_workbook train ...``) each take a part of the same batch and
  average their gradients: together they take the step that one would. Lightning Fabric carries the averages.
- A checkpoint is one safetensors file, replaced in one go: networks, average, optimisers, step. Killed at any
  moment and resumed, a run ends with the weights of an uninterrupted one, bit for bit (same machine, same threads).

From SRGAN (Ledig et al. 2017, section 3.2): patches of 96, batches of 16, Adam, 1e-4 in the adversarial stage. Ours:
L1 and a cosine rate in the pixel stage, patches drawn where there is structure, an exponential moving average.
From SR3 (Saharia et al. 2021): one noise level per sample, warm-up, the moving average, blur for cascades. Ours: the
levels of a batch are spread evenly (Kingma et al. 2021), the same cosine rate.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from medsr_core import diffusion, networks
from medsr_core.degradation import bicubic, crop_to_multiple, gaussian_blur
from medsr_core.measures.metrics import psnr
from medsr_core.networks.sr3 import SR3, Regression
from medsr_core.training import losses
from medsr_core.training.patches import Patches, mix
from medsr_core.training.players import State, TrainingError

# Weights in the generator's loss: the paper's 1e-3 is for VGG19's features; ours are on another scale. Two trials of
# 100 steps on held-out brains: 1e-3 at rate 1e-4 left edges at 75 % strength (66 % before) and cost 0.3 dB, 2e-2
# at rate 3e-4 brought 94 % and cost 1.1 dB. 5e-3 is between.
ADVERSARIAL_WEIGHTS = {
    "srgan": {"perceptual": 1.0, "adversarial": 5e-3},
    "medgan": {"perceptual": 1.0, "adversarial": 5e-3, "pixel": 1.0},  # the extra term is a pixel term, ours
}
Report = Callable[[int, dict[str, float]], None]


def train(
    method: str,
    sources: Sequence[Iterable[Tensor]],
    validation: Sequence[Tensor] = (),
    *,
    steps: int,
    folder: str | Path,
    resume: bool = False,
    start: networks.Network | None = None,
    network: dict[str, Any] | None = None,
    opponent: dict[str, Any] | None = None,
    terms: dict[str, float] | None = None,
    batch: int = 16,
    patch: int = 96,
    rate: float | None = None,
    warm_up: int = 50,
    average: float = 0.999,
    blur: float = 0.0,
    shrink: int = 1,
    every: int = 100,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    report: Report | None = None,
    progress: bool = True,
) -> networks.Network:
    """Train a network and return its moving average, which is also written to `folder`/generator.safetensors.

    Parameters
    ----------
    method : srresnet, medgan-pixel, regression (pixel stage); srgan, medgan (adversarial stage, needs `start`); sr3
    sources : one or more collections of HR images (1, C, H, W) in [0, 1]; each source is drawn equally often
    validation : HR images of *other subjects*; their mean PSNR is shown and logged
    steps : batches in all; with `resume` the number includes those already done
    folder : where checkpoint.safetensors goes, every `every` steps and at the end
    start : a trained network to go on from
    network : arguments for `networks.create` (preset, channels, factor, width, ...); with `start`, only "channels" and
        "factor" count: weights for one channel can go on with three, and those of SR3 and regression with any factor
    opponent : arguments for `networks.create_discriminator` (width, dense, extra_depth, ...)
    terms : weights of "pixel" (L1), "mse", "perceptual" and "adversarial" in the loss (default: by method); for sr3,
        "pixel" and "mse" are the norm of the difference between noise and prediction, and "measured" weighs its part
        that contradicts the LR image once more (`losses.denoising`)
    batch, patch : images per step over all processes, and HR pixels along a side
    rate : Adam's learning rate; default 1e-4 in the adversarial stage; otherwise 1e-3 falling on a cosine, after
        `warm_up` steps (at most a tenth of all) on which it rises
    average : how much of the moving average survives a step
    blur : regression and sr3 as a cascade's second stage: blur the image to start from by a Gaussian of random width
        up to so many HR pixels, since a first stage's images are not as sharp as real ones
    shrink : a cascade's first stage: make HR images so many times smaller first
    device : "cpu", "cuda", "mps" or "auto"; `precision` : "32" or "bf16" (with channels-last memory)
    report : called after each step with the step number and the losses (and "psnr" where measured)

    Raises
    ------
    TrainingError : NaN or exploding loss; a checkpoint of another run
    ValueError : arguments or images that do not fit
    """
    game = method in networks.ADVERSARIAL
    if game and start is None and not resume:
        raise ValueError(f"{method} goes on from a trained generator: start=load({networks.ADVERSARIAL[method]!r})")
    fabric = _fabric(device, precision)
    torch.manual_seed(seed)
    form = network or {}
    if start is None:
        generator = networks.create(method, **form)
    else:
        generator = networks.copy_of(start, channels=form.get("channels"), factor=form.get("factor"))
    unet = isinstance(generator, SR3 | Regression)
    patches = Patches(
        sources, patch=patch, factor=generator.factor, channels=generator.channels, enlarged=unet, shrink=shrink
    )
    if isinstance(generator, SR3 | Regression) and generator.residual:
        generator.scale = generator.arguments["scale"] = _residual_scale(patches, seed)
    terms = terms or ADVERSARIAL_WEIGHTS.get(method, {"mse": 1.0} if unet else {"pixel": 1.0})
    rate = rate or (1e-4 if game else 1e-3)
    state = State(generator.train(), method if game else None, patch, average, fabric.device, opponent or {})
    forward = state.generator.from_bicubic if isinstance(state.generator, Regression) else state.generator
    perceptual = losses.Perceptual().to(fabric.device) if terms.get("perceptual") else None

    checkpoint = Path(folder) / "checkpoint.safetensors"
    identity = {"method": method, "seed": seed, "batch": batch, "patch": patch, "rate": rate, "average": average,
                "terms": terms, "arguments": json.loads(json.dumps(generator.arguments)), "images": len(patches),
                "blur": blur, "shrink": shrink}  # fmt: skip
    done, recent = state.restore(checkpoint, identity) if resume else (0, [])
    if not resume and checkpoint.exists():
        raise TrainingError(f"{checkpoint} exists: give resume=True to go on from it, or another folder")

    alpha_bar = diffusion.schedule(generator.schedule if isinstance(generator, SR3) else "linear")
    with _Bar(steps, progress and fabric.is_global_zero) as bar:
        for step in range(done, steps):
            torch.manual_seed(mix(seed, step))  # whatever is random in a step depends on (seed, step) alone
            share = patches.batch(seed, step, batch, fabric.global_rank, fabric.world_size)
            if blur:
                widths = blur * torch.rand(batch, generator=torch.Generator().manual_seed(mix(seed + 2, step)))
                share = (_blurred(share[0], widths[fabric.global_rank :: fabric.world_size]), share[1])
            lr, hr = (images.to(fabric.device, memory_format=torch.channels_last) for images in share)
            state.set_rate(rate if game else cosine(rate, step, steps, warm_up))
            values: dict[str, float] = {}
            if method == "sr3":
                noises = _noises(alpha_bar, hr, seed, step, batch, fabric)
                values |= _denoising_step(fabric, state, lr, hr, noises, terms)
            else:
                with fabric.autocast():
                    sr = forward(lr)
                if state.discriminator is not None:
                    values["discriminator"] = _discriminator_step(fabric, state, sr.detach(), hr)
                values |= _generator_step(fabric, state, sr, hr, terms, perceptual)
            recent = _still_sane(recent, values, step, checkpoint)
            state.average.update_parameters(state.generator)

            if (step + 1) % every == 0 or step + 1 == steps:
                if len(validation):
                    values["psnr"] = validate(state.average.module, validation, factor=generator.factor)
                if fabric.is_global_zero:
                    state.save(checkpoint, {**identity, "step": step + 1, "recent": recent})
                fabric.barrier()
            bar(step + 1, values)
            if report:
                report(step + 1, values)

    result = copy.deepcopy(generator).cpu().eval().requires_grad_(False)
    result.load_state_dict(state.average.module.state_dict())
    if fabric.is_global_zero:
        networks.save(result, Path(folder) / "generator.safetensors", method=method, steps=steps, seed=seed)
    return result


# --- one step -------------------------------------------------------------------------------------------------------


def _generator_step(
    fabric: Fabric, state: State, sr: Tensor, hr: Tensor, terms: dict[str, float], perceptual: nn.Module | None
) -> dict[str, float]:
    """Make SR images more like HR ones: in pixels, in features, and in the discriminator's eyes."""
    parts = {}
    with fabric.autocast():
        for name, kind in (("pixel", "l1"), ("mse", "mse")):
            if terms.get(name):
                parts[name] = losses.pixel(sr, hr, kind=kind)
        if perceptual is not None:
            parts["perceptual"] = perceptual(sr, hr)
        if state.discriminator is not None:
            parts["adversarial"] = losses.adversarial(state.discriminator(sr).float())
    loss = sum((terms[name] * value for name, value in parts.items()), torch.zeros((), device=sr.device))
    total = _update(fabric, loss, state.generator, state.optimisers["generator"])
    return {"generator": total, **{name: value.item() for name, value in parts.items()}}


def _denoising_step(
    fabric: Fabric, state: State, x: Tensor, hr: Tensor, noises: tuple[Tensor, Tensor], terms: dict[str, float]
) -> dict[str, float]:
    """Tell the noise in a noisy HR image, given the bicubic one and the noise level."""
    level, noise = noises
    with fabric.autocast():
        kind = "mse" if terms.get("mse") else "l1"
        loss = losses.denoising(
            state.generator, x, hr, level, noise, kind=kind, measured=terms.get("measured", 0.0)
        )
    return {"generator": _update(fabric, loss, state.generator, state.optimisers["generator"])}


def _discriminator_step(fabric: Fabric, state: State, sr: Tensor, hr: Tensor) -> float:
    """Tell HR from SR better; SR comes without its history, so the generator is left alone."""
    assert state.discriminator is not None
    with fabric.autocast():
        real, fake = state.discriminator(hr), state.discriminator(sr)
    loss = losses.discriminator(real.float(), fake.float())
    return _update(fabric, loss, state.discriminator, state.optimisers["discriminator"])


def _update(fabric: Fabric, loss: Tensor, player: nn.Module, optimiser: torch.optim.Optimizer) -> float:
    """One Adam step of one player on the gradient averaged over all processes. Returns the averaged loss."""
    parameters = list(player.parameters())
    gradients = torch.autograd.grad(loss, parameters, retain_graph=False)
    if fabric.world_size > 1:  # one message: loss, gradients, and batch normalisation's running averages
        buffers = [buffer for buffer in player.buffers() if buffer.is_floating_point()]
        parts = [loss.detach(), *gradients, *buffers]
        mean = fabric.all_reduce(torch.cat([part.flatten() for part in parts]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        pieces = mean.split([part.numel() for part in parts])
        loss, gradients = pieces[0], tuple(p.view_as(g) for p, g in zip(pieces[1:], gradients, strict=False))
        for buffer, piece in zip(buffers, pieces[1 + len(gradients) :], strict=True):
            buffer.copy_(piece.view_as(buffer))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()
    return loss.item()


def _still_sane(recent: list[float], values: dict[str, float], step: int, checkpoint: Path) -> list[float]:
    """The generator's last 50 losses; raises if a loss is not finite, or 20 times the generator's median (ours)."""
    loss = values["generator"]
    usual = statistics.median(recent) if len(recent) >= 20 else math.inf
    finite = all(math.isfinite(value) for value in values.values())
    if not finite or loss > 20 * usual:
        good = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else "no checkpoint was written yet"
        what = f"{loss:.3g}, 20 times the usual {usual:.3g}" if finite else f"not finite ({values})"
        raise TrainingError(f"the loss at step {step + 1} is {what}; {good}. Try a lower rate.")
    return [*recent[-49:], loss]


def _noises(alpha_bar: Tensor, hr: Tensor, seed: int, step: int, batch: int, fabric: Fabric) -> tuple[Tensor, Tensor]:
    """Noise levels (B,) and noise like HR of a denoising step: this process's share of the whole batch's."""
    g = torch.Generator().manual_seed(mix(seed + 1, step))
    u = (torch.rand((), generator=g) + torch.randperm(batch, generator=g) / batch) % 1
    noise = torch.randn((batch, *hr.shape[1:]), generator=g)
    share = slice(fabric.global_rank, None, fabric.world_size)
    level = diffusion.noise_level(alpha_bar, u)[share]
    return level.to(hr.device), noise[share].to(hr.device, memory_format=torch.channels_last)


def _blurred(x: Tensor, widths: Tensor) -> Tensor:
    """Each image blurred by a Gaussian of its own width in pixels."""
    return torch.cat([gaussian_blur(max(float(w), 0.1))(image[None]) for image, w in zip(x, widths, strict=True)])


def _residual_scale(patches: Patches, seed: int) -> float:
    """1/2 over the spread of HR - bicubic in 16 batches: then y_0 has the spread that schedules are made for (ours)."""
    pairs = [patches.batch(seed, step, 16) for step in range(16)]
    spread = torch.stack([(hr - x).square().mean() for x, hr in pairs]).mean().sqrt()
    return round(0.5 / max(float(spread), 1e-3), 1)


def cosine(rate: float, step: int, steps: int, warm_up: int = 50) -> float:
    """Learning rate of the pixel stage: up over 50 steps (at most a tenth of all), then down to zero on a cosine."""
    warm = min(warm_up, steps // 10) + 1
    return rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def validate(network: nn.Module, images: Sequence[Tensor], *, factor: int = 4) -> float:
    """Mean PSNR (dB, R = 1, no border cut) of a network on HR images (1, C, H, W). Leaves it in evaluation mode.

    For SR3 it is that of its first guess from pure noise: cheap, and it grows as the network learns.
    """
    device, scores = next(network.eval().parameters()).device, []
    for hr in images:
        hr = crop_to_multiple(hr, factor).to(device)
        lr = bicubic(factor)(hr).clamp(0, 1)
        sr = network.first_guess(lr) if isinstance(network, SR3) else network(lr)
        scores.append(psnr(sr.clamp(0, 1), hr, data_range=1.0).item())
    return statistics.fmean(scores)


# --- the surroundings -------------------------------------------------------------------------------------------------


def _fabric(device: str, precision: str) -> Fabric:
    """One process, or those that torchrun started. float16 is left out: it would need loss scaling."""
    if precision not in ("32", "bf16"):
        raise ValueError(f"precision is {precision!r}; give '32' or 'bf16'")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world, local = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    fabric = Fabric(
        accelerator=device, devices=local, num_nodes=world // local, strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )  # fmt: skip
    fabric.launch()
    return fabric


class _Bar(Progress):
    """A rich progress bar with the losses and the last validation PSNR; as a function it takes (step, values)."""

    def __init__(self, steps: int, visible: bool):
        done, what = TextColumn("step {task.completed}/{task.total}"), TextColumn("{task.description}")
        super().__init__(done, BarColumn(), what, TimeRemainingColumn(), disable=not visible)
        self.bar, self.measured = self.add_task("", total=steps), ""

    def __call__(self, step: int, values: dict[str, float]) -> None:
        if "psnr" in values:
            self.measured = f" validation {values['psnr']:.2f} dB"
        text = " ".join(f"{name} {value:.4f}" for name, value in values.items() if name != "psnr") + self.measured
        self.update(self.bar, completed=step, description=text)
