"""The networks by name, and their weights: safetensors files with the architecture in their header. No pickle.

=============  ======================================================================================
srresnet       SRGAN's generator, trained for pixel error
srgan          the same network, trained on against SRGAN's discriminator
medgan-pixel   the medical GAN's generator, trained for pixel error
medgan         the same network, trained on against the medical GAN's discriminator
regression     SR3's U-Net, one step, trained for squared error
sr3            the same U-Net, trained to remove noise: `medsr_core.diffusion` walks from noise to an image with it
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
import re
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medsr_core.files import whole
from medsr_core.networks import medgan, sr3, srgan

Generator = srgan.Generator | medgan.Generator | sr3.Regression  # LR image -> SR image
Network = Generator | sr3.SR3
FAMILY: dict[str, type[Network]] = {
    "srresnet": srgan.Generator, "srgan": srgan.Generator,
    "medgan-pixel": medgan.Generator, "medgan": medgan.Generator,
    "regression": sr3.Regression, "sr3": sr3.SR3,
}  # fmt: skip
ADVERSARIAL = {"srgan": "srresnet", "medgan": "medgan-pixel"}  # method -> the method whose weights it starts from
ARCHITECTURES: dict[str, type[Network]] = {
    "srgan.Generator": srgan.Generator, "medgan.Generator": medgan.Generator,
    "sr3.Regression": sr3.Regression, "sr3.SR3": sr3.SR3,
}  # fmt: skip
FACTORS = (2, 4, 8, 16)
N = TypeVar("N", bound=Network)
FOLDER = Path(__file__).parent.parent / "weights"


class WeightsError(ValueError):
    """A weights file that is missing, damaged, or not what it should be; the message says what to do."""


def create(method: str, *, preset: str = "teaching", **changes: Any) -> Network:
    """A network with random weights, of teaching or paper size; `changes` are arguments of its class.

    `preset` is "teaching", "paper", or one of SR3's tasks, "16-128", "64-256" (its "paper"), "64-512", "256-1024".
    """
    kind = _family(method)
    presets = _presets(method)
    if preset not in presets:
        raise ValueError(f"preset is {preset!r}; for {method} give one of {', '.join(map(repr, presets))}")
    unknown = set(changes) - set(inspect.signature(kind).parameters)
    if unknown:
        raise ValueError(f"{method} takes no {', '.join(sorted(unknown))}")
    return kind(**{**presets[preset], **changes})


def _presets(method: str) -> dict[str, dict[str, Any]]:
    module = inspect.getmodule(FAMILY[method])
    tasks = sr3.TASKS if module is sr3 else {}
    return {"teaching": module.TEACHING, "paper": module.PAPER, **tasks}  # type: ignore[union-attr]


def create_discriminator(method: str, *, preset: str = "teaching", **changes: Any) -> nn.Module:
    """The opponent of `create`'s generator; at teaching size 24 feature maps and 256 dense units (ours)."""
    arguments: dict[str, Any] = {**({"width": 24, "dense": 256} if preset == "teaching" else {}), **changes}
    kind = medgan.Discriminator if _family(method) is medgan.Generator else srgan.Discriminator
    return kind(**arguments)


