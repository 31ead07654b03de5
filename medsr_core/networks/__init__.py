"""The networks by name, and their weights: safetensors files with the architecture in their header. No pickle.

=============  ======================================================================================
srresnet       SRGAN's generator, trained for pixel error
srgan          the same network, trained on against SRGAN's discriminator
medgan-pixel   the medical GAN's generator, trained for pixel error
medgan         the same network, trained on against the medical GAN's discriminator
=============  ======================================================================================

One channel or three: brain and heart weights have one, fundus, skin and general three. A three-channel network repeats
a gray image and returns the mean of its three outputs; a one-channel network refuses colour. `as_gray` and `as_colour`
turn one into the other, with the same output on gray images.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medsr_core.networks import medgan, srgan

FAMILY = {"srresnet": srgan, "srgan": srgan, "medgan-pixel": medgan, "medgan": medgan}
ADVERSARIAL = {"srgan": "srresnet", "medgan": "medgan-pixel"}  # method -> the method whose weights it starts from
Generator = srgan.Generator | medgan.Generator
ARCHITECTURES: dict[str, type[Generator]] = {"srgan.Generator": srgan.Generator, "medgan.Generator": medgan.Generator}
FOLDER = Path(__file__).parent.parent / "weights"


class WeightsError(ValueError):
    """A weights file that is missing, damaged, or not what it should be; the message says what to do."""


def create(method: str, *, preset: str = "teaching", **changes: Any) -> Generator:
    """A generator with random weights: `preset` is "teaching" or "paper" size, `changes` are arguments of its class."""
    family = _family(method)
    if preset not in ("teaching", "paper"):
        raise ValueError(f"preset is {preset!r}; give 'teaching' or 'paper'")
    arguments: dict[str, Any] = {**(family.PAPER if preset == "paper" else family.TEACHING), **changes}
    return family.Generator(**arguments)


def create_discriminator(method: str, *, preset: str = "teaching", **changes: Any) -> nn.Module:
    """The opponent of `create`'s generator; at teaching size 24 feature maps and 256 dense units (ours)."""
    arguments: dict[str, Any] = {**({"width": 24, "dense": 256} if preset == "teaching" else {}), **changes}
    return _family(method).Discriminator(**arguments)


