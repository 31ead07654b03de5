"""Measurements are kept, guides help where they should, and a blur is found that nobody told."""

import numpy as np
import pytest
import torch

import data_fetch
from medsr_core import degradation, restoration, upscalers
from medsr_core.measures import metrics


def picture(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def hr():
    return data_fetch.load("brain", limit=1)[0].pixels[..., 56:152, 40:136]


def psnr(sr, hr):
    return metrics.psnr(sr, hr, data_range=1.0, crop_border=4).item()


def test_point_samples_stay_registered():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32) / 32
    middle = (torch.arange(8) * 4 + 1.5) / 32
    inner = restoration.point_samples(4, sigma=1.0)(ramp)[0, 0, 3, 2:-2]
    assert torch.allclose(inner, middle[2:-2], atol=1e-5)
    assert (degradation.nearest(4)(ramp)[0, 0, 3] - middle).abs().min() * 32 == pytest.approx(0.5, abs=1e-4)


def test_textbook_truncation_is_the_registered_one_moved(hr):
    """Moved by 1.5 HR pixels in k-space, HR gives the same LR image, but for the Nyquist lines."""
    moved = hr
    for axis in (-2, -1):
        frequency = torch.fft.fftfreq(96).view((-1, 1) if axis == -2 else (1, -1))
        moved = torch.fft.ifft(torch.fft.fft(moved, dim=axis) * torch.exp(-2j * np.pi * 1.5 * frequency), dim=axis).real
    expected = degradation.kspace_truncation(4)(moved).clamp(0, 1)
    textbook = restoration.textbook_truncation(hr, 4)
    assert (textbook - expected).abs().mean() < 0.005
    assert (textbook - degradation.kspace_truncation(4)(hr).clamp(0, 1)).abs().mean() > 0.02


def test_a_known_blur_is_translated_into_bicubic(hr):
    D, bicubic = restoration.point_samples(4, sigma=2.5), degradation.bicubic(4)(hr).clamp(0, 1)
    lr = D(hr).clamp(0, 1)
    translated = restoration.as_if_bicubic(lr, D, 4)
    assert (translated - bicubic).square().mean() < 0.2 * (lr - bicubic).square().mean()
    same = restoration.as_if_bicubic(bicubic, degradation.bicubic(4), 4)
    assert torch.allclose(same, bicubic, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 24), (33, 21)])
