"""Checks of notebook 08's exercises: the blank, the solution, and a typical wrong answer with its hint."""

import pytest
import torch

from medsr_workbook import exercises


def bce(logits, truth):
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def relativistic(real, fake):
    return bce(real - fake.mean(), 1.0) + bce(fake - real.mean(), 0.0)


def forward(h, net):
    shift, scale = net(h[:3])
    return torch.cat([h[:3], (h[3:] + shift) * scale]), scale.log().sum()


def inverse(z, net):
    shift, scale = net(z[:3])
    return torch.cat([z[:3], z[3:] / scale - shift])


def wrong_order(z, net):
    shift, scale = net(z[:3])
    return torch.cat([z[:3], (z[3:] - shift) / scale])


def no_determinant(h, net):
    return forward(h, net)[0], 0.0


CASES = [
    (exercises.check_relativistic, (relativistic,), "✓"),
    (exercises.check_relativistic, (lambda real, fake: 0.0,), "there are two"),
    (exercises.check_relativistic, (lambda real, fake: bce(real, 1.0) + bce(fake, 0.0),), "differences only"),
    (exercises.check_relativistic, (lambda real, fake: bce(real - fake, 1.0) + bce(fake - real, 0.0),), "*mean*"),
    (exercises.check_coupling, (forward, inverse), "✓"),
    (exercises.check_coupling, (lambda h, net: (h, 0.0), lambda z, net: z), "The first half passes unchanged"),
    (exercises.check_coupling, (forward, wrong_order), "undo the scale first"),
    (exercises.check_coupling, (no_determinant, inverse), "triangular"),
    (exercises.check_gram, (lambda maps: maps.flatten(1) @ maps.flatten(1).T / maps[0].numel(),), "✓"),
    (exercises.check_gram, (lambda maps: maps,), "(C, C)"),
    (exercises.check_gram, (lambda maps: maps.flatten(1) @ maps.flatten(1).T,), "*mean*"),
    (exercises.check_gram, (lambda maps: torch.einsum("aij,bji->ab", maps[:, :4, :4], maps[:, :4, :4]),), "places"),
    (exercises.check_gram, (lambda maps: 1 / 0,), "ZeroDivisionError"),
]


@pytest.mark.parametrize("check, functions, said", CASES)
def test_what_a_check_says(check, functions, said, capsys):
    check(*functions)
    assert said in capsys.readouterr().out
