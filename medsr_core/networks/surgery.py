"""Operations on trained networks: gray to colour and back, another factor, a mixture of two."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypeVar

import torch

from medsr_core.networks.methods import TRAINED
from medsr_core.networks.weights import Network, load

N = TypeVar("N", bound=Any)


def interpolated(method: str, amount: float, *, weights: str | Path = "general") -> Network:
    """Between a pixel-trained network (amount 0) and the adversarial one that grew from it (1): weights mixed in that
    proportion (Wang et al. 2018, ESRGAN, section 3.4).

    method : srgan or medgan
    amount : 0 to 1, also a little beyond
    weights : a shipped set that both have
    """
    grown = {name: known.starts_from for name, known in TRAINED.items() if known.starts_from}
    if method not in grown:
        raise ValueError(f"{method!r} did not grow from a pixel-trained network; give {' or '.join(grown)}")
    start, end = (load(name, weights=weights) for name in (grown[method], method))
    mixed = {name: torch.lerp(tensor, end.state_dict()[name], amount) for name, tensor in start.state_dict().items()}
    start.load_state_dict(mixed)
    return start


def copy_of(network: N, *, channels: int | None = None, factor: int | None = None) -> N:
    """A trainable copy with the same weights; `channels` (1 or 3) makes it gray or colour.

    `factor` makes it one for another factor: only SR3's networks, which start from the enlarged image, can do that.
    """
    if channels is not None:
        network = as_gray(network) if channels == 1 else as_colour(network)
    copied: Any = copy.deepcopy(network)
    if factor is not None and factor != network.factor:
        try:
            copied = _rebuilt(network, factor=factor)
            copied.load_state_dict(network.state_dict())
        except (TypeError, RuntimeError):  # its factor is fixed, or has layers of its own
            raise ValueError(f"weights for factor {network.factor} cannot go on with {factor}; train anew") from None
    return copied.requires_grad_(True)


def as_gray(network: N) -> N:
    """A one-channel copy of a three-channel network. A generator's output on gray images is the same.

    A gray image repeated three times times three kernels is the gray image times their sum; the mean of three outputs
    is the output of the mean kernel. (SR3's y is not gray, so for it this is only a start to train on from.)
    """
    return network if network.channels == 1 else _with_channels(network, 1)


def as_colour(network: N) -> N:
    """A three-channel copy of a one-channel network, see `as_gray`."""
    return network if network.channels == 3 else _with_channels(network, 3)


def _rebuilt(network: Network, **changes: Any) -> Any:
    """A network of the same class and other arguments, with random weights."""
    return type(network)(**{**network.arguments, **changes})


def _with_channels(network: N, channels: int) -> N:
    other = _rebuilt(network, channels=channels)
    state = copy.deepcopy(network.state_dict())
    for name, target in other.state_dict().items():
        sizes = enumerate(zip(state[name].shape, target.shape, strict=True))
        axis = next((i for i, (old, new) in sizes if old != new), None)
        if axis == 1 and channels == 1:  # kernels on what comes in: y and x of SR3 are one after the other
            state[name] = state[name].unflatten(1, (-1, 3)).sum(2)
        elif axis == 0 and channels == 1:
            state[name] = state[name].mean(0, keepdim=True)
        elif axis is not None:
            state[name] = state[name].repeat_interleave(3, axis) / (3 if axis == 1 else 1)
    other.load_state_dict(state)
    return other.train(network.training)
