"""Distortions do what they say, and as much as they are asked to."""

import math

import pytest
import scipy.ndimage
import torch

from medsr_core import degradation
from medsr_core.measures import lesions, metrics
from medsr_workbook.toys import distortions


def scan(dtype=torch.float64):
    noise = torch.rand(1, 1, 64, 48, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return (degradation.gaussian_blur(2.0)(noise) * 3 - 1).clamp(0.1, 0.9)


@pytest.mark.parametrize("name", distortions.DISTORTIONS)
def test_strength_zero_changes_nothing_and_more_changes_more(name):
    x, distort = scan(), distortions.DISTORTIONS[name]
    assert torch.allclose(distort(x, 0.0), x, atol=1e-12)
    errors = [metrics.mse(distort(x, s), x).item() for s in (0.01, 0.05, 0.2)]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert torch.equal(distort(x, 0.1), distort(x, 0.1))  # the same noise each time


@pytest.mark.parametrize("target", [20.0, 32.0])
@pytest.mark.parametrize("name", distortions.DISTORTIONS)
def test_at_psnr_hits_the_target(name, target):
    x = scan()
    reached = metrics.psnr(distortions.at_psnr(distortions.DISTORTIONS[name], x, target), x, data_range=1.0).item()
    assert reached == pytest.approx(target, abs=0.5 if name == "dead pixels" else 1e-3)  # pixels come one by one


def test_at_psnr_says_when_it_cannot():
    with pytest.raises(ValueError, match="blur cannot bring"):
        distortions.at_psnr(distortions.blur, torch.full((1, 1, 16, 16), 0.5), 20.0)


def test_shift_is_a_shift():
    x = scan()
    assert torch.allclose(distortions.shift(x, 0.3), x.roll(3, -1), atol=1e-9)
    wave = torch.sin(2 * math.pi * torch.arange(48, dtype=torch.float64) / 12).expand(1, 1, 4, 48)
    half = torch.sin(2 * math.pi * (torch.arange(48, dtype=torch.float64) - 0.5) / 12)
    assert torch.allclose(distortions.shift(wave, 0.05), half.expand_as(wave), atol=1e-9)


def test_blur_and_contrast_by_hand():
    x = scan()
    expected = scipy.ndimage.gaussian_filter(x[0, 0].numpy(), math.sqrt(2), mode="reflect")
    assert torch.allclose(distortions.blur(x, 0.2)[0, 0], torch.from_numpy(expected), atol=1e-9)
    stretched = distortions.contrast(x, 0.5)
    assert stretched.mean() == pytest.approx(x.mean().item()) and stretched.std() == pytest.approx(1.5 * x.std().item())


def test_invented_detail_is_invisible_to_the_degradation():
    x, D = scan(), degradation.bicubic(4)
    assert (D(distortions.invented_detail(x, 0.3)) - D(x)).abs().max() < 1e-12


@pytest.mark.parametrize("radius", [1.0, 3.0, 7.5])
def test_lesion_has_the_area_of_its_disc(radius):
    spot = lesions.lesion((64, 48), (31.2, 20.7), radius, contrast=0.5)
    assert spot.shape == (1, 1, 64, 48) and spot.max() <= 0.5
    assert spot.sum().item() == pytest.approx(0.5 * math.pi * radius**2, rel=0.1)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    assert (spot[0, 0] * rows).sum() / spot.sum() == pytest.approx(31.2, abs=0.05)
    assert (spot[0, 0] * columns).sum() / spot.sum() == pytest.approx(20.7, abs=0.05)
