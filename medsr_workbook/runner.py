"""Run the notebooks: with parameters into a folder of results (`medsr run`), or in place before a commit (`refresh`).

A run leaves NAME.ipynb and NAME.html for each notebook and an index.html that shows them all. A refresh leaves the
committed notebooks with output but without anything of the machine that made it, and stores a digest of their code,
so that a test can tell a notebook that was edited and not run again.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import html
import io
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from medsr_core.files import whole

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
MINUTES_PER_CELL = 10
KERNEL = ["--IPKernelApp.log_level=40"]  # errors only: not that kernels on this machine talk without encryption


# --- which notebooks, which parameters ------------------------------------------------------------------------------


def folder() -> Path:
    """Where the notebooks lie: ./notebooks, or beside the installed package. FileNotFoundError if neither has any."""
    for place in (Path("notebooks"), Path(__file__).resolve().parent.parent / "notebooks"):
        if any(place.glob("[0-9][0-9]_*.ipynb")):
            return place.resolve()
    raise FileNotFoundError("no notebooks here: run this in the workbook's folder, the one with the Makefile")


def choose(names: Sequence[str] = (), *, place: Path | None = None) -> list[Path]:
    """The notebooks meant by numbers ("1", "01"), names or paths, in the workbook's order; all of them by default.

    ValueError, with the list of what there is, if a name is none of them.
    """
    known = sorted((place or folder()).glob("[0-9][0-9]_*.ipynb"))
    if not names:
        return known
    chosen = set()
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        found = [path for path in known if stem == path.stem or (stem.isdigit() and int(stem) == int(path.stem[:2]))]
        if not found:
            raise ValueError(f"no notebook {name!r}; there are: {', '.join(path.stem for path in known)}")
        chosen.update(found)
    return [path for path in known if path in chosen]


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell, `name: type = default  # help`."""

    name: str
    type: str
    default: str
    help: str

    def __str__(self) -> str:
        return f"{self.name} ({self.type}, default {self.default}): {self.help}"


def parameters(path: Path) -> dict[str, Parameter]:
    """What a notebook can be told from outside, as papermill finds it in the cell tagged `parameters`."""
    import papermill

    return {
        name: Parameter(name, found["inferred_type_name"], found["default"], found["help"])
        for name, found in papermill.inspect_notebook(_verbatim(path)).items()
    }


def convert(text: str, parameter: Parameter) -> Any:
    """A value typed at the terminal, as the parameter's type; ValueError naming the type if it is not one.

    papermill's own conversion would pass `-p flag true` on as the string "true".
    """
    if parameter.type == "str":
        return text
    try:
        if parameter.type == "bool":
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if parameter.type in ("int", "float"):
            return {"int": int, "float": float}[parameter.type](text)
        return ast.literal_eval(text)
    except (ValueError, KeyError, SyntaxError):
        raise ValueError(
            f"parameter {parameter.name} must be {parameter.type}, not {text!r}; {parameter.help}"
        ) from None


def assign(paths: Sequence[Path], given: Sequence[tuple[str, str]]) -> dict[Path, dict[str, Any]]:
    """Which notebook gets which values: each parameter goes to the notebooks that have it.

    Raises
    ------
    ValueError : no chosen notebook has the parameter, or a value is not of its type; with the list of what there is
    """
    known = {path: parameters(path) for path in paths}
    assigned: dict[Path, dict[str, Any]] = {path: {} for path in paths}
    for name, text in given:
        takers = [path for path in paths if name in known[path]]
        if not takers:
            lists = [f"{path.stem}\n    " + "\n    ".join(map(str, known[path].values())) for path in paths]
            raise ValueError(f"no chosen notebook has a parameter {name!r}; there are:\n  " + "\n  ".join(lists))
        for path in takers:
            assigned[path][name] = convert(text, known[path][name])
    return assigned


def refuse(path: Path, values: dict[str, Any]) -> None:
    """Raise what the notebook's own check raises at these values, without running the rest of it.

    The cells up to the one that calls `check_parameters` are run here: they set parameters and import the check.
    """
    names: dict[str, Any] = {}
    sources = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    if not any("check_parameters(" in cell.source for cell in sources):
        return
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in sources:
            exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", ()):
                names |= values
            if "check_parameters(" in cell.source:
                return


