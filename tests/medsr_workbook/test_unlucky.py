"""What the commands do when the terminal, the memory or the user is against them: results stay, one line says it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from medsr_workbook.commands.options import out_of_memory

pytestmark = pytest.mark.slow
MEDSR = [sys.executable, "-m", "medsr_workbook"]
SCORE = ("evaluate", "--methods", "nearest,bicubic", "--factor", "2", "--data")


def medsr(*arguments, cwd, **environment):
    return subprocess.run(
        [*MEDSR, *arguments], capture_output=True, cwd=cwd, env=os.environ | environment, timeout=120, check=False
    )


@pytest.fixture
def scan(tmp_path):
    Image.linear_gradient("L").resize((64, 64)).save(tmp_path / "scan.png")
    return tmp_path


def test_a_folder_named_in_another_coding(scan):
    folder = os.fsencode(scan) + b"/M\xfcller"
    os.mkdir(folder)
    os.rename(scan / "scan.png", folder + b"/scan.png")
    done = medsr(*SCORE, b"M\xfcller", "--out", b"M\xfc.json", cwd=scan)
    assert done.returncode == 0, done.stderr
    scores = json.loads((scan / os.fsdecode(b"M\xfc.json")).read_text(encoding="utf-8"))
    assert [os.fsencode(score["data"]) for score in scores] == [b"M\xfcller"] * 2
    assert "M?ller ×2" in done.stdout.decode("utf-8")


@pytest.mark.parametrize("coding, sign", [("ascii", "x"), ("cp1252", "×"), ("utf-8", "×")])
def test_a_terminal_without_unicode(scan, coding, sign):
    done = medsr(*SCORE, ".", cwd=scan, PYTHONIOENCODING=coding)
    assert done.returncode == 0 and f". {sign}2" in done.stdout.decode(coding)
    done = medsr("enhance", "scan.png", "-o", "o.png", "--method", "nearest", cwd=scan, PYTHONIOENCODING=coding)
    assert done.returncode == 0 and b"o.png: 1 image(s)" in done.stdout


def test_a_reader_that_has_seen_enough(scan):
    with subprocess.Popen([*MEDSR, *SCORE, ".", "--out", "o.json"], cwd=scan, stdout=-1, stderr=-1) as running:
        running.stdout.close()
        errors = running.stderr.read()
    assert b"Traceback" not in errors and len(json.loads((scan / "o.json").read_text())) == 2


def test_ctrl_c_leaves_the_old_file(scan):
    Image.linear_gradient("L").resize((2000, 2000)).save(scan / "large.png")
    (scan / "o.png").write_text("old")
    command = [*MEDSR, "enhance", "large.png", "-o", "o.png", "--method", "lanczos", "--factor", "8", "--tile", "64"]
    with subprocess.Popen(command, cwd=scan, stdout=-1, stderr=-1) as running:
        while not any(name.startswith(".") for name in os.listdir(scan)):  # it writes
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        errors = running.stderr.read()
    assert running.returncode == 130 and errors.splitlines()[-1] == b"Error: stopped; no file is half written"
    assert sorted(os.listdir(scan)) == ["large.png", "o.png", "scan.png"] and (scan / "o.png").read_text() == "old"


def test_the_next_run_names_what_a_killed_one_left(scan):
    Image.linear_gradient("L").resize((2000, 2000)).save(scan / "large.png")
    command = [*MEDSR, "enhance", "large.png", "-o", "o.png", "--method", "lanczos", "--factor", "8", "--tile", "64"]
    with subprocess.Popen(command, cwd=scan, stdout=-1, stderr=-1) as running:
        while not (parts := [name for name in os.listdir(scan) if name.startswith(".")]):  # it writes
            time.sleep(0.05)
        running.kill()
    (scan / ".other.png").write_bytes(b"")
    done = medsr("enhance", "scan.png", "-o", "o.png", "--method", "nearest", cwd=scan)
    told = [line for line in done.stderr.decode().splitlines() if "left of a run that was killed" in line]
    assert done.returncode == 0 and len(told) == 1 and told[0].startswith(parts[0])


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of address space")
@pytest.mark.parametrize("method, hint", [("nearest", "try --tile 256"), ("sr3", "which sees the whole image")])
def test_too_little_memory_is_one_line_with_a_way_out(scan, method, hint):
    code = (
        "import resource, sys, torch; from medsr_core import networks, upscalers\n"
        "from medsr_workbook.commands import enhance; from medsr_workbook.commands.main import main\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)\n"
        "main(sys.argv[1:])"
    )
    Image.new("L", (1100, 1100)).save(scan / "large.png")
    more = {"nearest": ("--factor", "16", "--tile", "512"), "sr3": ("--factor", "4")}[method]
    command = [sys.executable, "-c", code, "enhance", "large.png", "-o", "o.png", "--method", method, *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=scan, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: not enough memory to enlarge 1100x1100 pixels")
    assert hint in done.stderr.splitlines()[-1] and not (scan / "o.png").exists()


def test_the_words_for_too_little_memory():
    assert out_of_memory(MemoryError()) and out_of_memory(RuntimeError("[enforce] can't allocate memory: you tried"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
