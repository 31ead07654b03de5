"""Speed of the degradation and metric mathematics against named peers, as ratios measured in one process.

    python benchmarks/core.py [--threads 2] [--repeats 15]

Ours and each peer take turns, so that a drifting machine slows both; printed are the medians and the median of the
pairwise ratios. Peers that are not installed are left out (``make bench`` installs them).
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from medsr_core import degradation
from medsr_core.measures import metrics


def duel(ours: Callable[[], object], peer: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median seconds of ours and of the peer, and the median of ours / peer, in turns after a warm-up."""
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(repeats + 2)][2:]
    mine, theirs = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(theirs), statistics.median(a / b for a, b in pairs)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def line(name: str, peer: str, figures: tuple[float, float, float], target: str) -> None:
    """Print one comparison."""
    mine, theirs, ratio = figures
    print(f"{name:38} {1e3 * mine:8.1f} ms   {peer:38} {1e3 * theirs:8.1f} ms   ratio {ratio:5.2f}  (target {target})")


def bicubic(repeats: int) -> None:
    """Bicubic x4 down of 16 RGB images of 512x512."""
    from PIL import Image

    x = torch.rand(16, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    D = degradation.bicubic(4)
    pages = [Image.fromarray(channel.numpy()) for channel in x.flatten(0, 1)]
    peers: dict[str, tuple[Callable[[], object], str]] = {
        "torch interpolate, antialias (edges differ)": (
            lambda: torch.nn.functional.interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True),
            "<= 2.0",
        ),
        "Pillow, 48 float planes (edges differ)": (
            lambda: [page.resize((128, 128), Image.Resampling.BICUBIC) for page in pages],
            "-",
        ),
    }
    for name, (peer, target) in peers.items():
        line("bicubic x4 down, 16x3x512x512", name, duel(lambda: D(x), peer, repeats), target)


def ssim(repeats: int) -> None:
    """SSIM of 16 gray images of 256x256."""
    from skimage.metrics import structural_similarity

    g = torch.Generator().manual_seed(0)
    hr = torch.rand(16, 1, 256, 256, generator=g)
    sr = (hr + 0.1 * torch.randn(hr.shape, generator=g)).clamp(0, 1)
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    arrays = [(a[0].numpy(), b[0].numpy()) for a, b in zip(sr, hr, strict=True)]
    peers: dict[str, Callable[[], object]] = {
        "scikit-image, a loop": lambda: [structural_similarity(a, b, **options) for a, b in arrays]
    }
    if functional := _optional("torchmetrics.functional.image"):
        peers["torchmetrics"] = lambda: functional.structural_similarity_index_measure(sr, hr, data_range=1.0)
    if monai := _optional("monai.metrics"):
        metric = monai.SSIMMetric(2, data_range=1.0)
        peers["MONAI"] = lambda: metric(sr, hr)
    for name, peer in peers.items():
        ours = lambda: metrics.ssim(sr, hr, data_range=1.0)  # noqa: E731
        line("SSIM, 16x1x256x256", name, duel(ours, peer, repeats), "<= 0.8 of the fastest")


def imports(repeats: int) -> None:
    """Import of the science modules, in new interpreters, against torch alone."""

    def run(modules: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)

    ours = "torch, medsr_core, medsr_core.degradation, medsr_core.measures.metrics, medsr_core.upscalers, data_fetch"
    figures = duel(run(ours), run("torch"), max(3, repeats // 3))
    line("import medsr_core's science", "import torch", figures, f"+0.5 s; is {figures[0] - figures[1]:+.2f} s")


def _optional(module: str):
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"{module.split('.')[0]} is not installed: left out")
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--repeats", type=int, default=15, help="counted rounds of each comparison (default 15)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for benchmark in (bicubic, ssim, imports):
        benchmark(given.repeats)
