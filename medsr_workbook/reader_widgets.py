"""The buttons of the experiments in `reader_study`: one question after the other, every answer kept at once.

What is judged is shown pixel by pixel: in all its gray values, and each pixel as a whole number of pixels of the page.
Resampled for the page, it would lose the fine detail that tells real from restored. Pictures vanish after the exposure
by a rule of the browser (a CSS animation), so that a slow kernel does not lengthen it. The keyboard works as in any
form: Tab moves between buttons, Enter or Space presses one. An error in a callback is said in the panel; ipywidgets
only logs what a button's callback raises.
"""

from __future__ import annotations

import io
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import ipywidgets
from ipywidgets import Button, HBox, Layout
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from medsr_core import images
from medsr_workbook import figures
from medsr_workbook.reader_study import Sheet
from medsr_workbook.studies import middle
from medsr_workbook.widgets import Panel

Pictures = Mapping[str, Sequence[Tensor]]  # method -> one (1, C, H, W) per image


SIDE = 440  # pixels of the page for a picture, at most; of a larger one the middle is shown
SHORTEST_ANSWER = 0.3  # seconds; a second click before that is one on the pair before

# --- what is shown --------------------------------------------------------------------------------------------------


def pair(pictures: Pictures, real: Sequence[Tensor], question: Mapping[str, Any]) -> Figure:
    """The two pictures of a forced choice on paper; which is real is not said."""
    return figures.images(_sides(pictures, real, question), columns=2)


def line_up(pictures: Pictures, question: Mapping[str, Any]) -> Figure:
    """The pictures of a ranking under the letters A, B, C, ..., on paper."""
    return figures.images(_lettered(pictures, question), columns=3)


def _sides(pictures: Pictures, real: Sequence[Tensor], question: Mapping[str, Any]) -> dict[str, Tensor]:
    restored, true = pictures[question["method"]][question["image"]], real[question["image"]]
    left, right = (true, restored) if question["real"] == "left" else (restored, true)
    return {"left": left, "right": right}


def _lettered(pictures: Pictures, question: Mapping[str, Any]) -> dict[str, Tensor]:
    return {_letter(i): pictures[method][question["image"]] for i, method in enumerate(question["shown"])}


def _tag(name: str, image: Tensor, style: str) -> str:
    """An image (1, C, H, W) in [0, 1] and its name as HTML, every pixel so many whole pixels of the page."""
    file, image = io.BytesIO(), middle(image, SIDE).clamp(0, 1)
    Image.fromarray(images.levels(image, 255)[0]).save(file, "PNG")
    width = image.shape[-1] * (SIDE // max(image.shape[-2:]))
    size = f"width: {width}px; max-width: none; image-rendering: pixelated"
    source = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    return f'<figure style="margin: 0; {style}">{name}<br><img alt="{name}" style="{size}" src="{source}"></figure>'


# --- the experiments ------------------------------------------------------------------------------------------------


def forced_choice(sheet: Sheet, pictures: Pictures, real: Sequence[Tensor], *, exposure: float = 3.0) -> Panel:
    """Which one is the real scan? Buttons left and right, after a start; pictures are shown for `exposure` seconds.

    pictures : the restored images, method -> one per image; `real` : the true ones
    """
    buttons = {name: Button(description=name) for name in ("start", "left", "right")}
    view, began = _View(buttons), [0.0]

    def ask() -> None:
        if sheet.question is None:
            wrong = sum(a["answer"] != q["real"] for a, q in zip(sheet.answers, sheet.questions, strict=True))
            return view.end(f"You took {wrong} of {len(sheet.answers)} restored pictures for the real one.")
        view.show(_sides(pictures, real, sheet.question), f"{_count(sheet)}. Which one is the real scan?", exposure)
        view.enable("left", "right")
        began[0] = time.monotonic()

    def answer(side: str) -> None:
        seconds = time.monotonic() - began[0]
        if seconds > SHORTEST_ANSWER:
            sheet.answer(side, seconds)
            ask()

    view.on("start", ask)
    view.on("left", partial(answer, "left"))
    view.on("right", partial(answer, "right"))
    view.say(f"{len(sheet.questions)} pairs, each visible for {exposure:g} seconds. Ready?")
    view.enable("start")
    return view.panel


def ranking(sheet: Sheet, pictures: Pictures) -> Panel:
    """Put the pictures in order: press the letter of the best one, then of the next. `undo` takes a letter back."""
    letters = [_letter(i) for i in range(len(sheet.questions[0]["shown"]))]
    buttons = {name: Button(description=name) for name in ("start", *letters, "undo")}
    view, chosen = _View(buttons), list[str]()

    def ask() -> None:
        chosen.clear()
        if sheet.question is None:
            return view.end("All scans are ranked.")
        view.show(_lettered(pictures, sheet.question), "")
        tell()

    def tell() -> None:
        order = ", ".join(chosen) or "press the letter of the best picture first"
        view.say(f"{_count(sheet)}. Best to worst: {order}")
        view.enable(*(letter for letter in letters if letter not in chosen), *(["undo"] if chosen else []))

    def press(letter: str) -> None:
        chosen.append(letter)
        if len(chosen) < len(letters) or sheet.question is None:
            return tell()
        sheet.answer([sheet.question["shown"][letters.index(each)] for each in chosen])
        ask()

    def undo() -> None:
        chosen.pop()
        tell()

    view.on("start", ask)
    view.on("undo", undo)
    for letter in letters:
        view.on(letter, partial(press, letter))
    view.say(f"{len(sheet.questions)} scans, each restored in {len(letters)} ways. Ready?")
    view.enable("start")
    return view.panel


class _View:
    """A line of text, a picture and a row of buttons."""

    def __init__(self, buttons: Mapping[str, Button]):
        self.text, self.picture, self.buttons = ipywidgets.HTML(), ipywidgets.HTML(), buttons
        for button in buttons.values():
            button.layout = Layout(width="auto", min_width="4em")
        self.panel = Panel([self.text, HBox(list(buttons.values()), layout=Layout(flex_flow="wrap")), self.picture])
        self.panel.controls = buttons

    def say(self, text: str) -> None:
        self.text.value = f"<b>{escape(text)}</b>"

    def show(self, pictures: Mapping[str, Tensor], text: str, exposure: float | None = None) -> None:
        """The pictures, for `exposure` seconds or until the next ones."""
        self.say(text)
        fade = "" if exposure is None else f"animation: medsr-gone 0s {exposure:g}s forwards"
        self.picture.value = (
            "<style>@keyframes medsr-gone {to {visibility: hidden}}</style>"
            '<div style="display: flex; flex-wrap: wrap; gap: 12px; line-height: 1.5; text-align: center">'
            + "".join(_tag(name, image, fade) for name, image in pictures.items())
            + "</div>"
        )

    def enable(self, *names: str) -> None:
        for name, button in self.buttons.items():
            button.disabled = name not in names

    def end(self, text: str) -> None:
        self.say(f"Thank you. {text}")
        self.picture.value = ""
        self.enable()

    def on(self, name: str, action: Callable[[], None]) -> None:
        """Do `action` when the button is pressed; say an error in the panel."""

        def pressed(_: Button) -> None:
            try:
                action()
            except Exception as error:
                self.say(f"This did not work: {error or type(error).__name__}")
                raise

        self.buttons[name].on_click(pressed)


def _count(sheet: Sheet) -> str:
    return f"{len(sheet.answers) + 1} of {len(sheet.questions)}"


def _letter(index: int) -> str:
    return chr(ord("A") + index)