def test_scan_lines_are_symmetric_and_hold_the_central_block(size):
    mask = restoration.scan_lines(size, 4, extra=0.25, seed=1)
    assert torch.equal(mask, mask.flip(0, 1).roll((1, 1), (0, 1)))
    centre = np.fft.fftshift(restoration.scan_lines(size, 4).numpy())
    rows, columns = np.nonzero(centre)
    assert centre[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert abs(len(set(rows)) - size[0] / 4) <= 1 and abs(len(set(columns)) - size[1] / 4) <= 1
    assert (mask | torch.from_numpy(np.fft.ifftshift(centre))).equal(mask)
    everything = restoration.scan_lines(size, 4, extra=1.0)
    assert everything.any(1).all() and everything[9:24].all() and centre.sum() < mask.sum() < everything.sum()
    with pytest.raises(ValueError, match="share of lines"):
        restoration.scan_lines(size, 4, extra=2.0)


def test_measured_samples_are_kept_hard_or_soft_and_the_rest_is_untouched():
    truth, x = picture(1, 1, 32, 24), picture(1, 1, 32, 24, seed=1)
    mask = restoration.scan_lines((32, 24), 4, extra=0.2)
    measured = restoration.kspace(truth)
    hard, soft = (restoration.keeps(measured * mask, mask, weight=weight)(x) for weight in (1.0, 0.3))
    found = np.fft.fft2(hard[0, 0].numpy(), norm="ortho")
    assert np.allclose(found[mask], measured[0, 0][mask]) and np.allclose(
        found[~mask], restoration.kspace(x)[0, 0][~mask]
    )
    assert torch.allclose(soft, 0.7 * x + 0.3 * hard)
    assert (hard - truth).norm() < (x - truth).norm()
    with pytest.raises(ValueError, match="weight"):
        restoration.keeps(measured, mask, weight=2.0)


def test_projection_explains_lr_and_changes_nothing_else():
    D, sr = degradation.bicubic(4), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    lr = D(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    explain = restoration.explains(lr, D)
    projected = explain(sr)
    assert torch.allclose(D(projected), lr, atol=1e-5)
    assert torch.allclose(D.null_part(projected), D.null_part(sr), atol=1e-5)
    assert torch.allclose(explain(projected), projected, atol=1e-5)


def test_gradient_and_divergence_are_negative_adjoints():
    x, p = torch.rand(1, 2, 7, 5, dtype=torch.float64), torch.rand(2, 1, 2, 7, 5, dtype=torch.float64)
    left, right = (restoration._gradient(x) * p).sum(), -(x * restoration._divergence(p)).sum()
    assert left == pytest.approx(right.item(), abs=1e-12)


def test_edges_of_another_contrast_help_and_wrong_ones_do_not(hr):
    """The guide: the same anatomy with unlike, non-monotone grey values; the wrong one is upside down."""
    D = degradation.bicubic(4)
    lr = D(hr).clamp(0, 1)
    start, project = upscalers.upscale(lr), restoration.explains(lr, D)
    contrast = (3 * hr).sin().square()
    alone, guided, misled = (
        psnr(restoration.least_variation(start, project, guide=guide), hr)
        for guide in (None, contrast, contrast.flip(-2))
    )
    assert guided > alone + 1.5 and misled < guided - 1.5
    with pytest.raises(ValueError, match="guide"):
        restoration.least_variation(start, project, guide=lr)


def test_extra_scan_lines_help(hr):
    start, samples = upscalers.upscale(degradation.kspace_truncation(4)(hr).clamp(0, 1)), restoration.kspace(hr)
    masks = [restoration.scan_lines((96, 96), 4, extra=extra) for extra in (0.0, 0.2, 1.0)]
    few, more, most = (
        psnr(restoration.least_variation(start, restoration.keeps(samples, mask), iterations=20), hr) for mask in masks
    )
    assert more > few + 1 and most > more + 1
    everything = restoration.keeps(samples, torch.ones(96, 96, dtype=torch.bool))
    assert torch.allclose(everything(start), hr, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_width_reads_a_gaussian_off_its_power(sigma):
    f = torch.linspace(0.01, 0.1, 9)
    transfer = torch.exp(-2 * (np.pi * sigma * f) ** 2)  # of a Gaussian of that width
    assert restoration.blur_width(f, 0.3 * transfer**2) == pytest.approx(sigma, rel=1e-4)
    assert restoration.blur_width(f, 1 / transfer) == 0.0
    with pytest.raises(ValueError, match="positive"):
        restoration.blur_width(f, 0 * f)


def test_spectrum_finds_a_wave_and_says_when_an_image_is_too_small():
    wave = torch.sin(2 * np.pi * 0.25 * torch.arange(64.0)).expand(1, 1, 64, 64)
    frequencies = torch.linspace(0.05, 0.45, 9)
    assert restoration.spectrum(wave, frequencies).argmax() == 4
    with pytest.raises(ValueError, match="too few"):
        restoration.spectrum(wave[..., :8, :8], torch.linspace(0.01, 0.02, 9))


def test_what_is_left_of_the_power_is_a_share():
    """Point samples of an image without fine detail keep all of it; bicubic interpolation made the image so smooth."""
    noise = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, scale_factor=8, mode="bicubic")
    _, left = restoration.attenuation([restoration.point_samples(4)(x) for x in smooth.split(1)], smooth.split(1), 4)
    assert left[:4].tolist() == pytest.approx([1] * 4, abs=0.1)


def test_a_flat_image_of_any_size_stays_as_bright_in_the_textbooks_way():
    for size in (8, 10, 13):
        flat = torch.full((1, 1, size, size), 0.5)
        assert restoration.textbook_truncation(flat, 4).mean().item() == pytest.approx(0.5, abs=1e-6)


def test_total_variation_stays_on_the_device_of_its_image(monkeypatch):
    monkeypatch.setattr(restoration, "check_image", lambda *_, **__: None)  # it reads pixels
    start = torch.zeros(1, 1, 16, 16, device="meta")  # a device without pixels, which every machine has
    assert restoration.least_variation(start, lambda x: x, iterations=2).device.type == "meta"


@pytest.mark.parametrize("sigma", [1.5, 2.5])
def test_the_blur_of_scans_is_found_within_a_quarter_pixel(sigma):
    sharp = [scan.pixels for scan in data_fetch.load("brain", split="train", limit=24)]
    lrs = [restoration.point_samples(4, sigma=sigma)(scan.pixels) for scan in data_fetch.load("brain", limit=8)]
    assert restoration.blur_width(*restoration.attenuation(lrs, sharp, 4)) == pytest.approx(sigma, abs=0.25)
