"""The networks: the table of methods, their weights, what one can do to trained ones; one module per architecture.

One channel or three: brain and heart weights have one, fundus, skin and general three. A three-channel network repeats
a gray image and returns the mean of its three outputs; a one-channel network refuses colour. `as_gray` and `as_colour`
turn one into the other, with the same output on gray images.
"""

from medsr_core.networks.methods import CLASSICAL, METHODS, TRAINED, Method, create, create_discriminator
from medsr_core.networks.surgery import as_colour, as_gray, copy_of, interpolated
from medsr_core.networks.weights import (
    FOLDER,
    Network,
    WeightsError,
    about,
    annotate,
    available,
    held_out,
    load,
    path_of,
    read_checked,
    save,
    shipped,
    weights_for,
    write_atomically,
)

__all__ = [
    "CLASSICAL", "FOLDER", "METHODS", "TRAINED", "Method", "Network", "WeightsError", "about", "annotate", "as_colour",
    "as_gray", "available", "copy_of", "create", "create_discriminator", "held_out", "interpolated", "load", "path_of",
    "read_checked", "save", "shipped", "weights_for", "write_atomically",
]  # fmt: skip
