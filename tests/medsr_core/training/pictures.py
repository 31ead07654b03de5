"""Pictures that the tests of trainings share."""

import torch


def image(seed=0, size=(48, 52), channels=1):
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(seed))
