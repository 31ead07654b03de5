"""The student's edition: nothing lost but the answers, nothing of a student's overwritten, and it runs to its end.

EDITIONS=all python -m pytest tests/medsr_workbook/test_editions.py     # both editions of all notebooks, not of three
"""

import ast
import json
import os
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from traitlets.config import Config

from medsr_workbook import editions, runner, slides

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
QUICK = ("00", "02", "05")
RUN = [path for path in NOTEBOOKS if os.environ.get("EDITIONS") == "all" or path.name[:2] in QUICK]


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook, tag=""):
    return [c for c in notebook.cells if c.cell_type == "code" and (not tag or tag in c.metadata.get("tags", ()))]


def hidden(cell):
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def statements(notebook):
    return Counter(ast.dump(node) for cell in code(notebook) for node in ast.parse(cell.source).body)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def both(request):
    """(the lecturer's edition, the student's)"""
    lecturer = read(request.param)
    return lecturer, editions.student(lecturer)


def test_no_output_and_no_solution_is_left(both):
    lecturer, student = both
    nbformat.validate(student)
    assert all(not cell.outputs and cell.execution_count is None for cell in code(student))
    assert any("Solution" in cell.source for cell in lecturer.cells)
    assert not any("Solution</summary>" in cell.source for cell in student.cells)
    stubs = [[cell.source for cell in code(edition, "exercise")] for edition in both]
    assert stubs[0] == stubs[1] and stubs[0]


def test_all_other_code_is_there(both):
    lecturer, student = both
    assert statements(lecturer) == statements(student)


def test_every_prediction_has_a_place_to_be_written(both):
    cells = both[1].cells
    asked = [i for i, cell in enumerate(cells[1:], 1) if "**Predict" in cell.source and cell.cell_type == "markdown"]
    assert asked and all("prediction" in cells[i + 1].metadata.get("tags", ()) for i in asked)
    assert len(asked) == sum("prediction" in cell.metadata.get("tags", ()) for cell in cells)


def test_set_up_and_claims_are_folded_and_the_rest_is_not(both):
    for cell in code(both[1]):
        source = cell.source
        if "check_parameters(" in source or re.search(r"^expect\(", source, re.M):
            assert hidden(cell), source
        if re.search(r"figures\.show\(|widgets\.panel\(|lesson\.say\(", source) or cell.metadata.get("tags"):
            assert not hidden(cell) or "claim" in cell.metadata.tags, source


def test_explanations_are_folded(both):
    for cell in both[1].cells:
        if cell.cell_type == "markdown":
            open_text = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.S)
            assert not re.search(r"^\*\*Explain", open_text, re.M)
            assert "answer" not in cell.metadata.get("tags", ()) or cell.source.startswith("<details>")


def test_what_follows_an_explanation_stays_in_sight():
    text = "**Explain.** Because.\n\nAnd so.\n\nThe same, computed:\n\n**Explain.** Again.\n\n## Next\n\n**Predict**"
    folded = editions.FOLDED.format
    parts = [folded("**Explain.** Because.\n\nAnd so."), "The same, computed:", folded("**Explain.** Again.")]
    assert editions._fold(text, everything=False) == "\n\n".join([*parts, "## Next\n\n**Predict**"])
    assert editions._fold("So.\n\n## Next", everything=True) == folded("So.") + "\n\n## Next"


def test_a_claim_in_the_middle_gets_a_cell_of_its_own(make_notebook):
    source = "x = 1\nexpect(\n    x == 1\n)\nif x:\n    expect(x)\nlesson.say(str(x))\nexpect(x > 0)  # by far"
    student = editions.student(read(make_notebook("00_a", [source])))
    assert [cell.source for cell in code(student)] == [
        "x = 1\nif x:\n    expect(x)\nlesson.say(str(x))",
        "expect(\n    x == 1\n)\nexpect(x > 0)  # by far",
    ]
    assert [hidden(cell) for cell in code(student)] == [False, True]


# --- the folder -----------------------------------------------------------------------------------------------------


def test_links_lead_somewhere(tmp_path):
    place = tmp_path / "build" / "student"
    editions.write(NOTEBOOKS, place)
    for path in place.glob("*.ipynb"):
        for cell in read(path).cells:
            for target in re.findall(r"\]\(([^)\s#]+)", cell.source if cell.cell_type == "markdown" else ""):
                assert re.match(r"[a-z]+:", target) or (place / target).exists(), f"{path.name}: {target}"