def load(method: str, *, weights: str | Path = "general") -> Generator:
    """The generator of `method` with trained weights, in evaluation mode, on the CPU, in float32.

    Parameters
    ----------
    method : srresnet, srgan, medgan-pixel or medgan
    weights : a shipped set (`available` lists them) or the path of a .safetensors file. Where a model card (.md) lies
        beside the file, the SHA-256 it states must be the file's.

    Raises
    ------
    WeightsError : no such file; truncated, tampered with, not safetensors, or of another architecture
    """
    family = _family(method)
    path = Path(weights)
    if path.suffix != ".safetensors":
        path = FOLDER / f"{method}-{weights}.safetensors"
        if not path.is_file():
            have = ", ".join(available(method)) or "none"
            raise WeightsError(f"no weights {str(weights)!r} for {method}; shipped: {have}; or give a path")
    about, tensors = _read(path)
    try:
        architecture, arguments = about["architecture"], about["arguments"]
        network = _empty(architecture, arguments)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path.name} does not describe a network of this package: {error}") from None
    if not isinstance(network, family.Generator):
        raise WeightsError(f"{path.name} holds a {architecture}, and {method} needs a {_name(family.Generator)}")
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
        raise WeightsError(f"the tensors in {path.name} are not those of {architecture} with {arguments}")
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError(f"{path.name} has NaN or infinite weights; train again")
    network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def save(network: Generator, path: str | Path, *, dtype: torch.dtype = torch.float32, **about: Any) -> str:
    """Write a generator to a safetensors file, all or nothing, and return the file's SHA-256.

    `about` (anything JSON can hold: data, steps, seed) joins the architecture and its arguments in the file's header.
    `dtype` is what floating-point weights are stored as; float16 halves the file.
    """
    path = Path(path)
    header = {"architecture": _name(type(network)), "arguments": network.arguments, **about}
    tensors = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    write_atomically(tensors, header, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_atomically(tensors: dict[str, Tensor], header: dict[str, Any], path: Path) -> None:
    """A safetensors file with `header` as JSON in its metadata: after a crash it is the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={"medsr": json.dumps(header)})
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def read_checked(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a file that `write_atomically` wrote; raises WeightsError on any other."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["medsr"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} is damaged or no safetensors file ({error}); fetch it again") from None
    except (KeyError, ValueError, TypeError):
        raise WeightsError(f"{path.name} is a safetensors file, but not one of this package") from None
    if not isinstance(about, dict):
        raise WeightsError(f"{path.name} is a safetensors file, but not one of this package")
    return about, tensors


def available(method: str) -> list[str]:
    """The shipped sets of weights for `method`, such as brain, fundus, general."""
    _family(method)
    names = (path.stem.removeprefix(f"{method}-") for path in FOLDER.glob(f"{method}-*.safetensors"))
    return sorted(name for name in names if "-" not in name)  # medgan-pixel-brain belongs to medgan-pixel


def weights_for(data: str) -> str:
    """The shipped weights for a data set: its own if there are some, else "general"."""
    return data if data in available("srresnet") else "general"


def as_gray(network: Generator) -> Generator:
    """A one-channel copy of a three-channel generator, with the same output on every gray image.

    A gray image repeated three times times three kernels is the gray image times their sum; the mean of three outputs
    is the output of the mean kernel.
    """
    if network.channels == 1:
        return network
    gray = type(network)(**{**network.arguments, "channels": 1})
    state = copy.deepcopy(network.state_dict())
    for name, target in gray.state_dict().items():
        if state[name].shape != target.shape:
            kernel_in = state[name].ndim == 4 and state[name].shape[1] == 3
            state[name] = state[name].sum(1, keepdim=True) if kernel_in else state[name].mean(0, keepdim=True)
    gray.load_state_dict(state)
    return gray.train(network.training)


def as_colour(network: Generator) -> Generator:
    """A three-channel copy of a one-channel generator, with the same output on every gray image."""
    if network.channels == 3:
        return network
    colour = type(network)(**{**network.arguments, "channels": 3})
    state = copy.deepcopy(network.state_dict())
    for name, target in colour.state_dict().items():
        if state[name].shape != target.shape:
            kernel_in = state[name].ndim == 4 and target.shape[1] == 3
            state[name] = state[name].expand_as(target) / (3 if kernel_in else 1)
    colour.load_state_dict(state)
    return colour.train(network.training)


def copy_of(network: Generator, *, channels: int | None = None) -> Generator:
    """A trainable copy with the same weights; `channels` (1 or 3) makes it gray or colour."""
    if channels is not None:
        network = as_gray(network) if channels == 1 else as_colour(network)
    return copy.deepcopy(network).requires_grad_(True)


def _family(method: str) -> Any:
    if method not in FAMILY:
        raise ValueError(f"there is no method {method!r}; give one of {', '.join(FAMILY)}")
    return FAMILY[method]


def _name(kind: type) -> str:
    return next(name for name, known in ARCHITECTURES.items() if known is kind)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """`read_checked`, after comparing the file with the digest in the model card beside it."""
    card = path.with_suffix(".md")
    stated = re.search(r"\b[0-9a-f]{64}\b", card.read_text(encoding="utf-8")) if card.is_file() else None
    if stated and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != stated[0]:
        raise WeightsError(f"{path.name} is not the file that {card.name} describes: truncated or tampered with")
    return read_checked(path)


def _empty(architecture: str, arguments: dict[str, Any]) -> Generator:
    """A network without memory, so that a header cannot make us allocate or run anything."""
    if not isinstance(architecture, str) or not isinstance(arguments, dict):
        raise TypeError("its header")
    kind = ARCHITECTURES[architecture]
    unknown = set(arguments) - set(inspect.signature(kind).parameters)
    too_large = [name for name, value in arguments.items() if isinstance(value, int) and value > 1024]
    if unknown or too_large:
        raise ValueError(f"arguments {sorted(unknown) or too_large}")
    with torch.device("meta"):
        return kind(**arguments)
