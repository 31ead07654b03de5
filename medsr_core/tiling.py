"""Upscale large images piece by piece: memory stays with the tile's size, and no seam shows.

A convolutional network sees a bounded neighbourhood. Each tile is cut with a margin around it, upscaled, and only its
core is kept. With a margin as wide as the receptive field's radius the result is *equal* to the whole image's; far
less is enough in practice, since the outer part of a receptive field hardly counts (Luo et al. 2016). With trained
weights of ours a margin of 16 LR pixels stays below 1e-3 of the range; tests/test_tiling.py measures it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from medsr_core.images.stack import check_image


@torch.no_grad()
def upscale(
    network: Callable[[Tensor], Tensor],
    lr: Tensor,
    *,
    tile: int = 128,
    margin: int = 16,
    factor: int = 4,
    align: int = 1,
) -> Tensor:
    """SR image (B, C, factor h, factor w) of an LR image (B, C, h, w) of any size, tile by tile.

    Parameters
    ----------
    network : LR image -> SR image, `factor` times as high and wide; anything whose output depends on a neighbourhood
    tile : side of a tile's core in LR pixels; images up to this size are upscaled in one piece
    margin : LR pixels around the core that the network sees too
    align : tiles start at multiples of so many LR pixels
    """
    check_image(lr, name="the LR image")
    return in_tiles(network, lr, tile=tile, margin=margin, factor=factor, align=align)


def in_tiles(
    function: Callable[..., Tensor], *images: Tensor, tile: int = 512, margin: int = 64, factor: int = 1, align: int = 1
) -> Tensor:
    """``function(*images)`` tile by tile, for images of equal height and width and any values.

    The result has the channels of the first image and `factor` times its height and width. A diffusion sampler that
    denoises in tiles shares one noisy image among them, so neighbours agree where they meet. A network that halves the
    image depends on where its pairs of pixels begin: `align`, a power of two, makes them the whole image's.
    """
    height, width = images[0].shape[-2:]
    whole, top = images[0].new_empty(*images[0].shape[:2], factor * height, factor * width), 0
    for band in bands(function, *images, tile=tile, margin=margin, factor=factor, align=align):
        whole[..., top : top + band.shape[-2], :] = band
        top += band.shape[-2]
    return whole


@torch.no_grad()
def bands(
    function: Callable[..., Tensor], *images: Tensor, tile: int = 512, margin: int = 64, factor: int = 1, align: int = 1
) -> Iterator[Tensor]:
    """What `in_tiles` returns, a row of tiles at a time, from top to bottom: (B, C, rows, factor w) each."""
    if tile < 1 or margin < 0:
        raise ValueError(f"tile is {tile} and margin {margin}; give at least 1 and 0 pixels")
    height, width = images[0].shape[-2:]
    for top, bottom, y0, y1 in _cuts(height, tile, margin, align):
        band = images[0].new_empty(*images[0].shape[:2], factor * (y1 - y0), factor * width)
        for left, right, x0, x1 in _cuts(width, tile, margin, align):
            piece = function(*(image[..., top:bottom, left:right] for image in images))
            core = piece[..., factor * (y0 - top) : factor * (y1 - top), factor * (x0 - left) : factor * (x1 - left)]
            band[..., factor * x0 : factor * x1] = core
        yield band


def _cuts(size: int, tile: int, margin: int, align: int) -> list[tuple[int, int, int, int]]:
    """(first, last + 1) with margins and (first, last + 1) of the cores, along one axis; cores about equally long."""
    count = -(-size // tile)
    edges = [round(i * size / count) for i in range(count + 1)]
    pairs = itertools.pairwise(edges)
    return [(max(0, first - margin) // align * align, min(size, last + margin), first, last) for first, last in pairs]
