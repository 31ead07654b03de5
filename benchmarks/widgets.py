"""How long a move of each widget takes in the kernel, picture included: the 95th percentile of twenty moves.

    .venv/bin/python benchmarks/widgets.py [NOTEBOOK ...] [--moves 20]

The notebooks are run as they are written, and every slider and list of every panel is moved on, through all its range
and back. What the browser needs to show the picture is not in it. Aimed at: 0.2 s, and 1.5 s where a network is asked.
"""

import argparse
import itertools
import os
import time
from contextlib import redirect_stdout

import ipywidgets
import nbformat
import torch

from medsr_workbook import runner, widgets


def panels(path):
    """All panels that a notebook makes, in order."""
    made, panel = [], widgets.panel
    widgets.panel = lambda draw, **controls: made.append(panel(draw, **controls)) or made[-1]
    namespace, home = {"__name__": "__main__"}, os.getcwd()
    os.chdir(path.parent)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            for cell in nbformat.read(path, as_version=4).cells:
                if cell.cell_type == "code":
                    exec(compile(cell.source, path.name, "exec"), namespace)
    finally:
        widgets.panel = panel
        os.chdir(home)
    return made


def values(control):
    """What a control is moved to: about twenty values from end to end, and round again."""
    if isinstance(control, ipywidgets.Dropdown):
        found = [value for _, value in control._options_full]
    else:
        count = max(1, round((control.max - control.min) / control.step))
        found = [control.min + control.step * k for k in range(0, count + 1, max(1, count // 20))]
    return itertools.cycle(value for value in (*found[1:], *found[:1]))


def seconds(control, moves):
    """Seconds of each move; one to the value that is there already is none."""
    taken, ahead = [], values(control)
    while len(taken) < moves:
        value = next(ahead)
        if value != control.value:
            start = time.perf_counter()
            control.value = value
            taken.append(time.perf_counter() - start)
    return torch.tensor(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", help="numbers or names; all by default")
    parser.add_argument("--moves", type=int, default=20, help="of each widget (default: %(default)s)")
    options = parser.parse_args()
    print(f"{'notebook':<10}{'panel':>6}  {'widget':<34}{'median':>8}{'p95':>8}")
    for path in runner.choose(options.notebooks):
        for number, panel in enumerate(panels(path), 1):
            for control in panel.controls.values():
                taken = seconds(control, options.moves)
                median, late = (taken.quantile(share).item() for share in (0.5, 0.95))
                print(
                    f"{path.name[:2]:<10}{number:>6}  {control.description:<34}{median:>7.2f}s{late:>7.2f}s", flush=True
                )


if __name__ == "__main__":
    main()
