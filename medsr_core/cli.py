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

from medsr_core.cli_data import DATA_FOLDER, data_group

if TYPE_CHECKING:
    from rich.console import Console

CLASSICAL = "nearest,bicubic,lanczos,backprojection,tv"
EMBEDDED_LIMIT = 3
WEIGHTS = click.option(
    "--weights",
    default="general",
    show_default=True,
    help="Of a trained method: brain, fundus, skin, heart, general, or a .safetensors file.",
)


class Refused(click.ClickException):
    """Something that cannot be done as asked: one line, exit code 2."""

    exit_code = 2


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

    from medsr_core import workbook

    console = Console()
    values = list(given)
    if data is not None:
        data = _known_data(data)
        values.append(("data", data))
    assigned = workbook.assign(workbook.choose(notebooks), values)
    results = workbook.run(assigned, out, report=lambda result: _report(result, console))
    index = workbook.write_index(results, out)
    if scores:
        fragment = _score_all([data] if data else None, out / "scores.json", console)
        index = workbook.write_index(results, out, scores=fragment)
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
    from medsr_core import evaluation, networks

    scores = []
    for name in names or data_fetch.names():
        try:
            scans = data_fetch.load(name, limit=EMBEDDED_LIMIT)
        except data_fetch.DataError as error:
            console.print(f"{name} is not scored: {error}")
            continue
        scores += evaluation.evaluate(scans, [*CLASSICAL.split(","), *networks.FAMILY])
    evaluation.write_json(scores, target)
    console.print()
    _print_table(scores, console)
    return evaluation.html_table(scores)


def _print_table(scores: list[dict[str, Any]], console: Console) -> None:
    """The table, at its full width where the output is a file or a pipe."""
    from medsr_core import evaluation

    if not console.is_terminal:
        console.width = max(console.width, 100)
    console.print(evaluation.table(scores))


@main.command()
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="The file to write; its ending names the format.")  # fmt: skip
@click.option("--method", default="tv", show_default=True,
              help="How to upscale: nearest, bilinear, bicubic, lanczos, backprojection, tv; or a trained network: "
                   "srresnet, srgan, medgan-pixel, medgan.")  # fmt: skip
@click.option("--factor", default=4, show_default=True, type=click.IntRange(min=2), help="How many times larger.")
@WEIGHTS
def enhance(source: Path, output: Path, method: str, factor: int, weights: str) -> None:
    """Make one image larger.

    PNG, JPEG, TIFF, DICOM or NIfTI in and out. Of a volume or clip every slice or frame is enlarged, in its plane only.
    The file's pixel spacing is divided by the factor. What is added is an estimate: not for diagnosis.
    """
    from rich.console import Console
    from rich.progress import track

    from medsr_core import evaluation, images, upscalers

    (method,) = evaluation.check_methods([method])
    _check_output(source, output)
    stack = images.read(source)
    if len(stack.pixels) > 1 and images.format_of(output) not in ("TIFF", "DICOM", "NIfTI"):
        raise ValueError(f"{source} has {len(stack.pixels)} images; write them to .tif, .dcm or .nii.gz, not {output}")
    slices = track(stack.pixels.split(1), description=f"{method} ×{factor}", console=Console(stderr=True))
    import torch

    sr = torch.cat([upscalers.upscale(image, method, factor=factor, weights=weights) for image in slices])
    images.write(output, sr, like=stack)
    height, width = sr.shape[-2:]
    click.echo(f"{output}: {len(sr)} image(s) of {height}x{width} pixels, {method} ×{factor}")


