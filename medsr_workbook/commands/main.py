"""The command `medsr`: run the workbook, enhance an image, score methods, train networks, see what data there is.

click, not typer: it is here anyway (papermill), and it has options of two values, which `-p NAME VALUE` needs.
Everything heavy is imported inside the commands, so that `medsr --help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medsr_workbook.commands.data import DATA_FOLDER, data_group
from medsr_workbook.commands.train import Refused, train

if TYPE_CHECKING:
    from rich.console import Console

CLASSICAL = "nearest,bicubic,lanczos,backprojection,tv"
EMBEDDED_LIMIT = 3
WEIGHTS = click.option(
    "--weights",
    default="general",
    show_default=True,
    help="Of a trained method: brain, fundus, skin, heart, general, or a .safetensors file. Of sr3 and regression also "
    "a cascade, A,B.",
)
SEED = click.option("--seed", default=0, show_default=True, help="Of sr3: same seed, same image, on the same machine.")
STEPS = click.option("--steps", type=click.IntRange(min=1), help="Of sr3: network calls for one image. [default: 12]")
NO_DEVICE = "This is no diagnostic device: what a method adds to a scan is an estimate, and may be invented."


class Commands(click.Group):
    """A group whose commands end with one clear line and exit code 2 where the user asked for something impossible."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: D102
        warnings.showwarning = lambda message, *rest, **more: click.echo(f"warning: {message}", err=True)
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:  # DataError and ImageFileError are ValueErrors
            raise Refused(str(error) or type(error).__name__) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="medsr", prog_name="medsr")
@DATA_FOLDER
def main() -> None:
    """Medical image super-resolution, to try out: restore a scan from few pixels and measure what came back.

    \b
    medsr run                                    all notebooks, then a table of scores
    medsr run 02 -p factor 8                     one notebook with another parameter
    medsr evaluate --data brain --methods bicubic,tv
    medsr enhance scan.png -o larger.png --method tv
    medsr train srresnet --data brain --steps 500

    `medsr COMMAND --help` explains one command. A teaching tool, not a diagnostic device.
    """


@main.command()
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Set a notebook's parameter, e.g. -p factor 8. Repeat for more.")  # fmt: skip
@click.option("--data", metavar="NAME_OR_PATH", help="Run on this data set, or on your own image or folder of images.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="runs", show_default=True,
              help="Folder for the results; open its index.html.")  # fmt: skip
@click.option("--scores/--no-scores", default=True, show_default=True, help="End with a table of scores.")
def run(
    notebooks: tuple[str, ...], given: tuple[tuple[str, str], ...], data: str | None, out: Path, scores: bool
) -> None:
    """Run notebooks and collect their results.

    All of them in order, or those named: a NOTEBOOK is a number (2 or 02), a name or a file. Your files in notebooks/
    are not changed: the executed copies, an HTML page of each and an index page go to the folder --out. A notebook
    that fails does not stop the others.
    """
    from rich.console import Console

    from medsr_workbook import runner

    console = Console()
    values = list(given)
    if data is not None:
        data = _known_data(data)
        values.append(("data", data))
    assigned = runner.assign(runner.choose(notebooks), values)
    results = runner.run(assigned, out, report=lambda result: _report(result, console))
    index = runner.write_index(results, out)
    if scores:
        fragment = _score_all([data] if data else None, out / "scores.json", console)
        index = runner.write_index(results, out, scores=fragment)
    failed = [result.notebook.stem for result in results if result.error]
    console.print(f"\nResults: [bold]{index}[/bold] (open it in a browser)", soft_wrap=True, highlight=False)
    if failed:
        console.print(f"[bold red]{len(failed)} of {len(results)} notebooks stopped:[/bold red] {', '.join(failed)}")
        sys.exit(1)


def _known_data(name: str) -> str:
    """A set's name as it is, or the absolute path of an existing file or folder, since notebooks run elsewhere."""
    import data_fetch

    if name in data_fetch.names() or data_fetch.parse(name) or not Path(name).exists():
        data_fetch.load(name, limit=1)  # raises if it is not here, and says what to do
        return name
    return str(Path(name).resolve())


