"""Parameters and claims are checked; exercises tick what is right and only that."""

import math
from pathlib import Path

import pytest
import torch

from medsr_core import degradation, diffusion, restoration, upscalers
from medsr_workbook import exercises, lesson
from medsr_workbook.lesson import A_DATA_SET, between, check_parameters, one_of

WRITTEN = {"data": "brain", "factor": 4, "sigma": 1.0, "show": True}
RULES = {
    "data": ("brain", A_DATA_SET),
    "factor": (4, one_of(2, 4)),
    "sigma": (1.0, between(0, 5)),
    "show": (True, one_of(True, False)),
}


def test_parameters_as_written_turn_the_claims_on():
    expect = check_parameters(dict(WRITTEN), **RULES)
    expect(1.04, about=1.0, within=0.05)
    with pytest.raises(AssertionError, match="text says 1"):
        expect(1.06, about=1.0, within=0.05)
    with pytest.raises(AssertionError, match="does not hold"):
        expect(1 > 2)
    with pytest.raises(AssertionError):
        expect(float("nan"), about=1.0, within=0.05)


@pytest.mark.parametrize("checked", [True, False])
def test_a_claim_about_a_number_says_how_near(checked):
    for half in ({"about": 1.0}, {"within": 0.1}):
        with pytest.raises(TypeError, match="give both"):
            lesson.Claims(checked)(1.0, **half)


def test_other_parameters_turn_the_claims_off():
    expect = check_parameters(WRITTEN | {"sigma": 2}, **RULES)  # a whole number will do for a real one
    expect(1 > 2)
    expect(99.0, about=1.0, within=0.05)


def test_claims_do_not_go_off_without_a_word(capsys):
    namespace = dict(WRITTEN)
    check_parameters(namespace, **RULES)
    check_parameters(namespace, **RULES)  # run again with nothing changed
    assert capsys.readouterr().out == ""
    namespace["factor"] = 2  # as a lesson may do in a later cell
    expect = check_parameters(namespace, **RULES)
    said = capsys.readouterr().out
    assert "factor = 2 (4)" in said and "sigma" not in said and "run the cell of the parameters" in said
    expect(1 > 2)
    check_parameters(WRITTEN | {"sigma": 2.0}, **RULES)  # a first run with another parameter
    said = capsys.readouterr().out
    assert "sigma = 2.0 (1.0)" in said and "run the cell" not in said
    namespace["factor"] = {"a": 1}
    with pytest.raises(TypeError, match=r"factor takes int\. The lesson may have changed it since"):
        check_parameters(namespace, **RULES)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"factr": 8}, ValueError, r"unknown parameter 'factr'[\s\S]*factor: int, one of 2, 4"),
        ({"factor": "4"}, TypeError, r"factor = '4' is a str; factor takes int"),
        ({"factor": True}, TypeError, r"factor = True is a bool"),
        ({"show": "true"}, TypeError, r"show = 'true' is a str; show takes bool"),
        ({"factor": 3}, ValueError, r"factor = 3 is not one of 2, 4"),
        ({"sigma": -1.0}, ValueError, r"sigma = -1.0 is not from 0 to 5"),
        ({"sigma": float("nan")}, ValueError, r"sigma = nan is not from 0 to 5"),
        ({"data": ""}, ValueError, r"path to your own images"),
    ],
)
def test_bad_parameters_say_what_is_allowed(change, error, message):
    with pytest.raises(error, match=message):
        check_parameters(WRITTEN | change, **RULES)


def test_a_missing_parameter_is_named():
    with pytest.raises(ValueError, match="'factor' is missing"):
        check_parameters({"data": "brain"}, **RULES)


def test_the_check_can_be_run_again_when_the_lesson_has_variables():
    namespace = dict(WRITTEN)
    check_parameters(namespace, **RULES)
    namespace["gap"] = 0.1
    check_parameters(namespace, **RULES)


def test_table_is_markdown():
    rows = [{"method": "tv", "PSNR": 30.12345}, {"method": "best", "PSNR": "n/a"}]
    assert lesson.table(rows) == "| method | PSNR |\n| --- | --: |\n| tv | 30.12 |\n| best | n/a |"


def test_a_scratch_folder_is_there_during_the_call_and_gone_after_it():
    def write(text, folder):
        (Path(folder) / "file").write_text(text)
        return Path(folder), (Path(folder) / "file").read_text()

    folder, text = lesson.in_a_scratch_folder(write, "hello")
    assert text == "hello" and not folder.exists()


