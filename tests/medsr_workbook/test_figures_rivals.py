"""Figures of notebook 08: every arrow joins two boxes of its scheme, and nothing lies on something else."""

import itertools

import pytest
import torch

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