def _report(result: Any, console: Console) -> None:
    from rich.markup import escape

    if result.error:
        console.print(f"[bold red]{escape(result.notebook.stem)} stopped[/bold red] in {escape(result.error)}")


def _score_all(names: list[str] | None, target: Path, console: Console) -> str:
    """Score every method on each set; print the table, write the scores and return the table as HTML."""
    import data_fetch
    from medsr_core import networks
    from medsr_core.measures import evaluation

    scores = []
    for name in names or data_fetch.names():
        try:
            scans = data_fetch.load(name, limit=EMBEDDED_LIMIT)
        except data_fetch.DataError as error:
            console.print(f"{name} is not scored: {error}")
            continue
        trained = [method for method in networks.FAMILY if "general" in networks.available(method)]
        scores += evaluation.evaluate(scans, [*CLASSICAL.split(","), *trained])
    evaluation.write_json(scores, target)
    console.print()
    _print_table(scores, console)
    return evaluation.html_table(scores)


def _print_table(scores: list[dict[str, Any]], console: Console) -> None:
    """The table, at its full width where the output is a file or a pipe."""
    from medsr_core.measures import evaluation

    if not console.is_terminal:
        console.width = max(console.width, 100)
    console.print(evaluation.table(scores))


@main.command()
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="The file to write; its ending names the format.")  # fmt: skip
@click.option("--method", default="tv", show_default=True,
              help="How to upscale: nearest, bilinear, bicubic, lanczos, backprojection, tv; or a trained network: "
                   "srresnet, srgan, medgan-pixel, medgan, regression, sr3.")  # fmt: skip
@click.option("--factor", default=4, show_default=True, type=click.IntRange(min=2), help="How many times larger.")
@WEIGHTS
@click.option("--samples", type=click.IntRange(min=2), help="Of sr3: draw so many images, and write their mean and "
              "their spread beside the first.")  # fmt: skip
@SEED
@STEPS
@click.option("--sampler", help="Of sr3: ancestral, ddim or dpm++.  [default: dpm++]")
def enhance(
    source: Path, output: Path, method: str, factor: int, weights: str, samples: int | None, **options: Any
) -> None:
    """Make one image larger.

    PNG, JPEG, TIFF, DICOM or NIfTI in and out. Of a volume or clip every slice or frame is enlarged, in its plane only.
    The file's pixel spacing is divided by the factor. What is added is an estimate: not for diagnosis.

    With --samples 8, OUTPUT is one sample; OUTPUT-mean is the mean of the samples and OUTPUT-spread their standard
    deviation, ten times, so that it can be seen: white is a tenth of the image's range, or more.
    """
    import torch

    from medsr_core import images
    from medsr_core.measures import evaluation

    (method,) = evaluation.check_methods([method])
    if samples and method != "sr3":
        raise ValueError(f"{method} has one answer, not {samples}; --samples is for sr3")
    options = {name: value for name, value in options.items() if value is not None}
    walk = [f"--{name}" for name in ("steps", "sampler") if name in options]
    if walk and method != "sr3":
        raise ValueError(f"{' and '.join(walk)}: for sr3 only; {method} takes no steps")
    stack = images.read(source)
    outputs = [output, *(_beside(output, what) for what in ("mean", "spread"))] if samples else [output]
    for path in outputs:
        _check_output(source, path)
        if len(stack.pixels) > 1 and images.format_of(path) not in ("TIFF", "DICOM", "NIfTI"):
            raise ValueError(f"{source} has {len(stack.pixels)} images; give a .tif, .dcm or .nii.gz, not {path}")
        if stack.pixels.shape[1] > 1 and images.format_of(path) == "NIfTI":
            raise ValueError(f"{source} has colours, and NIfTI holds gray values here; give another format, not {path}")
    click.echo(NO_DEVICE, err=True)
    drawn = _enlarged(stack.pixels, method, samples, factor=factor, weights=weights, **options)
    results = [drawn[0], drawn.mean(0), (10 * drawn.std(0)).clamp(0, 1)] if samples else [drawn[0]]
    for path, sr in zip(outputs, results, strict=True):
        images.write(path, sr.to(torch.float32), like=stack)
        click.echo(f"{path}: {len(sr)} image(s) of {sr.shape[-2]}x{sr.shape[-1]} pixels, {method} ×{factor}")


