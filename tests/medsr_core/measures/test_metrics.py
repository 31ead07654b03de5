"""Metrics against scikit-image, NumPy and formulas worked by hand."""

import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from medsr_core import degradation
from medsr_core.measures import intervals, metrics


def pair(b=3, c=1, h=40, w=33, noise=0.1, dtype=torch.float32):
    g = torch.Generator().manual_seed(b * 100 + c)
    hr = torch.rand(b, c, h, w, generator=g, dtype=dtype)
    hr = torch.nn.functional.avg_pool2d(hr, 3, 1, 1)  # some structure
    return (hr + noise * torch.randn(hr.shape, generator=g, dtype=dtype)).clamp(0, 1), hr


def skimage_ssim(x, y, data_range=1.0, **options):
    return structural_similarity(
        x.numpy(),
        y.numpy(),
        data_range=data_range,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        **options,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_mse_and_psnr_are_skimages_per_image(channels):
    sr, hr = pair(c=channels)
    for i in range(len(sr)):
        a, b = hr[i].double().numpy(), sr[i].double().numpy()
        assert abs(metrics.mse(sr, hr)[i] - mean_squared_error(a, b)) < 1e-7
        assert abs(metrics.psnr(sr, hr, data_range=1.0)[i] - peak_signal_noise_ratio(a, b, data_range=1.0)) < 1e-4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noise", [0.005, 0.1])
def test_ssim_is_skimages(channels, noise):
    sr, hr = pair(c=channels, noise=noise)
    ours = metrics.ssim(sr, hr, data_range=1.0)
    for i in range(len(sr)):
        assert abs(ours[i] - skimage_ssim(hr[i], sr[i])) < 2e-6
    assert torch.allclose(metrics.ssim(255 * sr, 255 * hr, data_range=255.0), ours, atol=2e-6)


def test_ssim_of_flat_and_bright_images_keeps_its_precision():
    """The trap of float32: E[x^2] - E[x]^2 of a nearly constant image."""
    hr = 0.98 + 0.001 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    sr = hr + 0.001 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = skimage_ssim(hr[0].double(), sr[0].double())
    assert abs(metrics.ssim(sr, hr, data_range=1.0) - expected) < 2e-6


def test_ssim_map_is_skimages_and_its_mean_is_ssim():
    sr, hr = pair(b=1)
    full = skimage_ssim(hr[0], sr[0], full=True)[1][:, 5:-5, 5:-5]
    ours = metrics.ssim_map(sr, hr, data_range=1.0)
    assert np.abs(ours[0].numpy() - full).max() < 2e-5
    assert abs(ours.mean() - metrics.ssim(sr, hr, data_range=1.0)) < 1e-6


def test_global_ssim_is_the_formula_of_the_lecture():
    sr, hr = pair(b=1, dtype=torch.float64)
    x, y = sr.numpy().ravel(), hr.numpy().ravel()
    c1, c2 = 0.01**2, 0.03**2
    cov = np.mean((x - x.mean()) * (y - y.mean()))
    expected = (2 * x.mean() * y.mean() + c1) * (2 * cov + c2)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var() + y.var() + c2)
    assert abs(metrics.ssim_global(sr, hr, data_range=1.0) - expected) < 1e-12
    assert abs(metrics.ssim(sr, hr, data_range=1.0) - expected) > 0.01  # another number than the windowed one


def test_psnr_by_hand_and_the_maximum_form():
    hr = torch.full((1, 1, 16, 16), 0.1)
    sr = hr + 0.01
    assert abs(metrics.psnr(sr, hr, data_range=1.0) - 40) < 1e-3
    assert abs(metrics.psnr_of_maximum(sr, hr) - 20) < 1e-3  # 20 log10(1 / 0.1) = 20 dB less
    assert abs(metrics.psnr(255 * sr, 255 * hr, data_range=255.0) - 40) < 1e-3
    assert metrics.psnr(hr, hr, data_range=1.0).item() == math.inf


def test_per_image_average_is_not_the_pooled_one():
    hr = torch.zeros(2, 1, 12, 12)
    sr = torch.stack([torch.full((1, 12, 12), 0.1), torch.full((1, 12, 12), 0.01)])
    assert abs(metrics.psnr(sr, hr, data_range=1.0).mean() - 30) < 1e-3
    pooled = 10 * math.log10(1 / ((0.1**2 + 0.01**2) / 2))
    assert pooled < 23


def test_luma_is_matlabs():
    sr, hr = pair(c=3)
    y = [rgb2ycbcr(t[0].permute(1, 2, 0).double().numpy())[..., 0] / 255 for t in (sr, hr)]
    assert abs(metrics.mse(sr, hr, y_channel=True)[0] - np.mean((y[0] - y[1]) ** 2)) < 1e-7
    gray = pair(c=1)
    assert torch.equal(metrics.mse(*gray, y_channel=True), metrics.mse(*gray))


@pytest.mark.parametrize("metric", [metrics.mse, metrics.psnr, metrics.ssim, metrics.ssim_global])
def test_border_and_mask_cut_the_same_region(metric):
    options = {} if metric is metrics.mse else {"data_range": 1.0}
    sr, hr = pair(c=3)
    cropped = metric(sr, hr, crop_border=4, **options)
    assert torch.allclose(cropped, metric(sr[..., 4:-4, 4:-4], hr[..., 4:-4, 4:-4], **options))
    if metric is not metrics.ssim:  # its windows reach beyond the mask, by design
        mask = torch.zeros(1, 1, *hr.shape[-2:], dtype=torch.bool)
        mask[..., 4:-4, 4:-4] = True
        assert torch.allclose(cropped, metric(sr, hr, mask=mask, **options), atol=1e-5)