def says(capsys, check, answer):
    check(answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (exercises.check_upscaler, lambda lr, factor: lr, "4 H"),
        (exercises.check_upscaler, lambda lr, factor: restoration.bicubic(lr, factor), "Degrade your answer"),
        (exercises.check_upscaler, lambda lr, factor: restoration.bicubic(lr, factor) * float("nan"), "NaN"),
        (exercises.check_upscaler, lambda lr: lr, "TypeError"),
        (exercises.check_projection, lambda x, y, D: x, "not y yet"),
        (exercises.check_projection, lambda x, y, D: D.pinv(y, (64, 64)), "cannot see is gone"),
        (exercises.check_psnr, lambda sr, hr, r: -10 * ((sr - hr) ** 2).mean().log10(), r"[0, 255]"),
        (exercises.check_psnr, lambda sr, hr, r: 0.0, "MSE"),
        (exercises.check_best_answer, 1.0, "Minimise"),
        (exercises.check_best_answer, "half", "ValueError"),
        (exercises.check_discriminator, lambda p, q: 1.0, "only guess"),
        (exercises.check_discriminator, lambda p, q: 0.5, "Set the slope"),
        (exercises.check_verdict, lambda interval: "tie", "specialist is better"),
        (exercises.check_verdict, lambda interval: "specialist", "generalist is better"),
        (exercises.check_verdict, lambda interval: "specialist" if interval.mean > 0 else "generalist", "a tie"),
        (exercises.check_two_steps, lambda a, b: 1.0, "TypeError"),
        (exercises.check_two_steps, lambda a, b: (a * b, 0.0), "two roots"),
        (exercises.check_two_steps, lambda a, b: ((a * b) ** 0.5, 1 - a * b), "Take the root"),
        (exercises.check_two_steps, lambda a, b: ((a * b) ** 0.5, (1 - a) ** 0.5 + (1 - b) ** 0.5), "spreads do not"),
        (exercises.check_noisy_batch, lambda y0, g, noise: y0[:1], "shape of y0"),
        (exercises.check_noisy_batch, lambda y0, g, noise: y0, "Even with equal"),
        (exercises.check_noisy_batch, lambda y0, g, noise: g.sqrt() * y0 + (1 - g).sqrt() * noise, "columns"),
        (exercises.check_reverse_step, lambda y, y0, g, g_next, z: y, "Without z"),
        (exercises.check_reverse_step, lambda y, y0, g, g_next, z: _step(y, y0, g, g_next, 0 * z), "Fresh noise"),
        (exercises.check_reverse_step, lambda y, y0, g, g_next, z: _step(y, y0, g, g_next, z, 2), "g_next = 1"),
        (exercises.check_calls, lambda sampler, steps, samples, stages: steps - 1, "One call per step"),
        (exercises.check_calls, lambda sampler, steps, samples, stages: steps, "a walk of its own"),
        (exercises.check_calls, lambda s, n, *many: n * (1 + (s == "dpm++")) * math.prod(many), "the step before"),
    ],
)
def test_wrong_answers_get_a_hint_and_no_error(capsys, check, wrong, hint):
    answer = says(capsys, check, wrong)
    assert answer.startswith("✗") and hint in answer and "✓" not in answer


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (exercises.check_upscaler, lambda lr, factor: upscalers.upscale(lr, "backprojection", factor=factor)),
        (exercises.check_projection, lambda x, y, D: x + D.adjoint(_solve(D, y - D(x)), (64, 64))),
        (exercises.check_best_answer, 0.5),
        (exercises.check_discriminator, lambda p, q: p / (p + q)),
        (exercises.check_verdict, lambda i: "tie" if i.low <= 0 <= i.high else ["generalist", "specialist"][i.low > 0]),
        (exercises.check_two_steps, lambda a, b: ((a * b) ** 0.5, (b * (1 - a) + 1 - b) ** 0.5)),
        (exercises.check_noisy_batch, diffusion.diffuse),
        (exercises.check_reverse_step, lambda *given: _step(*given)),
        (exercises.check_calls, lambda sampler, *many: math.prod(many)),
    ],
)
def test_right_answers_get_a_tick(capsys, check, right):
    assert says(capsys, check, right).startswith("✓")


def _solve(D: degradation.Separable, miss: torch.Tensor) -> torch.Tensor:
    """(D D^T)^-1 by plain linear algebra, for a projection that shares nothing with `pinv`."""
    gram = D.rows(64) @ D.rows(64).T
    return (torch.linalg.solve(gram, torch.linalg.solve(gram, miss[0, 0].double()).T).T)[None, None].float()


def _step(y, y0, g, g_next, z, last=1):
    """SR3's reverse step by the mean and variance of Ho et al. 2020 (eq. 7), variance 1 - a; noise below g = `last`."""
    a = g / g_next
    mean = (g_next.sqrt() * (1 - a) * y0 + a.sqrt() * (1 - g_next) * y) / (1 - g)
    return mean + (1 - a).sqrt() * z * (g_next < last)
