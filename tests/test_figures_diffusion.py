"""The diffusion notebooks' figures show what they are given."""

import numpy as np
import pytest
import torch

from medsr_core import diffusion, figures_diffusion
from medsr_core.metrics import Interval


def test_noised_shows_the_image_its_values_and_its_place_on_the_schedule():
    alpha_bar = diffusion.linear(50)
    y = torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    picture, histogram, curve = figures_diffusion.noised(y, alpha_bar, 20).axes
    assert np.allclose(picture.images[0].get_array(), ((y + 1) / 2).clamp(0, 1)[0, 0])
    bars = sum(bar.get_height() * bar.get_width() for bar in histogram.patches)
    assert bars == pytest.approx(1, abs=0.01)
    assert np.allclose(curve.lines[0].get_ydata(), alpha_bar) and curve.lines[1].get_xdata() == [20]
    g = float(alpha_bar[20])
    assert curve.get_title() == f"signal to noise: {10 * np.log10(g / (1 - g)):+.1f} dB"


def test_a_clean_image_has_no_noise():
    assert (
        figures_diffusion.noised(torch.zeros(1, 1, 8, 8), diffusion.cosine(9), 0)
        .axes[2]
        .get_title()
        .endswith("no noise")
    )


def test_schedules_draws_levels_and_decibels():
    level, ratio = figures_diffusion.schedules({"cosine": diffusion.cosine(100), "half": torch.full((5,), 0.5)}).axes
    assert np.allclose(level.lines[0].get_ydata(), diffusion.cosine(100))
    assert np.allclose(ratio.lines[1].get_ydata(), 0)
    assert [text.get_text() for text in level.get_legend().get_texts()] == ["cosine", "half"]


def test_measurements_lie_over_their_formula():
    measured = {"a": [Interval(1.0, 0.8, 1.3, 9), Interval(2.0, 1.9, 2.1, 9)]}
    axes = figures_diffusion.over_formula([1, 2], measured, {"a": [1.1, 2.1]}, xlabel="x", ylabel="y").axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1.0, 2.0], [1.1, 2.1]]
    assert [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()] == [[0.8, 1.3], [1.9, 2.1]]


def test_spectra_draws_every_power_and_floor():
    f = torch.linspace(0.01, 0.5, 20)
    axes = figures_diffusion.spectra(f, 1 / f, {"t = 3": 1 / f + 2}, {"t = 3": 2.0}).axes[0]
    clean, noisy, floor = (np.asarray(line.get_ydata()) for line in axes.lines)
    assert np.allclose(clean, 1 / f) and np.allclose(noisy, 1 / f + 2) and np.allclose(floor, 2)
