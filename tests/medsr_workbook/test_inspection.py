"""Receptive fields against what kernel sizes add up to."""

import torch
from torch import nn

from medsr_core import networks
from medsr_workbook import inspection


def test_influence_of_a_stack_of_convolutions_reaches_as_far_as_its_kernels():
    torch.manual_seed(0)
    stack = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2), nn.Conv2d(4, 2, 7, padding=3))
    field = inspection.influence(stack, torch.rand(1, 1, 41, 41))
    assert field.shape == (1, 1, 41, 41) and field.max() == 1
    assert inspection.reach(field) == 1 + 2 + 4 + 6
    assert inspection.reach(field, share=0.999) == 1 or field[0, 0, 20, 20] < 1


def test_influence_of_one_kernel_is_its_absolute_weights():
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    field = inspection.influence(layer, torch.rand(1, 1, 9, 9))
    assert torch.allclose(field[0, 0, 3:6, 3:6], (layer.weight / layer.weight.abs().max()).abs()[0, 0])


def test_branches_of_the_medical_gan_reach_by_their_kernels():
    generator = networks.create("medgan-pixel", channels=1)
    lr = torch.rand(1, 1, 61, 61)
    reached = [inspection.reach(inspection.influence(branch, lr)) for branch in generator.branches]
    assert reached == [1 + 5 * (k - 1) for k in (3, 5, 7)]  # a convolution and two blocks of two


def test_parameters_by_stage_add_up():
    generator = networks.create("medgan-pixel")
    counts = inspection.parameters_by_stage(generator)
    assert sum(counts.values()) == sum(p.numel() for p in generator.parameters())
    first, *_, last = counts
    assert (first, last) == ("branches", "last")


def test_strongest_maps_come_first_and_are_scaled():
    features = torch.stack([torch.zeros(8, 8), 3 * torch.eye(8), torch.eye(8)])[None]
    maps = inspection.strongest_maps(features, 2)
    assert torch.equal(maps, torch.eye(8).expand(2, 1, 8, 8))
