"""The diffusion notebooks' figures show what they are given."""

import numpy as np
import pytest
import torch

from medsr_core import diffusion
from medsr_core.measures.intervals import Interval
from medsr_core.networks.sr3 import PAPER, SR3, TEACHING
from medsr_workbook import figures, widgets


def test_noised_shows_the_image_its_values_and_its_place_on_the_schedule():
    alpha_bar = diffusion.linear(50)
    y = torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    picture, histogram, curve = figures.diffusion.noised(y, alpha_bar, 20).axes
    assert np.allclose(picture.images[0].get_array(), ((y + 1) / 2).clamp(0, 1)[0, 0])
    bars = sum(bar.get_height() * bar.get_width() for bar in histogram.patches)
    assert bars == pytest.approx(1, abs=0.01)
    assert np.allclose(curve.lines[0].get_ydata(), alpha_bar) and curve.lines[1].get_xdata() == [20]
    g = float(alpha_bar[20])
    assert curve.get_title() == f"signal to noise: {10 * np.log10(g / (1 - g)):+.1f} dB"


def test_a_clean_image_has_no_noise():
    assert (
        figures.diffusion.noised(torch.zeros(1, 1, 8, 8), diffusion.cosine(9), 0)
        .axes[2]
        .get_title()
        .endswith("no noise")
    )


def test_schedules_draws_levels_and_decibels():
    level, ratio = figures.diffusion.schedules({"cosine": diffusion.cosine(100), "half": torch.full((5,), 0.5)}).axes
    assert np.allclose(level.lines[0].get_ydata(), diffusion.cosine(100))
    assert np.allclose(ratio.lines[1].get_ydata(), 0)
    assert [text.get_text() for text in level.get_legend().get_texts()] == ["cosine", "half"]


def test_measurements_lie_over_their_formula():
    measured = {"a": [Interval(1.0, 0.8, 1.3, 9), Interval(2.0, 1.9, 2.1, 9)]}
    axes = figures.diffusion.over_formula([1, 2], measured, {"a": [1.1, 2.1]}, xlabel="x", ylabel="y").axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1.0, 2.0], [1.1, 2.1]]
    assert [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()] == [[0.8, 1.3], [1.9, 2.1]]


def test_a_formula_of_all_is_drawn_once_and_points_stand_apart():
    values = [Interval(1.0, 0.8, 1.3, 4), Interval(2.0, 1.9, 2.1, 4)]
    formula = {"a": [1.1, 2.1], "b": [1.1, 2.1]}
    axes = figures.diffusion.over_formula([1, 2], {"a": values, "b": values}, formula, xlabel="x", ylabel="y").axes[0]
    first, second, curve = (np.asarray(line.get_xdata()) for line in axes.lines)
    assert curve.tolist() == [1, 2] and (first < curve).all() and (second > curve).all()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a, measured", "b, measured", "formula"]


def test_a_formula_may_be_smoother_than_the_measurements():
    measured, labels = {"a": [Interval(1.0, 0.8, 1.3, 4)] * 2}, {"xlabel": "x", "ylabel": "y"}
    axes = figures.diffusion.over_formula([1, 2], measured, {"a": [1.0, 1.4, 1.5]}, over=[1, 1.5, 2], **labels).axes[0]
    points, curve = axes.lines
    assert points.get_xdata().tolist() == [1, 2]
    assert curve.get_xydata().tolist() == [[1, 1.0], [1.5, 1.4], [2, 1.5]]


def test_doubling_measurements_stand_at_equal_distances_and_apart():
    measured = {name: [Interval(1.0, 0.8, 1.3, 4)] * 3 for name in "ab"}
    formula = {name: [1.0, 1.0] for name in "ab"}
    options = {"over": [1, 8], "log": True, "xlabel": "", "ylabel": ""}
    axes = figures.diffusion.over_formula([2, 4, 8], measured, formula, **options).axes[0]
    first, second, _ = (np.asarray(line.get_xdata()) for line in axes.lines)
    assert np.allclose(np.diff(np.log2([first, second])), 1) and np.allclose(second / first, 1.03)
    assert np.allclose(np.sqrt(first * second), [2, 4, 8])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4", "8"] and axes.get_xscale() == "log"


def test_spectra_draws_every_power_and_floor():
    f = torch.linspace(0.01, 0.5, 20)
    axes = figures.diffusion.spectra(f, 1 / f, {"t = 3": 1 / f + 2}, {"t = 3": 2.0}).axes[0]
    clean, noisy, floor = (np.asarray(line.get_ydata()) for line in axes.lines)
    assert np.allclose(clean, 1 / f) and np.allclose(noisy, 1 / f + 2) and np.allclose(floor, 2)


def test_by_steps_draws_lines_with_intervals_and_the_band_to_reach():
    points = {4: Interval(28.0, 27.5, 28.5, 9), 10: Interval(29.0, 28.8, 29.2, 9)}
    figure = figures.diffusion.by_steps({"PSNR": {"ddim": points}}, band={"PSNR": Interval(29.1, 28.9, 29.3, 9)})
    axes = figure.axes[0]
    assert axes.lines[0].get_xdata().tolist() == [4, 10] and axes.lines[0].get_ydata().tolist() == [28.0, 29.0]
    assert [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()] == [[27.5, 28.5], [28.8, 29.2]]
    assert axes.patches[0].get_extents().transformed(axes.transData.inverted()).intervaly == pytest.approx([28.9, 29.3])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["to be reached", "ddim"]


@pytest.mark.parametrize("size", [TEACHING, PAPER])
def test_the_drawn_unet_is_the_module(size):
    with torch.device("meta"):
        network = SR3(channels=3, **size).unet
    drawn = figures.diffusion.blocks(network, 64)
    levels = len(size["multipliers"])
    assert [drawn[0].channels, drawn[-1].channels] == [size["width"], 3]
    assert min(block.side for block in drawn) == 64 // 2 ** (levels - 1)
    assert [sum(block.kind == kind for block in drawn) for kind in ("halves", "doubles")] == [levels - 1] * 2
    assert any(block.attends for block in drawn) == size.get("attention", True)
    inside = [*network.down, *network.middle, *network.up]
    for number, level in enumerate(inside, 1):  # what a block takes in is what the drawing says goes there
        source = drawn[number].source
        skipped = 0 if source is None else drawn[source].channels
        assert level.block.conv1.in_channels == drawn[number - 1].channels + skipped
        assert source is None or drawn[source].side == drawn[number].side
    assert sum(block.source is not None for block in drawn) == levels * (size.get("blocks", 3) + 1)


def test_the_unets_figure_names_sizes_channels_and_skips():
    network = SR3(channels=1, **TEACHING).unet
    axes = figures.diffusion.unet(network, 32).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert {"32 x 32", "16 x 16", "8 x 8"} <= set(texts)
    assert [int(text) for text in texts if text.isdigit()] == [
        b.channels for b in figures.diffusion.blocks(network, 32)
    ]
    assert axes.get_title() == f"2 channels in, 1 out, {sum(p.numel() for p in network.parameters()):,} parameters"


def test_a_play_button_moves_the_slider_and_the_picture():
    def draw(step):
        return figures.images({f"{step}": torch.full((1, 1, 8, 8), step / 4)})

    panel = widgets.play(widgets.panel(draw, step=widgets.slider("step", 0, 4, 1)), "step", seconds=0.2)
    button, slider = panel.children[0].children
    assert [button.min, button.max, button.value, button.interval] == [0, 4, 1, 200]
    before = panel.children[-1].value
    button.value = 3
    assert slider.value == 3 and panel.children[-1].value != before
    slider.value = 0
    assert button.value == 0
