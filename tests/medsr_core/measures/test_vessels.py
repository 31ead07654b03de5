"""Vessels: drawn tubes are found, Dice is Dice, and the retina's vessels suffer with its resolution."""

import numpy as np
import pytest
import torch

import data_fetch
from medsr_core import degradation, upscalers
from medsr_core.measures import vessels


def drawn_retina(seed=0):
    """A lit disc with uneven light, and three dark tubes; the tubes' map."""
    rows, columns = np.mgrid[0:192, 0:192].astype(float)
    disc = np.hypot(rows - 96, columns - 96) < 90
    tubes = np.zeros((192, 192), bool)
    for slope, offset in ((0.3, 60), (-0.5, 150), (0.1, 110)):
        tubes |= abs(rows - slope * columns - offset) / np.hypot(1, slope) < 2.0
    tubes &= np.hypot(rows - 96, columns - 96) < 74
    light = 0.3 + 0.3 * columns / 192
    noise = np.random.default_rng(seed).normal(0, 0.01, (192, 192))
    green = disc * (light * (1 - 0.3 * tubes) + noise).clip(0, 1)
    return torch.from_numpy(np.stack([green * 1.5, green, green * 0.5]).clip(0, 1)).float()[None], tubes


def test_drawn_vessels_are_found_under_uneven_light_and_the_rim_is_none():
    image, tubes = drawn_retina()
    threshold = vessels.best_threshold([image], [tubes])
    found = vessels.segment(drawn_retina(seed=1)[0], threshold)
    assert vessels.dice(found, tubes) > 0.85
    rows, columns = np.nonzero(found)
    assert np.hypot(rows - 96, columns - 96).max() < 82


def test_the_best_threshold_is_better_than_others():
    image, tubes = drawn_retina()
    answer, best = vessels.vesselness(image), vessels.best_threshold([image], [tubes])
    scores = {t: vessels.dice(answer > t, tubes) for t in (best - 0.1, best, best + 0.1)}
    assert max(scores, key=scores.get) == best


def test_brightness_and_contrast_of_the_photograph_do_not_matter():
    image, _ = drawn_retina()
    assert vessels.dice(vessels.segment(image, 0.3), vessels.segment(0.7 * image, 0.3)) > 0.97


def test_field_of_view_is_the_disc_and_a_crop_without_a_rim_is_all_of_it():
    image, _ = drawn_retina()
    assert vessels.field_of_view(image, 0).sum() == pytest.approx(np.pi * 90**2, rel=0.02)
    assert vessels.field_of_view(image, 10).sum() < np.pi * 83**2
    assert vessels.field_of_view(torch.full((1, 3, 32, 32), 0.5), 9).all()
    assert not vessels.vesselness(torch.zeros(1, 3, 32, 32)).any()


def test_dice_by_hand_and_inside_a_region():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[0], b[:, 0] = True, True
    assert vessels.dice(a, b) == 2 * 1 / 8 and vessels.dice(a, a) == 1 and vessels.dice(a & False, a & False) == 1
    assert vessels.dice(a, b, inside=np.eye(4, dtype=bool)) == 1
    with pytest.raises(ValueError, match="one size"):
        vessels.dice(a, b[:2])


def test_the_retinas_vessels_suffer_with_resolution():
    hr = data_fetch.load("fundus", limit=1)[0].pixels
    true = vessels.segment(hr, 0.36)
    scores = []
    for factor in (2, 4, 8):
        lr = degradation.bicubic(factor)(hr).clamp(0, 1)
        scores.append(vessels.dice(vessels.segment(upscalers.upscale(lr, factor=factor), 0.36), true))
    assert 0.03 < true.mean() < 0.3 and scores == sorted(scores, reverse=True) and scores[0] > 0.9 > scores[2]
