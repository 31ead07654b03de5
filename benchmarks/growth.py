"""How time and memory grow with the side of the image, the batch and the samples, beside a peer in the same run.

    python benchmarks/growth.py [--quick] [--threads 1] [--minutes 10] [--write]

Each figure is the median of three in a process of its own, whose peak memory above that of a warm-up on the smallest
size is the memory. The slope is that of a straight line through the logarithms: 1 is "twice as much work, twice as
long"; of an image, work is its number of pixels. CPU seconds, since other programs then matter less; ratio is ours over
the peer's, at the largest size that both did. --write puts the table into benchmarks/README.md. A size that would not
end in time, or needs more memory than there is, is left out and the table says where it ends.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parent / "README.md"
TABLE = re.compile(r"(?<=<!-- growth -->\n).*?(?=<!-- end -->)", re.S)
SIDES = (128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 2, 4, 8, 16, 32)
SAMPLES = (1, 2, 4, 8)
Work = Callable[[int], Callable[[], object]]


# --- what is measured: of a size a function to be timed ---------------------------------------------------------------


def image(side: int, channels: int = 1) -> Any:
    import torch

    return torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0))


def enhance(method: str, **options: Any) -> Work:
    """An SR image of so many pixels along a side, at factor 4."""
    from medsr_core import upscalers

    return lambda side: partial(upscalers.upscale, image(side // 4), method, **options)


def enhance_interpolate(side: int) -> Callable[[], object]:
    """torch's bicubic interpolation."""
    import torch.nn.functional as F

    return partial(F.interpolate, image(side // 4), scale_factor=4, mode="bicubic", antialias=True)


def enhance_windows(side: int) -> Callable[[], object]:
    """MONAI's sliding window over the same network, 64 LR pixels a window, a quarter of it overlapping."""
    from monai.inferers import sliding_window_inference

    from medsr_core import networks

    network = networks.load("medgan", weights="brain")
    return partial(sliding_window_inference, image(side // 4), (64, 64), 4, network, overlap=0.25)


def evaluate(side: int) -> Callable[[], object]:
    """PSNR, SSIM and consistency of one image."""
    from medsr_core import degradation
    from medsr_core.measures import metrics

    hr, D = image(side), degradation.bicubic(4)
    sr = (hr + 0.05).clamp(0, 1)
    lr, options = D(hr), {"data_range": 1.0, "crop_border": 4}
    return lambda: (metrics.psnr(sr, hr, **options), metrics.ssim(sr, hr, **options), metrics.consistency(sr, lr, D))


def evaluate_torchmetrics(side: int) -> Callable[[], object]:
    """PSNR and SSIM by torchmetrics."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    hr = image(side)
    sr = (hr + 0.05).clamp(0, 1)
    return lambda: [f(sr, hr, data_range=1.0) for f in (peak_signal_noise_ratio, structural_similarity_index_measure)]


def evaluate_skimage(side: int) -> Callable[[], object]:
    """PSNR and SSIM by scikit-image."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    hr = image(side)[0, 0].numpy()
    sr = (hr + 0.05).clip(0, 1)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return lambda: (
        peak_signal_noise_ratio(hr, sr, data_range=1.0),
        structural_similarity(sr, hr, data_range=1.0, **window),
    )


def step_of(network: Any, ask: Callable[[Any, Any], Any], batch: int, memory: Any) -> Callable[[], object]:
    """A training step on so many patches of 64x64: forwards, backwards, Adam."""
    import torch

    y = torch.rand(batch, 2, 64, 64).contiguous(memory_format=memory)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)

    def step() -> None:
        optimiser.zero_grad()
        (ask(network, y) - y[:, :1]).square().mean().backward()
        optimiser.step()

    return step


def train_step(batch: int) -> Callable[[], object]:
    """SR3's U-Net at teaching size."""
    import torch

    from medsr_core import networks

    network = networks.create("sr3", channels=1).to(memory_format=torch.channels_last)
    level = torch.linspace(0.1, 0.9, batch)
    return step_of(network, lambda net, y: net(y[:, :1], y[:, 1:], level), batch, torch.channels_last)


def train_step_diffusers(batch: int) -> Callable[[], object]:
    """diffusers' U-Net with as many resolutions and channels."""
    import torch
    from diffusers import UNet2DModel

    kinds = {"down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}
    network = UNet2DModel(64, 2, 1, block_out_channels=(32, 64, 96), layers_per_block=1, add_attention=False, **kinds)
    t = torch.linspace(0, 999, batch).long()
    return step_of(network, lambda net, y: net(y, t).sample, batch, torch.contiguous_format)


def samples(count: int) -> Callable[[], object]:
    """SR3's samples of one image of 128x128."""
    from medsr_core import upscalers

    return partial(upscalers.samples, image(32), count, weights="brain", seed=0)


def samples_diffusers(count: int) -> Callable[[], object]:
    """diffusers' U-Net of that size and its DDIM scheduler, as many steps, all samples in one batch."""
    import torch
    from diffusers import DDIMScheduler, UNet2DModel

    from medsr_core.upscalers import DEFAULT_STEPS

    kinds = {"down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}
    network = UNet2DModel(128, 2, 1, block_out_channels=(32, 64, 96), layers_per_block=1, add_attention=False, **kinds)
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(DEFAULT_STEPS)
    network.eval()

    @torch.no_grad()
    def draw() -> object:
        y, x = torch.randn(count, 1, 128, 128), image(128).expand(count, -1, -1, -1)
        for t in scheduler.timesteps:
            y = scheduler.step(network(torch.cat([y, x], 1), t).sample, t, y).prev_sample
        return y

    return draw


# name: (work, sizes, ours or the peer's package)
WORK: dict[str, tuple[Work | Callable[[], Work], tuple[int, ...], str]] = {
    "enhance, bicubic": (lambda side: enhance("bicubic")(side), SIDES, ""),
    "enhance, bicubic: torch": (enhance_interpolate, SIDES, "torch"),
    "enhance, tv": (lambda side: enhance("tv")(side), SIDES, ""),
    "enhance, medgan": (lambda side: enhance("medgan", weights="brain")(side), SIDES, ""),
    "enhance, medgan: MONAI's windows": (enhance_windows, SIDES, "monai"),
    "evaluate": (evaluate, SIDES, ""),
    "evaluate: torchmetrics": (evaluate_torchmetrics, SIDES, "torchmetrics"),
    "evaluate: scikit-image": (evaluate_skimage, SIDES, "skimage"),
    "train step, batch": (train_step, BATCHES, ""),
    "train step, batch: diffusers": (train_step_diffusers, BATCHES, "diffusers"),
    "sample, samples": (samples, SAMPLES, ""),
    "sample, samples: diffusers": (samples_diffusers, SAMPLES, "diffusers"),
}


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(name: str, size: int, threads: int, repeats: int = 3) -> dict[str, float]:
    """In this process: CPU seconds (median) and MB of peak memory above that of a warm-up on the smallest size."""
    import torch

    torch.set_num_threads(threads)
    make, sizes, _ = WORK[name]
    make(sizes[0])()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work, seconds = make(size), []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    unit = 1024 if sys.platform != "darwin" else 1024**2
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
    return {"seconds": statistics.median(seconds), "megabytes": grown}


def grown(name: str, sizes: tuple[int, ...], threads: int, until: float) -> dict[int, dict[str, float]]:
    """Every size in a process of its own, until one fails or the time is over."""
    found: dict[int, dict[str, float]] = {}
    for size in sizes:
        left = until - time.monotonic()
        command = [sys.executable, __file__, "--measure", name, str(size), "--threads", str(threads)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(left, 1))
        except subprocess.TimeoutExpired:
            break
        if done.returncode:
            print(f"{name} at {size}: {(done.stderr.strip().splitlines() or ['killed'])[-1]}", file=sys.stderr)
            break
        found[size] = json.loads(done.stdout)
        print(f"{name:34} {size:5} {found[size]['seconds']:9.3f} s {found[size]['megabytes']:9.0f} MB", flush=True)
    return found


def slope(points: dict[int, float], *, power: int) -> float:
    """Of the least-squares line through log value against log work, work = size ** power; of the 3 largest sizes."""
    pairs = [(power * math.log(size), math.log(value)) for size, value in points.items() if value > 0][-3:]
    if len(pairs) < 2:
        return math.nan
    x, y = (statistics.fmean(column) for column in zip(*pairs, strict=True))
    return sum((a - x) * (b - y) for a, b in pairs) / sum((a - x) ** 2 for a, _ in pairs)


def table(results: dict[str, dict[int, dict[str, float]]]) -> str:
    """Markdown: a row for each kind of work."""
    heading = "| work | sizes | CPU s | slope | MB | slope | ours / peer: time, memory |"
    lines = [heading, "|---|--:|--:|--:|--:|--:|--:|"]
    for name, found in results.items():
        if not found:
            continue
        power = 2 if WORK[name][1] is SIDES else 1
        time_of, memory_of = ({n: row[key] for n, row in found.items()} for key in ("seconds", "megabytes"))
        first, last = min(found), max(found)
        slopes = [f"{slope(points, power=power):.2f}".replace("nan", "–") for points in (time_of, memory_of)]
        cells = [name, f"{first} to {last}", f"{time_of[first]:.3g} to {time_of[last]:.3g}", slopes[0],
                 f"{memory_of[last]:.0f}", slopes[1], _ratio(name, found, results)]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _ratio(name: str, found: dict[int, dict[str, float]], results: dict[str, dict[int, dict[str, float]]]) -> str:
    ours = results.get(name.split(":")[0], {})
    both = set(found) & set(ours)
    if ":" not in name or not both:
        return ""
    size = max(both)
    time_ratio = ours[size]["seconds"] / max(found[size]["seconds"], 1e-9)
    memory = f"{ours[size]['megabytes'] / found[size]['megabytes']:.2f}" if found[size]["megabytes"] > 1 else "–"
    return f"{time_ratio:.2f}, {memory} at {size}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10, help="for all [10]; shared out among the kinds of work")
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes of each: does it run?")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    parser.add_argument("--measure", nargs=2, metavar=("WORK", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure[0], int(given.measure[1]), given.threads)))
        return
    here = {name: work for name, work in WORK.items() if not work[2] or importlib.util.find_spec(work[2])}
    for name in WORK.keys() - here.keys():
        print(f"{name}: {WORK[name][2]} is not installed (make bench installs it), left out")
    results: dict[str, dict[int, dict[str, float]]] = {}
    end = time.monotonic() + 60 * given.minutes
    for number, (name, (_, sizes, _)) in enumerate(here.items()):
        share = (end - time.monotonic()) / (len(here) - number)
        results[name] = grown(name, sizes[:2] if given.quick else sizes, given.threads, time.monotonic() + share)
    made = table(results)
    print(made)
    if given.write:
        README.write_text(TABLE.sub(lambda _: made, README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
