"""One training loop: pixel pre-training, the adversarial game, denoising. Read it from `train` downwards.

- Batches are a pure function of (seed, step): resuming needs a step number, no sampler state.
- Several processes (``torchrun --nproc-per-node 2 -m medsr_workbook train ...``) each take a part of the same batch and
  average their gradients: together they take the step that one would. Lightning Fabric carries the averages.
- A checkpoint is one safetensors file, replaced in one go: networks, average, optimisers, step. Killed at any
  moment and resumed, a run ends with the weights of an uninterrupted one, bit for bit (same machine, same threads).

From SRGAN (Ledig et al. 2017, section 3.2): the generator goes on from the one trained for pixels. From SR3 (Saharia et
al. 2021): one noise level per sample, warm-up, the moving average, blur for cascades. Ours: the levels of a batch are
spread evenly (Kingma et al. 2021), patches are drawn where there is structure.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medsr_core import diffusion, networks
from medsr_core.degradation import task
from medsr_core.measures.metrics import psnr
from medsr_core.networks import enhancenet, esrgan, features
from medsr_core.seeds import mix
from medsr_core.training import losses
from medsr_core.training.patches import Batches, Patches, killed_is_said
from medsr_core.training.players import State, TrainingError
from medsr_core.training.run import Run

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Report = Callable[[int, dict[str, float]], None]
LAZY = 8  # R1 is reckoned every so many steps and weighs as many times more (Karras et al. 2020, appendix B: 16)


@killed_is_said()
def train(
    run: Run,
    sources: Sequence[Iterable[Tensor]],
    validation: Sequence[Tensor] = (),
    *,
    folder: str | Path,
    resume: bool = False,
    start: networks.Network | None = None,
    about: Mapping[str, Any] | None = None,
    report: Report | None = None,
) -> networks.Network:
    """Train a network and return its moving average, which is also written to `folder`/generator.safetensors.

    Parameters
    ----------
    run : what is trained and how
    sources : one or more collections of HR images (1, C, H, W) in [0, 1]; each source is drawn equally often
    validation : HR images of *other subjects*; their mean PSNR is reported at every checkpoint
    folder : where checkpoint.safetensors goes, every `run.every` steps and at the end
    resume : go on from that checkpoint
    start : a trained network to go on from, instead of the weights that `run.start` names; of `run` then only
        `channels` and `factor` count: weights for one channel can go on with three, those of SR3's networks with any
        factor
    about : what else the weights' header shall say: data, held-out subjects
    report : called after each step with the step number and the losses (and "psnr" where measured)

    Raises
    ------
    TrainingError : NaN or exploding loss; a checkpoint of another run; a process that makes batches was killed
    ValueError : arguments or images that do not fit
    """
    checkpoint = Path(folder) / "checkpoint.safetensors"
    fabric = _fabric(run)
    torch.manual_seed(run.seed)
    generator = _generator(run, start, resume)
    patches = Patches(
        sources, patch=run.patch, factor=generator.factor, channels=generator.channels,
        enlarged=run.about.sees == "bicubic", shrink=run.shrink, upright=run.upright,
    )  # fmt: skip
    if getattr(generator, "residual", False) and run.about.sees == "bicubic":
        generator.scale = generator.arguments["scale"] = _residual_scale(patches, run.seed)
    state = State(generator.train(), run, fabric.device)
    take = _Step(run, fabric, state)
    alpha_bar = diffusion.schedule(generator.schedule) if run.about.stage == "denoising" else None
    batches = Batches(run, patches, alpha_bar, rank=fabric.global_rank, world=fabric.world_size)

    identity = {**run.identity(), "arguments": _plain(generator.arguments), "images": len(patches)}
    before: dict[str, Any] = state.restore(checkpoint, identity) if resume else {"step": 0, "recent": []}
    done, recent, spent = before["step"], before["recent"], before.get("seconds", 0.0)
    if not resume and checkpoint.exists():
        raise TrainingError(f"{checkpoint} exists: give resume=True to go on from it, or another folder")

    began, total = time.monotonic() - spent, run.total(done, spent)
    steps = range(done, sys.maxsize if run.minutes else run.steps)
    for step, batch in zip(steps, batches.feed(steps, fabric.device), strict=False):
        torch.manual_seed(mix(run.seed, step))  # whatever is random in a step depends on (seed, step) alone
        state.set_rate(run.rate_at(step, total), run.opponent_rate)
        values = take(step, *batch)
        recent = _still_sane(recent, values, step, checkpoint)
        state.average.update_parameters(state.generator)
        done, spent = step + 1, time.monotonic() - began
        if run.minutes:  # the first process's clock counts for all
            total = fabric.broadcast(run.total(done, spent))
        if done % run.every == 0 or done >= total:
            if len(validation):
                values["psnr"] = validate(state.average.module, validation)
            if fabric.is_global_zero:
                state.save(checkpoint, {**identity, "step": done, "recent": recent, "seconds": spent})
            fabric.barrier()
        if report and fabric.is_global_zero:
            report(done, values)
        if done >= total:
            break

    result = copy.deepcopy(generator).cpu().eval().requires_grad_(False)
    result.load_state_dict(state.average.module.state_dict())
    if fabric.is_global_zero:
        told = {"method": run.method, "steps": done, "seed": run.seed, "recipe": run.recipe(), **(about or {})}
        networks.save(result, Path(folder) / "generator.safetensors", **told)
    return result


def _generator(run: Run, start: networks.Network | None, resume: bool) -> networks.Network:
    """The network to train: new, or a copy of the one to go on from."""
    if start is None and run.start is not None:
        start = networks.load(run.about.starts_from or run.method, weights=run.start)
    around = getattr(run.about.factory, "around", None)
    if around and start is not None and not isinstance(start, run.about.factory):
        return around(start, **run.network)
    if start is not None:
        return networks.copy_of(start, channels=run.channels, factor=run.factor)
    if run.about.starts_from and not resume:
        raise ValueError(f"{run.method} goes on from a trained generator: start=load({run.about.starts_from!r})")
    return networks.create(run.method, **run.arguments())


# --- one step -------------------------------------------------------------------------------------------------------


class _Step:
    """What a step does with a batch: denoise; weigh how likely HR is; or restore, and play if there is an opponent."""

    def __init__(self, run: Run, fabric: Fabric, state: State):
        self.run, self.fabric, self.state = run, fabric, state
        self.perceptual = features.Perceptual().to(fabric.device) if run.loss.get("perceptual") else None
        strong = any(run.loss.get(name) for name in ("features", "squared features", "texture"))
        self.magnitudes = features.Magnitudes().to(fabric.device) if strong else None

    def __call__(self, step: int, lr: Tensor, hr: Tensor, *noise: Tensor) -> dict[str, float]:
        """The losses of the players, after each has taken its step on a batch of `Batches`."""
        fabric, state, run = self.fabric, self.state, self.run
        if run.about.stage == "denoising":
            return _denoising_step(fabric, state, lr, hr, noise[0], noise[1], run.loss)
        if run.about.stage == "likelihood":
            return _likelihood_step(fabric, state, lr, hr, noise[0])
        forward = state.generator.from_bicubic if run.about.sees == "bicubic" else state.generator
        with fabric.autocast():
            sr = forward(lr)
        values: dict[str, float] = {}
        if state.discriminator is not None:
            values = self._discriminate(sr.detach(), hr, step)
        return values | self._generate(sr, hr)

    def _generate(self, sr: Tensor, hr: Tensor) -> dict[str, float]:
        """Make SR images more like HR ones: in pixels, in features, and in the discriminator's eyes."""
        fabric, state, terms = self.fabric, self.state, self.run.loss
        parts = {}
        with fabric.autocast():
            for name, kind in (("pixel", "l1"), ("mse", "mse")):
                if terms.get(name):
                    parts[name] = losses.pixel(sr, hr, kind=kind)
            if self.perceptual is not None:
                parts["perceptual"] = self.perceptual(sr, hr)
            if self.magnitudes is not None:
                ours, theirs = self.magnitudes(sr), self.magnitudes(hr)
                for name, kind in (("features", "l1"), ("squared features", "mse")):
                    if terms.get(name):
                        parts[name] = losses.features(ours, theirs, kind=kind)
                if terms.get("texture"):
                    parts["texture"] = enhancenet.texture(ours, theirs)
            if state.discriminator is not None:
                fake = state.discriminator(sr).float()
                if terms.get("relativistic"):
                    with torch.no_grad():  # how real the real ones look does not depend on the generator
                        real = state.discriminator(hr).float()
                    parts["relativistic"] = esrgan.relativistic(fake, real)
                elif terms.get("adversarial"):
                    parts["adversarial"] = losses.adversarial(fake)
        loss = sum((terms[name] * value for name, value in parts.items()), torch.zeros((), device=sr.device))
        total = _update(fabric, loss, state.generator, state.optimisers["generator"])
        return {"generator": total, **{name: value.item() for name, value in parts.items()}}

    def _discriminate(self, sr: Tensor, hr: Tensor, step: int) -> dict[str, float]:
        """Tell HR from SR better; SR comes without its history, so the generator is left alone."""
        fabric, opponent, terms = self.fabric, self.state.discriminator, self.run.loss
        assert opponent is not None
        judge = esrgan.relativistic_discriminator if terms.get("relativistic") else losses.discriminator
        with fabric.autocast():
            real, fake = opponent(hr).float(), opponent(sr).float()
        loss = told = judge(real, fake)
        if terms.get("r1") and step % LAZY == 0:
            loss = loss + LAZY * terms["r1"] * losses.r1(opponent, hr)
        _update(fabric, loss, opponent, self.state.optimisers["discriminator"])
        return {"discriminator": told.item(), "accuracy": losses.accuracy(real, fake)}


