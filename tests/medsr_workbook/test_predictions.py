"""Predictions: a tick for the truth, for each known misconception its own hint, and never an error."""

import math

import pytest

from medsr_workbook import predictions

PSNR = {"nearest": 25.1, "bilinear": 26.8, "bicubic": 27.9, "lanczos": 28.4, "backprojection": 28.8, "tv": 27.7}
MADE = {"bicubic x4": 28.8, "box x4": 28.4, "Lanczos x4": 28.5, "k-space x4": 27.8, "nearest x4": 24.4,
        "bicubic x4, no antialias": 25.3}  # fmt: skip
TV = {0.0: 27.5, 0.1: 28.9, 0.2: 30.4, 0.3: 31.2, 0.4: 31.6}

CASES = [  # check, truth, [(wrong answer, hint)], what the notebook measured
    (predictions.check_winner, "backprojection",
     [("nearest", "blocks"), ("bilinear", "D is known"), ("lanczos", "neighbours"), ("tv", "flat patches"),
      ("sr3", "none of")], (PSNR,)),
    (predictions.check_winner, "tv", [("backprojection", "belief")], (PSNR | {"tv": 30.0},)),
    (predictions.check_mix_up, "nearest",
     [("box", "box"), ("Lanczos", "smooth weights"), ("k-space", "ringing"), ("no antialias", "fewer pixels"),
      ("bicubic", "none of")], (MADE,)),
    (predictions.check_mix_up, "no antialias", [("nearest", "another mix-up")], (MADE | {"nearest x4": 26.0},)),
    (predictions.check_darker, 20 * math.log10(3),
     [(0.0, "which one shrinks"), (10 * math.log10(3), "divided by nine"), (-9.5, "cannot fall"), (3, "one factor")],
     (20 * math.log10(3),)),
    (predictions.check_coin, 2 * math.log(2),
     [(0.0, "sure of everything"), (0.5, "minus the logarithm"), (math.log(2), "two terms"),
      (2 * math.log10(2), "natural"), (-2 * math.log(2), "negative"), (7, "both terms")], ()),
    (predictions.check_reach, 31, [(7, "one convolution"), (35, "overlap in 6"), (30, "start from"), (100, "left and")],
     (31, 7, 5)),
    (predictions.check_last_level, 0.995**100,
     [(0.0, "2000 steps leave"), (4e-5, "2000 steps"), (0.5, "multiply"), (0.995, "a hundred add up"), (0.2, "mean")],
     (math.prod(1 - 1e-2 * t / 99 for t in range(100)),)),
    (predictions.check_coverage, 4 / 6,
     [(1.0, "none of the samples"), (0.95, "two stand"), (0.6, "one more draw"), (0.8, "two ends"), (0.2, "of all")],
     (5,)),
    (predictions.check_purchase, "finer",
     [("network", "invents some"), ("lines", "measure more"), ("contrast", "noise"), ("luck", "none of")],
     ({"finer": 9.0, "network": 2.0, "lines": 8.0, "contrast": -1.0},)),
    (predictions.check_purchase, "network", [("finer", "something else earns")],
     ({"finer": 1.0, "network": 2.0, "lines": 0.0, "contrast": -1.0},)),
    (predictions.check_lines, 0.2, [(0.0, "it is ahead"), (0.4, "than measuring"), (0.1, "passes")], (TV, 29.4)),
]  # fmt: skip


@pytest.mark.parametrize(("check", "truth", "wrong", "measured"), CASES)
def test_the_truth_gets_a_tick_and_each_misconception_its_hint(check, truth, wrong, measured, capsys):
    check(truth, *measured)
    assert capsys.readouterr().out.startswith("✓ ")
    said = []
    for answer, hint in wrong:
        check(answer, *measured)
        said.append(capsys.readouterr().out)
        assert said[-1].startswith("✗ ") and hint in said[-1] and "✓" not in said[-1], answer


@pytest.mark.parametrize(("check", "truth", "wrong", "measured"), CASES)
@pytest.mark.parametrize("answer", [None, "half", [], [1, 2], float("nan"), float("inf"), 1j, print])
def test_whatever_was_written_gets_a_hint_and_no_error(check, truth, wrong, measured, answer, capsys):
    check(answer, *measured)
    assert capsys.readouterr().out.startswith("✗ ")


@pytest.mark.parametrize("count", [2, 5, 16])
def test_coverage_is_counted_for_any_number_of_samples(count, capsys):
    predictions.check_coverage((count - 1) / (count + 1), count)
    assert "✓" in capsys.readouterr().out


def test_lines_that_never_suffice_are_no_answer(capsys):
    predictions.check_lines(0.4, TV, 40.0)
    assert "✗" in capsys.readouterr().out


def test_where_no_line_is_needed_the_praise_does_not_speak_of_lines(capsys):
    predictions.check_lines(0.0, TV, 20.0)
    assert "✓ 0. Here total variation needs no further line" in capsys.readouterr().out
