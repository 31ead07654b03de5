"""PNG, JPEG, TIFF, DICOM and NIfTI in and out, and the one check every image passes.

Inside the workbook an image is a float tensor in [0, 1] of shape (B, C, H, W), C = 1 or 3.
"""

from __future__ import annotations

from torch import Tensor


def check_image(image: Tensor, *, name: str = "image", unit_range: bool = True) -> Tensor:
    """Return `image` unchanged if it is one, else say what is wrong and what to do.

    Parameters
    ----------
    image : Tensor of shape (B, C, H, W), floating point, C = 1 or 3
    name : what the error message calls it
    unit_range : whether values must lie in [0, 1] (up to 1e-4, since resampling overshoots)

    Raises
    ------
    TypeError : not a tensor, or an integer tensor
    ValueError : wrong number of axes or channels, NaN or infinite pixels, values outside [0, 1]
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"{name} is a {type(image).__name__}; expected a torch tensor of shape (B, C, H, W)")
    if not image.is_floating_point():
        raise TypeError(f"{name} has integer pixels ({image.dtype}); convert with image.float() / 255 (8-bit data)")
    if image.ndim != 4 or image.shape[1] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"{name} has shape {tuple(image.shape)}; expected (B, C, H, W) with C = 1 or 3 and no empty axis")
    low, high = (value.item() for value in image.detach().aminmax())
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise ValueError(f"{name} has NaN or infinite pixels; replace them first, e.g. with torch.nan_to_num")
    if unit_range and (low < -1e-4 or high > 1 + 1e-4):
        raise ValueError(f"{name} has values in [{low:.4g}, {high:.4g}]; scale to [0, 1], or clip with image.clamp(0, 1)")
    return image
