"""What every committed notebook must be: fresh, small, readable, accessible, parametrised, and its exercises solvable.

Each check below is a function of a notebook that returns what is wrong with it, so that the checks can be checked:
`test_the_checks_notice` breaks a good notebook in each way.
"""

import ast
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from medsr_workbook import runner

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURE_ALT = 20  # characters: shorter ones do not say what is to be seen
SOLUTION = re.compile(r"<details>\s*<summary>\s*Solution\s*</summary>.*</details>", re.S)
LOCAL_PATH = re.compile(r"""(?<![\w.:/])(/(home|root|Users|work|private|tmp|opt|usr|var)/|[A-Z]:\\+\w)""")


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def outputs(notebook):
    return [(cell, output) for cell in code_cells(notebook) for output in cell.outputs]


def tagged(notebook, tag):
    return [i for i, cell in enumerate(notebook.cells) if tag in cell.metadata.get("tags", [])]


def tree(cell):
    return ast.parse(TransformerManager().transform_cell(cell.source))


def printed(cell):
    """All text a code cell shows."""
    texts = [output.get("text", "") for output in cell.outputs]
    texts += [
        str(text) for output in cell.outputs for kind, text in output.get("data", {}).items() if "image" not in kind
    ]
    return "\n".join(texts)


# --- the checks -----------------------------------------------------------------------------------------------------


def is_small(notebook, place):
    size = len(nbformat.writes(notebook).encode())
    return [f"{size} bytes; at most 600,000"] if size >= 600_000 else []


