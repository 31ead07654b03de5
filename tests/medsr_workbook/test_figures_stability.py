"""The figures of notebooks 10 and 11 show the numbers they are given."""

import numpy as np
import torch

from medsr_core.measures.intervals import Interval
from medsr_core.measures.stability import Reliability
from medsr_workbook import figures


def interval(mean):
    return Interval(mean, mean - 0.5, mean + 0.5, 8)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_heatmap_writes_mean_and_interval_into_each_cell_and_leaves_gaps():
    table = {"tv": {"box": interval(-1.0), "noise 0.02": interval(-6.0)}, "sr3": {"box": interval(2.0)}}
    figure = figures.stability.heatmap(table, label="dB", limit=8)
    axes = figure.axes[0]
    assert np.allclose(axes.images[0].get_array().filled(np.nan), [[-1, -6], [2, np.nan]], equal_nan=True)
    assert texts(axes) == ["-1.0", "[-1.5, -0.5]", "-6.0", "[-6.5, -5.5]", "+2.0", "[+1.5, +2.5]"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tv", "sr3"]
    assert figures.png(figure)


def test_bands_draw_means_and_intervals():
    lines = {"a": [interval(1), interval(2)], "b": [interval(3), interval(4)]}
    for log in (False, True):
        figure = figures.stability.bands([4, 8], lines, xlabel="factor", ylabel="y", log=log)
        drawn = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_linestyle() != "None"]
        assert drawn == [[[4, 1], [8, 2]], [[4, 3], [8, 4]]]  # at their x, whatever the number of lines
        bars = figure.axes[0].containers[1].lines[2][0].get_segments()
        assert np.allclose([bar[:, 1] for bar in bars], [[2.5, 3.5], [3.5, 4.5]])
        assert figures.png(figure)


def test_calibration_shows_grey_values_and_shares():
    found = Reliability(torch.tensor([0.01, 0.02]), torch.tensor([0.02, 0.04]))
    left, right = figures.stability.calibration({"4x": found}, {"4x": {0.5: 0.3, 0.8: 0.6}}).axes
    assert np.allclose(left.lines[0].get_xydata(), [[2.55, 5.1], [5.1, 10.2]])
    assert np.allclose(right.lines[0].get_xydata(), [[0.5, 0.3], [0.8, 0.6]])


def test_rocs_hold_their_curves():
    curve = (torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.9, 1.0]))
    figure = figures.stability.rocs({"radius 1": {"tv": curve}, "radius 2": {"tv": curve, "sr3": curve}})
    assert [len(axes.lines) for axes in figure.axes] == [2, 3]
    assert np.allclose(figure.axes[0].lines[0].get_xydata(), [[0, 0], [0.5, 0.9], [1, 1]])
    assert figure.axes[1].get_title() == "radius 2"


def test_findings_circle_found_and_missed_places_in_the_box():
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    figure = figures.stability.findings({"tv": (image, [(12, 13)], [(20, 25)])}, (8, 4, 20, 24))
    axes = figure.axes[0]
    assert np.allclose(axes.images[0].get_array(), image[0, 0, 8:28, 4:28])
    assert [patch.center for patch in axes.patches] == [(9, 4), (21, 12)]
    assert [patch.get_linestyle() for patch in axes.patches] == ["-", ":"] or axes.patches[
        1
    ].get_linestyle() == "dotted"


def test_kspace_picture_has_its_brightest_point_in_the_middle():
    picture = figures.stability.kspace_picture(torch.fft.fft2(torch.full((1, 1, 8, 8), 0.5), norm="ortho"))
    assert picture.argmax() == 4 * 8 + 4 and picture.max() <= 1 and picture.sum() == picture.max()