def _enlarged(pixels: Any, method: str, samples: int | None, **options: Any) -> Any:
    """Slice by slice, with a progress bar: (samples or 1, N, C, H, W)."""
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from medsr_core import upscalers

    with Progress(console=Console(stderr=True)) as bar:
        task, slices = bar.add_task(f"{method} ×{options['factor']}", total=len(pixels)), []
        for index, image in enumerate(pixels.split(1)):

            def report(done: int, steps: int, index: int = index) -> None:
                bar.update(task, completed=index + done / steps)

            if samples:
                slices.append(upscalers.samples(image, samples, report=report, **options))
            else:
                slices.append(upscalers.upscale(image, method, report=report, **options)[None])
            bar.update(task, completed=index + 1)
    return torch.cat(slices, 1)


def _beside(output: Path, what: str) -> Path:
    """scan.nii.gz -> scan-mean.nii.gz."""
    stem, *endings = output.name.partition(".")
    return output.with_name(f"{stem}-{what}{''.join(endings)}")


def _check_output(source: Path, output: Path) -> None:
    from medsr_core import images

    images.format_of(output)
    if not output.parent.is_dir():
        raise ValueError(f"{output.parent}: no such folder; create it first")
    if output.exists() and output.samefile(source):
        raise ValueError(f"{output} is the input; name another file, so that the original stays")
    _check_writable(output)


@main.command()
@click.option("--data", required=True, metavar="NAME_OR_FOLDER", help="A data set (see: medsr data list) or your own.")
@click.option("--methods", default=CLASSICAL, show_default=True, help="Names with commas between them.")
@click.option("--factor", default=4, show_default=True, type=click.IntRange(min=2), help="HR side / LR side.")
@WEIGHTS
@click.option("--limit", type=click.IntRange(min=1), help="Score at most so many images, spread over the set.")
@click.option("--split", help="Score only the subjects of train, validation or test.")
@click.option("--subjects", multiple=True, metavar="SUBJECT", help="Score only subjects whose names start so.")
@click.option("--features", is_flag=True, help="Measure the distance of ImageNet features (EfficientNet-lite0) too.")
@click.option("--eight-bit", is_flag=True, help="Round LR and SR to 8 bits, as if stored in 8-bit files.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write each image's scores here, as JSON.")
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
) -> None:
    """Score methods on a data set.

    Makes LR images from it, restores them and compares with the originals. Prints mean PSNR, SSIM and consistency with
    95 % bootstrap intervals. Methods: nearest, bilinear, bicubic, lanczos, backprojection, tv; and, trained, for
    factor 4: srresnet, srgan, medgan-pixel, medgan, regression, sr3.

    The protocol: images in [0, 1], gray or RGB as stored, cropped to a multiple of the factor; LR by antialiased
    bicubic; no rounding to 8 bits unless asked; a border of FACTOR pixels is not counted.
    """
    from rich.console import Console

    import data_fetch
    from medsr_core.measures import evaluation

    names = evaluation.check_methods(methods.split(","))
    if out is not None:
        _check_writable(out)
    scans = data_fetch.load(data, split=split, limit=None if subjects else limit)
    if subjects:
        scans = scans.of_subjects(subjects, limit=limit)
    scores = evaluation.evaluate(scans, names, factor=factor, weights=weights, eight_bit=eight_bit, features=features)
    if out is not None:
        evaluation.write_json(scores, out)
    _print_table(scores, Console())
    if out is not None:
        click.echo(f"{len(scores)} scores in {out}")


def _check_writable(out: Path) -> None:
    """Fail before the work, not after it: make the folder and try a file in it."""
    import tempfile

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out.parent):
        pass


main.add_command(train)
main.add_command(data_group)


if __name__ == "__main__":
    main(prog_name="medsr")