def test_ssim_mask_counts_windows_by_their_centre():
    sr, hr = pair(b=1)
    mask = torch.zeros(1, 1, *hr.shape[-2:], dtype=torch.bool)
    mask[..., 10:20, 12:15] = True
    expected = metrics.ssim_map(sr, hr, data_range=1.0)[..., 5:15, 7:10].mean()
    assert torch.allclose(metrics.ssim(sr, hr, data_range=1.0, mask=mask), expected)


def test_consistency_is_the_error_after_degrading_again():
    D = degradation.bicubic(4)
    _, hr = pair(h=32, w=32, dtype=torch.float64)
    lr = D(hr)
    hidden = hr + D.null_part(torch.rand_like(hr))
    assert metrics.consistency(hidden, lr, D).max() < 1e-20
    assert torch.allclose(metrics.consistency(hr + 0.1, lr, D), torch.full((3,), 0.01, dtype=torch.float64))


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.ssim_global])
def test_metrics_are_differentiable(metric):
    sr, hr = pair(b=1, h=12, w=13, dtype=torch.float64)
    sr.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: metric(x, hr, data_range=1.0), sr)


def test_bootstrap_agrees_with_the_normal_interval():
    g = torch.Generator().manual_seed(0)
    values = 30 + 2 * torch.randn(400, generator=g)
    interval = intervals.bootstrap(values)
    assert interval.mean == pytest.approx(values.mean().item(), abs=1e-5) and interval.n == 400
    half = 1.96 * values.std().item() / 20
    assert interval.low == pytest.approx(interval.mean - half, abs=0.03)
    assert interval.high == pytest.approx(interval.mean + half, abs=0.03)
    assert interval == intervals.bootstrap(values)  # same seed, same numbers
    assert intervals.bootstrap([3.0]) == (3.0, 3.0, 3.0, 1)


def test_slices_of_one_subject_are_not_independent():
    g = torch.Generator().manual_seed(0)
    heads = torch.randn(10, generator=g).repeat_interleave(50)
    names = [f"head {i // 50}" for i in range(500)]
    alone, grouped = intervals.bootstrap(heads), intervals.bootstrap(heads, groups=names)
    assert grouped.high - grouped.low > 4 * (alone.high - alone.low)  # sqrt(50) = 7 times
    one = intervals.bootstrap(heads, groups=["one head"] * 500)
    assert one == alone


def test_paired_comparison_sees_what_separate_intervals_hide():
    g = torch.Generator().manual_seed(0)
    easy_to_hard = torch.linspace(20, 40, 50)
    first = easy_to_hard + 0.3 + 0.1 * torch.randn(50, generator=g)
    difference = intervals.paired(first, easy_to_hard)
    assert 0.2 < difference.low < 0.3 < difference.high < 0.4
    a, b = intervals.bootstrap(first), intervals.bootstrap(easy_to_hard)
    assert a.low < b.high  # apart, they overlap
    with pytest.raises(ValueError, match="same images"):
        intervals.paired([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda sr, hr: (sr[..., :-1], hr), ValueError, "one size"),
        (lambda sr, hr: ((sr * 255).byte(), hr), TypeError, "integer"),
        (lambda sr, hr: (sr * math.nan, hr), ValueError, "NaN"),
        (lambda sr, hr: (sr / 0, hr), ValueError, "infinite"),
        (lambda sr, hr: (sr[0], hr[0]), ValueError, r"\(B, C, H, W\)"),
        (lambda sr, hr: (sr[:, :, :8, :8], hr[:, :, :8, :8]), ValueError, "11x11"),
        (lambda sr, hr: (sr.numpy(), hr.numpy()), TypeError, "tensor"),
        (lambda sr, hr: (255 * sr, 255 * hr), ValueError, "data_range is 1"),
        (lambda sr, hr: (sr, hr - 0.5), ValueError, "data_range is 1"),
    ],
)
def test_bad_images_are_named(change, error, message):
    with pytest.raises(error, match=message):
        metrics.ssim(*change(*pair()), data_range=1.0)


@pytest.mark.parametrize("data_range", [0, -1, math.nan])
def test_data_range_must_be_positive_and_given(data_range):
    with pytest.raises(ValueError, match="data_range"):
        metrics.psnr(*pair(), data_range=data_range)
    with pytest.raises(TypeError):
        metrics.psnr(*pair())


def test_regions_that_leave_nothing_are_refused():
    sr, hr = pair()
    with pytest.raises(ValueError, match="crop_border 20"):
        metrics.mse(sr, hr, crop_border=20)
    with pytest.raises(ValueError, match="no pixel"):
        metrics.mse(sr, hr, mask=torch.zeros(1, 1, 40, 33, dtype=torch.bool))
    with pytest.raises(ValueError, match="boolean"):
        metrics.mse(sr, hr, mask=torch.zeros(1, 1, 40, 33))
    with pytest.raises(ValueError, match="infinite"):
        intervals.bootstrap([1.0, math.inf])
    with pytest.raises(ValueError, match="no values"):
        intervals.bootstrap([])
