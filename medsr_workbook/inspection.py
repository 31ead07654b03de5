"""What a network looks at: parameters by stage, features, and the receptive field, measured by gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def parameters_by_stage(network: nn.Module) -> dict[str, int]:
    """Number of parameters of each direct part of a network, in the order it was built; empty parts are left out."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    return {name: count for name, count in counts.items() if count}


def influence(part: nn.Module, lr: Tensor) -> Tensor:
    """How strongly each input pixel moves the middle of the output: (1, 1, h, w), scaled to a maximum of 1.

    The mean absolute gradient of the output channels at the middle position with respect to `lr` (1, C, h, w), summed
    over input channels: the effective receptive field (Luo et al. 2016). Zero outside the theoretical one.
    """
    lr = lr.detach().clone().requires_grad_()
    output = part(lr)
    middle = output[0, :, output.shape[-2] // 2, output.shape[-1] // 2]
    total = torch.zeros_like(lr)
    for value in middle[:16]:  # a sample of channels is enough
        total += torch.autograd.grad(value, lr, retain_graph=True)[0].abs()
    total = total.sum(1, keepdim=True)
    return total / total.max()


def reach(field: Tensor, *, share: float = 0.0) -> int:
    """Side in pixels of the smallest centred square outside of which no pixel has more than `share` influence."""
    rows, columns = (field[0, 0] > share).nonzero().T
    h, w = field.shape[-2:]
    return 2 * int(max((rows - h // 2).abs().max(), (columns - w // 2).abs().max())) + 1


def strongest_maps(features: Tensor, count: int) -> Tensor:
    """The `count` feature maps with the greatest variance, each scaled to [-1, 1]: (count, 1, h, w)."""
    order = features[0].flatten(1).std(1).argsort(descending=True)[:count]
    maps = features[0, order].unsqueeze(1)
    return maps / maps.abs().amax((2, 3), keepdim=True).clamp(min=1e-12)
