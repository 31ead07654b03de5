"""Figures of notebook 08: every arrow joins two boxes of its scheme, and nothing lies on something else."""

import itertools

import pytest
import torch

from medsr_core.networks import pulse
from medsr_workbook import figures
from medsr_workbook.figures import rivals


@pytest.mark.parametrize("name", rivals.SCHEMES)
def test_boxes_of_a_scheme_do_not_overlap(name):
    boxes, arrows = rivals.SCHEMES[name]
    assert all(start in boxes and end in boxes for start, end, _ in arrows)
    assert {key for start, end, _ in arrows for key in (start, end)} == set(boxes)
    figure = rivals.scheme(name)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    words = {text for _, _, text, _ in boxes.values()}
    extents = [t.get_bbox_patch().get_window_extent() for t in axes.texts if t.get_text() in words]
    assert len(extents) >= len(boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(extents, 2))
    assert axes.get_title() == name


def test_grams_share_one_scale_and_mark_the_patch():
    pictures = {name: torch.rand(1, 1, 16, 16) for name in ("HR", "SR")}
    matrices = {"HR": torch.eye(4), "SR": 3 * torch.eye(4)}
    figure = rivals.grams(pictures, matrices, figures.box_at(pictures["HR"], 0.5, 0.5, 8))
    limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images and axes.get_xlabel() == "feature"}
    assert limits == {(-3.0, 3.0)}
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["HR", "SR"]


def test_costs_are_written_at_their_bars():
    figure = rivals.costs({"HR": 2.345, "bicubic": 5.0})
    (axes,) = figure.axes
    assert {"2.35", "5.00"} <= {text.get_text() for text in axes.texts} or {"2.34", "5.00"} <= {
        text.get_text() for text in axes.texts
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["HR", "bicubic"]


def test_textures_are_of_the_patch_that_is_marked():
    """Half of a picture is noise and half is flat: the Gram matrices of the two halves differ."""
    flat = torch.full((1, 1, 64, 64), 0.5)
    flat[..., 32:] = torch.rand(64, 32, generator=torch.Generator().manual_seed(0))
    shown = []
    for column in (0.0, 1.0):
        figure = rivals.textures({"a": flat, "b": flat}, figures.box_at(flat, 0.0, column, 32))
        shown.append([axes.images[0].get_array() for axes in figure.axes if axes.get_xlabel() == "feature"])
    assert (shown[0][0] == shown[0][1]).all() and abs(shown[0][0] - shown[1][0]).max() > 0.1


def test_what_pulse_found_is_marked():
    wanted = {"a face": torch.rand(1, 3, 8, 8), "a scan": torch.rand(1, 1, 8, 8)}
    results = [
        pulse.Found(
            torch.rand(2, 1, 3, 8, 8), torch.zeros(2, 1, 4), torch.tensor([[d], [1.0]]), torch.ones(2, 1), 0.002
        )
        for d in (0.001, 0.004)
    ]
    figure = rivals.found(wanted, dict(zip(wanted, results, strict=True)), 0)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["a face", "a scan", "found, error 0.0010\nfor a face", "NOT FOUND, error 0.0040\nfor a scan"]
