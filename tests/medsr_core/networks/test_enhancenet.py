"""EnhanceNet: the authors' own counts, bicubic underneath, and a discriminator without normalisation."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from medsr_core import networks
from medsr_core.degradation import bicubic
from medsr_core.networks import enhancenet


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_counts_are_those_of_the_authors_file():
    with torch.device("meta"):
        assert parameters(networks.create("enhancenet", preset="paper")) == 852_867
        assert parameters(networks.create("enhancenet", preset="paper", channels=1)) == 850_561
        assert parameters(networks.create_discriminator("enhancenet", preset="paper")) == 13_102_881


def test_ten_blocks_nearest_neighbour_and_no_normalisation():
    network = enhancenet.Generator()
    widths = [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [(3, 64, 3)] + [(64, 64, 3)] * (2 * 10 + 2 + 1) + [(64, 3, 3)]
    assert not [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, nn.PixelShuffle, nn.ConvTranspose2d))]


def test_it_learns_what_bicubic_interpolation_misses():
    """A new one is bicubic interpolation; a constant LR image stays nearly constant, whatever it has learned."""
    lr = torch.rand(1, 3, 8, 6)
    network = enhancenet.Generator(width=8)
    torch.testing.assert_close(network(lr), bicubic(Fraction(1, 4))(lr))
    nn.init.constant_(network.last.bias, 0.25)
    torch.testing.assert_close(network(lr), bicubic(Fraction(1, 4))(lr) + 0.25)


def test_the_means_are_taken_away_before_the_first_convolution():
    network, seen = enhancenet.Generator(width=8), {}
    network.first.register_forward_hook(lambda layer, inputs, output: seen.update(x=inputs[0]))
    network(torch.tensor(enhancenet.MEANS).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    torch.testing.assert_close(seen["x"], torch.zeros(1, 3, 4, 4))


def test_a_block_adds_and_nothing_follows_the_sum():
    block, x = enhancenet.ResidualBlock(4), torch.randn(1, 4, 5, 5)
    nn.init.zeros_(block.layers[2].weight), nn.init.zeros_(block.layers[2].bias)
    assert torch.equal(block(x), x) and (x < 0).any()


def test_the_discriminator():
    opponent = networks.create_discriminator("enhancenet", size=64, channels=1)
    assert opponent(torch.rand(2, 1, 64, 64)).shape == (2, 1)
    assert not [m for m in opponent.modules() if isinstance(m, nn.BatchNorm2d)]
    with pytest.raises(ValueError, match="multiple of 32"):
        enhancenet.Discriminator(size=80)
