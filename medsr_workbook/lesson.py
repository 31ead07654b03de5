"""What every lesson needs: parameters that are checked, claims that are checked, and prose with computed numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What a parameter may be: in words, as a test, and the values at its ends, with which a notebook must run."""

    allowed: str
    holds: Callable[[Any], bool]
    ends: tuple[Any, ...] = ()


def one_of(*values: Any) -> Rule:
    """Rule: the parameter is one of these values."""
    return Rule(f"one of {', '.join(map(repr, values))}", lambda value: value in values, values)


def between(low: float, high: float) -> Rule:
    """Rule: the parameter is a number from low to high, both allowed."""
    return Rule(f"from {low:g} to {high:g}", lambda value: low <= value <= high, (low, high))


A_DATA_SET = Rule("the name of a data set or a path to your own images", bool)


def check_parameters(namespace: dict[str, Any], **rules: tuple[Any, Rule]) -> Claims:
    """Refuse parameters that are unknown, of the wrong type or out of range, saying what is allowed.

    papermill only warns of an unknown name, and passes ``-p flag true`` as a string. Call this in the cell after the
    parameters, before anything else is defined. Called again, it no longer looks for unknown names: by then the lesson
    has variables of its own.

    namespace : the notebook's ``globals()``
    rules : name = (value the lesson was written for, rule); the type is that value's (an int will do for a float)

    Returns the `Claims` of the lesson: they hold for the values it was written for, and are checked only then. Other
    values are named in a printed line, so that no claim goes unchecked unseen: after a change, and when this is called
    again alone although the lesson has given a parameter another value since.
    """
    again = "_checked_parameters" in namespace
    advice = " The lesson may have changed it since: run the cell of the parameters, then this one." if again else ""
    listing = "\nThis lesson takes" + "".join(
        f"\n  {name}: {type(written).__name__}, {rule.allowed} (as written: {written!r})"
        for name, (written, rule) in rules.items()
    )
    for name, value in namespace.items():
        own = name in rules or name.startswith("_") or name in ("In", "Out") or again
        if not own and isinstance(value, (str, int, float, list, tuple, dict, NoneType)):
            raise ValueError(f"unknown parameter {name!r}.{listing}")
    for name, (written, rule) in rules.items():
        if name not in namespace:
            raise ValueError(f"parameter {name!r} is missing.{listing}")
        value, kind = namespace[name], type(written)
        kinds = (int, float) if kind is float else kind
        if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
            given = type(value).__name__
            raise TypeError(f"{name} = {value!r} is a {given}; {name} takes {kind.__name__}.{advice}{listing}")
        if not rule.holds(value):
            raise ValueError(f"{name} = {value!r} is not {rule.allowed}.{advice}{listing}")
    namespace["_checked_parameters"] = True
    other = [f"{name} = {namespace[name]!r} ({written!r})" for name, (written, _) in rules.items()
             if namespace[name] != written]  # fmt: skip
    if other:
        print(f"Not as written: {', '.join(other)}. What the text claims is not checked.{advice}")
    return Claims(not other)


class Claims:
    """Holds what the text claims against what the notebook computed: ``expect(psnr, about=31.2, within=0.1)``.

    Other parameters give other numbers: then nothing is checked, and the text speaks of its own ones.
    """

    def __init__(self, checked: bool):
        self.checked = checked

    def __call__(self, value: Any, *, about: float | None = None, within: float | None = None) -> None:
        """Raise AssertionError unless `value` is true, or lies within `within` of `about`.

        TypeError for one of the two without the other: any number would then do.
        """
        if (about is None) != (within is None):
            raise TypeError(f"expect(about={about}, within={within}): give both, or neither")
        if not self.checked:
            return
        if about is None or within is None:
            assert value, "what the text claims does not hold here"
        else:
            assert abs(float(value) - about) <= within, f"the text says {about} ± {within}, computed was {float(value)}"


def say(text: str) -> None:
    """Show Markdown whose numbers were computed in the cell."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of name: value as a Markdown table, numbers with up to four digits."""
    head = list(rows[0])
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    lines += [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def in_a_scratch_folder(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function that needs `folder=` with a folder that is gone afterwards."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return function(*arguments, folder=folder, **options)
