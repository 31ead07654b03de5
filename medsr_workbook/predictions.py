"""Checks of predictions: a number or a choice, held against what the notebook measured or what is computed here.

A wrong answer that has a known reason gets the hint for that reason, any other wrong answer a general one. Hints are
true for all parameters of a notebook, and no check raises, whatever was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from medsr_core.measures import stability
from medsr_core.training import losses


def _number(
    guess: Any, truth: float, within: float, mistakes: Sequence[tuple[float, str]], otherwise: str, praise: str
) -> None:
    """Print a tick if the number `guess` lies within `within` of the truth, else the hint of the nearest mistake."""
    try:
        value = float(guess)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several numbers
        print(f"✗ {guess!r} is not a number. Write one, for example 0.5.")
        return
    if abs(value - truth) <= within:
        print(f"✓ {truth:.3g}. {praise}")
        return
    hints = [(abs(value - mistake), hint) for mistake, hint in mistakes if abs(value - mistake) <= within]
    print(f"✗ Not yet. {min(hints)[1] if hints else otherwise}")


def _choice(guess: Any, truth: str, known: Sequence[str], mistakes: Mapping[str, str], praise: str) -> None:
    """Print a tick if `guess` is the truth, else the hint for it."""
    if guess not in known:
        print(f"✗ {guess!r} is none of {', '.join(known)}. Write one of them, in quotes.")
    elif guess == truth:
        print(f"✓ {truth}. {praise}")
    else:
        print(f"✗ Not yet. {mistakes[guess]}")


def check_winner(guess: str, psnr: Mapping[str, float]) -> None:
    """Notebook 00: the method of highest PSNR; `psnr` as measured there, in dB by method."""
    smooth = "A smooth curve through the LR pixels does not use that D is known. Which methods do?"
    mistakes = dict.fromkeys(psnr, smooth) | {
        "nearest": "Sharp blocks are not sharp detail: their edges lie where HR has none, and each one costs.",
        "lanczos": "It looks at most neighbours, but does not use that D is known. Which methods do?",
        "backprojection": "It obeys D, but so does another one, whose belief about images fits this one better.",
        "tv": "It obeys D exactly, and adds a belief: flat patches, few edges. Is this scan made of flat patches?",
    }
    praise = "It obeys D, and what it believes beyond that fits this image best of the six."
    _choice(guess, max(psnr, key=lambda m: psnr[m]), list(psnr), mistakes, praise)


def check_mix_up(guess: str, psnr: Mapping[str, float]) -> None:
    """Notebook 01: the D that costs most when bicubic is assumed; `psnr` in dB by the name of the D that made LR."""
    mistakes = {
        "box": "A box weighs nearly the same pixels as bicubic does, a little otherwise: nearly the same LR image.",
        "Lanczos": "Lanczos has nearly the same smooth weights as bicubic: nearly the same LR image.",
        "k-space": "k-space truncation keeps the coarse part as it is and only cuts more sharply: some ringing.",
        "nearest": "One pixel of each block is taken and the rest ignored; yet here another mix-up costs more.",
        "no antialias": "Aliasing is the danger indeed. Which D averages over still fewer pixels, and shifts them too?",
    }
    measured = {word: next((v for name, v in psnr.items() if word in name), float("inf")) for word in mistakes}
    praise = "Fine detail that passes as coarse (aliasing) misleads a method more than a slightly other kernel."
    _choice(guess, min(measured, key=lambda w: measured[w]), list(mistakes), mistakes, praise)


def check_darker(guess: float, rise: float) -> None:
    """Notebook 02: by how many dB PSNR with fixed R rises for a darker copy; `rise` as measured there."""
    mistakes = [
        (0.0, "The picture is as good as before, so you expect the same number. But which letter of the formula stays "
              "as it is, and which one shrinks, when all pixels become three times smaller?"),
        (rise / 2, "You divided the *error* by three. The MSE is its square: divided by nine."),
        (-rise, "Darker sounds worse. But the error shrinks, too, and R does not: PSNR cannot fall."),
    ]  # fmt: skip
    otherwise = "All pixels shrink by one factor, and so does the error. By what does the MSE shrink? Then 10 log10."
    _number(guess, rise, 0.3, mistakes, otherwise, "20 log10 of the factor: the scale changed, and nothing else.")


def check_coin(guess: float) -> None:
    """Notebook 03: the loss of a discriminator that says 1/2 to everything."""
    coin = losses.discriminator(torch.zeros(1), torch.zeros(1)).item()  # logit 0 is the belief 1/2
    mistakes = [
        (0.0, "Zero is the loss of a discriminator that is sure of everything, and right."),
        (0.5, "1/2 is what it answers; its loss is minus the logarithm of that, for true and for made ones."),
        (coin / 2, "That is one of the two terms: it is asked about true and about made examples."),
        (coin / torch.tensor(10.0).log().item(), "The logarithm is the natural one."),
        (-coin, "Logarithms of numbers below 1 are negative, and the loss is minus them."),
    ]
    _number(guess, coin, 0.02, mistakes, "Put D = 1/2 into both terms of its loss.", "2 log 2: two terms, each of 1/2.")


def check_reach(guess: float, reach: float, kernel: int, layers: int) -> None:
    """Notebook 04: pixels along a side that a branch of `layers` convolutions sees; `reach` as measured there."""
    mistakes = [
        (kernel, f"{kernel} is what one convolution sees. The next one sees what its neighbours have seen, too."),
        (layers * kernel, f"A convolution adds its kernel less one: the fields of neighbours overlap in {kernel - 1}."),
        (layers * (kernel - 1), "Nearly: the pixel that you start from counts, too."),
    ]
    otherwise = f"How many pixels does each of the {layers} convolutions add to what is seen, left and right together?"
    _number(guess, reach, 0.5, mistakes, otherwise, "1 + layers (kernel - 1), as the gradient says.")


def check_last_level(guess: float, level: float) -> None:
    """Notebook 05: what is left of the image's variance after 100 steps of the range of 2000; `level` from there."""
    mistakes = [
        (0.0, "That is what 2000 steps leave. One step takes half a percent on average: what do a hundred take?"),
        (0.5, "You subtracted 100 times half a percent. Each step takes its share of what is *left*: multiply."),
        (1.0, "One step hardly shows, but a hundred add up: multiply a hundred times 1 - beta."),
    ]
    otherwise = (
        "The mean of beta is 0.005. What is left after a hundred steps, if each takes that share of what is left?"
    )
    _number(guess, level, 0.04, mistakes, otherwise, "Far from the 4e-5 that a start from pure noise is right for.")


