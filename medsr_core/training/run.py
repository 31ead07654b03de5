"""One training run, described once: defaults, options of the command, identity of a checkpoint, recipe of weights."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from medsr_core.networks import methods


def _option(default: Any, help: str, *, ends_differ: bool = True, **rules: Any) -> Any:
    """A field with its help. `ends_differ`: whether other values end with other weights; `rules` are the command's."""
    factory = {"default_factory": default} if default is dict else {"default": default}
    return dataclasses.field(metadata={"help": help, "ends_differ": ends_differ, "rules": rules}, **factory)


@dataclasses.dataclass(frozen=True)
class Run:
    """What is trained, on what, and how.

    ``Run("sr3", steps=500, channels=1)`` has the defaults of `medsr train sr3 --steps 500 --channels 1`. From SRGAN
    (Ledig et al. 2017, section 3.2): patches of 96, batches of 16, Adam, 1e-4 in the adversarial stage. Ours: the
    moving average, and in the other stages 1e-3 on a cosine.
    """

    method: str
    steps: int = _option(1000, "Batches in all, those done before included.", ends_differ=False, min=1)
    data: tuple[str, ...] = _option(
        (), "What to train on. Repeat for more; each is drawn equally often.", ends_differ=False,
        metavar="NAME_OR_FOLDER",
    )  # fmt: skip
    holdout: tuple[str, ...] = _option(
        (), "Validate on subjects whose names start so. [default: each set's own split]", ends_differ=False,
        metavar="SUBJECT",
    )  # fmt: skip
    start: str | None = _option(
        None, "Weights to go on from; a game and srflow need them. [default: general for these, none otherwise]",
        ends_differ=False, metavar="WEIGHTS",
    )  # fmt: skip
    size: str = _option(
        "teaching", "Of a network that starts from nothing; those with numbers are SR3's tasks.",
        choices=list(dict.fromkeys(name for method in methods.TRAINED.values() for name in method.presets)),
    )  # fmt: skip
    factor: int | None = _option(
        None, "How many times larger; not all networks can be asked. [default: that of --start or --size]",
        choices=["2", "4", "8", "16"],
    )  # fmt: skip
    channels: int | None = _option(None, "Gray or colour. [default: as --start, else 3]", choices=["1", "3"])
    network: Mapping[str, Any] = _option(dict, "Further arguments of the network's class.", command=False)
    opponent: Mapping[str, Any] = _option(dict, "Arguments of the discriminator's class.", command=False)
    terms: Mapping[str, float] = _option(
        dict, "Weights of the loss's terms: pixel (L1), mse, squared features, perceptual, adversarial, r1 (of the "
        "discriminator), and those of ESRGAN, EnhanceNet and SRFlow; measured (of sr3: extra weight "
        "of errors that contradict LR). Empty: the method's.", command=False,
    )  # fmt: skip
    batch: int = _option(16, "Patches per step, over all processes.", min=1)
    patch: int = _option(96, "HR pixels along a side.", min=16)
    upright: bool = _option(False, "Flip patches left to right only, never turn them: for faces and photographs.")
    rate: float | None = _option(None, "Learning rate. [default: 1e-3, or 1e-4 against a discriminator]", above=0)
    opponent_rate: float | None = _option(None, "The discriminator's own rate. [default: the generator's]", above=0)
    warm_up: int = _option(50, "Steps on which the rate rises, at most a tenth of all.", min=0)
    average: float = _option(0.999, "Share of the moving average that survives a step.", min=0, below=1)
    blur: float = _option(
        0.0, "Of a cascade's second stage: blur the images it starts from by up to so many pixels.", min=0
    )
    shrink: int = _option(1, "Of a cascade's first stage: make the images so many times smaller first.", min=1)
    minutes: float | None = _option(
        None, "In place of steps: end after so many minutes, those before included. The rate falls on the clock.",
        ends_differ=False, above=0,
    )  # fmt: skip
    workers: int | None = _option(
        None, "Processes that make batches ahead. [default: 3 beside a GPU, else none]", ends_differ=False, min=0
    )
    every: int = _option(100, "Steps between checkpoints.", ends_differ=False, min=1)
    seed: int = _option(0, "Same seed, same weights, on the same machine.")
    device: str = _option("auto", "Where to train.", ends_differ=False, choices=["auto", "cpu", "cuda", "mps"])
    precision: str = _option("32", "bf16 takes half the time where the processor knows it.", choices=["32", "bf16"])

    def __post_init__(self) -> None:
        if not methods.trained(self.method).loss:
            raise ValueError(f"{self.method} is not trained here: its teacher is more than HR images")
        for option in dataclasses.fields(self):
            choices = option.metadata.get("rules", {}).get("choices")
            value = getattr(self, option.name)
            if choices and value is not None and str(value) not in choices:
                raise ValueError(f"{option.name} is {value!r}; give {' or '.join(choices)}")

    @property
    def about(self) -> methods.Method:
        """The method's entry in the table."""
        return methods.TRAINED[self.method]

    @property
    def loss(self) -> dict[str, float]:
        """Weights of the loss's terms."""
        return dict(self.terms or self.about.loss)

    def total(self, done: int, seconds: float) -> float:
        """Steps in all: as told, or as many as `minutes` give at the pace of those done in so many seconds."""
        if self.minutes is None:
            return self.steps
        return done * 60 * self.minutes / seconds if done and seconds else math.inf

    def rate_at(self, step: int, steps: float) -> float:
        """Learning rate of a step of so many: constant in a game, otherwise on a cosine after a warm-up."""
        if self.about.opponent:
            return self.rate or 1e-4
        return cosine(self.rate or 1e-3, step, steps, self.warm_up)

    def arguments(self) -> dict[str, Any]:
        """For `networks.create`: what makes the network when it starts from nothing."""
        named = {name: getattr(self, name) for name in ("channels", "factor") if getattr(self, name) is not None}
        return {"preset": self.size, **named, **self.network}

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to go on: all fields on which the final weights depend."""
        fields = [f.name for f in dataclasses.fields(self) if f.metadata.get("ends_differ", True)]
        return json.loads(json.dumps({name: getattr(self, name) for name in fields} | {"terms": self.loss}))

    def recipe(self) -> dict[str, Any]:
        """All fields that are not at their defaults, as JSON can hold them: what weights say of how they were made."""
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = {f.name: f.default for f in dataclasses.fields(self)}
        return json.loads(json.dumps({name: value for name, value in told.items() if value not in (plain[name], {})}))


def cosine(rate: float, step: int, steps: float, warm_up: int = 50) -> float:
    """Learning rate: up over `warm_up` steps (at most a tenth of all), then down to zero on a cosine (ours)."""
    warm = min(warm_up, steps / 10) // 1 + 1
    return rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