def _check_output(source: Path, output: Path) -> None:
    from medsr_core import images

    images.format_of(output)
    if not output.parent.is_dir():
        raise ValueError(f"{output.parent}: no such folder; create it first")
    if output.exists() and output.samefile(source):
        raise ValueError(f"{output} is the input; name another file, so that the original stays")


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
    factor 4: srresnet, srgan, medgan-pixel, medgan.

    The protocol: images in [0, 1], gray or RGB as stored, cropped to a multiple of the factor; LR by antialiased
    bicubic; no rounding to 8 bits unless asked; a border of FACTOR pixels is not counted.
    """
    from rich.console import Console

    import data_fetch
    from medsr_core import evaluation

    names = evaluation.check_methods(methods.split(","))
    if out is not None:
        _check_writable(out)
    scans = data_fetch.load(data, split=split, limit=None if subjects else limit)
    if subjects:
        scans = scans.of_subjects(subjects, limit=limit)
    scores = evaluation.evaluate(
        scans, names, factor=factor, weights=weights, eight_bit=eight_bit, features=features
    )
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


@main.command()
@click.argument("method")
@click.option("--data", required=True, multiple=True, metavar="NAME_OR_FOLDER",
              help="What to train on. Repeat for more; each is drawn equally often.")  # fmt: skip
@click.option("--holdout", multiple=True, metavar="SUBJECT",
              help="Validate on subjects whose names start so. [default: each set's own split]")  # fmt: skip
@click.option("--steps", required=True, type=click.IntRange(min=1), help="Batches in all, those done before included.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for checkpoint and generator. [default: checkpoints/METHOD]")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in that folder.")
@click.option("--start", metavar="WEIGHTS", help="Weights to go on from; srgan and medgan need them. [default: general "
              "for srgan and medgan, none otherwise]")  # fmt: skip
@click.option("--size", type=click.Choice(["teaching", "paper"]), default="teaching", show_default=True,
              help="Of a network that starts from nothing.")  # fmt: skip
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True, help="Gray or colour.")
@click.option("--loss", type=click.Choice(["l1", "mse"]), default="l1", show_default=True,
              help="Pixel error of the pixel stage.")  # fmt: skip
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Patches per step.")
@click.option("--patch", default=96, show_default=True, type=click.IntRange(min=16), help="HR pixels along a side.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True),
              help="Learning rate. [default: 1e-3, or 1e-4 against a discriminator]")  # fmt: skip
@click.option("--average", default=0.999, show_default=True, type=click.FloatRange(0, 1, max_open=True),
              help="Share of the moving average that survives a step.")  # fmt: skip
@click.option("--every", default=100, show_default=True, type=click.IntRange(min=1), help="Steps between checkpoints.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same weights, on the same machine.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["32", "bf16"]), default="32", show_default=True,
              help="bf16 takes half the time where the processor knows it.")  # fmt: skip
def train(
    method: str, data: tuple[str, ...], holdout: tuple[str, ...], out: Path | None, start: str | None, size: str,
    channels: str, loss: str, **options: Any,
) -> None:  # fmt: skip
    """Train a network.

    METHOD is srresnet or medgan-pixel (for pixel error), or srgan or medgan (on from there, against a discriminator).
    Ctrl-C, a crash or a kill lose at most the steps since the last checkpoint: call it again with --resume. Several
    processes: torchrun --nproc-per-node 2 -m medsr_core.cli train ... Afterwards:

    medsr evaluate --data brain --methods bicubic,METHOD --weights checkpoints/METHOD/generator.safetensors
    """
    from medsr_core import networks, training

    folder = out or Path("checkpoints") / method
    if start is None and method in networks.ADVERSARIAL:
        start = "general"
    arguments: dict[str, Any] = {"channels": int(channels)}
    if loss == "mse":
        if method in networks.ADVERSARIAL:
            raise ValueError(f"--loss is for the pixel stage; {method} plays against a discriminator")
        options["terms"] = {"mse": 1.0}
    generator = None
    if start is not None:
        generator = networks.load(networks.ADVERSARIAL.get(method, method), weights=start)
    else:
        networks.create(method, preset=size, **arguments)  # an unknown method is better found before the data is read
        arguments["preset"] = size
    sources, validation = _sources(data, holdout)
    try:
        training.train(method, sources, validation, folder=folder, start=generator, network=arguments, **options)
    except training.TrainingError as error:
        raise Refused(str(error)) from error
    click.echo(f"{folder / 'generator.safetensors'}: {method}, {options['steps']} steps")


def _sources(names: tuple[str, ...], holdout: tuple[str, ...]) -> tuple[list[list[Any]], list[Any]]:
    """HR images to train on, set by set, and up to 16 of other subjects from each set to validate on."""
    import data_fetch
    from data_fetch.sets import spread
    from medsr_core.patches import split

    sources, validation = [], []
    for name in names:
        if holdout and name not in data_fetch.names():
            ours, held = split(data_fetch.load(name, split="all"), holdout)
        else:
            ours, held = (list(data_fetch.load(name, split=part)) for part in ("train", "validation"))
        sources.append([scan.pixels for scan in ours])
        validation += [scan.pixels for scan in spread(held, 16)]
    return sources, validation


main.add_command(data_group)


if __name__ == "__main__":
    main(prog_name="medsr")
