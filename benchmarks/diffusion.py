"""SR3's U-Net against diffusers' UNet2DModel, in one process, alternating, as ratios; then one scan in seconds.

    python benchmarks/diffusion.py [--threads 2] [--repeats 5]

Ours is the teaching network widened to 5.5 M parameters (three resolutions, like the shipped weights) and one of 5.9 M
with a fourth resolution, where parameters cost few operations. Theirs is UNet2DModel as it comes, in float32, once with
three resolutions and 5.1 M parameters, which all ratios refer to, and once with a fourth and 4.9 M. Input 2x6x64x64 (y
and x), output 3 channels. Ratio is time over that of the first UNet2DModel: below 1 is faster. bf16 is slow where
the processor does not know it. The scan: one brain slice of 240x240 from 60x60, and one of 960x960 from 240x240, at the
default steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

from medsr_core import networks, upscalers


def ours(width: int, multipliers: Sequence[int]) -> nn.Module:
    torch.manual_seed(0)
    return networks.create("sr3", width=width, multipliers=multipliers).to(memory_format=torch.channels_last)


def theirs(*widths: int) -> nn.Module:
    kinds = {"down_block_types": ("DownBlock2D",) * len(widths), "up_block_types": ("UpBlock2D",) * len(widths)}
    return UNet2DModel(64, 6, 3, block_out_channels=widths, layers_per_block=2, add_attention=False, **kinds)


def ask_ours(network: nn.Module, image: Tensor) -> Tensor:
    return network(image[:, :3], image[:, 3:], image.new_tensor([0.3, 0.7]))


def ask_theirs(network: nn.Module, image: Tensor) -> Tensor:
    return network(image, torch.tensor([300, 700])).sample


def forward(network: nn.Module, ask: Callable[[nn.Module, Tensor], Tensor], image: Tensor, bf16: bool) -> None:
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        ask(network, image)


def train(network: nn.Module, ask: Callable[[nn.Module, Tensor], Tensor], image: Tensor, bf16: bool) -> None:
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        said = ask(network, image)
    F.mse_loss(said.float(), image[:, :3]).backward()
    optimiser.step()


def scan(size: int) -> None:
    lr = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        start = time.perf_counter()
        upscalers.upscale(lr, "sr3", weights="brain")
    seconds = time.perf_counter() - start
    print(f"{size}x{size} to {4 * size}x{4 * size}, {upscalers.DEFAULT_STEPS} steps, brain weights: {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    three, four = (56, (1, 2, 3)), (32, (1, 2, 4, 5))
    runs = {
        "UNet2DModel": (theirs(64, 96, 128), ask_theirs, False),
        "UNet2DModel, 4": (theirs(32, 64, 96, 128), ask_theirs, False),
        "sr3": (ours(*three), ask_ours, False),
        "sr3, bf16": (ours(*three), ask_ours, True),
        "sr3, 4": (ours(*four), ask_ours, False),
        "sr3, 4, bf16": (ours(*four), ask_ours, True),
    }
    for name, (network, _, _) in runs.items():
        print(f"{name}: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.repeats} repeats, alternating")
    for what, step in (("forward", forward), ("training step", train)):
        times: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(arguments.repeats + 1):
            for name, (network, ask, bf16) in runs.items():
                memory = torch.contiguous_format if ask is ask_theirs else torch.channels_last
                image = torch.rand(2, 6, 64, 64).contiguous(memory_format=memory)
                start = time.perf_counter()
                step(network, ask, image, bf16)
                if repeat:  # the first round warms up
                    times[name].append(time.perf_counter() - start)
        print(f"\n{what}, 2x6x64x64\n{'':16} {'best s':>8} {'median s':>9} {'ratio':>6}   (ours / theirs)")
        for name, values in times.items():
            ratio = min(values) / min(times["UNet2DModel"])
            print(f"{name:16} {min(values):8.3f} {statistics.median(values):9.3f} {ratio:6.2f}")
    print()
    for size in (60, 240):
        scan(size)


if __name__ == "__main__":
    main()
