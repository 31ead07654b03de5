"""The command `medsr evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medsr_workbook.commands.options import DEFAULT_METHODS, SCHEDULER, WEIGHTS, ListsMethods


@click.command(cls=ListsMethods)
@click.option("--data", required=True, metavar="NAME_OR_FOLDER", help="A data set (see: medsr data list) or your own.")
@click.option("--methods", default=DEFAULT_METHODS, show_default=True, help="Names with commas between them.")
@click.option("--factor", default=4, show_default=True, type=click.IntRange(min=2), help="HR side / LR side.")
@WEIGHTS
@click.option("--limit", type=click.IntRange(min=1), help="Score at most so many images, spread over the set.")
@click.option("--split", help="Score only the subjects of train, validation or test.")
@click.option("--subjects", multiple=True, metavar="SUBJECT", help="Score only subjects whose names start so.")
@click.option("--features", is_flag=True, help="Measure the distance of ImageNet features (EfficientNet-lite0) too.")
@click.option("--eight-bit", is_flag=True, help="Round LR and SR to 8 bits, as if stored in 8-bit files.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write each image's scores here, as JSON.")
@click.option("--workers", type=click.IntRange(min=1), help="Share the images out to so many processes here.")
@SCHEDULER
def evaluate(
    data: str,
    methods: str,
    factor: int,
    weights: str,
    limit: int | None,
    split: str | None,
    subjects: tuple[str, ...],
    features: bool,
    eight_bit: bool,
    out: Path | None,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Score methods on a data set.

    Makes LR images from it, restores them and compares with the originals. Prints mean PSNR, SSIM and consistency with
    95 % bootstrap intervals.

    The protocol: images in [0, 1], gray or RGB as stored, cropped to a multiple of the factor; LR by antialiased
    bicubic; no rounding to 8 bits unless asked; a border of FACTOR pixels is not counted.

    With --workers or --scheduler each image is scored by one thread: the scores are those of OMP_NUM_THREADS=1, to the
    last digit. Workers elsewhere open the images at the path they have here (docs/large_runs.md).
    """
    from rich.console import Console

    import data_fetch
    from medsr_core import files
    from medsr_core.measures import evaluation
    from medsr_workbook import cluster, progress, tables

    names = evaluation.check_methods(methods.split(","))
    if out is not None:
        files.check_writable(out)
    scans = data_fetch.load(data, split=split, limit=None if subjects else limit)
    if subjects:
        scans = scans.of_subjects(subjects, limit=limit)
    how: dict[str, Any] = {"factor": factor, "weights": weights, "eight_bit": eight_bit, "features": features}
    if workers or scheduler:
        with cluster.client(scheduler, workers) as client, progress.bar() as report:
            scores = cluster.evaluate(client, scans, names, report=report, **how)
    else:
        with progress.bar() as report:
            scores = evaluation.evaluate(scans, names, report=report, **how)
    if out is not None:
        evaluation.write_json(scores, out)
    tables.show(scores, Console())
    if out is not None:
        click.echo(f"{len(scores)} scores in {out}")