def is_fresh(notebook, place):
    problems = []
    if notebook.metadata.get("medsr", {}).get("source_sha256") != runner.source_digest(notebook):
        problems.append("its code was edited after it was run; run `make notebooks`")
    counts = [cell.execution_count for cell in code_cells(notebook) if cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        problems.append(f"not run once from top to bottom: {counts}; run `make notebooks`")
    return problems


def has_no_trace_of_a_machine(notebook, place):
    problems = [f"metadata {key!r}" for key in ("papermill", "widgets") if key in notebook.metadata]
    problems += [
        f"cell metadata {key!r}"
        for cell in notebook.cells
        for key in ("papermill", "execution")
        if key in cell.metadata
    ]
    texts = [cell.source for cell in notebook.cells] + [printed(cell) for cell in code_cells(notebook)]
    return problems + [f"local path {found[0]!r}" for text in texts for found in LOCAL_PATH.finditer(text)]


def has_no_error(notebook, place):
    return [
        f"{output.get('ename', 'text on stderr')} under {cell.source[:60]!r}"
        for cell, output in outputs(notebook)
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def parameters_are_literal_and_checked(notebook, place):
    found = tagged(notebook, "parameters")
    if len(found) != 1:
        return [f"{len(found)} cells tagged `parameters`; exactly one is needed"]
    cell = notebook.cells[found[0]]
    problems = []
    for line in filter(str.strip, cell.source.splitlines()):
        code, _, comment = line.partition("  # ")
        try:
            (statement,) = ast.parse(code).body
            ast.literal_eval(statement.value)
            good = isinstance(statement, ast.AnnAssign) and comment.strip()
        except (ValueError, SyntaxError, AttributeError):
            good = False
        if not good:
            problems.append(f"not `name: type = literal  # comment`: {line!r}")
    following = [other for other in notebook.cells[found[0] + 1 :] if other.cell_type == "code"]
    if not following or "check_parameters(" not in following[0].source:
        problems.append("the code cell after the parameters does not call check_parameters(")
    return problems


def claims_are_on_as_written(notebook, place):
    """The parameters cell and `check_parameters` state the same defaults; else every `expect` is silent."""
    found, problems = tagged(notebook, "parameters"), []
    stated, checked = {}, {}
    for statement in tree(notebook.cells[found[0]]).body if found else []:
        if isinstance(statement, ast.AnnAssign):
            stated[statement.target.id] = ast.dump(statement.value)
    for cell in code_cells(notebook):
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("check_parameters"):
                checked = {k.arg: ast.dump(k.value.elts[0]) for k in node.keywords if isinstance(k.value, ast.Tuple)}
    for name in stated.keys() | checked.keys():
        if stated.get(name) != checked.get(name):
            problems.append(f"{name} is written with another value in the parameters cell than in check_parameters(")
    return problems


def cells_are_short(notebook, place):
    problems = []
    for cell in code_cells(notebook):
        lines = cell.source.strip().splitlines()
        if len(lines) > 12:
            problems.append(f"{len(lines)} lines in one cell, at most 12: {lines[0]!r}")
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.ClassDef):
                problems.append(f"class {node.name} belongs into medsr_core")
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 10:
                problems.append(f"function {node.name} of more than 10 lines belongs into medsr_core")
            if isinstance(node, ast.For | ast.While) and ".backward(" in ast.unparse(node):
                problems.append("a training loop belongs into medsr_core")
    return problems


def is_a_lesson_long(notebook, place):
    lines = sum(len(cell.source.strip().splitlines()) for cell in code_cells(notebook))
    problems = [f"{lines} lines of code, at most 170"] if lines > 170 else []
    return problems + ([] if 20 <= len(notebook.cells) <= 34 else [f"{len(notebook.cells)} cells, not 20 to 34"])


def figures_have_alt_text(notebook, place):
    return [
        f"figure without alt text under {cell.source[:60]!r}"
        for cell, output in outputs(notebook)
        if "image/png" in output.get("data", {})
        and len(output.metadata.get("image/png", {}).get("alt", "").strip()) <= FIGURE_ALT
    ]


def markdown_images_have_alt_text(notebook, place):
    problems = []
    for cell in markdown_cells(notebook):
        problems += [
            f"![]{target}" for alt, target in re.findall(r"!\[([^\]]*)\](\([^)]*\))", cell.source) if not alt.strip()
        ]
        problems += [tag for tag in re.findall(r"<img\b[^>]*>", cell.source) if not re.search(r"alt=[\"'][^\"']+", tag)]
    return problems


def relative_links_resolve(notebook, place):
    targets = []
    for cell in markdown_cells(notebook):
        targets += re.findall(r"\]\(([^)\s]+)[^)]*\)", cell.source)
        targets += re.findall(r"(?:href|src)=[\"']([^\"']+)", cell.source)
    relative = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    return [f"link to {target}, which is not there" for target in relative if not (place / target).exists()]


def first_cell_says_what_is_needed(notebook, place):
    text = notebook.cells[0].source
    wanted = {"a heading": "^# ", "a question": r"\?", "minutes": "minutes", "memory in MB or GB": r"\b[MG]B\b"}
    return [f"no {name} in the first cell" for name, pattern in wanted.items() if not re.search(pattern, text, re.M)]


def sliders_have_a_static_twin(notebook, place):
    """A cell with a panel of sliders has a figure in it or within two code cells: paper and screen readers need one."""
    cells, problems = code_cells(notebook), []
    for index, cell in enumerate(cells):
        if re.search(r"\bwidgets\.\w+\(", cell.source):
            near = cells[max(index - 2, 0) : index + 3]
            if not any("image/png" in output.get("data", {}) for other in near for output in other.outputs):
                problems.append(f"no static figure near the panel {cell.source[:60]!r}")
    return problems


def exercises(notebook):
    """(stub, check, solution) per exercise: two cell indices and the solution's code; None for what is missing."""
    stubs = tagged(notebook, "exercise")
    for stub, end in pairwise([*stubs, len(notebook.cells)]):
        check = next((i for i in tagged(notebook, "check") if stub < i < end), None)
        text = next((cell.source for cell in notebook.cells[stub:end] if cell.cell_type == "markdown"), "")
        blocks = re.findall(r"```python\n(.*?)```", text, re.S) if SOLUTION.search(text) else []
        yield stub, check, blocks[0] if len(blocks) == 1 else None


def exercises_are_open_and_complete(notebook, place):
    found, problems = list(exercises(notebook)), []
    if not found:
        return ["no cell tagged `exercise`"]
    for stub, check, solution in found:
        name = notebook.cells[stub].source[:60]
        if solution is None:
            problems.append(f"the markdown cell after {name!r} has no solution with one python block in <details>")
        if check is None:
            problems.append(f"no cell tagged `check` after {name!r}")
        elif "✓" in printed(notebook.cells[check]) or not printed(notebook.cells[check]).strip():
            problems.append(f"the stub {name!r} is solved, or its check says nothing")
    return problems


CHECKS = [
    is_small,
    is_fresh,
    has_no_trace_of_a_machine,
    has_no_error,
    parameters_are_literal_and_checked,
    claims_are_on_as_written,
    cells_are_short,
    is_a_lesson_long,
    figures_have_alt_text,
    markdown_images_have_alt_text,
    relative_links_resolve,
    first_cell_says_what_is_needed,
    sliders_have_a_static_twin,
    exercises_are_open_and_complete,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, check):
    problems = check(read(path), path.parent)
    assert not problems, "\n".join(problems)


# --- the checks, checked --------------------------------------------------------------------------------------------


def good_notebook():
    """A notebook that passes every check: 20 cells, one figure, one panel, one exercise. Not run; outputs by hand."""
    new_code, new_text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    figure = nbformat.v4.new_output(
        "display_data",
        data={"image/png": "aa"},
        metadata={"image/png": {"alt": "a slice of a brain, four times smaller"}},
    )
    hint = nbformat.v4.new_output("stream", name="stdout", text="not yet: think of D\n")
    solution = "<details><summary>Solution</summary>\n\n```python\nanswer = 42\n```\n</details>"
    cells = [
        new_text("# Zoom\n\nWhat is lost? 20 minutes, 300 MB."),
        new_code("factor: int = 4  # times larger", metadata={"tags": ["parameters"]}),
        new_code("check_parameters(globals(), factor=(4, rule))"),
        new_code("widgets.panel(x)", outputs=[figure]),
        new_text("![a map](map.png) and [the map](map.png#top), [elsewhere](https://example.org)"),
        new_code("answer = 0", metadata={"tags": ["exercise"]}),
        new_text(solution),
        new_code("check(answer)", metadata={"tags": ["check"]}, outputs=[hint]),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells + [new_text("more") for _ in range(20 - len(cells))])
    for number, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = number
    runner.clean(notebook)
    return notebook


def edit(index, **changes):
    def change(notebook):
        notebook.cells[index].update(nbformat.from_dict(changes))

    return change


def note(index, key):
    def change(notebook):
        notebook.cells[index].metadata[key] = {}

    return change


def drop(index):
    def change(notebook):
        del notebook.cells[index]

    return change


ERROR = nbformat.v4.new_output("error", ename="KeyError", evalue="x", traceback=[])
SOLVED = nbformat.v4.new_output("stream", name="stdout", text="✓ right")
BARE_FIGURE = nbformat.v4.new_output(
    "display_data", data={"image/png": "aa"}, metadata={"image/png": {"alt": "figure"}}
)
LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 10
BREAKS = [
    (is_small, edit(8, source="x" * 600_000)),
    (is_fresh, edit(3, source="widgets.panel(y)")),
    (is_fresh, edit(3, execution_count=9)),
    (has_no_trace_of_a_machine, note(3, "execution")),
    (has_no_trace_of_a_machine, edit(4, source="see /home/anna/scan.png")),
    (has_no_trace_of_a_machine, edit(3, source="read('C:\\\\Users\\\\anna')")),
    (has_no_error, edit(3, outputs=[ERROR])),
    (parameters_are_literal_and_checked, edit(1, source="factor = 4  # times larger")),
    (parameters_are_literal_and_checked, edit(1, source="factor: int = 4")),
    (parameters_are_literal_and_checked, edit(1, source="factor: int = 2 * side  # times larger")),
    (parameters_are_literal_and_checked, drop(2)),
    (parameters_are_literal_and_checked, drop(1)),
    (claims_are_on_as_written, edit(1, source="factor: int = 8  # times larger")),
    (claims_are_on_as_written, edit(1, source="factor: int = 4  # times larger\nseed: int = 0  # of the noise")),
    (claims_are_on_as_written, edit(2, source="check_parameters(globals(), factor=(4, rule), seed=(0, rule))")),
    (cells_are_short, edit(3, source="x = 1\n" * 13)),
    (cells_are_short, edit(3, source="class Net: pass")),
    (cells_are_short, edit(3, source=LONG_FUNCTION)),
    (cells_are_short, edit(3, source="for batch in data:\n    loss(batch).backward()")),
    (is_a_lesson_long, drop(8)),
    (is_a_lesson_long, edit(3, source="x = 1\n" * 171)),
    (figures_have_alt_text, edit(3, outputs=[BARE_FIGURE])),
    (markdown_images_have_alt_text, edit(4, source="![](map.png)")),
    (markdown_images_have_alt_text, edit(4, source="<img src='map.png'>")),
    (relative_links_resolve, edit(4, source="[next](01_next.ipynb)")),
    (first_cell_says_what_is_needed, edit(0, source="# Zoom\n\nWhat is lost?")),
    (sliders_have_a_static_twin, edit(3, outputs=[])),
    (exercises_are_open_and_complete, edit(7, outputs=[SOLVED])),
    (exercises_are_open_and_complete, edit(7, outputs=[])),
    (exercises_are_open_and_complete, edit(6, source="think again")),
    (exercises_are_open_and_complete, drop(7)),
    (exercises_are_open_and_complete, drop(5)),
]


@pytest.mark.parametrize(
    ("check", "spoil"), BREAKS, ids=[f"{check.__name__}-{i}" for i, (check, _) in enumerate(BREAKS)]
)
def test_the_checks_notice(check, spoil, tmp_path):
    (tmp_path / "map.png").touch()
    notebook = good_notebook()
    assert {other.__name__: other(notebook, tmp_path) for other in CHECKS} == {other.__name__: [] for other in CHECKS}
    spoil(notebook)
    assert check(notebook, tmp_path)


# --- what needs a kernel --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_solution_is_accepted_by_its_check(path):
    notebook = read(path)
    todo = list(exercises(notebook))
    for stub, _, solution in todo:
        notebook.cells[stub].source = solution
    runner.execute(notebook, path.parent)
    for stub, check, _ in todo:
        assert "✓" in printed(notebook.cells[check]), (
            f"solution of cell {stub} refused: {printed(notebook.cells[check])}"
        )


def smallest():
    """The notebook with the least code that has a number to play with, and that parameter."""
    for path in sorted(NOTEBOOKS, key=lambda path: sum(len(cell.source) for cell in code_cells(read(path)))):
        for parameter in runner.parameters(path).values():
            if parameter.type in ("int", "float"):
                return path, parameter
    pytest.skip("no notebook with a numeric parameter yet")


@pytest.mark.parametrize("case", ["unknown name", "wrong type", "out of range"])
def test_bad_parameters_stop_papermill_at_once_and_say_what_is_allowed(case, tmp_path):
    import papermill

    path, parameter = smallest()
    values = {
        "unknown name": {"no_such_parameter": 3},
        "wrong type": {parameter.name: "many"},
        "out of range": {parameter.name: -(10**6)},
    }[case]
    out = tmp_path / "out.ipynb"
    with pytest.raises(papermill.PapermillExecutionError) as refusal:
        papermill.execute_notebook(str(path), str(out), values, cwd=str(path.parent), progress_bar=False)
    message = refusal.value.evalue
    assert next(iter(values)) in message
    assert all(name in message for name in runner.parameters(path)), "the message does not list the parameters"
    executed = [cell for cell in code_cells(read(out)) if cell.execution_count]
    assert "check_parameters(" in executed[-1].source, "it went on after the check"


def test_the_readmes_picture_is_the_one_notebook_00_shows():
    from medsr_workbook.runner import overview

    place = next(path for path in NOTEBOOKS if path.name.startswith("00"))
    assert (place.parent / "figures" / "overview.png").read_bytes() == overview(read(place))