def test_what_a_student_wrote_is_kept_and_what_nobody_touched_is_renewed(make_notebook, tmp_path):
    paths = [make_notebook(f"0{i}_a", ["1 + 1"]) for i in range(4)]
    place = tmp_path / "student"
    assert editions.write(paths, place) == []
    written, ran, untouched, broken = (place / path.name for path in paths)
    notebook = read(written)
    notebook.cells[0].source += "\nmy answer"
    nbformat.write(notebook, written)
    notebook = read(ran)
    runner.execute(notebook, place)
    nbformat.write(notebook, ran)
    broken.write_text("half a notebook")
    before = [path.read_bytes() for path in (written, ran, untouched, broken)]

    assert editions.write(paths, place) == [written, broken]
    assert [path.read_bytes() for path in (written, ran, untouched, broken)] == before
    for path in paths:
        lecturer = read(path)
        lecturer.cells[1].source = "2 + 2"
        nbformat.write(lecturer, path)
    assert editions.write(paths, place) == [written, broken]
    assert [path.read_bytes() == old for path, old in zip((written, ran, untouched, broken), before, strict=True)] == [
        True, False, False, True]  # fmt: skip
    assert code(read(ran))[0].source == "2 + 2"


# --- what needs a kernel --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_the_student_s_edition_runs_with_blanks_in_a_folder_of_its_own(path, tmp_path):
    """Every check answers with its hint and raises nothing; results are found although they were not copied."""
    editions.write([path], tmp_path)
    notebook = read(tmp_path / path.name)
    runner.execute(notebook, tmp_path)
    checks = code(notebook, "check")
    said = ["".join(output.get("text", "") for output in cell.outputs) for cell in checks]
    assert checks and all(text.startswith("✗") and len(text) > 20 and "✓" not in text for text in said), said


@pytest.mark.skipif(os.environ.get("EDITIONS") != "all", reason="tests/test_notebooks.py runs it, with the solutions")
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_the_lecturer_s_edition_runs(path):
    runner.execute(read(path), path.parent)


# --- slides and pages -----------------------------------------------------------------------------------------------


def test_slides_have_every_picture_described_every_question_and_no_solution(both):
    lecturer, _ = both
    pictures = [o for c in code(lecturer) for o in c.outputs if "image/png" in o.get("data", {})]
    text = "\n\n".join(cell.source for cell in slides.deck(lecturer).cells)
    alts = re.findall(r'<img src="data:image/png[^>]*alt="([^"]{20,})"', text)
    assert len(alts) == len(pictures) > 0
    assert text.count("**Predict") == sum(cell.source.count("**Predict") for cell in lecturer.cells)
    assert "<details>" not in text and "expect(" not in text and "✗" not in text
    assert all(cell.source in text for cell in code(lecturer, "exercise"))


def test_slides_ask_nothing_of_another_host(tmp_path):
    page = slides.export(NOTEBOOKS[0], tmp_path).read_text(encoding="utf-8")
    assert page.count("<section>") > 15
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(|from ['"]http""", page)


def test_a_long_text_is_cut_between_paragraphs_and_keeps_its_heading():
    long = " ".join(["word"] * 60)
    source = f"## Why\n\n{long}\n\n{long}\n\n## Next\n\nShort.\n\nBack: [00](00_a.ipynb)."
    cell = nbformat.v4.new_markdown_cell(source)
    made = slides.deck(nbformat.v4.new_notebook(cells=[cell]))
    assert [c.source for c in made.cells] == [f"## Why\n\n{long}", f"## Why\n\n{long}", "## Next\n\nShort."]


def test_a_formula_stays_with_the_line_that_announces_it():
    long = " ".join(["word"] * 80)
    cell = nbformat.v4.new_markdown_cell(
        f"## Why\n\n{long}\n\nTwenty more words, and then it is this one here:\n\n`x = 1`"
    )
    made = [c.source for c in slides.deck(nbformat.v4.new_notebook(cells=[cell])).cells]
    assert len(made) == 2 and made[1].endswith("this one here:\n\n`x = 1`")


def test_formulas_are_pictures_with_their_source_and_code_is_left_alone():
    text = slides.formulas(
        "so $x^2$ and `$y$`, $5 or 6$7; $$\\unknown{x}$$ $$a &= \\bigl(b\\bigr) \\\\ c &\\le \\lVert d\\rVert_1$$"
    )
    alts = re.findall(r'<img class="(\w+)" style="height: [\d.]+em[^>]*alt="([^"]*)">', text)
    assert alts == [("inline", "x^2"), ("display", "a = \\bigl(b\\bigr)"), ("display", "c \\le \\lVert d\\rVert_1")]
    assert "`$y$`, $5 or 6$7; `\\unknown{x}` " in text


def test_pages_describe_pictures_and_show_a_panel_as_its_picture():
    from nbconvert import HTMLExporter

    panel = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "[p; needs a running kernel]"}
    outputs = [
        nbformat.v4.new_output("display_data", data=data, metadata={"image/png": {"alt": 'a "scan" <small>'}})
        for data in ({"image/png": "aaaa"}, panel | {"image/png": "bbbb"}, panel)
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
    installed = ROOT / "medsr_workbook" / "jupyter_nbconvert_config.json"
    config = json.loads(installed.read_text())
    page, _ = HTMLExporter(config=Config(config)).from_notebook_node(notebook)
    pictures = [(image["src"][-4:], image["alt"]) for image in BeautifulSoup(page, "html.parser").find_all("img")]
    assert pictures == [("aaaa", 'a "scan" <small>'), ("bbbb", 'a "scan" <small>')]
    assert page.count("Sliders: open") == 2
