"""Every way from a low-resolution (LR) image to a super-resolved one (SR), behind one call.

    sr = upscale(lr, "tv", factor=4)      # (B, C, H, W) in [0, 1] -> (B, C, 4 H, 4 W) in [0, 1]

The notebooks, ``medsr evaluate`` and ``medsr enhance`` know nothing but `upscale`, `samples` and the names in the table
of methods (`networks.methods`). All of them assume that the LR image was made by D = bicubic(factor).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medsr_core import degradation, diffusion, networks, tiling
from medsr_core.images.stack import check_image
from medsr_core.networks import pulse, real_esrgan, srflow
from medsr_core.networks.layers import from_channels, to_channels
from medsr_core.networks.methods import METHODS
from medsr_core.networks.sr3 import SR3, bicubic_start
from medsr_core.restoration import explains
from medsr_core.seeds import mix

DEFAULT_STEPS, SAMPLER = 12, "dpm++"  # of sr3: the fewest steps not worse than 100 ancestral ones, see notebook 06


def upscale(
    lr: Tensor,
    method: str = "bicubic",
    *,
    factor: int = 4,
    weights: str | Path = "general",
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Tensor:
    """Super-resolve a batch of LR images.

    lr : Tensor (B, C, H, W), floating point, in [0, 1]
    method : one of `METHODS`; or "real-esrgan", whose weights are an extra (`networks.real_esrgan`)
    factor : whole number, 1 or more: SR pixels per LR pixel along an axis
    weights : of a trained method: brain, fundus, skin, heart, general, or a .safetensors file. For sr3 and regression
        also a cascade, "A,B": B enlarges what A made, both by the same factor, sqrt(`factor`).
    seed, options : of methods that draw samples, of which this is one, see `samples`
    report : they call it after each step with (steps done, steps in all)

    Returns SR of shape (B, C, factor H, factor W), clipped to [0, 1].
    Raises ValueError for an unknown method (naming the known ones), a factor that is not a positive whole number or
    not the one that a network was trained for, missing or damaged weights, NaN or values outside [0, 1]; TypeError for
    integer pixels.
    """
    check_image(lr, name="LR image")
    if method == "real-esrgan":
        return real_esrgan.upscale(lr, factor).clamp(0, 1)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    factor, known = _whole(factor), METHODS[method]
    if not known.trained:
        return known.factory(lr, factor).clamp(0, 1)
    if known.samples:
        given = {"factor": factor, "weights": weights, "seed": seed, "report": report, **options}
        return samples(lr, 1, method=method, **given)[0]
    if options:
        raise ValueError(f"{method} takes no {', '.join(options)}: it has one answer")
    image = lr.float()
    for network in cascade(method, weights, factor):
        cut = _cut(network) | ({"tile": max(image.shape[-2:])} if known.whole else {})
        image = tiling.upscale(network.to(lr.device), image, **cut).clamp(0, 1)
    return image.to(lr.dtype)


def _cut(network: networks.Network) -> dict[str, int]:
    """How an image is cut into tiles for a network: 512 SR pixels a side and 64 around them."""
    f = network.factor
    return {"tile": 512 // f, "margin": 64 // f, "factor": f, "align": getattr(network, "multiple", 1)}


def bands(
    lr: Tensor,
    method: str = "bicubic",
    *,
    factor: int = 4,
    weights: str | Path = "general",
    tile: int | None = None,
    report: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Iterator[Tensor]:
    """What `upscale` returns, a band of rows at a time from top to bottom, so that it need not fit into memory.

    lr, method, factor, weights, options : see `upscale`, whose errors these are
    tile : side of the pieces that are worked on at a time, in LR pixels; by default 1024 / factor for a classical
        method and 512 / factor for a network. Less needs less memory. What is cut differs by less than 1e-3 from
        `upscale`'s image. Methods that see the whole image (`sees_whole`) return it as one band.
    report : called after each band with (rows done, rows in all)

    Yields Tensors (B, C, rows, factor W) in [0, 1].
    """
    if method not in METHODS or sees_whole(method):
        yield upscale(lr, method, factor=factor, weights=weights, report=report, **options)
        return
    image, factor, known = check_image(lr, name="LR image"), _whole(factor), METHODS[method]
    if options:
        raise ValueError(f"{method} takes no {', '.join(options)}: it has one answer")
    if known.trained:
        *first, last = cascade(method, weights, factor)
        for network in first:
            image = tiling.upscale(network.to(lr.device), image.float(), **_cut(network)).clamp(0, 1)
        function, cut = last.to(lr.device), _cut(last)
    else:
        function = partial(known.factory, factor=factor)
        cut = {"tile": tile_of(method, factor), "margin": max(8, 64 // factor), "factor": factor}
    done = 0
    for band in tiling.bands(function, image.float(), **cut | ({"tile": tile} if tile else {})):
        yield band.clamp_(0, 1).to(lr.dtype)
        done += band.shape[-2]
        if report:
            report(done, factor * lr.shape[-2])


def tile_of(method: str, factor: int) -> int:
    """Side of the pieces that `bands` works on, in LR pixels, unless told otherwise."""
    return max(16, (512 if METHODS[method].trained else 1024) // factor)


def sees_whole(method: str) -> bool:
    """Whether a method must have the whole image in memory: faces, and all that draw samples."""
    return METHODS[method].whole or METHODS[method].samples is not None


def samples(
    lr: Tensor,
    count: int,
    *,
    method: str = "sr3",
    factor: int = 4,
    weights: str | Path = "general",
    seed: int = 0,
    project: str | None = None,
    report: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Tensor:
    """Draw SR images that a method holds possible for the LR images.

    Parameters
    ----------
    lr : Tensor (B, C, h, w) in [0, 1]
    count : how many; number i depends on (seed, i), not on `count`
    method : one that draws: sr3, srflow, pulse
    factor, weights : see `upscale`
    project : of sr3 and srflow: make D(SR) = LR, by SR + D^+ (LR - D SR): None (not), "end" (of the finished image) or,
        of sr3, "steps" (of each step's estimate; Wang et al. 2023, DDNM). Clipping to [0, 1] afterwards may undo a
        little of it.
    report : called after each step with (steps done, steps in all)
    options : of sr3: `steps`, network calls, 1 to 2000 (default `DEFAULT_STEPS`); `sampler`, ancestral, ddim or dpm++;
        and the sampler's own, such as variance="posterior" or eta=0.5. Of srflow: `temperature`, 0 or more, the spread
        of its latents (default `srflow.TEMPERATURE`; at 0 all samples are the same). Of pulse: `eps`, `starts` and
        `steps`, see `networks.pulse.search`; a sample is the first of its starts that reaches eps, else the nearest,
        with a warning

    Returns
    -------
    Tensor (count, B, C, factor h, factor w) in [0, 1]

    Raises
    ------
    ValueError : no samples, a method with one answer, steps outside 1 .. 2000, an unknown sampler, projection or
        option, weights of another factor
    """
    check_image(lr, name="LR image")
    if count < 1:
        raise ValueError(f"{count} samples; give 1 or more")
    if method not in METHODS or not METHODS[method].samples:
        drawing = ", ".join(name for name, known in METHODS.items() if known.samples)
        raise ValueError(f"{method} has one answer; {drawing} draw samples")
    if METHODS[method].samples == "pass":
        if project not in (None, "end"):
            raise ValueError(f"project is {project!r}; {method} has no steps: give None or 'end'")
        return _passed(lr, count, method, weights, _whole(factor), seed, project, report, **options)
    if METHODS[method].samples == "search":
        if project is not None:
            raise ValueError(f"{method} finds what its generator can draw; a projected image is not that: project=None")
        return _searched(lr, count, method, weights, _whole(factor), seed, report, **options)
    return _walked(lr, count, weights, _whole(factor), seed, project, report, **options)


def _walked(
    lr: Tensor,
    count: int,
    weights: str | Path,
    factor: int,
    seed: int,
    project: str | None,
    report: Callable[[int, int], None] | None,
    *,
    steps: int | None = None,
    sampler: str = SAMPLER,
    **options: Any,
) -> Tensor:
    """SR3's samples."""
    if project not in (None, "end", "steps"):
        raise ValueError(f"project is {project!r}; give None, 'end' or 'steps'")
    own = diffusion.options(sampler)
    if unknown := [name for name in options if name not in own]:
        raise ValueError(f"{sampler} has no option {', '.join(unknown)}; its options: {', '.join(own) or 'none'}")
    stages = cascade("sr3", weights, factor)
    steps = DEFAULT_STEPS if steps is None else steps
    calls, done = count * len(stages) * steps, itertools.count(1)

    def count_step(*_: Any) -> None:
        if report:
            report(next(done), calls)

    drawn = []
    for index in range(count):
        sr, noise = lr.float(), _noise_from(mix(seed, index))
        for network in stages:
            walk = partial(
                diffusion.sampler(sampler),
                alpha_bar=diffusion.shorten(diffusion.schedule(network.schedule), steps),
                noise=noise, report=count_step, **options,
            )  # fmt: skip
            sr = _draw(network.to(lr.device), sr, walk, noise, project)
        drawn.append(sr.to(lr.dtype))
    return torch.stack(drawn)


def _passed(
    lr: Tensor, count: int, method: str, weights: str | Path, factor: int, seed: int, project: str | None,
    report: Callable[[int, int], None] | None, *, temperature: float = srflow.TEMPERATURE,
) -> Tensor:  # fmt: skip
    """SRFlow's samples."""
    network, D, drawn = trained(method, weights, factor).to(lr.device), degradation.bicubic(factor), []
    for index in range(count):
        noise = _noise_from(mix(seed, index))
        with torch.no_grad():
            sr = network.sample(lr.float(), noise, temperature=temperature)
        drawn.append((explains(lr, D)(sr) if project else sr).clamp(0, 1).to(lr.dtype))
        if report:
            report(index + 1, count)
    return torch.stack(drawn)


def _searched(
    lr: Tensor,
    count: int,
    method: str,
    weights: str | Path,
    factor: int,
    seed: int,
    report: Callable[[int, int], None] | None,
    *,
    eps: float = pulse.EPS,
    starts: int = 4,
    steps: int = 100,
) -> Tensor:
    """PULSE's samples."""
    decoder, drawn = trained(method, weights, factor).to(lr.device), []
    if lr.shape[-1] * factor != decoder.size or lr.shape[-2] * factor != decoder.size:
        side = f"{decoder.size}x{decoder.size}"
        raise ValueError(f"{method} draws images of {side}; at {factor}x that is an LR image of "
                         f"{decoder.size / factor:g} pixels a side, not {lr.shape[-2]}x{lr.shape[-1]}")  # fmt: skip
    for index in range(count):

        def of_all(done: int, steps: int, index: int = index) -> None:
            if report:
                report(index * steps + done, count * steps)

        found = pulse.search(
            lr, decoder, eps=eps, starts=starts, steps=steps, seed=mix(seed, index), first=True, report=of_all
        )
        if missed := int((~found.found).sum()):
            warnings.warn(
                f"{method} found no image within eps = {eps:g} of {missed} of {len(lr)} LR images; the nearest is at "
                f"{float(found.distance.max()):.2g}: no upright, aligned face, or none that its generator can draw",
                stacklevel=3,
            )
        drawn.append(found.best)
    return torch.stack(drawn)


def _draw(network: SR3, lr: Tensor, walk: Callable[..., Tensor], noise: diffusion.Noise, project: str | None) -> Tensor:
    """One sample: from noise to y_0, and to an image."""
    x, D = bicubic_start(network, lr), degradation.bicubic(network.factor)

    def denoise(y: Tensor, level: Tensor) -> Tensor:
        y0 = tiling.in_tiles(partial(network.denoise, noise_level=level), y, x, align=network.multiple)
        if project != "steps":
            return y0
        return network.encode(explains(to_channels(lr, network.channels), D)(network.decode(y0, x)), x)

    sr = from_channels(network.decode(walk(denoise, noise(x)), x), lr)
    return (explains(lr, D)(sr) if project else sr).clamp(0, 1)


def _noise_from(seed: int) -> diffusion.Noise:
    generator = torch.Generator().manual_seed(seed)
    return lambda y: torch.randn(y.shape, generator=generator).to(y)


def _whole(factor: float) -> int:
    if not (math.isfinite(factor) and factor >= 1 and factor == int(factor)):
        raise ValueError(f"factor is {factor}; give a whole number such as 2, 4 or 8")
    return int(factor)


def cascade(method: str, weights: str | Path, factor: int) -> list[networks.Network]:
    """The networks of equal factors that "A,B" names, in order; ValueError if the factors do not make `factor`."""
    names = str(weights).split(",") if METHODS[method].sees == "bicubic" else [weights]
    each = factor if len(names) == 1 else round(factor ** (1 / len(names)))
    if each ** len(names) != factor:
        raise ValueError(f"a cascade of {len(names)} networks of equal factors cannot enlarge {factor} times")
    return [trained(method, name, each) for name in names]


def trained(method: str, weights: str | Path = "general", factor: int = 4) -> networks.Network:
    """The network of a trained method, loaded once, and again if its file has changed.

    Raises ValueError if it was not trained for `factor`.
    """
    path = Path(weights)
    return _trained(method, weights, factor, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=8)
def _trained(method: str, weights: str | Path, factor: int, changed: int) -> networks.Network:
    network = networks.load(method, weights=weights, factor=factor)
    if getattr(network, "factor", factor) != factor:
        raise ValueError(f"{weights} of {method} was trained for factor {network.factor}, not {factor}")
    return network.to(memory_format=torch.channels_last)
