"""How a check answers: a tick, or the hint that belongs to what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medsr_core import degradation


def verdict(checks: list[tuple[Callable[[], Any], str]], praise: str) -> None:
    """Run the checks in order; print the hint of the first that fails or raises, or the praise."""
    for holds, hint in checks:
        try:
            passed = bool(holds())
        except Exception as error:  # a student's function may raise anything
            print(f"✗ Your function raised {type(error).__name__}: {error}. {hint}")
            return
        if not passed:
            print(f"✗ Not yet. {hint}")
            return
    print(f"✓ {praise}")


def test_image(seed: int = 0) -> Tensor:
    """Blobs with sharp outlines, like tissue: (1, 1, 64, 64) in [0, 1]."""
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = degradation.gaussian_blur(3.0)(noise)
    return ((smooth > smooth.mean()).double() * 0.5 + 0.25).float()
