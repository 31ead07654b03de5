"""Tiles against the whole image."""

import subprocess
import sys
from functools import partial

import pytest
import torch

from medsr_core import networks, tiling, upscalers
from medsr_core.networks import srgan
from medsr_core.networks.sr3 import bicubic_start


def network(**changes):
    torch.manual_seed(0)
    return srgan.Generator(**({"channels": 1, "width": 8, "depth": 2, "norm": None} | changes)).eval()


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 61), (64, 40)])
def test_equal_to_the_whole_image_where_the_margin_covers_the_receptive_field(size):
    net, lr = network(), torch.rand(1, 1, *size)
    # radius in LR pixels: 9x9 head 4, five 3x3 at x1 5, first x2 convolution 1, second 0.5, 9x9 at x4 1
    with torch.no_grad():
        whole = net(lr)
    torch.testing.assert_close(tiling.upscale(net, lr, tile=16, margin=12), whole, atol=1e-6, rtol=0)


def test_a_margin_of_zero_shows_seams():
    net, lr = network(), torch.rand(1, 1, 32, 32)
    assert (tiling.upscale(net, lr, tile=16, margin=0) - net(lr)).abs().max() > 1e-3


CONVOLUTIONAL = [name for name, known in networks.TRAINED.items() if not known.whole]


@pytest.mark.parametrize(
    "method, name", [(m, networks.available(m)[0]) for m in CONVOLUTIONAL if networks.available(m)]
)
def test_shipped_weights_are_seam_free_with_the_default_margin(method, name):
    net = networks.load(method, weights=name)
    g = torch.Generator().manual_seed(0)
    lr = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 84, 80, generator=g), 5, 1)  # blobs with edges
    lr = (lr > 0.5).float() * 0.6 + lr * 0.4
    if method == "sr3":
        return seam_free_at_every_noise_level(net, lr, g)
    with torch.no_grad():
        whole = net(lr)
    assert (tiling.upscale(net, lr, tile=48) - whole).abs().max() < 1e-3


def seam_free_at_every_noise_level(net, lr, g):
    x = bicubic_start(net, lr)
    for level in (4e-5, 0.1, 0.9):
        y, noise_level = torch.randn(x.shape, generator=g), torch.tensor([level])
        with torch.no_grad():
            whole = net.decode(net.denoise(y, x, noise_level), x)
        tiled = tiling.in_tiles(partial(net.denoise, noise_level=noise_level), y, x, tile=192, margin=64)
        assert (net.decode(tiled, x) - whole).abs().max() < 1e-3


def test_bad_input():
    with pytest.raises(ValueError, match="NaN"):
        tiling.upscale(network(), torch.full((1, 1, 8, 8), float("nan")))
    with pytest.raises(ValueError, match="tile"):
        tiling.upscale(network(), torch.rand(1, 1, 8, 8), tile=0)


def test_1024_by_512_times_four_stays_below_2_gib():
    """In a process of its own, whose peak is measured: the largest network on one tile, a small one on all."""
    code = """
import resource, torch
from medsr_core import networks, tiling, upscalers
torch.manual_seed(0)
sr = tiling.upscale(networks.create("srgan", preset="paper").eval(), torch.rand(1, 3, 160, 160), tile=160)
assert sr.shape == (1, 3, 640, 640)
small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sr = tiling.upscale(networks.create("srgan", width=8, depth=1, tail=4).eval(), torch.rand(1, 3, 512, 1024), tile=128)
assert sr.shape == (1, 3, 2048, 4096)
print(small, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    unit = 1024**2 if sys.platform != "darwin" else 1024**3
    assert max(map(float, out.split())) / unit < 2


@pytest.mark.parametrize("method", ["srresnet", "medgan-pixel", "regression"])
def test_upscale_shows_no_seam_where_an_image_is_cut(method):
    """More than 128 LR pixels, so that `upscalers.upscale` cuts; with its own margin, whatever that is."""
    g = torch.Generator().manual_seed(0)
    lr = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 164, 36, generator=g), 5, 1)
    lr = (lr > 0.5).float() * 0.6 + lr * 0.4
    with torch.no_grad():
        whole = upscalers.trained(method, "brain")(lr).clamp(0, 1)
    assert (upscalers.upscale(lr, method, weights="brain") - whole).abs().max() < 1e-3
