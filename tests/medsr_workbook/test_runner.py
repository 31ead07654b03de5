import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from medsr_workbook import runner

PARAMETERS = (
    "factor: int = 4  # times larger\nnoise: float = 0.5  # sigma\nshow: bool = True  # figures\nname: str = 'a'  # set"
)
FIGURE = (
    "import base64\nfrom IPython.display import display\n"
    "png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=='\n"
    "display({'image/png': png}, raw=True, metadata={'image/png': {'alt': 'one pixel, to see'}})"
)


def test_notebooks_are_chosen_by_number_name_or_file_in_order(make_notebook):
    first, second = make_notebook("00_first", ["1"]), make_notebook("01_second", ["1"])
    make_notebook("draft", ["1"])
    place = first.parent
    assert runner.choose(place=place) == [first, second]
    assert runner.choose(["1", "00"], place=place) == [first, second]
    assert runner.choose(["01_second"], place=place) == runner.choose([str(second)], place=place) == [second]
    with pytest.raises(ValueError, match="no notebook '7'; there are: 00_first, 01_second"):
        runner.choose(["7"], place=place)


def test_values_get_the_type_the_notebook_declares(make_notebook):
    path = make_notebook("00_a", [PARAMETERS], {0: ["parameters"]})
    given = [("factor", "8"), ("noise", "1e-2"), ("show", "false"), ("name", "true")]
    assert runner.assign([path], given) == {path: {"factor": 8, "noise": 0.01, "show": False, "name": "true"}}


@pytest.mark.parametrize(("name", "value"), [("factor", "4.5"), ("factor", "x"), ("show", "maybe"), ("noise", "low")])
def test_value_of_another_type_is_refused_with_the_type(make_notebook, name, value):
    path = make_notebook("00_a", [PARAMETERS], {0: ["parameters"]})
    with pytest.raises(ValueError, match=rf"parameter {name} must be (int|bool|float), not '{value}'"):
        runner.assign([path], [(name, value)])


def test_parameter_goes_to_the_notebooks_that_have_it_and_an_unknown_one_is_refused(make_notebook):
    both = make_notebook("00_a", [PARAMETERS], {0: ["parameters"]})
    one = make_notebook("01_b", ["factor: int = 2  # times larger"], {0: ["parameters"]})
    assert runner.assign([both, one], [("show", "no"), ("factor", "3")]) == {
        both: {"show": False, "factor": 3},
        one: {"factor": 3},
    }
    with pytest.raises(ValueError, match=r"(?s)'facter'.*00_a.*factor \(int, default 4\): times larger.*01_b"):
        runner.assign([both, one], [("facter", "3")])


def test_a_failing_notebook_does_not_stop_the_rest_and_the_index_shows_both(make_notebook, tmp_path):
    bad = make_notebook("00_bad", ["x = 1", "raise KeyError('the <reason>')", "print('after')"])
    good = make_notebook("01_good", ["n: int = 2  # number", FIGURE, "print(n * 21)"], {0: ["parameters"]})
    before = bad.read_bytes(), good.read_bytes()
    out = tmp_path / "out {put} dir"
    results = runner.run({bad: {}, good: {"n": 2}}, out, progress=False)

    assert [bool(result.error) for result in results] == [True, False]
    assert "KeyError" in results[0].error and "raise KeyError" in results[0].error
    assert "42" in nbformat.read(out / "01_good.ipynb", as_version=4).cells[-1].outputs[0].text
    index = runner.write_index(results, out, scores="<p>scores here</p>").read_text()
    for expected in ("00_bad title", "01_good.html", "stopped", "the &lt;reason&gt;", 'alt="one pixel, to see"',
                     "data:image/jpeg", "n = 2", "scores here"):  # fmt: skip
        assert expected in index, expected
    assert "one pixel, to see" in (out / "01_good.html").read_text()
    assert (bad.read_bytes(), good.read_bytes()) == before


def test_refresh_stores_output_and_nothing_of_the_machine(make_notebook, tmp_path):
    path = make_notebook("00_a", ["import os\nprint(os.path.basename(os.getcwd()))", "1 + 1"])
    stale = nbformat.read(path, as_version=4)
    stale.metadata.papermill = {"input_path": "/somewhere"}
    stale.cells[1].metadata.execution = {"iopub.execute_input": "2026"}
    nbformat.write(stale, path)
    runner.refresh([path])

    notebook = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2]
    assert notebook.cells[1].outputs[0].text == "notebooks\n"  # runs where the notebook lies
    assert [cell.id for cell in notebook.cells] == ["title", "cell0", "cell1"]
    assert set(notebook.metadata) == {"kernelspec", "language_info", "medsr"}
    assert notebook.metadata.medsr.source_sha256 == runner.source_digest(notebook)
    assert "papermill" not in path.read_text() and "iopub" not in path.read_text()
    once = path.read_bytes()
    runner.refresh([path])
    assert path.read_bytes() == once
    notebook.cells[2].source = "1 + 2"
    assert notebook.metadata.medsr.source_sha256 != runner.source_digest(notebook)


def test_refresh_of_a_failing_notebook_leaves_it(make_notebook):
    path = make_notebook("00_a", ["1 / 0"])
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        runner.refresh([path])
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
