"""Exercises of notebook 08: the relativistic loss, a coupling layer and its inverse, the Gram matrix of a patch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medsr_workbook.exercises.verdict import verdict


def check_relativistic(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`function(real, fake)`: ESRGAN's loss of the discriminator from logits (B, 1), both terms added."""
    real, fake = torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def expected(real: Tensor, fake: Tensor) -> Tensor:
        above, below = real - fake.mean(), fake - real.mean()
        return F.softplus(-above).mean() + F.softplus(below).mean()

    def misses(a: Tensor, b: Tensor) -> float:
        return abs(float(function(a, b)) - float(expected(a, b)))

    verdict(
        [
            (
                lambda: misses(0 * real, 0 * fake) < 1e-6,
                "If nobody can tell them apart, each term is -log 1/2; there are two.",
            ),
            (
                lambda: abs(float(function(real + 3, fake + 3)) - float(function(real, fake))) < 1e-6,
                "Adding 3 to all logits changed it: a judge who compares looks at differences only.",
            ),
            (
                lambda: misses(real, fake) < 1e-6,
                "Compare each real logit with the *mean* of the made ones, each made one with the mean of the real.",
            ),
        ],
        "As in the paper: is a real image more real than made ones are on average, and the other way round?",
    )


def check_coupling(
    forward: Callable[[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]], tuple[Tensor, Tensor]],
    inverse: Callable[[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]], Tensor],
) -> None:
    """`forward(h, net)` -> (z, log |det|), `inverse(z, net)` -> h, for h (C,), where net(half) -> (shift, scale)."""
    h = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def net(half: Tensor) -> tuple[Tensor, Tensor]:
        return half.sin(), torch.sigmoid(half.square() - 1) + 0.1

    def log_det() -> Tensor:
        jacobian = torch.autograd.functional.jacobian(lambda x: forward(x, net)[0], h)
        return torch.linalg.slogdet(jacobian)[1]

    verdict(
        [
            (lambda: forward(h, net)[0].shape == h.shape, "As many numbers must come out as went in."),
            (
                lambda: torch.equal(forward(h, net)[0][:3], h[:3]) and not torch.equal(forward(h, net)[0][3:], h[3:]),
                "The first half passes unchanged, and net of it changes the second: (second + shift) * scale.",
            ),
            (
                lambda: (inverse(forward(h, net)[0], net) - h).abs().max() < 1e-9,
                "The inverse does not give h back. The first half is unchanged, so net can be asked again: undo the "
                "scale first, then the shift.",
            ),
            (
                lambda: abs(float(forward(h, net)[1]) - float(log_det())) < 1e-9,
                "log |det|: the Jacobian is triangular, with ones and the scales on its diagonal.",
            ),
        ],
        "Invertible whatever net is, and its determinant costs a sum.",
    )


def check_gram(function: Callable[[Tensor], Tensor]) -> None:
    """`function(maps)`: of features (C, h, w) of one patch the Gram matrix (C, C), over the number of pixels."""
    maps = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def misses() -> float:
        return float((function(maps) - torch.einsum("aij,bij->ab", maps, maps) / 20).abs().max())

    shuffled = maps.flatten(1)[:, torch.randperm(20, generator=torch.Generator().manual_seed(1))].view(3, 4, 5)
    verdict(
        [
            (lambda: function(maps).shape == (3, 3), "A row and a column for each feature: (C, C)."),
            (
                lambda: (function(shuffled) - function(maps)).abs().max() < 1e-9,
                "It changed when the pixels changed places: sum over all places, so that it cannot know where.",
            ),
            (lambda: misses() < 1e-9, "Multiply two features pixel by pixel, and take the *mean* over the pixels."),
        ],
        "Which features occur together, and how strongly, but not where: a texture.",
    )