def _denoising_step(
    fabric: Fabric, state: State, x: Tensor, hr: Tensor, level: Tensor, noise: Tensor, terms: dict[str, float]
) -> dict[str, float]:
    """Tell the noise in a noisy HR image, given the bicubic one and the noise level."""
    with fabric.autocast():
        kind = "mse" if terms.get("mse") else "l1"
        loss = losses.denoising(state.generator, x, hr, level, noise, kind=kind, measured=terms.get("measured", 0.0))
    return {"generator": _update(fabric, loss, state.generator, state.optimisers["generator"])}


def _likelihood_step(fabric: Fabric, state: State, lr: Tensor, hr: Tensor, noise: Tensor) -> dict[str, float]:
    """Make HR more likely given LR, in bits per dimension; in float32, with gradients of length 1 at most (ours)."""
    loss = state.generator.bits(hr, lr, u=noise).mean()
    return {"generator": _update(fabric, loss, state.generator, state.optimisers["generator"], clip=1.0)}


def _update(
    fabric: Fabric, loss: Tensor, player: nn.Module, optimiser: torch.optim.Optimizer, *, clip: float = math.inf
) -> float:
    """One Adam step of one player on the gradient averaged over all processes. Returns the averaged loss.

    Parameters that do not ask for gradients stay; a gradient longer than `clip` is shortened.
    """
    parameters = [parameter for parameter in player.parameters() if parameter.requires_grad]
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
    if clip < math.inf:
        nn.utils.clip_grad_norm_(parameters, clip)
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