# --- a run ----------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """One executed notebook."""

    title: str
    notebook: Path
    page: Path | None
    seconds: float
    parameters: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    figure: str | None = None  # data URI of a thumbnail
    figure_alt: str = ""


def run(
    assigned: dict[Path, dict[str, Any]],
    out: Path,
    *,
    progress: bool = True,
    report: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Execute notebooks in order with papermill, each with its parameters; one that fails does not stop the rest.

    Parameters
    ----------
    assigned : what `assign` returns
    out : folder for the executed notebooks and their HTML pages; created
    progress : a bar per notebook, counting cells, on stderr
    report : called with each result as soon as it is there
    """
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for number, (path, values) in enumerate(assigned.items(), 1):
        bar = {"desc": f"[{number}/{len(assigned)}] {path.stem}", "leave": True} if progress else False
        results.append(run_one(path, out.resolve() / path.name, values, bar))
        report(results[-1])
    return results


def run_one(path: Path, target: Path, values: dict[str, Any], bar: dict[str, Any] | bool = False) -> Result:
    """Execute one notebook into `target` (.ipynb) and an HTML page beside it; a failure is in the result's error."""
    import papermill

    start, error = time.perf_counter(), None
    try:
        papermill.execute_notebook(
            _verbatim(path),
            _verbatim(target),
            values,
            cwd=str(path.parent),
            kernel_name="python3",
            progress_bar=bar,
            execution_timeout=MINUTES_PER_CELL * 60,
            extra_arguments=list(KERNEL),
        )
    except Exception as problem:  # a failing cell, a dead kernel, a time-out: whatever it is, the next notebook may run
        error = _explain(problem)
    seconds = time.perf_counter() - start
    executed = nbformat.read(target if target.exists() else path, as_version=4)
    figure, alt = _thumbnail(executed)
    page = _export(executed, target.with_suffix(".html"))
    return Result(_title(executed, path), target, page, seconds, values, error, figure, alt)


def _explain(problem: Exception) -> str:
    """The failing cell's code and its error, without the library's frames."""
    from papermill.exceptions import PapermillExecutionError

    if not isinstance(problem, PapermillExecutionError):
        return f"{type(problem).__name__}: {problem}"
    return f"cell [{problem.exec_count}]  {problem.ename}: {problem.evalue}\n{problem.source}"


def _verbatim(path: Path) -> str:
    """The path for papermill, which would take braces in it for a template."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _title(notebook: Any, path: Path) -> str:
    for cell in notebook.cells:
        heading = re.search(r"^# +(.+)$", cell.source, re.M) if cell.cell_type == "markdown" else None
        if heading:
            return heading[1].strip()
    return path.stem


def _thumbnail(notebook: Any) -> tuple[str | None, str]:
    """Data URI and alt text of the first figure, at most 480 pixels wide."""
    from PIL import Image

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    for output in outputs:
        if "image/png" in output.data:
            image: Image.Image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
            image.thumbnail((480, 480))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=85)
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), alt
    return None, ""


def _export(notebook: Any, target: Path) -> Path:
    """The notebook as one HTML page. Sliders need a running kernel, so a line says where they are."""
    from nbconvert import HTMLExporter

    from medsr_workbook.pages import Described

    notebook.metadata.pop("widgets", None)
    options = {"require_js_url": "data:text/javascript,", "embed_images": True, "preprocessors": [Described]}
    body, _ = HTMLExporter(**options).from_notebook_node(notebook)
    target.write_text(body, encoding="utf-8")
    return target


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>medsr: results</title><style>
:root {{ color-scheme: light dark; --line: #8884; --bad: #c0392b; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }}
main {{ display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); }}
article {{ border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; }}
article img {{ width: 100%; height: 11rem; object-fit: contain; }}
h2 {{ font-size: 1.1rem; margin: .4rem 0; }} .failed {{ color: var(--bad); }}
pre {{ overflow-x: auto; font-size: .8rem; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .25rem .8rem; border-bottom: 1px solid var(--line); }}
footer {{ margin-top: 2rem; font-size: .85rem; opacity: .8; }}
</style></head><body>
<h1>Medical image super-resolution: results of this run</h1>
{top}
{below}
<footer>Made {when} with medsr {version}. A teaching tool, not a diagnostic device. The pages typeset their formulas
when there is a network connection; the notebooks do so without.</footer>
</body></html>
"""


def write_index(results: Sequence[Result], out: Path, *, scores: str = "") -> Path:
    """Write out/index.html: each notebook's title, first figure, time and links; then `scores`, an HTML fragment."""
    cards = "\n".join(_card(result) for result in results)
    return write_page(out / "index.html", f"<main>\n{cards}\n</main>", scores)


def write_page(page: Path, top: str, below: str) -> Path:
    """A page in the style of the index from two HTML fragments; returns `page`."""
    from importlib.metadata import version

    when = time.strftime("%Y-%m-%d %H:%M")
    page.write_text(PAGE.format(top=top, below=below, when=when, version=version("medsr")), encoding="utf-8")
    return page


def _card(result: Result) -> str:
    def link(path: Path, text: str) -> str:
        return f'<a href="{html.escape(path.name, quote=True)}">{html.escape(text)}</a>'

    alt = html.escape(result.figure_alt or f"First figure of {result.title}", quote=True)
    picture = f'<img src="{result.figure}" alt="{alt}">' if result.figure else ""
    title = link(result.page, result.title) if result.page else html.escape(result.title)
    status = f'<p class="failed">stopped</p><pre>{html.escape(result.error)}</pre>' if result.error else ""
    told = ", ".join(f"{name} = {value!r}" for name, value in result.parameters.items())
    facts = f"{result.seconds:.0f} s" + (f" · {html.escape(told)}" if told else "")
    return f"<article>{picture}<h2>{title}</h2><p>{facts} · {link(result.notebook, 'notebook')}</p>{status}</article>"


# --- a refresh ------------------------------------------------------------------------------------------------------


def source_digest(notebook: Any) -> str:
    """SHA-256 over the sources of the code cells, in order: what the stored output must have come from."""
    return digest([cell.source for cell in notebook.cells if cell.cell_type == "code"])


def digest(sources: list[str]) -> str:
    """SHA-256 over the sources of cells."""
    return hashlib.sha256(json.dumps(sources, ensure_ascii=False).encode()).hexdigest()


def clean(notebook: Any) -> None:
    """Remove what an execution leaves of its machine: timings, paths, widget state; then store the code's digest."""
    version = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "pygments_lexer": "ipython3"}
    digest = {"source_sha256": source_digest(notebook)}
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": version, "medsr": digest})
    for cell in notebook.cells:
        for key in ("execution", "papermill", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", ()):
            if len(output.get("data", {})) > 1:  # a widget's text stays; its id, another in every run, goes
                output["data"].pop(WIDGET, None)


def execute(notebook: Any, place: Path) -> None:
    """Run all cells of `notebook` (changed in place) in a new kernel whose working directory is `place`.

    Raises
    ------
    nbclient.exceptions.CellExecutionError : a cell raised
    """
    from nbclient import NotebookClient

    NotebookClient(
        notebook,
        timeout=MINUTES_PER_CELL * 60,
        kernel_name="python3",
        resources={"metadata": {"path": str(place)}},
        record_timing=False,
        store_widget_state=False,
        extra_arguments=list(KERNEL),
    ).execute()


def overview(notebook: Any) -> bytes | None:
    """The picture that the cell tagged `overview` shows: the README's. None if no cell is tagged so."""
    for cell in notebook.cells:
        if "overview" in cell.metadata.get("tags", ()):
            return base64.b64decode(next(o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})))
    return None


def refresh(paths: Sequence[Path]) -> None:
    """Execute notebooks and store them with their output, in place; one that fails is left as it was and raises."""
    for path in paths:
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        execute(notebook, path.parent)
        clean(notebook)
        nbformat.validate(notebook)
        with whole(path) as part:
            nbformat.write(notebook, part)
        if picture := overview(notebook):
            (path.parent / "figures").mkdir(exist_ok=True)
            (path.parent / "figures" / "overview.png").write_bytes(picture)
        print(f"{path.name}: {time.perf_counter() - start:.1f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] != ["refresh"]:
        sys.exit("usage: python -m medsr_workbook.runner refresh [NOTEBOOK ...]")
    refresh(choose(sys.argv[2:]))
