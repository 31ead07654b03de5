"""Spread, calibration, and the split into measured and invented, on ensembles whose answers are known."""

import math

import pytest
import torch

from medsr_core import degradation
from medsr_core.measures import stability


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def ensemble(count=15, *, wide=1.0, seed=0):
    """N samples and a truth around a common mean, pixel-wise sigma from 0.01 to 0.1; `wide` is the samples' alone."""
    sigma = torch.linspace(0.01, 0.1, 64, dtype=torch.float64).expand(2, 1, 64, 64)
    draws = normal(count + 1, 2, 1, 64, 64, seed=seed) * sigma
    return 0.5 + wide * draws[:-1], 0.5 + draws[-1], sigma


def test_spread_and_diversity_are_mean_and_standard_deviation():
    samples, _, sigma = ensemble(400)
    mean, deviation = stability.spread(samples)
    assert torch.allclose(mean, samples.mean(0)) and torch.allclose(deviation, sigma, rtol=0.25)
    assert stability.diversity(samples).numpy() == pytest.approx([sigma[0].square().mean().sqrt().item()] * 2, rel=0.02)
    assert torch.equal(stability.diversity(samples[:1].expand(5, -1, -1, -1, -1)), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("count", [2, 5, 40])
def test_a_posterior_sampler_loses_what_theory_says(count):
    samples, hr, _ = ensemble(count)
    expected = 10 * math.log10(2 / (1 + 1 / count))
    assert stability.sampling_loss(samples, hr).mean().item() == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("wide", [0.5, 1.0, 2.0])
def test_reliability_finds_samples_that_are_too_sure_or_too_shy(wide):
    samples, hr, _ = ensemble(30, wide=wide)
    found = stability.reliability(samples, hr, bins=6)
    expected = math.sqrt((1 + wide**2 / 30) / (wide**2 * (1 + 1 / 30)))
    assert found.ratio == pytest.approx(expected, rel=0.03)
    assert (found.predicted.diff() > 0).all() and (found.actual.diff() > 0).all()
    assert torch.allclose(found.actual / found.predicted, torch.tensor(expected).double(), rtol=0.15)


def test_reliability_masks_pixels_and_weighs_bins_equally():
    samples, hr, _ = ensemble(10)
    left = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    left[..., :32] = True
    masked = stability.reliability(samples, hr, bins=4, mask=left)
    cut = stability.reliability(samples[..., :32], hr[..., :32], bins=4)
    assert torch.allclose(masked.predicted, cut.predicted) and torch.allclose(masked.actual, cut.actual)
    with pytest.raises(ValueError, match="bins"):
        stability.reliability(samples, hr, bins=0)


def test_coverage_is_nominal_for_exchangeable_samples_and_too_low_for_sure_ones():
    samples, hr, _ = ensemble(9)
    levels = stability.coverage(samples, hr)
    assert list(levels) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert list(levels.values()) == pytest.approx(list(levels), abs=0.025)
    narrow, hr, _ = ensemble(9, wide=0.3)
    assert all(share < 0.7 * level for level, share in stability.coverage(narrow, hr).items())


def test_coverage_of_a_flat_background_is_nominal():
    levels = stability.coverage(torch.zeros(9, 1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    assert list(levels.values()) == pytest.approx(list(levels))
    some = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    some[..., 0, 0] = True
    hr = torch.ones(1, 1, 8, 8)
    hr[..., 0, 0] = 0
    assert stability.coverage(torch.zeros(9, 1, 1, 8, 8), hr, mask=some)[0.8] == pytest.approx(0.8)


@pytest.mark.parametrize("D", [degradation.bicubic(4), degradation.kspace_truncation(4)], ids=str)
def test_the_two_errors_add_up_and_land_where_they_were_put(D):
    hr, error = 0.5 + 0.1 * normal(2, 1, 32, 24), normal(2, 1, 32, 24, seed=1)
    measured, invented = stability.split_error(hr + error, hr, D)
    assert torch.allclose(measured + invented, error.square().mean((1, 2, 3)))
    measured, invented = stability.split_error(hr + D.null_part(error), hr, D)
    assert (measured < 1e-12).all() and torch.allclose(invented, D.null_part(error).square().mean((1, 2, 3)))


def test_detail_is_right_wrong_or_absent():
    D, hr = degradation.bicubic(4), normal(1, 1, 32, 32)
    amount, agreement = stability.detail(hr, hr, D)
    assert amount.item() == pytest.approx(1) and agreement.item() == pytest.approx(1)
    assert stability.detail(D.range_part(hr), hr, D).amount.item() == pytest.approx(0, abs=1e-6)
    answer = D.range_part(hr) + 0.5 * D.null_part(normal(1, 1, 32, 32, seed=2))
    amount, agreement = stability.detail(answer, hr, D)
    assert abs(agreement.item()) < 0.1 and amount.item() == pytest.approx(0.5, rel=0.1)
    lost = stability.split_error(answer, hr, D).invented / D.null_part(hr).square().mean()
    assert lost.item() == pytest.approx((1 - 2 * amount * agreement + amount**2).item())


def test_stored_rows_are_pooled():
    rows = [
        {"predicted": [1.0, 2.0], "actual": [0.0, 3.0], "coverage": {"0.333": 0.2, "0.778": 0.6}},
        {"predicted": [7.0, 2.0], "actual": [4.0, 3.0], "coverage": {"0.333": 0.4, "0.778": 1.0}},
    ]
    found, shares = stability.pooled(rows)
    assert found.predicted.tolist() == pytest.approx([5, 2]) and found.actual.tolist() == pytest.approx([8**0.5, 3])
    assert shares == pytest.approx({0.333: 0.3, 0.778: 0.8})
    assert found.ratio == pytest.approx((17 / 29) ** 0.5)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="N of 2 or more"):
        stability.spread(torch.zeros(1, 1, 1, 8, 8))
    with pytest.raises(ValueError, match="N of 2 or more"):
        stability.diversity(torch.zeros(4, 1, 8, 8))
    with pytest.raises(ValueError, match="compare one size"):
        stability.coverage(torch.zeros(4, 1, 1, 8, 8), torch.zeros(1, 1, 8, 9))


@pytest.mark.parametrize("count", [2, 3])
def test_few_samples_predict_the_error_that_one_more_sample_would_have(count):
    """Var(mean - truth) = (1 + 1/N) sigma^2: with two samples it is 1.5, and (1 - 1/N) would be 0.5."""
    together = [stability.reliability(*ensemble(count, seed=seed)[:2], bins=1) for seed in range(12)]
    ratio = math.sqrt(sum(r.actual**2 for r in together) / sum(r.predicted**2 for r in together))
    assert ratio == pytest.approx(1, abs=0.03)
    samples, hr, _ = ensemble(count)
    expected = samples.numpy().var(0, ddof=1).mean() * (1 + 1 / count)
    assert stability.reliability(samples, hr, bins=1).predicted.item() ** 2 == pytest.approx(expected)
