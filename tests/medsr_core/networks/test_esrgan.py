"""RRDB and ESRGAN's discriminator: the released networks' counts, and what the paper says of their parts."""

import pytest
import torch
from torch import nn

from medsr_core import networks
from medsr_core.networks import esrgan


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_counts_are_those_of_the_released_networks():
    with torch.device("meta"):
        assert parameters(networks.create("esrgan", preset="paper")) == 16_697_987
        assert parameters(networks.create_discriminator("esrgan", preset="paper")) == 14_499_401
        assert parameters(esrgan.RRDB(64, 32)) == 719_424 and parameters(esrgan.DenseBlock(64, 32)) == 239_808
    assert parameters(networks.create("rrdb")) == 758_755 and parameters(networks.create("rrdb", channels=1)) == 757_601


def test_without_its_convolutions_a_block_is_one_and_a_fifth_times_what_came_in():
    """The chain has skips of its own: x + 0.2 x, not x. Twenty-three of them: 66 x."""
    block, x = esrgan.RRDB(8, 4), torch.rand(1, 8, 5, 6)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), 1.2 * x)


def test_a_dense_block_is_what_its_drawing_says():
    """Every convolution sees everything before it; written out for two of them by hand."""
    torch.manual_seed(0)
    block, x = esrgan.DenseBlock(6, 3), torch.rand(2, 6, 5, 4)
    lrelu = nn.LeakyReLU(0.2)
    seen = x
    for layer in block.layers[:4]:
        assert layer.in_channels == seen.shape[1]
        seen = torch.cat([seen, lrelu(layer(seen))], 1)
    torch.testing.assert_close(block(x), block.layers[4](seen))
    spread = block.layers[0].weight.std().item()
    he = (2 / (1 + 0.2**2) / (6 * 9)) ** 0.5
    assert 0.07 * he < spread < 0.13 * he and not any(layer.bias.any() for layer in block.layers)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_every_lr_pixel_becomes_factor_by_factor(factor):
    network = esrgan.Generator(width=6, depth=1, growth=3, factor=factor)
    assert network(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * factor, 7 * factor)
    assert network(torch.rand(1, 1, 5, 7)).shape == (1, 1, 5 * factor, 7 * factor)
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


def test_moving_the_lr_image_by_a_pixel_moves_the_sr_image_by_factor():
    network, x = esrgan.Generator(width=6, depth=1, growth=3).eval(), torch.rand(1, 3, 40, 40)
    moved, still = network(x.roll(1, -1)), network(x).roll(4, -1)
    torch.testing.assert_close(moved[..., 72:88, 72:88], still[..., 72:88, 72:88])


def test_the_discriminator_halves_five_times_and_names_the_patch_it_needs():
    opponent = networks.create_discriminator("esrgan", channels=1, size=96)
    kinds = [(m.kernel_size[0], m.stride[0]) for m in opponent.modules() if isinstance(m, nn.Conv2d)]
    assert kinds == [(3, 1), (4, 2)] * 5
    assert opponent(torch.rand(2, 1, 96, 96)).shape == (2, 1)
    with pytest.raises(ValueError, match="multiple of 32"):
        esrgan.Discriminator(size=48)
    with pytest.raises(ValueError, match="96x96"):
        opponent(torch.rand(2, 1, 64, 64))