def _residual_scale(patches: Patches, seed: int) -> float:
    """1/2 over the spread of HR - bicubic in 16 batches: then y_0 has the spread that schedules are made for (ours)."""
    pairs = [patches.batch(seed, step, 16) for step in range(16)]
    spread = torch.stack([(hr - x).square().mean() for x, hr in pairs]).mean().sqrt()
    return round(0.5 / max(float(spread), 1e-3), 1)


@torch.no_grad()
def validate(network: nn.Module, images: Sequence[Tensor]) -> float:
    """Mean PSNR (dB, R = 1, no border cut) of a network on HR images (1, C, H, W). Leaves it in evaluation mode.

    For SR3 it is that of its first guess from pure noise: cheap, and it grows as the network learns.
    """
    device, scores = next(network.eval().parameters()).device, []
    restore: Any = getattr(network, "first_guess", network)
    for image in images:
        hr, lr = task(image.to(device), network.factor)  # type: ignore[arg-type]
        scores.append(psnr(restore(lr).clamp(0, 1), hr, data_range=1.0).item())
    return statistics.fmean(scores)


# --- the surroundings -------------------------------------------------------------------------------------------------


def _fabric(run: Run) -> Fabric:
    """One process, or those that torchrun started. float16 is left out: it would need loss scaling."""
    from lightning_fabric import Fabric  # two seconds, which only a training needs

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world, local = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    fabric = Fabric(
        accelerator=run.device, devices=local, num_nodes=world // local, strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if run.precision == "bf16" else "32-true",
    )  # fmt: skip
    fabric.launch()
    return fabric


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON will give it back: tuples are lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
