"""The command `medsr`. Each of its commands is a module beside this one, imported when it is called.

click, not typer: it is here anyway (papermill), and it has options of two values, which `-p NAME VALUE` needs.
"""

from __future__ import annotations

import codecs
import sys
import warnings
from importlib import import_module
from typing import Any

import click

from medsr_workbook.commands.data import DATA_FOLDER
from medsr_workbook.commands.options import Refused, Stopped, out_of_memory

COMMANDS = {  # in the order of the help, which `medsr --help` gives without importing torch
    "run": "Run notebooks and collect their results.",
    "sweep": "Run notebooks with every combination of parameters.",
    "enhance": "Make one image larger.",
    "evaluate": "Score methods on a data set.",
    "train": "Train a network.",
    "weights": "See the trained weights and what they were trained on.",
    "data": "See, fetch, import and check the sets of images.",
}
CLOSE = "close other programs, or give a smaller image"
LESS_MEMORY = {
    "evaluate": "give fewer methods, or a classical one such as bicubic, or smaller images",
    "train": "give a smaller --batch or --patch, or close other programs",
}
PLAIN = "medsr.plain"  # how signs are written that a terminal does not have
SIGNS = {"×": "x", "≈": "~", "−": "-", "–": "-", "↑": "^", "↓": "v", "…": "...", "⁻": "-", "⁵": "5"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(SIGNS.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error(PLAIN, _plain)


class Commands(click.Group):
    """A group whose commands end with one clear line and exit code 2 where the user asked for something impossible."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: D102
        return getattr(import_module(f"medsr_workbook.commands.{name}"), name) if name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: D102
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a terminal that lacks a sign gets the next best one, not a traceback
                stream.reconfigure(errors=PLAIN)
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: D102
        warnings.showwarning = lambda message, *rest, **more: click.echo(f"warning: {message}", err=True)
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads the output has seen enough; click ends quietly
            raise
        except KeyboardInterrupt:
            raise Stopped("stopped; no file is half written") from None
        except (ValueError, OSError) as error:  # DataError and ImageFileError are ValueErrors
            raise Refused(str(error) or type(error).__name__) from error
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise Refused(f"not enough memory; {LESS_MEMORY.get(ctx.invoked_subcommand or '', CLOSE)}") from error


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
