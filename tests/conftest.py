"""What the tests share: idle threads that sleep, and small notebooks to run."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: see medsr_core/__init__.py
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import nbformat
import pytest


@pytest.fixture
def make_notebook(tmp_path):
    """make_notebook("00_name", [sources], tags={0: ["parameters"]}) -> path in tmp_path/notebooks."""

    def make(name: str, sources: list[str], tags: dict[int, list[str]] | None = None) -> Path:
        cells = [nbformat.v4.new_markdown_cell(f"# {name} title")]
        for index, source in enumerate(sources):
            cells.append(nbformat.v4.new_code_cell(source, id=f"cell{index}"))
            cells[-1].metadata["tags"] = (tags or {}).get(index, [])
        cells[0].id = "title"
        kernel = {"kernelspec": {"display_name": "x", "language": "python", "name": "python3"}}
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
        return path

    return make
