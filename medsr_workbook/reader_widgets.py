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
from pathlib import Path
from typing import Any

import ipywidgets
from ipywidgets import Button, HBox, Layout
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from medsr_core import images
from medsr_core.measures.intervals import Interval
from medsr_core.restoration import nearest
from medsr_workbook import figures
from medsr_workbook.reader_study import Rate, Sheet, fool_rates, gather
from medsr_workbook.studies import middle
from medsr_workbook.widgets import Panel

Pictures = Mapping[str, Sequence[Tensor]]  # method -> one (1, C, H, W) per image


SIDE = 440  # pixels of the page for a picture, at most; of a larger one the middle is shown
RANKED = 70  # pixels of a picture's middle that a ranking shows: five stand in one row, each pixel as 2x2 of the page
GAP = 12  # pixels of the page between pictures
AROUND = 235  # pixels that JupyterLab's menus, the question and the buttons take of the window's height
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


def _row(pictures: Mapping[str, Tensor], style: str, *, largest: int | None = None) -> str:
    """Images (1, C, H, W) in [0, 1] side by side under their names, as HTML; a pixel is so many whole ones of the page.

    As many as fit the column and the window's height: the browser chooses, by a rule for each factor.
    """
    cut = {name: middle(image, SIDE).clamp(0, 1) for name, image in pictures.items()}
    wide, high = (sum(x.shape[-1] for x in cut.values()), max(x.shape[-2] for x in cut.values()))
    largest = largest or max(SIDE // max(max(x.shape[-2:]) for x in cut.values()), 1)
    kind = f"medsr-row-{wide}-{high}-{largest}"
    rules = [f".{kind} img {{width: calc(var(--pixels) * {largest}); max-width: none; image-rendering: pixelated}}"]
    for factor in range(largest - 1, 0, -1):
        width, height = wide * (factor + 1) + GAP * (len(cut) - 1), high * (factor + 1)
        smaller = f".{kind} img {{width: calc(var(--pixels) * {factor})}}"
        rules += [f"@container (max-width: {width - 1}px) {{{smaller}}}"]
        rules += [f"@media (max-height: {height + AROUND}px) {{{smaller}}}"]
    tags = "".join(_tag(name, image, style) for name, image in cut.items())
    look = f"display: flex; flex-wrap: wrap; gap: {GAP}px; line-height: 1.5; text-align: center"
    row = f'<div class="{kind}" style="{look}">{tags}</div>'
    return f'<style>{" ".join(rules)}</style><div style="container-type: inline-size">{row}</div>'


def _tag(name: str, image: Tensor, style: str) -> str:
    """An image (1, C, H, W) in [0, 1] and its name as HTML."""
    file = io.BytesIO()
    Image.fromarray(images.levels(image[0], 255)).save(file, "PNG")
    source = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    pixels = f"--pixels: {image.shape[-1]}px"
    return f'<figure style="margin: 0; {style}">{name}<br><img alt="{name}" style="{pixels}" src="{source}"></figure>'


def _download(sheet: Sheet) -> str:
    """A link that saves a student's sheet as a file, for whoever gathers them (`gathering`)."""
    content = b64encode(sheet.path.read_bytes()).decode() if sheet.path.exists() else ""
    name = escape(sheet.path.name)
    return f'<a download="{name}" href="data:application/json;base64,{content}">Save my answers as {name}</a>'


# --- the experiments ------------------------------------------------------------------------------------------------


def forced_choice(
    sheet: Sheet,
    pictures: Pictures,
    real: Sequence[Tensor],
    *,
    lr: Sequence[Tensor] | None = None,
    exposure: float = 3.0,
) -> Panel:
    """Which one is the real scan? Buttons left and right, after a start; pictures are shown for `exposure` seconds.

    pictures : the restored images, method -> one per image; `real` : the true ones
    lr : the LR images, for sheets that ask which of the two belongs to the LR image; it stands between them
    """
    if (sheet.experiment == "fits") != (lr is not None):
        raise ValueError("questions of `choices(fits=True)` need the LR images, lr=; others must not have them")
    buttons = {name: Button(description=name) for name in ("start", "left", "right")}
    view, began = _View(buttons), [0.0]

    def ask() -> None:
        if sheet.question is None:
            wrong = sum(a["answer"] != q["real"] for a, q in zip(sheet.answers, sheet.questions, strict=True))
            return view.end(f"You took {wrong} of {len(sheet.answers)} restored pictures for the real one.", sheet)
        shown, asked = _sides(pictures, real, sheet.question), "Which one is the real scan?"
        if lr is not None:
            small = nearest(
                lr[sheet.question["image"]], shown["left"].shape[-1] // lr[sheet.question["image"]].shape[-1]
            )
            shown = {"left": shown["left"], "LR": small, "right": shown["right"]}
            asked = "Which one is the scan that LR was made from?"
        view.show(shown, f"{_count(sheet)}. {asked}", exposure)
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
            return view.end("All scans are ranked.", sheet)
        cut = {letter: middle(x, RANKED) for letter, x in _lettered(pictures, sheet.question).items()}
        view.show(cut, "", largest=2)
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


def gathering(folder: str | Path) -> Panel:
    """For the lecturer: drop the students' files here; the class's fool rates are drawn again after each drop.

    Files are kept in `folder`, beside those of students who share it.
    """
    upload = ipywidgets.FileUpload(accept=".json", multiple=True, description="sheets", layout=Layout(width="auto"))
    text, picture = ipywidgets.HTML(), ipywidgets.Image(format="png", layout=Layout(max_width="100%"))

    def draw() -> None:
        rates = {
            name: fool_rates(folder, name) for name in ("choice", "fits") if list(Path(folder).glob(f"*-{name}.json"))
        }
        sheets = len(list(Path(folder).glob("*-choice.json"))) + len(list(Path(folder).glob("*-fits.json")))
        text.value = f"<b>{sheets} sheet(s) of forced choices in {escape(str(folder))}</b>"
        picture.layout.display = None if rates else "none"
        if rates:
            picture.value = figures.png(fool_rate_figure(rates))

    def take(change: Mapping[str, Any]) -> None:
        try:
            gather(folder, {file["name"]: bytes(file["content"]) for file in change["new"]})
            draw()
        except Exception as error:
            text.value = f"<b>Not stored:</b> {escape(str(error) or type(error).__name__)}"
            raise

    Path(folder).mkdir(parents=True, exist_ok=True)
    upload.observe(take, names="value")
    draw()
    box = Panel([upload, text, picture])
    box.controls, box.picture = {"sheets": upload}, picture
    return box


def fool_rate_figure(rates: Mapping[str, Mapping[str, Rate]]) -> Figure:
    """Fool rates in percent with Wilson's intervals, one panel per question: "choice" or "fits"."""
    title = {"choice": "which is real?", "fits": "which belongs to LR?"}
    groups = {
        title[name]: {m: Interval(100 * r.rate, 100 * r.low, 100 * r.high, r.shown) for m, r in found.items()}
        for name, found in rates.items()
    }
    return figures.intervals(groups, label="fool rate (%), answers per method")


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

    def show(
        self, pictures: Mapping[str, Tensor], text: str, exposure: float | None = None, *, largest: int | None = None
    ) -> None:
        """The pictures, for `exposure` seconds or until the next ones."""
        self.say(text)
        fade = "" if exposure is None else f"animation: medsr-gone 0s {exposure:g}s forwards"
        gone = "<style>@keyframes medsr-gone {to {visibility: hidden}}</style>"
        self.picture.value = gone + _row(pictures, fade, largest=largest)

    def enable(self, *names: str) -> None:
        for name, button in self.buttons.items():
            button.disabled = name not in names

    def end(self, text: str, sheet: Sheet) -> None:
        self.say(f"Thank you. {text}")
        self.picture.value = _download(sheet)
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
