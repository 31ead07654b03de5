"""What the generators are trained for: pixels, features, textures, and fooling a discriminator.

SRGAN's generator minimises  features + 1e-3 adversarial  (Ledig et al. 2017, eq. 3): the squared distance of VGG19's
features, and -log D(G(LR)) (eq. 6). The medical GAN adds "an extra loss term"; ours is the pixel error.
ESRGAN minimises  features + 5e-3 relativistic + 1e-2 pixel  (`networks.esrgan`), EnhanceNet's PAT
features + adversarial + texture  (`networks.enhancenet`).

True VGG19 weights are a download of 550 MB, which a classroom may not have: see `networks.features` for what stands in.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core import diffusion
from medsr_core.degradation import bicubic


def pixel(sr: Tensor, hr: Tensor, *, kind: str = "l1") -> Tensor:
    """Mean absolute ("l1", ours: steadier) or squared ("mse", SRResNet's eq. 4) difference of two images.

    The first is smallest at the median of what could be there, the second at the mean, which PSNR rewards. They differ
    where noise is skewed: on four held-out frames of ultrasound speckle, l1 cost 0.1 dB (one run each).
    """
    if kind not in ("l1", "mse"):
        raise ValueError(f"kind is {kind!r}; give 'l1' or 'mse'")
    return F.l1_loss(sr, hr) if kind == "l1" else F.mse_loss(sr, hr)


def denoising(
    network: Any, x: Tensor, hr: Tensor, noise_level: Tensor, noise: Tensor, *, kind: str = "mse", measured: float = 0.0
) -> Tensor:
    """SR3's objective: noise HR to a level (B,), let the network say what was noise (section 2.2; p = 1 or 2).

    network : `networks.sr3.SR3`; x : bicubic image, hr, noise : (B, C, H, W)
    measured : extra weight of the squared error's range part D^+ D e, which contradicts the LR image (ours). It is a
        few of all dimensions (1 in factor^2), so a short training hardly notices it; the best answer, the mean of
        what could be there, is the same with any weight.
    """
    y0, g = network.encode(hr, x), noise_level.view(-1, 1, 1, 1)
    predicted = network(diffusion.diffuse(y0, noise_level, noise), x, noise_level).float()
    target = diffusion.TARGETS[network.predicts](y0, noise, g)
    loss = pixel(predicted, target, kind=kind)
    if measured:
        loss = loss + measured * bicubic(network.factor).range_part(predicted - target).square().mean()
    return loss


def adversarial(fake: Tensor) -> Tensor:
    """-log D(G(LR)), mean over the batch (eq. 6), from logits: the generator wants "real" for its images."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(HR) - log(1 - D(G(LR))), mean over the batch (eq. 2), from logits. 2 log 2 = 1.39 for a coin."""
    truth = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    return truth + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def r1(judge: nn.Module, hr: Tensor) -> Tensor:
    """1/2 |slope of D at HR|^2, mean over the batch (Mescheder et al. 2018, eq. 9): D may not be steep at true images.

    A steep D is sure of everything and tells the generator nothing; with this term the game settles.
    """
    hr = hr.detach().requires_grad_()
    (slope,) = torch.autograd.grad(judge(hr).sum(), hr, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean() / 2


def accuracy(real: Tensor, fake: Tensor) -> float:
    """Share of the images that D takes for what they are, from logits: 1/2 is a coin."""
    return ((real > 0).float().mean() + (fake <= 0).float().mean()).item() / 2


def features(sr: list[Tensor], hr: list[Tensor], *, kind: str = "l1") -> Tensor:
    """Mean difference of `features.Magnitudes`' maps, mean over the layers: "l1" (ESRGAN) or "mse" (EnhanceNet)."""
    return torch.stack([pixel(a, b, kind=kind) for a, b in zip(sr, hr, strict=True)]).mean()
