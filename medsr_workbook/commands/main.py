"""The command `medsr`. Each of its commands is a module beside this one, imported when it is called.

click, not typer: it is here anyway (papermill), and it has options of two values, which `-p NAME VALUE` needs.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import click

from medsr_workbook.commands.data import DATA_FOLDER
from medsr_workbook.commands.options import Refused

COMMANDS = {  # in the order of the help, which `medsr --help` gives without importing torch
    "run": "Run notebooks and collect their results.",
    "enhance": "Make one image larger.",
    "evaluate": "Score methods on a data set.",
    "train": "Train a network.",
    "weights": "See the trained weights and what they were trained on.",
    "data": "See, fetch, import and check the sets of images.",
}


class Commands(click.Group):
    """A group whose commands end with one clear line and exit code 2 where the user asked for something impossible."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: D102
        return getattr(import_module(f"medsr_workbook.commands.{name}"), name) if name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: D102
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

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
