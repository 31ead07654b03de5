"""Speed of fetching and loading against curl and nibabel, as ratios, and the memory that slices take.

    python benchmarks/data.py [--megabytes 1000] [--repeats 5]

Ours and the peer take turns, so that a drifting machine slows both; printed are the medians and the median of the
pairwise ratios. The server is a process on loopback that sends with sendfile; needs curl and twice the size in /tmp.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SERVER = """
import functools, http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments): pass
    def copyfile(self, source, out):
        out.flush()
        self.connection.sendfile(source)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
print(server.server_port, flush=True)
server.serve_forever()
"""
MEMORY = r"""
import re, data_fetch
count = sum(scan.pixels.shape[-2:] == (240, 240) for scan in data_fetch.load("brats", split="all", limit=430))
print(count, int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1]) / 1024)
"""


def duel(
    ours: Callable[[], object], peer: Callable[[], object], repeats: int, before: Callable[[], object] = lambda: None
) -> tuple[float, float, float]:
    """Median seconds of ours and of the peer, and the median of ours / peer, in turns after a warm-up."""
    pairs = [(_seconds(ours, before), _seconds(peer, before)) for _ in range(repeats + 1)][1:]
    mine, theirs = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(theirs), statistics.median(a / b for a, b in pairs)


def _seconds(function: Callable[[], object], before: Callable[[], object]) -> float:
    before()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def line(name: str, peer: str, figures: tuple[float, float, float], target: str) -> None:
    """Print one comparison."""
    mine, theirs, ratio = figures
    print(f"{name:44} {1e3 * mine:8.1f} ms   {peer:38} {1e3 * theirs:8.1f} ms   ratio {ratio:5.2f}  (target {target})")


def fetch(place: Path, megabytes: int, repeats: int) -> None:
    """One file over loopback, written and hashed, against curl, which does not hash."""
    from data_fetch.download import download

    (place / "www").mkdir()
    with (place / "www" / "big.bin").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(10**6))
    with subprocess.Popen([sys.executable, "-c", SERVER, place / "www"], stdout=-1, text=True) as server:
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/big.bin"  # type: ignore[union-attr]
            target = place / "got.bin"

            def fresh() -> None:
                target.unlink(missing_ok=True)
                os.sync()  # else the one pays for what the other left to be written

            def ours(algorithm: str) -> None:
                download([url], target, digest=digests[algorithm])

            def curl() -> None:
                subprocess.run(["curl", "--silent", "--output", target, url], check=True)

            import pooch

            digests = {a: f"{a}:{pooch.file_hash(str(place / 'www' / 'big.bin'), alg=a)}" for a in ("sha256", "md5")}
            for algorithm in digests:
                figures = duel(lambda algorithm=algorithm: ours(algorithm), curl, repeats, fresh)  # type: ignore[misc]
                line(f"get {megabytes} MB with its {algorithm}", "curl, without a digest", figures, "<= 1.3")
        finally:
            server.kill()


def slices(place: Path, repeats: int) -> None:
    """430 slices of 240x240 out of three patients' four volumes, against nibabel and NumPy alone."""
    import nibabel

    import data_fetch
    from data_fetch import bring, protocol

    for number in range(12):
        name = f"BraTS20_Training_{number // 4:03d}"
        inside = np.zeros((240, 240, 155), np.int16)
        inside[50:190, 30:210, 5:150] = np.random.default_rng(number).normal(300, 90, (140, 180, 145)).clip(1)
        image = nibabel.Nifti1Image(inside, np.diag([-1.0, -1, 1, 1]))
        path = place / "BraTS" / name / f"{name}_{('t1', 't1ce', 't2', 'flair')[number % 4]}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(image.to_bytes(), 6))
    start = time.perf_counter()
    bring.bring("brats", place / "BraTS")
    print(f"medsr data import of 12 volumes: {time.perf_counter() - start:.1f} s, once")

    def ours() -> None:
        protocol._volume.cache_clear()
        assert sum(len(scan.pixels) for scan in data_fetch.load("brats", split="all", limit=430)) == 430

    def theirs() -> None:
        count = 0
        for path in sorted((place / "BraTS").rglob("*.nii.gz")):
            volume = np.asanyarray(nibabel.load(path).dataobj)
            for index in range(5, 150, 4):
                count += len(np.asarray(volume[:, :, index], np.float32)) > 0
        assert count >= 430

    line("load 430 slices of 240x240, 12 .nii.gz", "nibabel, slices as float32", duel(ours, theirs, repeats), "<= 1.2")
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    bare = subprocess.run([sys.executable, "-c", MEMORY.replace("sum(", "0 and sum(")], capture_output=True, text=True)
    print(f"peak memory of iterating {done.stdout.split()[0]} slices: {float(done.stdout.split()[1]):.0f} MB, of which "
          f"{float(bare.stdout.split()[1]):.0f} MB are Python and torch (target < 500 MB)")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the file to fetch (default 1000)")
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds of each comparison (default 5)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDSR_DATA"] = f"{folder}/data"
        slices(Path(folder), given.repeats)
        if shutil.which("curl"):
            fetch(Path(folder), given.megabytes, given.repeats)
        else:
            print("curl is not installed: fetching is left out")
