"""The same figures behind sliders.

A panel is a `VBox` of labelled controls above a picture. Its callback hangs on the controls' ``observe``: an error in
it is raised where the control was moved, so a test that sets ``slider.value`` sees it. (``interact`` and ``Output``
would hide it in the widget's state.) JupyterLab only logs such an error, so the panel itself says it too, in place of a
picture that would no longer belong to the controls. A panel takes its first picture along, with alternative text: where
there is a kernel the panel is seen, on paper and in exported pages the picture, and never both.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets
from ipywidgets import Layout, VBox
from matplotlib.figure import Figure

from medsr_workbook.figures.base import png

LABEL = {"description_width": "initial"}
# read aloud and not seen: ipywidgets has no place for an image's alternative text
HEARD = '<span style="position: absolute; width: 1px; height: 1px; overflow: hidden">As first drawn: {}</span>'


class Panel(VBox):
    """Controls and the picture they redraw; `controls` holds them by name.

    Readers without a kernel see the picture, if the panel has an `alt` for it, or else a sentence.
    """

    controls: Mapping[str, ipywidgets.Widget]
    picture: ipywidgets.Image
    alt: str = ""

    def __repr__(self) -> str:
        names = ", ".join(control.description for control in self.controls.values())
        return f"[panel: {names}; needs a running kernel]"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live panel, and its picture for pages where nothing is live: a notebook shows the first that it can."""
        bundle = super()._repr_mimebundle_(**options)
        if not self.alt:
            return bundle, {}
        return bundle | {"image/png": b64encode(self.picture.value).decode()}, {"image/png": {"alt": self.alt}}


def _image() -> ipywidgets.Image:
    """A place for a figure, not stretched to the width of the column: that would interpolate the pixels."""
    return ipywidgets.Image(format="png", layout=Layout(max_width="100%", margin="2px 0", align_self="flex-start"))


def panel(draw: Callable[..., Figure], *, alt: str = "", **controls: ipywidgets.Widget) -> Panel:
    """A panel that shows ``draw(**values of the controls)`` and draws it again whenever one of them changes.

    draw : a figure function; its keyword arguments are named like the controls
    alt : the text that stands for the first picture where it cannot be seen
    controls : see `slider` and `choice`
    """
    picture, alt = _image(), " ".join(alt.split())
    problem = ipywidgets.HTML(layout=Layout(display="none"))

    def redraw(_: Any = None) -> None:
        try:
            figure = draw(**{name: control.value for name, control in controls.items()})
            picture.value = png(figure, refine=not picture.value)  # the first, which is also seen in print
            picture.layout.visibility, problem.layout.display = "visible", "none"
        except Exception as error:
            problem.value = f"<b>Cannot draw this:</b> {escape(str(error) or type(error).__name__)}"
            picture.layout.visibility, problem.layout.display = "hidden", None
            raise

    redraw()
    longest = max(len(control.description) for control in controls.values())
    for control in controls.values():
        control.style.description_width = f"{0.85 * longest + 1:.1f}ch"  # one column of labels, one of controls
        control.observe(redraw, names="value")
    text = [ipywidgets.HTML(HEARD.format(escape(alt)))] if alt else []
    box = Panel([*controls.values(), problem, *text, picture])
    box.controls, box.picture, box.alt = controls, picture, alt
    return box


def slider(label: str, low: float, high: float, start: float, step: float | None = None) -> ipywidgets.Widget:
    """A slider of whole numbers, or of real ones if a bound or the step is real. It reports when it is let go."""
    whole = all(isinstance(value, int) for value in (low, high, start, step or 1))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    step = step or (1 if whole else (high - low) / 100)
    decimals = len(f"{max(step, 0.001):.3f}".rstrip("0").partition(".")[2])  # a step must be seen, up to a thousandth
    return kind(
        value=start,
        min=low,
        max=high,
        step=step,
        readout_format=f".{decimals}f",
        description=label,
        continuous_update=False,
        style=LABEL,
        layout=Layout(width="min(520px, 95%)"),
    )


def choice(label: str, options: Mapping[str, Any] | list[str], start: Any = None) -> ipywidgets.Widget:
    """A drop-down list; `options` maps what is shown to the value, or lists both in one."""
    first = next(iter(options.values())) if isinstance(options, Mapping) else options[0]
    return ipywidgets.Dropdown(
        options=options if isinstance(options, list) else list(options.items()),
        value=first if start is None else start,
        description=label,
        style=LABEL,
        layout=Layout(width="min(520px, 95%)"),
    )


def play(box: Panel, name: str, *, seconds: float = 0.6) -> Panel:
    """Put a play button beside the panel's slider `name`: it moves the slider on, step by step, to its end."""
    moved = box.controls[name]
    bounds = {key: getattr(moved, key) for key in ("min", "max", "step", "value")}
    button = ipywidgets.Play(interval=round(1000 * seconds), **bounds)
    ipywidgets.link((button, "value"), (moved, "value"))
    row = ipywidgets.HBox([button, moved])
    box.children = [row if child is moved else child for child in box.children]
    return box


class Screen(VBox):
    """A place in a notebook where a picture is drawn again and again while a cell runs."""

    def __init__(self) -> None:
        self.picture = _image()
        super().__init__([self.picture])

    def draw(self, figure: Figure) -> None:
        """Replace the picture."""
        self.picture.value = png(figure)

    def __repr__(self) -> str:
        return "[live picture; needs a running kernel]"
