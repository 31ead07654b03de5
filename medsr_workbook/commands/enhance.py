"""The command `medsr enhance`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import click

from medsr_workbook.commands.options import NO_DEVICE, SEED, STEPS, WEIGHTS, ListsMethods, out_of_memory

FACE = 128  # pixels along a side of what the weights for faces were trained to make
# which way of drawing samples an option belongs to; None: every method takes it
OPTIONS = {
    "seed": (None, "walk", "search", "pass"),
    "steps": ("walk", "search"),
    "sampler": ("walk",),
    "temperature": ("pass",),
    "eps": ("search",),
    "starts": ("search",),
}


@click.command(cls=ListsMethods)
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="The file to write; its ending names the format.")  # fmt: skip
@click.option("--method", default="tv", show_default=True,
              help="How to upscale; see the list below.")  # fmt: skip
@click.option("--factor", default=4, show_default=True, type=click.IntRange(min=2), help="How many times larger.")
@WEIGHTS
@click.option("--samples", type=click.IntRange(min=2), help="Of sr3 and srflow: draw so many images, and write their "
              "mean and their spread beside the first.")  # fmt: skip
@click.option("--tile", type=click.IntRange(min=16), help="Side of the pieces that are worked on at a time, in pixels "
              "of INPUT: less needs less memory.")  # fmt: skip
@SEED
@STEPS
@click.option("--sampler", help="Of sr3: ancestral, ddim or dpm++.  [default: dpm++]")
@click.option("--temperature", type=click.FloatRange(min=0), help="Of srflow: how far from its middle image; 0 draws "
              "that.  [default: 0.8]")  # fmt: skip
@click.option(
    "--eps",
    type=click.FloatRange(min=0, min_open=True),
    help="Of pulse: how far D(SR) may be from the image, as mean squared error.  [default: 0.002]",
)
@click.option("--starts", type=click.IntRange(min=1), help="Of pulse: from how many places to search.  [default: 4]")
def enhance(
    source: Path,
    output: Path,
    method: str,
    factor: int,
    weights: str,
    samples: int | None,
    tile: int | None,
    **options: Any,
) -> None:
    """Make one image larger.

    PNG, JPEG, TIFF, DICOM or NIfTI in and out. Of a volume or clip every slice or frame is enlarged, in its plane only.
    The file's pixel spacing is divided by the factor. What is added is an estimate: not for diagnosis.

    With --samples 8, OUTPUT is one sample; OUTPUT-mean is the mean of the samples and OUTPUT-spread their standard
    deviation, ten times, so that it can be seen: white is a tenth of the image's range, or more.
    """
    from medsr_core import images, upscalers
    from medsr_core.measures import evaluation
    from medsr_core.networks import METHODS

    (method,) = evaluation.check_methods([method])
    draws = METHODS[method].samples
    if samples and not draws:
        drawing = ", ".join(name for name, known in METHODS.items() if known.samples)
        raise ValueError(f"{method} has one answer, not {samples}; --samples is for {drawing}")
    options = {name: value for name, value in options.items() if value is not None}
    if wrong := [f"--{name}" for name in OPTIONS if name in options and draws not in OPTIONS[name]]:
        known = {name for name, asked in METHODS.items() for option in wrong if asked.samples in OPTIONS[option[2:]]}
        raise ValueError(f"{' and '.join(wrong)}: for {', '.join(sorted(known))} only; {method} has no such option")
    options = {name: value for name, value in options.items() if draws}
    if tile and upscalers.sees_whole(method):
        raise ValueError(f"{method} sees the whole image, so there is no --tile; leave it out")
    stack = images.read(source)
    outputs = [output, *(_beside(output, what) for what in ("mean", "spread"))] if samples else [output]
    for path in outputs:
        _check_output(source, path)
        if len(stack.pixels) > 1 and images.format_of(path) not in ("TIFF", "DICOM", "NIfTI"):
            raise ValueError(f"{source} has {len(stack.pixels)} images; give a .tif, .dcm or .nii.gz, not {path}")
        if stack.pixels.shape[1] > 1 and images.format_of(path) == "NIfTI":
            raise ValueError(f"{source} has colours, and NIfTI holds gray values here; give another format, not {path}")
    click.echo(NO_DEVICE, err=True)
    if (
        weights == "faces"
        and METHODS[method].trained
        and (sides := tuple(stack.pixels.shape[-2:])) != (FACE // factor,) * 2
    ):
        click.echo(
            f"The weights saw whole, upright, aligned faces of {FACE // factor}x{FACE // factor} pixels, one in a "
            f"picture; of these {sides[0]}x{sides[1]} they make what they know: cut out the face, make it smaller",
            err=True,
        )
    options |= {"factor": factor, "weights": weights} | ({"tile": tile} if tile else {})
    found = ""
    try:
        with _progress(f"{method} ×{factor}", len(stack.pixels)) as report:
            if samples or draws == "search":
                drawn = _drawn(stack.pixels, method, samples or 1, report, **options)
                results = [drawn[0], drawn.mean(0), (10 * drawn.std(0)).clamp(0, 1)] if samples else [drawn[0]]
                if draws == "search":
                    found = _explained(drawn[0], stack.pixels, factor, options.get("eps", 2e-3))
            else:
                results = [_streamed(stack.pixels, method, report, **options)]
            for path, sr in zip(outputs, results, strict=True):
                images.write(path, sr, like=stack)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ValueError(_less(method, factor, tile, stack.pixels.shape)) from error
    for path in outputs:
        size = "x".join(str(factor * side) for side in stack.pixels.shape[-2:])
        click.echo(f"{path}: {len(stack.pixels)} image(s) of {size} pixels, {method} ×{factor}{found}")


def _less(method: str, factor: int, tile: int | None, shape: tuple[int, ...]) -> str:
    """What to do when memory does not suffice."""
    from medsr_core import upscalers

    size = f"not enough memory to enlarge {shape[-2]}x{shape[-1]} pixels {factor} times by {method}"
    if upscalers.sees_whole(method):
        return f"{size}, which sees the whole image; try --method medgan-pixel or bicubic, or cut the image into pieces"
    smaller = (tile or min(upscalers.tile_of(method, factor), *shape[-2:])) // 2
    return f"{size}; try --tile {smaller}" if smaller >= 16 else f"{size}; try --method bicubic, or cut the image"


@contextmanager
def _progress(what: str, slices: int) -> Iterator[Callable[[int, int, int], None]]:
    """A bar that is drawn while the block runs; as a function it takes (slice, steps done, steps in all)."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=slices)
        yield lambda index, done, steps: bar.update(task, completed=index + done / steps)


