"""Our generators against BasicSR's MSRResNet, in one process, alternating, as ratios.

    python benchmarks/networks.py [--threads 2] [--repeats 5]

The peer is restated below from torch's layers: 64 feature maps, 16 blocks without batch normalisation, two sub-pixel
steps, bilinear base image; 1,517,571 parameters, as theirs. Ratio is the peer's time in plain float32 divided by
ours: above 1 we are faster. Ours are measured at paper and at teaching size, in float32 and in bfloat16 with
channels-last memory; how far bfloat16 is from float32 with trained weights is printed too.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

from medsr_core import networks


class MSRResNet(nn.Module):
    """BasicSR's MSRResNet, restated from torch's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(True), nn.Conv2d(64, 64, 3, padding=1))
            for _ in range(16)
        )
        self.up1, self.up2 = nn.Conv2d(64, 256, 3, padding=1), nn.Conv2d(64, 256, 3, padding=1)
        self.hr, self.last = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(self.first(x), 0.1)
        for block in self.body:
            y = y + block(y)
        y = F.leaky_relu(F.pixel_shuffle(self.up1(y), 2), 0.1)
        y = F.leaky_relu(F.pixel_shuffle(self.up2(y), 2), 0.1)
        y = self.last(F.leaky_relu(self.hr(y), 0.1))
        return y + F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)


def forward_step(network: nn.Module, bf16: bool) -> None:
    memory = torch.channels_last if bf16 else torch.contiguous_format
    x = torch.rand(1, 3, 128, 128).contiguous(memory_format=memory)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        network.eval()(x)


def training_step(network: nn.Module, bf16: bool) -> None:
    network.train()
    memory = torch.channels_last if bf16 else torch.contiguous_format
    lr, hr = (torch.rand(8, 3, n, n).contiguous(memory_format=memory) for n in (24, 96))
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        sr = network(lr)
    F.l1_loss(sr.float(), hr).backward()
    optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    peer = ("MSRResNet (restated)", False)
    runs: dict[tuple[str, bool], nn.Module] = {peer: MSRResNet()}
    for method, preset in itertools.product(("srgan", "medgan"), ("paper", "teaching")):
        runs[f"{method}, {preset}", False] = networks.create(method, preset=preset)
        runs[f"{method}, {preset}", True] = networks.create(method, preset=preset).to(memory_format=torch.channels_last)
    print(f"torch {torch.__version__}, {arguments.threads} threads, best of {arguments.repeats}, alternating")
    work = [("forward, 1x3x128x128 to 512x512", forward_step), ("training step, 8 of 24 to 96", training_step)]
    for what, step in work:
        times: dict[tuple[str, bool], list[float]] = {key: [] for key in runs}
        for repeat in range(arguments.repeats + 1):
            for key, network in runs.items():
                start = time.perf_counter()
                step(network, key[1])
                if repeat:  # the first round warms up
                    times[key].append(time.perf_counter() - start)
        print(f"\n{what}\n{'':26} {'best s':>8} {'median s':>9} {'ratio':>6}   (peer / ours; above 1 we are faster)")
        base = min(times[peer])
        for (label, bf16), values in times.items():
            kind = f"{label}{', bf16' if bf16 else ''}"
            print(f"{kind:26} {min(values):8.3f} {statistics.median(values):9.3f} {base / min(values):6.2f}")
    for method in ("srresnet", "medgan-pixel"):
        for weights in networks.available(method)[:1]:
            network, lr = networks.load(method, weights=weights), torch.rand(1, 1, 64, 64)
            with torch.no_grad():
                exact = network(lr)
                with torch.autocast("cpu", torch.bfloat16):
                    rounded = network.to(memory_format=torch.channels_last)(lr)
            difference = (exact - rounded).abs().max().item()
            print(f"bf16 against fp32, {method} {weights}: largest difference {difference:.1e} of range 1")


if __name__ == "__main__":
    main()
