"""The checks of notebooks 10 to 12 accept a solution and answer a typical mistake with its hint."""

import pytest
import torch

from medsr_workbook import exercises


def slope(f, y):
    x = f.square() - f.square().mean()
    return float((x @ (y - y.mean())) / (x @ x))


def width(f, left):
    return (-slope(f, left.log())) ** 0.5 / (2 * torch.pi)


def without_means(f, left):
    return float((-(left.log() / f.square()).mean()) ** 0.5) / (2 * torch.pi)


def keep(sr, samples, mask):
    own = torch.fft.fft2(sr, norm="ortho")
    return torch.fft.ifft2(torch.where(mask, samples, own), norm="ortho").real


def only_measured(sr, samples, mask):
    return torch.fft.ifft2(samples * mask, norm="ortho").real


def auc(present, absent):
    difference = present[:, None] - absent
    return ((difference > 0).float() + (difference == 0).float() / 2).mean()


def best_threshold(present, absent, gain, loss):
    tried = torch.cat([present, torch.tensor([torch.inf])])
    earned = gain * (present >= tried[:, None]).sum(1) - loss * (absent >= tried[:, None]).sum(1)
    return tried[earned.argmax()].item()


@pytest.mark.parametrize(
    ("check", "answer", "reply"),
    [
        (exercises.check_blur_width, width, "✓"),
        (exercises.check_blur_width, without_means, "only its slope"),
        (exercises.check_blur_width, lambda f, left: 0.0, "slope"),
        (exercises.check_kept_samples, keep, "✓"),
        (exercises.check_kept_samples, only_measured, "others were changed"),
        (exercises.check_kept_samples, lambda sr, samples, mask: sr, "not in your answer"),
        (exercises.check_kept_samples, lambda sr, samples, mask: samples, "real"),
        (exercises.check_auc, auc, "✓"),
        (exercises.check_auc, lambda p, a: (p[:, None] > a).float().mean(), "tie"),
        (exercises.check_auc, lambda p, a: 1.0, "every"),
        (exercises.check_threshold, best_threshold, "✓"),
        (exercises.check_threshold, lambda p, a, gain, loss: 0.0, "finds all and nothing else"),
        (exercises.check_threshold, lambda p, a, gain, loss: p.min().item(), "Not the most"),
        (exercises.check_threshold, lambda p, a, gain, loss: best_threshold(p, a, 3.0, 2.0), "gain and loss"),
        (
            exercises.check_threshold,
            lambda p, a, *cost: min(best_threshold(p, a, *cost), p.max().item()),
            "say nothing",
        ),
    ],
)
def test_right_and_wrong_answers_are_told_apart(check, answer, reply, capsys):
    check(answer)
    printed = capsys.readouterr().out
    assert reply in printed and ("✓" in printed) == (reply == "✓")