def load(method: str, *, weights: str | Path = "general", factor: int = 4) -> Network:
    """The network of `method` with trained weights, in evaluation mode, on the CPU, in float32.

    Parameters
    ----------
    method : a name from the table above
    weights : a shipped set (`available` lists them) or the path of a .safetensors file. Where a model card (.md) lies
        beside the file, the SHA-256 it states must be the file's.
    factor : which of the shipped sets of that name; a file has its own factor

    Raises
    ------
    WeightsError : no such file; truncated, tampered with, not safetensors, or of another architecture
    """
    kind = _family(method)
    path = Path(weights)
    if path.suffix != ".safetensors":
        path = FOLDER / f"{method}-{weights}{'' if factor == 4 else f'-{factor}x'}.safetensors"
        if not path.is_file():
            shipped = ", ".join(f"{f}x: {' '.join(available(method, f))}" for f in FACTORS if available(method, f))
            what = f"no weights {str(weights)!r} for {method} and factor {factor}"
            raise WeightsError(f"{what}; shipped: {shipped or 'none'}; or give a path to your own")
    about, tensors = _read(path)
    try:
        architecture, arguments = about["architecture"], about["arguments"]
        network = _empty(architecture, arguments)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path.name} does not describe a network of this package: {error}") from None
    if not isinstance(network, kind):
        raise WeightsError(f"{path.name} holds a {architecture}, and {method} needs a {_name(kind)}")
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
        raise WeightsError(f"the tensors in {path.name} are not those of {architecture} with {arguments}")
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError(f"{path.name} has NaN or infinite weights; train again")
    network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def save(network: Network, path: str | Path, *, dtype: torch.dtype = torch.float32, **about: Any) -> str:
    """Write a network to a safetensors file, all or nothing, and return the file's SHA-256.

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
    with whole(path) as part:
        save_file(tensors, part, metadata={"medsr": json.dumps(header)})


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


def available(method: str, factor: int = 4) -> list[str]:
    """The shipped sets of weights for `method` and a factor, such as brain, fundus, general."""
    _family(method)
    ending = "" if factor == 4 else f"-{factor}x"
    files = FOLDER.glob(f"{method}-*{ending}.safetensors")
    names = (path.stem.removeprefix(f"{method}-").removesuffix(ending) for path in files)
    return sorted(name for name in names if "-" not in name)  # medgan-pixel-brain belongs to medgan-pixel


def interpolated(method: str, amount: float, *, weights: str | Path = "general") -> Network:
    """Between a pixel-trained network (amount 0) and the adversarial one that grew from it (1): weights mixed in that
    proportion (Wang et al. 2018, ESRGAN, section 3.4).

    method : srgan or medgan
    amount : 0 to 1, also a little beyond
    weights : a shipped set that both have
    """
    if method not in ADVERSARIAL:
        raise ValueError(f"{method!r} did not grow from a pixel-trained network; give {' or '.join(ADVERSARIAL)}")
    start, end = (load(name, weights=weights) for name in (ADVERSARIAL[method], method))
    mixed = {name: torch.lerp(tensor, end.state_dict()[name], amount) for name, tensor in start.state_dict().items()}
    start.load_state_dict(mixed)
    return start


def weights_for(data: str, method: str = "srresnet") -> str:
    """The shipped weights for a data set: its own if the method has some, else "general"."""
    return data if data in available(method) else "general"


def copy_of(network: N, *, channels: int | None = None, factor: int | None = None) -> N:
    """A trainable copy with the same weights; `channels` (1 or 3) makes it gray or colour.

    `factor` makes it one for another factor: only SR3's networks, which start from the enlarged image, can do that.
    """
    if channels is not None:
        network = as_gray(network) if channels == 1 else as_colour(network)
    copied: Any = copy.deepcopy(network)
    if factor is not None and factor != network.factor:
        if not isinstance(network, sr3.SR3 | sr3.Regression):
            raise ValueError(f"weights for factor {network.factor} cannot go on with factor {factor}; train anew")
        copied = _rebuilt(network, factor=factor)
        copied.load_state_dict(network.state_dict())
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


def _family(method: str) -> type[Network]:
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


def _empty(architecture: str, arguments: dict[str, Any]) -> Network:
    """A network without memory, so that a header cannot make us allocate or run anything."""
    if not isinstance(architecture, str) or not isinstance(arguments, dict):
        raise TypeError("its header")
    kind = ARCHITECTURES[architecture]
    unknown = set(arguments) - set(inspect.signature(kind).parameters)
    too_large = [name for name, value in arguments.items() if _is_too_large(value)]
    if unknown or too_large:
        raise ValueError(f"arguments {sorted(unknown) or too_large}")
    with torch.device("meta"):
        return kind(**arguments)


def _is_too_large(value: Any) -> bool:
    return len(value) > 16 or any(map(_is_too_large, value)) if isinstance(value, list) else (
        isinstance(value, int) and value > 1024
    )  # fmt: skip
