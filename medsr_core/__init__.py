"""The science of the workbook: degradations, metrics, networks, the diffusion process, upscalers.

Images are float32 tensors in [0, 1] of shape (B, C, H, W) with C = 1 (gray) or 3 (RGB).
Import the module you need, e.g. ``from medsr_core import degradation, metrics``.
"""
