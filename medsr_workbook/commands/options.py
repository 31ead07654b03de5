"""What several commands share: options, a refusal, a check of the place to write to."""

from __future__ import annotations

from typing import Any

import click

DEFAULT_METHODS = "nearest,bicubic,lanczos,backprojection,tv"
WEIGHTS = click.option(
    "--weights",
    default="general",
    show_default=True,
    help="Of a trained method: a shipped set (medsr weights list), or a .safetensors file. Of sr3 and regression also "
    "a cascade, A,B.",
)
SEED = click.option("--seed", default=0, show_default=True, help="Of a method that draws samples: same seed, same "
                    "image, on the same machine.")  # fmt: skip
STEPS = click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Of sr3: network calls for one image [default: 12]; of pulse: steps of each search, at most [default: 100].",
)
SCHEDULER = click.option("--scheduler", metavar="ADDRESS", help="Share the work out to a dask cluster, e.g. "
                         "tcp://10.0.0.1:8786.")  # fmt: skip
NO_DEVICE = "This is no diagnostic device: what a method adds to a scan is an estimate, and may be invented."


class Refused(click.ClickException):
    """Something that cannot be done as asked: one line, exit code 2."""

    exit_code = 2


class Stopped(click.ClickException):
    """Ctrl-C: one line, and the exit code that shells give it."""

    exit_code = 130


def out_of_memory(error: BaseException) -> bool:
    """Whether it is Python's, numpy's or torch's word for too little memory."""
    words = ("can't allocate memory", "out of memory", "bad allocation", "cannot allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


class ListsMethods(click.Command):
    """A command whose help ends with the table of methods."""

    def format_epilog(self, ctx: click.Context, formatter: Any) -> None:  # noqa: D102
        from medsr_core.networks import METHODS

        with formatter.section("Methods"):
            formatter.write_dl([(method.name, method.about) for method in METHODS.values()])
