"""Model cards: what a weights file says of itself in its header, for people to read.

The header holds, beside architecture and arguments: `method`, `data` (a list with name, title, licence, images,
subjects), `held_out` (names or beginnings of names of subjects that no training saw), `recipes` (the runs that made it,
one after the other, as arguments of `training.Run`), `trained` (how, where a recipe cannot say it), `scores` (protocol,
rows) and `notes`. Files from before have less; a card says what is not known.
"""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsr_core.networks.methods import TRAINED
from medsr_core.networks.weights import about, empty, path_of

UNKNOWN = "not stated"


def card(weights: str | Path) -> str:
    """The model card of shipped weights (sr3-brain) or of a file, in Markdown."""
    path = path_of(weights)
    told = about(path)
    method, factor = told.get("method", UNKNOWN), told["arguments"].get("factor", 4)
    known = TRAINED.get(method)
    search = known is not None and known.samples == "search"
    task = "for images of one size, any factor" if search else f"for enlarging images {factor} times"
    D = "none: it saw no LR image" if search else f"MATLAB-equivalent bicubic, {factor}x, of whole images"
    lines = [
        f"# {path.stem}",
        "",
        f"{known.about[0].upper() + known.about[1:] if known else method}; {task}.",
        "A teaching model, not a diagnostic device: what it adds to a scan is guessed.",
        "",
        "| | |",
        "|---|---|",
        f"| file | `{path.name}`, SHA-256 `{hashlib.sha256(path.read_bytes()).hexdigest()}` |",
        f"| network | `{told['architecture']}`, {_words(told['arguments'])}; {parameters(told):,} parameters |",
        f"| trained on | {'; '.join(map(_data, told.get('data', []))) or UNKNOWN} |",
        f"| held out | {', '.join(told.get('held_out', [])) or UNKNOWN} (subjects whose names start so) |",
        f"| degradation | {D} |",
        "| licence | MIT for the weights; the data's terms as above |",
        "",
        "## Training",
        "",
    ]
    recipes = told.get("recipes", [])
    lines += ["```", *map(command, recipes), "```"] if recipes else ["The command is not stated."]
    if told.get("trained"):
        lines += ["", told["trained"]]
    if scores := told.get("scores"):
        lines += ["", "## Scores on held-out subjects", "", scores["protocol"], "", *_table(scores["rows"])]
    if told.get("notes"):
        lines += ["", told["notes"]]
    return "\n".join(lines) + "\n"


def command(recipe: Mapping[str, Any]) -> str:
    """The `medsr train` command of a recipe; what only Python can give follows as a remark."""
    words, remarks = ["medsr train", str(recipe["method"])], []
    for name, value in recipe.items():
        option = f"--{name.replace('_', '-')}"
        if name == "method":
            continue
        if name == "terms" and set(value) <= {"mse", "pixel", "measured"}:
            words += [] if value.keys() - {"pixel"} else ["--loss l1"]
            words += ["--loss mse"] if recipe["method"] not in ("sr3", "regression") and "mse" in value else []
            words += [f"--measured {value['measured']:g}"] if "measured" in value else []
        elif isinstance(value, Mapping):
            remarks.append(f"{name} {_words(value)}")
        elif isinstance(value, bool):
            words += [option] * value
        else:
            words += [f"{option} {shlex.quote(str(v))}" for v in (value if isinstance(value, list) else [value])]
    return " ".join(words) + (f"  # {'; '.join(remarks)}" if remarks else "")


def parameters(told: Mapping[str, Any]) -> int:
    """How many numbers the network has."""
    return sum(math.prod(p.shape) for p in empty(told["architecture"], told["arguments"]).parameters())


def _words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items())


def _data(each: Mapping[str, Any]) -> str:
    counts = [f"{n} {what}{'s' * (n != 1)}" for what in ("image", "subject") if (n := each.get(f"{what}s"))]
    licence = each.get("licence") or f"licence {UNKNOWN}"
    return f"{each.get('title') or each['name']} ({', '.join([licence, *counts])})"


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(rows[0])
    return [
        f"| {' | '.join(names)} |",
        "|" + "---|" * len(names),
        *(f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows),
    ]
