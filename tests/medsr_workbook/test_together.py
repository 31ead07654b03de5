"""Several trainings at once, each in a process of its own, from the command line."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from PIL import Image

from medsr_core import networks
from medsr_workbook.commands.main import main

TINY = {"width": 6, "depth": 1, "tail": 4}


@pytest.fixture
def scans(tmp_path):
    """A folder with eight gray images, so that each split has some."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(8):
        noise = np.random.default_rng(index).integers(0, 256, (48, 48), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"scan{index}.png")
    return folder


def weights(path, **recipe):
    """A tiny network's file that says it was trained so."""
    run = {"method": "srresnet", "steps": 3, "network": TINY, "channels": 1, "batch": 2, "patch": 32, **recipe}
    networks.save(networks.create("srresnet", **TINY, channels=1), path, method="srresnet", recipes=[run])
    return path


def medsr_train(*arguments, folder, wait=True):
    command = [sys.executable, "-m", "medsr_workbook", "train", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return (process, *process.communicate()) if wait else process


def test_recipes_are_trained_side_by_side_and_one_that_fails_does_not_stop_the_other(scans, tmp_path):
    good, bad = weights(tmp_path / "good.safetensors"), weights(tmp_path / "bad.safetensors", patch=96)
    process, said, _ = medsr_train("--recipe", good, "--recipe", bad, "--data", scans, "--out", tmp_path / "out",
                                   folder=tmp_path)  # fmt: skip
    assert process.returncode == 1
    assert "good: " in said and "generator.safetensors: srresnet, 3 steps" in said, said
    assert "bad: a source has no image of at least 96x96 pixels" in said and "Traceback" not in said
    about = networks.about(str(tmp_path / "out" / "good" / "generator.safetensors"))
    assert about["recipes"][-1]["steps"] == 3 and about["steps"] == 3
    assert not (tmp_path / "out" / "bad" / "generator.safetensors").exists()


def test_a_killed_one_is_named_and_the_other_ends(scans, tmp_path):
    long = weights(tmp_path / "long.safetensors", steps=10**6, every=2)
    short = weights(tmp_path / "short.safetensors")
    process = medsr_train("--recipe", long, "--recipe", short, "--data", scans, "--out", tmp_path, folder=tmp_path,
                          wait=False)  # fmt: skip
    checkpoint, ended = tmp_path / "long" / "checkpoint.safetensors", tmp_path / "short" / "generator.safetensors"
    while not (checkpoint.exists() and ended.exists()):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    for child in psutil.Process(process.pid).children():  # of the two, and multiprocessing's own
        child.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == 1
    assert "long: was killed (exit code -9); the same again with --resume goes on" in said, said
    assert "short: " in said and "srresnet, 3 steps" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["srresnet", "--data", "brain"], "say how long: --steps N or --minutes N"),
        (["srresnet", "--data", "brain", "--steps", "3", "--minutes", "1"], "one of the two"),
        (["--recipe", "srresnet-brain"], "srresnet-brain was trained on FOLDER/brain"),
        (["--recipe", "srresnet-brain", "--recipe", "srresnet-brain", "--data", "brain"], "called srresnet-brain"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(tmp_path, arguments, message):
    result = CliRunner().invoke(main, ["train", *arguments])
    assert result.exit_code == 2 and message in result.output
