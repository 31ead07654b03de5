"""The lecturer's guide keeps up with the notebooks: a section each, an answer to every prediction and discussion."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
GUIDE = (FOLDER / "lecturer.md").read_text(encoding="utf-8")


def section(path, guide=GUIDE):
    """The guide's part about a notebook: from its heading to the next."""
    heading = re.search(r"^# (.*)$", nbformat.read(path, 4).cells[0].source, re.M)[1]
    parts = re.split(r"^## ", guide, flags=re.M)
    (found,) = [part for part in parts if part.startswith(heading + "\n")]
    return found


def asked(path):
    """How many predictions and items to discuss a notebook has."""
    words = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    discussed = words.split("## Discuss")[1].split("Recap")[0]
    return len(re.findall(r"\*\*Predict", words)), len(re.findall(r"^- ", discussed, re.M))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_prediction_and_discussion_has_a_model_answer(path):
    text = section(path)
    assert asked(path) == tuple(len(re.findall(rf"^- \*\*{letter}\*\* ", text, re.M)) for letter in "PD")
    assert re.search(r"^Goal: .+ \d+ minutes", text, re.M) and "**M**" in text
    minutes = re.search(r"\| Time \| (\d+) minutes", nbformat.read(path, 4).cells[0].source)[1]
    assert f" {minutes} minutes" in text


def test_routes_fit_their_time():
    assert sum(map(int, re.search(r"\*\*90 minutes\*\* \| ([\d +]+) \|", GUIDE)[1].split("+"))) == 90


def test_a_missing_answer_is_noticed():
    path = NOTEBOOKS[0]
    less = GUIDE.replace("- **D** It depends", "- It depends")
    assert len(re.findall(r"^- \*\*D\*\* ", section(path, less), re.M)) == asked(path)[1] - 1
