"""What the tests share: idle threads that sleep, and small notebooks to run."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: see medsr_core/__init__.py
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import nbformat
import pytest

# More than a second or two on a quiet machine, or in need of a notebook, a browser, a training or a server
SLOW_FILES = {"test_notebooks.py", "test_browser.py", "test_killed.py", "test_training.py", "test_toy.py",
              "test_get.py", "test_archives.py", "test_samples.py", "test_cards.py", "test_weights.py",
              "test_bring.py", "test_fetched.py", "test_commands.py", "test_editions.py"}  # fmt: skip
SLOW = (
    "test_sweep.py::test_a", "test_sweep.py::test_called", "test_sweep.py::test_shared", "test_sweep.py::test_two",
    "test_sweep.py::test_what", "test_together.py::test_recipes", "test_together.py::test_a_killed",
    "test_1024_by_512", "test_shipped_weights_are_seam_free", "test_upscale_shows_no_seam", "test_train_", "TestMake",
    "test_the_trained_decoder", "test_images_of_the_decoder", "test_search_reaches", "test_run_gives", "test_enhance_",
    "test_iterating_slices", "test_the_game_resumes", "test_simulated", "test_a_disk_that_fills", "test_a_full_disk",
    "test_the_core_knows", "test_a_failing_notebook", "test_refresh_", "test_paper_sizes", "test_example",
    "test_packages_are_found", "test_float32_images_walk", "test_tv_finds", "test_a_batch_is_searched", "edition_runs",
    "test_figures", "test_the_one_call", "test_weights_are_listed", "test_natural_scene", "test_interpolated_weights",
    "test_sets_of_images_move_away", "test_distance_grows", "test_a_notebook_runs_on", "test_cells_run_twice",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Mark what `make quick` leaves out."""
    for item in items:
        if item.path.name in SLOW_FILES or any(part in item.nodeid for part in SLOW):
            item.add_marker(pytest.mark.slow)


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
