"""The science of the workbook: degradations, metrics, networks, the diffusion process, upscalers.

Images are float32 tensors in [0, 1] of shape (B, C, H, W) with C = 1 (gray) or 3 (RGB).
Import the module you need, e.g. ``from medsr_core import degradation, metrics``.
"""

import os

# Before torch loads: idle threads sleep instead of spinning. On busy cores small images are 100 times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
