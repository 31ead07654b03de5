"""Notebook 09's figures hold the numbers they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from medsr_core.measures.intervals import Interval
from medsr_workbook import exercises, figures
from medsr_workbook.toys import gaussian


def point(x, y):
    return Interval(x, x - 1, x + 1, 5), Interval(y, y - 0.1, y + 0.2, 5)


def test_plane_joins_the_methods_that_belong_together_and_draws_both_intervals():
    points = {"srresnet": point(4, 2), "srgan 50%": point(5, 1), "srgan": point(7, 0.5), "tv": point(6, 3)}
    paths = {"from pixels to game": ["srresnet", "srgan 50%", "srgan"], "classical": ["bicubic", "tv"], "SR3": ["sr3"]}
    axes = figures.perception.plane(points, paths, floor=0.3).axes[0]
    line = axes.lines[0]
    assert line.get_xdata().tolist() == [4, 5, 7] and line.get_ydata().tolist() == [2, 1, 0.5]
    drawn = [(tuple(each.get_xdata()), tuple(each.get_ydata())) for each in axes.lines]
    assert ((3, 5), (2, 2)) in drawn and ((4, 4), (1.9, 2.2)) in drawn
    assert {text.get_text() for text in axes.texts} == {"srresnet", "srgan", "other real scans"}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["from pixels to game", "classical"]


def test_plane_is_logarithmic_only_where_a_logarithm_shows_the_whole_interval():
    above, below = ({"tv": (point(6, 3)[0], Interval(0.5, low, 1.2, 5))} for low in (0.1, -0.1))
    assert figures.perception.plane(above).axes[0].get_yscale() == "log"
    axes = figures.perception.plane(below).axes[0]
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] < -0.1


def test_toy_draws_the_bound_and_the_students_answer():
    axes = figures.perception.toy(0.7, a=0.8, b=0.2).axes[0]
    curves = {line.get_label(): line for line in axes.lines}
    depth = curves["the bound"].get_ydata()
    assert np.allclose(curves["the bound"].get_xdata(), [gaussian.bound(p, noise=0.7) for p in depth])
    answer = curves["your answer"]
    assert (answer.get_xdata()[0], answer.get_ydata()[0]) == gaussian.answer(0.8, 0.2, noise=0.7)
    assert "your answer" not in {line.get_label() for line in figures.perception.toy(0.7).axes[0].lines}


def test_verdicts_write_right_of_all_and_colour_by_share():
    questions = ("noise < blur", "shifted < blur")
    shares = {
        m: dict(zip(questions, v, strict=True)) for m, v in {"SSIM": [(0, 8), (8, 8)], "x": [(4, 8), (2, 8)]}.items()
    }
    figure = figures.perception.verdicts(shares)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0/8", "8/8", "4/8", "2/8"]
    assert np.allclose(figure.axes[0].images[0].get_array(), [[0, 1], [0.5, 0.25]])
    assert figure.axes[1].get_ylabel() == "share of right answers"
    assert Image.open(io.BytesIO(figures.png(figure))).width > 600


@pytest.mark.parametrize(
    ("solution", "says"),
    [
        (lambda a, b: 1.0, "no pair agrees"),
        (lambda a, b: np.sign((a[0] - a[-1]) * (b[0] - b[-1])), "Count the pairs"),
        (lambda a, b: np.mean([np.sign((a[i] - a[j]) * (b[i] - b[j])) for i in range(len(a)) for j in range(i)]), "✓"),
    ],
)
def test_the_check_of_kendalls_tau_tells_right_from_wrong(solution, says, capsys):
    exercises.check_kendall(solution)
    assert says in capsys.readouterr().out