def check_coverage(guess: float, count: int) -> None:
    """Notebook 10: how often HR lies between the least and the greatest of `count` honest samples, by drawing them."""
    draws = torch.rand(count + 1, 1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    inside = max(stability.coverage(draws[1:], draws[0]).values())
    mistakes = [
        (1.0, "The truth is none of the samples: nothing keeps it from being lower than all, or higher."),
        (0.95, "95 % is for two standard deviations of a normal distribution. Here you have a handful of samples."),
        (1 - 2 / count, "You counted the samples only. The truth is one more draw: count + 1 numbers in a row."),
        (1 - 1 / count, "Nearly: there are two ends to fall out at, and the truth is one more draw."),
    ]
    otherwise = "Truth and samples are count + 1 draws, each equally likely to be the lowest, or the highest, of all."
    _number(guess, inside, 0.02, mistakes, otherwise, "(count - 1) / (count + 1), whatever the distribution.")


def check_lines(guess: float, tv: Mapping[float, float], network: float) -> None:
    """Notebook 11: the share of outer lines with which tv reaches the network that has none.

    tv : PSNR in dB by share, as measured there; network : its PSNR without further lines
    """
    enough = min((share for share, dB in tv.items() if dB >= network), default=float("inf"))
    mistakes = [
        (0.0, "Without further lines both know the same, and the network knows other heads as well: it is ahead."),
        (max(tv), "You trust learning more than measuring. Where does tv's line pass the network's first point?"),
    ]
    otherwise = "Look where tv's line passes the height of the network's first point."
    praise = "So many measured lines are worth as much as all that the network has learned."
    if enough == 0:
        praise = "Here total variation needs no further line: what the network has learned is of no use for this D."
    _number(guess, enough, 0.04, mistakes, otherwise, praise)


def check_purchase(guess: str, points: Mapping[str, float]) -> None:
    """Notebook 12: which of four ways to spend the budget earns most; `points` by way, as measured there."""
    mistakes = {
        "finer": "Half the factor is four times the pixels. But something else earns more here: which one, and why?",
        "network": "It has seen other heads, not this lesion: it finds more than bicubic, and invents some. What was "
                   "*measured* of the lesions stayed the same.",
        "lines": "A fifth of the outer lines helps, since it measures detail. Does anything else measure more of it?",
        "contrast": "The guide knows edges of another image, and half of the lesions. But what is forced to explain a "
                    "noisy LR image explains its noise, too.",
    }  # fmt: skip
    praise = "More was measured of the lesions. What a method believes cannot replace that."
    if (best := max(mistakes, key=lambda name: points[name])) == "network":
        praise = "On these images knowing more earns more than measuring more. How many cases is that from?"
    _choice(guess, best, list(mistakes), mistakes, praise)
