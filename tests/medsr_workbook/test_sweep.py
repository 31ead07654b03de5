"""Sweeps and shared evaluations on real dask workers: two processes, one of which is killed."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("distributed", reason="needs the extra sweep")

import data_fetch
from medsr_core.measures import evaluation
from medsr_workbook import cluster, runner, sweep
from medsr_workbook.commands.main import main

PARAMETERS = "factor: int = 4  # times\nname: str = 'a'  # set\nseed: int = 0  # of the noise"
CHECK = """from medsr_workbook.lesson import Rule, between, check_parameters
check_parameters(globals(), factor=(4, between(2, 8)), name=('a', Rule('a name', bool)), seed=(0, between(0, 99)))"""
SHOW = """from medsr_workbook import lesson
rows = [{"method": m, "PSNR": 10.0 * i + factor + seed / 10} for i, m in enumerate(("tv", "sr3"))]
lesson.say(lesson.table(rows))"""
NOTE = "open({log!r}, 'a').write(f'{word} {{factor}} {{seed}}\\n')"


@pytest.fixture
def lesson(make_notebook):
    """lesson(log, extra) -> a notebook that notes in `log` when it starts and ends."""

    def make(log, *extra, name="00_a"):
        first, last = (NOTE.format(log=str(log), word=word) for word in ("began", "ended"))
        return make_notebook(name, [PARAMETERS, CHECK, first, SHOW, *extra, last], {0: ["parameters"]})

    return make


@pytest.fixture(scope="module")
def two():
    """A cluster of two processes."""
    with cluster.client(workers=2) as client:
        yield client


def quiet(*_):
    """Report to nobody."""


def noted(log):
    """What the notebooks noted, sorted."""
    return sorted(log.read_text().splitlines()) if log.exists() else []


def medsr(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# --- the grid -------------------------------------------------------------------------------------------------------


def test_values_are_spelt_out():
    assert sweep.spell_out("seed=0..4") == ("seed", ["0", "1", "2", "3", "4"])
    assert sweep.spell_out("n=-1..1,7, 7") == ("n", ["-1", "0", "1", "7"])
    assert sweep.spell_out("data=brain,../my scans,a=b") == ("data", ["brain", "../my scans", "a=b"])


@pytest.mark.parametrize("text", ["seed=4..0", "seed=", "seed", "=3", "seed=,,"])
def test_an_empty_range_is_refused(text):
    with pytest.raises(ValueError, match=r"no values; give NAME=A,B,C or NAME=0\.\.4"):
        sweep.spell_out(text)


def test_the_grid_has_every_combination_of_what_a_notebook_takes(make_notebook):
    both = make_notebook("00_a", [PARAMETERS], {0: ["parameters"]})
    one = make_notebook("01_b", ["seed: int = 1  # seed"], {0: ["parameters"]})
    runs = sweep.grid([both, one], [("factor", ["2", "8"]), ("seed", ["0", "1", "2"])])
    values = [(run.notebook.stem, *run.values.values()) for run in runs]
    assert values == [("00_a", f, s) for f in (2, 8) for s in range(3)] + [("01_b", s) for s in range(3)]
    assert len({run.key for run in runs}) == 9


def test_an_edited_notebook_is_another_run(make_notebook):
    keys = []
    for code in ("1", "1", "2"):
        path = make_notebook("00_a", [PARAMETERS, code], {0: ["parameters"]})
        keys.append(sweep.grid([path], [("seed", ["3"])])[0].key)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["99", "-p", "seed=1"], "no notebook '99'; there are: 00_a"),
        (["0", "-p", "sed=1"], "no chosen notebook has a parameter 'sed'"),
        (["0", "-p", "factor=2,9"], "00_a: factor = 9 is not from 2 to 8."),
        (["0", "-p", "factor=two"], "parameter factor must be int, not 'two'"),
        (["0", "-p", "seed=4..0"], "no values; give NAME="),
        (["0", "-p", "seed=1", "--scheduler", "nonsense"], "no dask scheduler answers at nonsense; start one"),
    ],
)  # fmt: skip
def test_the_impossible_is_refused_before_anything_runs(lesson, tmp_path, monkeypatch, arguments, message):
    lesson(tmp_path / "log")
    monkeypatch.chdir(tmp_path)
    result = medsr("sweep", *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2 and result.output.startswith("Error: ") and message in result.output, result.output
    assert not (tmp_path / "log").exists()


def test_without_dask_it_says_what_to_install(lesson, tmp_path, monkeypatch):
    lesson(tmp_path / "log")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = medsr("sweep", "0", "-p", "seed=1")
    assert result.exit_code == 2 and "python -m pip install distributed" in result.output
    assert result.output.count("\n") == 1


def test_help_has_an_example():
    assert "medsr sweep 04 07 -p data=brain,fundus" in medsr("sweep", "--help").output


# --- the run --------------------------------------------------------------------------------------------------------


def test_a_sweep_gives_one_table_figures_pages_and_keeps_what_failed(lesson, tmp_path, two):
    path = lesson(tmp_path / "log", "assert factor != 8, 'too much'")
    out = tmp_path / "out"
    runs = sweep.grid([path], [("factor", ["2", "8"]), ("seed", ["0", "1"])])
    said = []
    results = sweep.sweep(two, runs, out, report=lambda *told: said.append(told))

    assert [bool(result["error"]) for result in results] == [False, False, True, True]
    assert said[0][1:] == (0, 4) and [done for _, done, _ in said[1:]] == [1, 2, 3, 4]
    rows = list(csv.DictReader((out / "numbers.csv").open()))
    assert list(rows[0]) == ["notebook", "run", "factor", "seed", *sweep.COLUMNS]
    found = [(row["factor"], row["seed"], row["quantity"], row["of"], float(row["value"])) for row in rows]
    assert found == [("2", s, "PSNR", m, v) for s, plus in (("0", 0), ("1", 0.1))
                     for m, v in (("tv", 2 + plus), ("sr3", 12 + plus))]  # fmt: skip
    assert "AssertionError: too much" in results[2]["error"] and "Traceback" in results[2]["error"]
    assert "\x1b" not in results[2]["error"]
    index = (out / "index.html").read_text()
    assert "4 runs, 2 failed" in index and "AssertionError: too much" in index and "numbers.csv" in index
    for kind in (".html", ".ipynb"):
        assert runs[0].file(out, kind).exists() and f"runs/00_a/{runs[0].key}{kind}" in index
    with Image.open(out / "numbers-00_a.png") as picture:
        assert picture.width > 500
    assert "against seed" in index  # the one that varies among those that ended well


def test_called_again_only_what_is_missing_or_failed_is_run(lesson, tmp_path, two):
    gate, log = tmp_path / "gate", tmp_path / "log"
    path = lesson(log, f"import os\nassert seed != 1 or os.path.exists({str(gate)!r})")
    given = [("seed", ["0", "1"])]
    sweep.sweep(two, sweep.grid([path], given), tmp_path / "out", report=quiet)
    assert noted(log) == ["began 4 0", "began 4 1", "ended 4 0"]
    gate.touch()
    given = [("seed", ["0", "1", "2"])]
    results = sweep.sweep(two, sweep.grid([path], given), tmp_path / "out", report=quiet)
    assert noted(log) == ["began 4 0", "began 4 1", "began 4 1", "began 4 2", *(f"ended 4 {s}" for s in range(3))]
    assert not any(result["error"] for result in results)
    assert {row["seed"] for row in csv.DictReader((tmp_path / "out" / "numbers.csv").open())} == {"0", "1", "2"}


def test_two_sweeps_do_not_share_a_folder(lesson, tmp_path, two):
    runs = sweep.grid([lesson(tmp_path / "log")], [("seed", ["0"])])
    with sweep.FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="another sweep writes to"):
        sweep.sweep(two, runs, tmp_path, report=quiet)


def test_a_worker_killed_in_the_middle_loses_nothing_and_nothing_is_run_twice(lesson, tmp_path):
    """The worker that waits in seed 2 is killed; its run begins once more elsewhere, and everything ends once."""
    log, gate = tmp_path / "log", tmp_path / "gate"
    wait = f"import os, time\nwhile seed == 2 and not os.path.exists({str(gate)!r}):\n    time.sleep(0.05)"
    runs = sweep.grid([lesson(log, wait)], [("seed", list("012345"))])
    killed = []

    def busy():
        return [worker for worker, held in client.processing().items() if held]

    def kill():
        """Once all but seed 2 have ended, kill the worker on which it waits."""
        while len(noted(log)) < 11 or len(busy()) > 1:
            time.sleep(0.05)
        (worker,) = busy()
        killed.append(client.run(os.getpid, workers=[worker])[worker])
        os.kill(killed[0], signal.SIGKILL)
        while noted(log).count("began 4 2") < 2:
            time.sleep(0.05)
        gate.touch()

    with cluster.client(workers=2) as client:
        threading.Thread(target=kill, daemon=True).start()
        results = sweep.sweep(client, runs, tmp_path / "out", report=quiet)
    assert killed and [result["error"] for result in results] == [None] * 6
    began, ended = ([line[6:] for line in noted(log) if line.startswith(word)] for word in ("began", "ended"))
    assert ended == [f"4 {seed}" for seed in range(6)]
    assert began == sorted([*ended, "4 2"])
    rows = list(csv.DictReader((tmp_path / "out" / "numbers.csv").open()))
    assert [(row["seed"], row["of"]) for row in rows] == [(str(s), m) for s in range(6) for m in ("tv", "sr3")]


def test_a_run_that_a_worker_had_done_before_it_died_is_not_done_again(lesson, tmp_path):
    log = tmp_path / "log"
    (run,) = sweep.grid([lesson(log)], [("seed", ["0"])])
    first, second = (sweep._run(run, tmp_path / "out") for _ in range(2))
    assert first == second and noted(log) == ["began 4 0", "ended 4 0"]


# --- a cluster elsewhere --------------------------------------------------------------------------------------------


@pytest.fixture
def scheduler():
    """The address of a scheduler in a process of its own, without workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", str(port), "--no-dashboard"]
    command += ["--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"tcp://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_a_cluster_without_workers_is_refused_and_with_one_it_works(scheduler, tmp_path, lesson):
    with pytest.raises(ValueError, match="has no workers; start some: dask worker"), cluster.client(scheduler):
        pass
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--no-dashboard", "--nthreads", "1"]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    try:
        from distributed import Client

        with Client(scheduler) as waiting:
            waiting.wait_for_workers(1)
        with cluster.client(scheduler, folder=tmp_path) as client:
            (result,) = sweep.sweep(client, sweep.grid([lesson(tmp_path / "log")], [("seed", ["7"])]), tmp_path / "out",
                                    report=quiet)  # fmt: skip
        assert result["error"] is None and result["numbers"][0]["value"] == 4.7
        with pytest.raises(ValueError, match="do not see"), cluster.client(scheduler, folder=tmp_path / "nowhere"):
            pass
    finally:
        worker.terminate()
        worker.wait()


# --- evaluation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path):
    """A folder of five gray images, one of them too small to score."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for index, side in enumerate((48, 52, 16, 60, 44)):
        noise = np.random.default_rng(index).integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"scan{index}.png")
    return folder


def scored(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_shared_out_the_scores_are_those_of_one_process(scans, tmp_path):
    command = [sys.executable, "-m", "medsr_workbook", "evaluate", "--data", scans, "--methods", "bicubic,tv", "--out"]
    scores = []
    for name, *more in (("one.json",), ("two.json", "--workers", "2")):
        done = subprocess.run([*command, tmp_path / name, *more], env={**os.environ, "OMP_NUM_THREADS": "1"},
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0 and "scan2 left out" in done.stderr, done.stderr
        scores.append(scored(json.loads((tmp_path / name).read_text())))
    assert scores[0] == scores[1] and len(scores[0]) == 8


def test_what_evaluation_refuses_is_refused_when_shared_out_too(scans, two):
    refused = pytest.raises(evaluation.NothingToScore, match="at least 267x267 pixels")
    with pytest.warns(UserWarning, match="left out"), refused:
        cluster.evaluate(two, data_fetch.load(scans), ["bicubic"], factor=128, report=quiet)
    with pytest.raises(ValueError, match="no weights 'nowhere'"):
        cluster.evaluate(two, data_fetch.load(scans), ["srgan"], weights="nowhere", report=quiet)


def test_a_check_that_a_notebook_has_not_refuses_nothing(make_notebook):
    path = make_notebook("00_a", [PARAMETERS, "raise KeyError"], {0: ["parameters"]})
    runner.refuse(path, {"factor": -3})