def _drawn(pixels: Any, method: str, count: int, report: Callable[[int, int, int], None], **options: Any) -> Any:
    """Samples of all slices: (count, N, C, H, W)."""
    import torch

    from medsr_core import upscalers

    slices = [
        upscalers.samples(image, count, method=method, report=partial(report, index), **options)
        for index, image in enumerate(pixels.split(1))
    ]
    return torch.cat(slices, 1)


def _streamed(pixels: Any, method: str, report: Callable[[int, int, int], None], **options: Any) -> Any:
    """All slices, made while they are written."""
    from medsr_core import images, upscalers

    made = (
        upscalers.bands(image, method, report=partial(report, index), **options)
        for index, image in enumerate(pixels.split(1))
    )
    count, channels, *size = pixels.shape
    return images.Bands((count, channels, *(options["factor"] * n for n in size)), itertools.chain.from_iterable(made))


def _explained(sr: Any, lr: Any, factor: int, eps: float) -> str:
    """Whether a search found what it was looking for."""
    from medsr_core.degradation import bicubic
    from medsr_core.measures.metrics import consistency

    far = consistency(sr, lr, bicubic(factor)).max().item()
    return (
        f"; {'found' if far <= eps else 'NOT FOUND, the nearest'}: mean squared error of D(SR) {far:.2g}, eps {eps:g}"
    )


def _beside(output: Path, what: str) -> Path:
    """scan.nii.gz -> scan-mean.nii.gz."""
    stem, *endings = output.name.partition(".")
    return output.with_name(f"{stem}-{what}{''.join(endings)}")


def _check_output(source: Path, output: Path) -> None:
    from medsr_core import files, images

    images.format_of(output)
    if not output.parent.is_dir():
        raise ValueError(f"{output.parent}: no such folder; create it first")
    if output.exists() and output.samefile(source):
        raise ValueError(f"{output} is the input; name another file, so that the original stays")
    files.check_writable(output)
    for left in output.parent.glob(f".????????.{escape(output.name)}"):  # as `files.whole` calls what it writes to
        click.echo(f"{left} is left of a run that was killed; delete it, unless another writes it now", err=True)
