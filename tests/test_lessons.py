"""What a class needs: formulas that can be set, names that exist, exercises of three kinds, and a guide with answers.

Notebooks 06 to 09 are not yet in TAUGHT: put them there when they have formulas and the three kinds of exercise.
"""

import importlib
import re
from pathlib import Path

import nbformat
import pytest

from medsr_workbook import slides

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
PARTS = {name: f"medsr_core.{name}" for name in ("degradation", "diffusion", "restoration", "upscalers", "networks")}
PARTS |= {name: f"medsr_core.measures.{name}" for name in ("metrics", "stability", "lesions", "intervals")}
PARTS |= {"losses": "medsr_core.training.losses", "features": "medsr_core.networks.features"}
PARTS |= {
    name: f"medsr_core.networks.{name}"
    for name in ("esrgan", "enhancenet", "efficientnet", "fsrnet", "pulse", "srflow")
}
PARTS |= {"inspection": "medsr_workbook.inspection", "studies": "medsr_workbook.studies"}
TAUGHT = [path for path in NOTEBOOKS if path.name[:2] not in ("06", "07", "08", "09")]
PARTED = ("Predict", "Discuss")
NAME = re.compile(rf"`[^`\n]*?(?<![\w/])({'|'.join(PARTS)})\.(\w+)[^`\n]*`")


def cells(path, kind="markdown", tag=""):
    notebook = nbformat.read(path, as_version=4)
    return [c.source for c in notebook.cells if c.cell_type == kind and (not tag or tag in c.metadata.get("tags", ()))]


def unset(text):
    """The formulas of a text that neither matplotlib nor, being unbalanced, anybody can set."""
    formulas = re.findall(r"\$\$(.+?)\$\$|\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)", re.sub(r"`[^`\n]*`", "", text), re.S)
    return [f for pair in formulas for f in pair if f and "`" in slides.formulas(f"$${f}$$")]


def unknown(text):
    """The names `part.name` in code within a text that our code does not have."""
    return [f"{p}.{name}" for p, name in NAME.findall(text) if not hasattr(importlib.import_module(PARTS[p]), name)]


def rubrics(text):
    """Points of each rubric: the first column of the tables whose head says rubric."""
    tables = re.findall(r"^\| points \| rubric \|\n\|[-|]+\|\n((?:\|.*\n)+)", text + "\n", re.M)
    return [re.findall(r"^\| (\d) \|", table, re.M) for table in tables]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_formulas_can_be_set_and_the_names_beside_them_exist(path):
    text = "\n\n".join(cells(path))
    assert unset(text) == [] and unknown(text) == []
    if path in TAUGHT:
        assert "$$" in text and "In code" in text
        assert "../docs/glossary.md" in cells(path)[0]


def test_the_glossary_has_names_that_exist():
    assert len(NAME.findall(GLOSSARY)) > 30 and unknown(GLOSSARY) == []


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)
def test_exercises_are_to_predict_to_code_and_open(path):
    text, checks = "\n\n".join(cells(path)), cells(path, "code", "check")
    numbers = {int(number) for number in re.findall(r"\bexercise (\d)", text, re.I)}
    assert numbers == set(range(1, len(checks) + 2)), "all are checked but the last, which is open"
    assert sum("predictions.check_" in check for check in checks) == 1
    assert any("exercises.check_" in check for check in checks)
    assert f"## Exercise {max(numbers)}, open" in text and rubrics(text) == [["1", "2", "3"]]


def guide():
    """{number of the notebook: (section, its answers to Predict, its answers to Discuss)} of the lecturer's guide."""
    text = (ROOT / "notebooks" / "lecturer.md").read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^## (?=\d\d · )", text, flags=re.M)[1:]:
        answers = [re.search(rf"^\*\*{part}\*\*\n\n((?:\d\. .*\n(?:   .*\n)*)+)", section, re.M) for part in PARTED]
        found[section[:2]] = section, *(len(re.findall(r"^\d\. ", a[1], re.M)) if a else 0 for a in answers)
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_guide_answers_every_question(path):
    section, predicted, discussed = guide()[path.name[:2]]
    text = "\n\n".join(cells(path)[1:])
    questions = re.split(r"^(?:## |\*\*)Recap", text[text.index("## Discuss") :], flags=re.M)[0]
    assert section.startswith(cells(path)[0].split("\n")[0].strip("# "))
    assert predicted == text.count("**Predict"), "answers to Predict"
    assert discussed == len(re.findall(r"^- ", questions, re.M)) > 0, "answers to Discuss"
    assert "**Goal**" in section and "**Needs**" in section and "**Misconceptions**" in section
    if path in TAUGHT:
        assert re.search(r"^\*\*Exercise \d, three points\*\*", section, re.M)


def test_the_guide_has_the_time_of_every_notebook():
    text = (ROOT / "notebooks" / "lecturer.md").read_text(encoding="utf-8")
    times = dict(re.findall(r"^\| (\d\d) \| (\d+) minutes[^|]* \| \d+ s \|$", text, re.M))
    first = {path.name[:2]: re.search(r"^\| Time \| (\d+) minutes", cells(path)[0], re.M)[1] for path in NOTEBOOKS}
    assert times == first


def test_the_checks_notice():
    assert unset("$\\frac{1}{2}$ and $$x^2$$ `$\\no{x}$`") == []
    assert unset("$$\\frac{1}{2$$ and $\\no{x}$") == ["\\frac{1}{2", "\\no{x}"]
    assert unknown("`metrics.psnr(sr, hr)` `D = degradation.bicubik(4)`") == ["degradation.bicubik"]
    assert rubrics("| points | rubric |\n|---|---|\n| 1 | a |\n| 2 | b |\n") == [["1", "2"]]
