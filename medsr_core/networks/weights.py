"""Weights: safetensors files with the architecture in their header. No pickle, and nothing in a file is ever run."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from medsr_core.files import whole
from medsr_core.networks.methods import ARCHITECTURES, TRAINED, trained

FOLDER = Path(__file__).parent.parent / "weights"
Network = Any  # a network of the table: nn.Module with `arguments`, `channels` and `factor`


class WeightsError(ValueError):
    """A weights file that is missing, damaged, or not what it should be; the message says what to do."""


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
    kind = trained(method).factory
    path = Path(weights)
    if path.suffix != ".safetensors":
        found = [file for file in shipped() if file.fits(method, factor) and file.name == str(weights)]
        if not found:
            what = f"no weights {str(weights)!r} for {method} and factor {factor}"
            factors = sorted({file.factor for file in shipped() if file.method == method})
            others = ", ".join(f"{f}x: {' '.join(available(method, f))}" for f in factors)
            raise WeightsError(f"{what}; shipped: {others or 'none'}; or give a path to your own")
        path = found[0].path
    about, tensors = _read(path)
    try:
        architecture, arguments = about["architecture"], about["arguments"]
        network = empty(architecture, arguments)
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
        part.write_bytes(serialized(tensors, metadata={"medsr": json.dumps(header)}))
        with part.open("rb+") as file:  # on the disk before the old one goes, even if the machine stops
            os.fsync(file.fileno())


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


def path_of(weights: str | Path) -> Path:
    """The file of shipped weights, called as `shipped` has them (sr3-brain, sr3-brain-8x), or the path itself."""
    path = Path(weights)
    if path.suffix == ".safetensors":
        return path
    if not (FOLDER / f"{weights}.safetensors").is_file():
        raise WeightsError(f"no weights {str(weights)!r}; shipped: {', '.join(file.path.stem for file in shipped())}")
    return FOLDER / f"{weights}.safetensors"


def about(weights: str | Path) -> dict[str, Any]:
    """What weights say of themselves: architecture, arguments, data, held_out, recipes, ... (see `cards`)."""
    path = path_of(weights)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})["medsr"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is no weights file of this package ({error})") from None


def held_out(weights: str) -> list[str]:
    """Beginnings of the names of subjects that no shipped training on `weights` (brain, fundus, ...) saw."""
    found: dict[str, None] = {}
    for path in sorted(FOLDER.glob(f"*-{weights}.safetensors")):
        found |= dict.fromkeys(about(path).get("held_out", []))
    return list(found)


def annotate(path: str | Path, **changes: Any) -> str:
    """Change what a weights file says of itself, not its tensors; returns its new SHA-256."""
    header, tensors = read_checked(Path(path))
    write_atomically(tensors, {**header, **changes}, Path(path))
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Shipped(NamedTuple):
    """A weights file that comes with the package."""

    method: str
    name: str
    factor: int
    path: Path

    def fits(self, method: str, factor: int) -> bool:
        """Whether it is of this method and factor; a search has the factor of its LR image."""
        return self.method == method and (self.factor == factor or TRAINED[method].samples == "search")


def shipped() -> list[Shipped]:
    """All shipped weights files: METHOD-NAME.safetensors, or METHOD-NAME-8x.safetensors for a factor other than 4."""
    files = []
    for path in sorted(FOLDER.glob("*.safetensors")):
        method = max((name for name in TRAINED if path.stem.startswith(f"{name}-")), key=len)
        name, factor = re.fullmatch(r"(.+?)(?:-(\d+)x)?", path.stem.removeprefix(f"{method}-")).groups()  # type: ignore[union-attr]
        files.append(Shipped(method, name, int(factor or 4), path))
    return files


def available(method: str, factor: int = 4) -> list[str]:
    """The shipped sets of weights for `method` and a factor, such as brain, fundus, general."""
    trained(method)
    return [file.name for file in shipped() if file.fits(method, factor)]


def weights_for(data: str, method: str = "srresnet") -> str:
    """The shipped weights for a data set: its own if the method has some, else "general"."""
    return data if data in available(method) else "general"


def _name(kind: type) -> str:
    return next(name for name, known in ARCHITECTURES.items() if known is kind)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """`read_checked`, after comparing the file with the digest in the model card beside it."""
    card = path.with_suffix(".md")
    stated = re.search(r"\b[0-9a-f]{64}\b", card.read_text(encoding="utf-8")) if card.is_file() else None
    if stated and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != stated[0]:
        raise WeightsError(f"{path.name} is not the file that {card.name} describes: truncated or tampered with")
    return read_checked(path)


def empty(architecture: str, arguments: dict[str, Any]) -> Network:
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
