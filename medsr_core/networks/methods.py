"""The table of methods: what each is, what it goes on from, what it is trained for, what it asks of its input.

A method is one entry here and, if it is a network, one module beside this one. Lists of methods, the command line's
help, the README's table, what `upscalers` does with an LR image and what `training` does with a batch come from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from medsr_core import restoration
from medsr_core.networks import enhancenet, esrgan, fsrnet, medgan, pulse, sr3, srflow, srgan

Presets = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Method:
    """One way from LR to SR.

    Attributes
    ----------
    name : what it is called by everywhere
    family : the system it belongs to; "classical" if nothing is learned
    about : one line for help and tables
    factory : a function (lr, factor) -> sr, or the class of the network
    presets : arguments of the class by size; "teaching" and "paper" at least
    loss : weights of the terms it is trained for; none for what `training.train` cannot train
    starts_from : the method whose weights its training goes on from
    opponent : the class of the discriminator it plays against
    sees : "lr", or "bicubic" if the network is given the LR image enlarged by bicubic interpolation
    whole : whether it must see the whole image at once, so that a large one is not cut into tiles
    samples : how it draws answers: a "walk" from noise, a "search" in a generator, a "pass" of a flow; None: it has one
    """

    name: str
    family: str
    about: str
    factory: Any
    presets: Presets = field(default_factory=dict)
    loss: Mapping[str, float] = field(default_factory=dict)
    starts_from: str | None = None
    opponent: type[nn.Module] | None = None
    sees: Literal["lr", "bicubic"] = "lr"
    whole: bool = False
    samples: Literal["walk", "search", "pass"] | None = None

    @property
    def trained(self) -> bool:
        """Whether it is a network with weights."""
        return isinstance(self.factory, type)

    @property
    def stage(self) -> str:
        """How it is trained: not at all, for pixels, against an opponent, to remove noise, or for likelihood."""
        if not self.trained:
            return "none"
        kinds = {"walk": "denoising", "pass": "likelihood"}
        return "adversarial" if self.opponent else kinds.get(self.samples or "", "pixel")


SRGAN: Presets = {"teaching": srgan.TEACHING, "paper": srgan.PAPER}
MEDGAN: Presets = {"teaching": medgan.TEACHING, "paper": medgan.PAPER}
ESRGAN: Presets = {"teaching": esrgan.TEACHING, "paper": esrgan.PAPER}
ENHANCENET: Presets = {"teaching": enhancenet.TEACHING, "paper": enhancenet.PAPER}
SRFLOW: Presets = {"teaching": srflow.TEACHING, "paper": srflow.PAPER, "faces": srflow.FACES}
FSRNET: Presets = {"teaching": fsrnet.TEACHING, "paper": fsrnet.PAPER}
SR3: Presets = {"teaching": sr3.TEACHING, "paper": sr3.PAPER, **sr3.TASKS, "faces": sr3.FACES}

# SRGAN's loss is the squared distance of VGG19's features and 1e-3 of the game. Ours are other features on another
# scale; 5e-2 and R1 come from trials of 150 to 200 steps on patients left out of the training: with r1 at 1e-2 D was
# right about 86 % of patches after 200 steps, with 1 it stayed a coin.
GAME = {"squared features": 1.0, "adversarial": 5e-2, "r1": 3e-2}

PAT = {"squared features": 1.0, "adversarial": 5e-3, "texture": 1.0}

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("nearest", "classical", "repeat every pixel", restoration.nearest),
        Method("bilinear", "classical", "straight lines between pixels", restoration.bilinear),
        Method("bicubic", "classical", "cubic curves between pixels, as MATLAB's imresize", restoration.bicubic),
        Method("lanczos", "classical", "windowed sinc over six pixels", restoration.lanczos),
        Method("backprojection", "classical", "bicubic, corrected so that D(SR) = LR", restoration.backprojection),
        Method("tv", "classical", "the least total variation among all images with D(SR) = LR", restoration.tv),
        Method("srresnet", "SRGAN", "SRGAN's generator, trained for pixel error", srgan.Generator,
               SRGAN, {"pixel": 1.0}),
        Method("srgan", "SRGAN", "SRGAN's generator, trained on against its discriminator", srgan.Generator,
               SRGAN, GAME, starts_from="srresnet", opponent=srgan.Discriminator),
        Method("medgan-pixel", "medical GAN", "the medical GAN's generator, trained for pixel error", medgan.Generator,
               MEDGAN, {"pixel": 1.0}),
        Method("medgan", "medical GAN", "the medical GAN's generator, trained on against its discriminator",
               medgan.Generator,
               MEDGAN, GAME | {"pixel": 1.0},  # "an extra loss term": ours is the pixel error
               starts_from="medgan-pixel", opponent=medgan.Discriminator),
        Method("rrdb", "ESRGAN", "ESRGAN's generator, dense blocks in residuals, trained for pixel error",
               esrgan.Generator, ESRGAN, {"pixel": 1.0}),
        Method("esrgan", "ESRGAN", "ESRGAN's generator, trained on against a discriminator that compares",
               esrgan.Generator, ESRGAN, {"features": 1.0, "relativistic": 5e-3, "pixel": 1e-2},
               starts_from="rrdb", opponent=esrgan.Discriminator),
        Method("enhancenet-e", "EnhanceNet", "EnhanceNet's generator, trained for squared error", enhancenet.Generator,
               ENHANCENET, {"mse": 1.0}),
        Method("enhancenet", "EnhanceNet", "EnhanceNet, trained on for features, an adversary and textures, not pixels",
               enhancenet.Generator, ENHANCENET, PAT, starts_from="enhancenet-e", opponent=enhancenet.Discriminator),
        Method("srflow", "SRFlow", "a flow: one network, run backwards from noise, that knows how likely each image is",
               srflow.SRFlow, SRFLOW, {"likelihood": 1.0}, starts_from="rrdb", samples="pass", whole=True),
        Method("regression", "SR3", "SR3's U-Net, asked once, trained for squared error", sr3.Regression,
               SR3, {"mse": 1.0}, sees="bicubic"),
        Method("sr3", "SR3", "SR3's U-Net, trained to remove noise: walks from noise to an image", sr3.SR3,
               SR3, {"mse": 1.0}, sees="bicubic", samples="walk"),
        Method("fsrnet", "FSRNet", "faces: coarse, then with maps of where eyes, nose and mouth are", fsrnet.FSRNet,
               FSRNET, whole=True),
        Method("fsrgan", "FSRNet", "FSRNet, trained on against a discriminator", fsrnet.FSRNet,
               FSRNET, starts_from="fsrnet", opponent=fsrnet.Discriminator, whole=True),
        Method("pulse", "PULSE", "faces: looks among those a generator can draw for one that gives the LR image",
               pulse.Decoder, {"teaching": pulse.TEACHING}, whole=True, samples="search"),
    )
}  # fmt: skip
CLASSICAL = {name: method for name, method in METHODS.items() if not method.trained}
TRAINED = {name: method for name, method in METHODS.items() if method.trained}
ARCHITECTURES: dict[str, type] = {  # by the name that a weights file has for it: module and class
    f"{method.factory.__module__.rpartition('.')[2]}.{method.factory.__name__}": method.factory
    for method in TRAINED.values()
}


def trained(name: str) -> Method:
    """The entry of a trained method; ValueError with the known ones if there is none."""
    if name not in TRAINED:
        raise ValueError(f"there is no trained method {name!r}; give one of {', '.join(TRAINED)}")
    return TRAINED[name]


def create(name: str, *, preset: str = "teaching", **changes: Any) -> Any:
    """A network with random weights, of teaching or paper size; `changes` are arguments of its class.

    `preset` is "teaching", "paper", or one of SR3's tasks, "16-128", "64-256" (its "paper"), "64-512", "256-1024".
    """
    method = trained(name)
    if preset not in method.presets:
        raise ValueError(f"preset is {preset!r}; for {name} give one of {', '.join(map(repr, method.presets))}")
    if unknown := set(changes) - set(inspect.signature(method.factory).parameters):
        raise ValueError(f"{name} takes no {', '.join(sorted(unknown))}")
    return method.factory(**{**method.presets[preset], **changes})


def create_discriminator(name: str, *, preset: str = "teaching", **changes: Any) -> nn.Module:
    """The opponent of `create`'s generator; at teaching size 12 feature maps and 100 dense units (ours)."""
    opponent = trained(name).opponent
    if opponent is None:
        raise ValueError(f"{name} plays against nobody; {', '.join(m.name for m in TRAINED.values() if m.opponent)} do")
    return opponent(**{**({"width": 12, "dense": 100} if preset == "teaching" else {}), **changes})
