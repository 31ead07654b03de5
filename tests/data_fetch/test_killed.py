"""Two gets at once, and SIGKILL at any moment: in the end everything is here and right, and before, nothing is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

import data_fetch
from data_fetch import acquire, archives, parts, store
from data_fetch.catalogue import SOURCES
from data_fetch.sets import DataError
from medsr_core.files import whole
from tests.data_fetch.official import picture, stare, zipped

IMAGES = {f"im{n:04d}.ppm": picture("PPM", (200, 210, 3), n) for n in range(1, 13)}
NAMES = tuple(name[:6] for name in IMAGES)
FILES = {"all-images.zip": zipped(IMAGES), "labels-ah.tar": stare(2)["labels-ah.tar"]}

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to be quick")


def in_a_child(work) -> int:
    """Run `work` in a forked process, which never comes back into pytest; return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def get(**options) -> None:
    acquire.get(["stare"], accept=True, **options)


def is_whole_or_not_here() -> bool:
    """Whether the set counts as here; if so, it must be right to the last byte."""
    for part in store.parts("stare"):
        for name in part.files:
            path = store.path_of("stare", part) / name
            assert path.read_bytes() == IMAGES.get(name, path.read_bytes())
        assert part.label != "all-images" or len(part.files) == len(IMAGES)
    try:
        return len(data_fetch.load("stare", split="all")) == len(IMAGES)
    except DataError as problem:
        assert "medsr data get stare" in str(problem)
        return False


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ranges", [True, False])
def test_killed_at_ten_random_moments_a_rerun_ends_right(server, folder, offer, ranges):
    offer("stare", FILES, expected=NAMES)
    server.ranges, server.pause = ranges, 0.001
    start = time.perf_counter()
    get()
    whole = time.perf_counter() - start
    draw, finished = random.Random(0), 0
    for moment in [draw.uniform(0, 1.2 * whole) for _ in range(9)] + [0.9 * whole]:
        if is_whole_or_not_here():
            for label in ("all-images", "labels-ah"):
                store.forget("stare", label)
        child = in_a_child(get)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        finished += not os.WIFSIGNALED(status)
        is_whole_or_not_here()
    assert finished < 10, "some were killed before they were done"
    get()
    assert is_whole_or_not_here() and parts.check("stare") == []
    names = sorted(path.name for path in (folder / "stare").iterdir())
    assert names == [".lock", "all-images", "download", "labels-ah", "record.json"], "nothing is left over"
    assert not list((folder / "stare" / "download").iterdir())


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_killed_while_unpacking_and_while_recording(server, folder, offer, monkeypatch):
    offer("stare", FILES, expected=NAMES)

    def kill(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    for module, name in ((archives, "_write"), (parts, "check_content"), (os, "rename"), (store, "record"),
                         (store, "forget"), (parts, "finish")):  # fmt: skip
        with monkeypatch.context() as patched:
            patched.setattr(module, name, kill)
            _, status = os.waitpid(in_a_child(get), 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert is_whole_or_not_here() == (name == "finish"), name
        for label in ("all-images", "labels-ah"):
            store.forget("stare", label)
    get()
    assert is_whole_or_not_here() and parts.check("stare") == []


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_gets_at_once_fetch_once(server, folder, offer):
    offer("stare", FILES, expected=NAMES)
    server.pause = 0.002
    children = [in_a_child(get) for _ in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert is_whole_or_not_here()
    assert sorted(path for path, _ in server.asked) == ["/all-images.zip", "/labels-ah.tar"]


def test_the_second_says_that_it_waits_for_the_first(folder):
    code = (
        "import sys, time; from data_fetch import store\n"
        "with store.lock('stare'): print('locked', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        said = []
        with store.lock("stare", lambda: (said.append("waiting"), other.kill())):  # a killed one leaves no lock
            assert said == ["waiting"]


def test_interrupted_by_hand_it_stops_soon_and_goes_on_later(server, folder, offer):
    offer("stare", FILES, expected=NAMES)
    server.pause = 0.005

    def ctrl_c(label: str, done: int, total: int | None) -> None:
        if label == "all-images.zip" and done > 100_000:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            get(progress=ctrl_c)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not is_whole_or_not_here() and SOURCES["stare"].direct
    kept = (folder / "stare" / "download" / "all-images.zip.part").stat().st_size
    assert 100_000 < kept < len(FILES["all-images.zip"])
    server.pause = 0
    get()
    assert is_whole_or_not_here() and server.asked[-1] == ("/all-images.zip", f"bytes={kept}-")


def test_what_a_killed_process_left_of_a_record_goes_with_the_next_lock(folder):
    (folder / "stare" / "download").mkdir(parents=True)
    with (
        whole(folder / "stare" / "record.json") as record,
        whole(folder / "stare" / "download" / "a.part.json") as part,
    ):
        left = [record, part]  # as they are named while they are written
        for each in left:
            each.write_text("{}")
    left.append(folder / "stare" / f".all-images.{threading.get_ident()}")  # a file on its way out of an archive
    for part in left:
        part.write_text("{")
    with store.lock("stare"):
        assert not any(part.exists() for part in left)
