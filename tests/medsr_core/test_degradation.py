"""Degradations against independent references: a scalar port of imresize, Pillow, SciPy, NumPy's FFT."""

import io
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from medsr_core import degradation as deg

SIZES = [(64, 64), (67, 50), (40, 121)]
LINEAR = [
    deg.bicubic(4),
    deg.bicubic(3, antialias=False),
    deg.bicubic(Fraction(1, 2)),
    deg.bilinear(2),
    deg.lanczos(2),
    deg.box(3),
    deg.nearest(4),
    deg.kspace_truncation(4),
    deg.kspace_truncation(3),
    deg.gaussian_blur((1.0, 2.0)),
    deg.gaussian_blur((1.0, 2.0), angle=30),
    deg.motion_blur(7, 20),
    deg.compose(deg.gaussian_blur(1.2), deg.bicubic(4)),
]


def image(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def imresize_1d(signal: list[float], scale: Fraction, antialias: bool) -> list[float]:
    """MATLAB's imresize along one axis, pixel by pixel in Python floats: the reference, nothing shared with ours."""

    def keys(t: float) -> float:
        t = abs(t)
        if t <= 1:
            return (1.5 * t - 2.5) * t * t + 1
        return ((-0.5 * t + 2.5) * t - 4) * t + 2 if t <= 2 else 0.0

    n, s = len(signal), float(scale)
    shrink = s if antialias and s < 1 else 1.0
    out = []
    for j in range(1, math.ceil(scale * n) + 1):
        u = j / s + 0.5 * (1 - 1 / s)
        total = value = 0.0
        for i in range(math.floor(u - 2 / shrink) - 1, math.ceil(u + 2 / shrink) + 2):
            weight = keys(shrink * (u - i))
            k = (i - 1) % (2 * n)
            value += weight * signal[k if k < n else 2 * n - 1 - k]
            total += weight
        out.append(value / total)
    return out


def imresize(x: torch.Tensor, scale: Fraction, antialias: bool = True) -> torch.Tensor:
    """Both axes of a (1, 1, H, W) image."""
    rows = [imresize_1d(row, scale, antialias) for row in x[0, 0].tolist()]
    columns = [imresize_1d(list(column), scale, antialias) for column in zip(*rows, strict=True)]
    return torch.tensor(columns, dtype=torch.float64).T[None, None]


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("factor", [2, 3, 4, 8, Fraction(3, 2), Fraction(1, 2), Fraction(1, 4), Fraction(2, 3)])
def test_bicubic_is_matlabs_imresize(factor, antialias):
    x = image(1, 1, 37, 22)
    expected = imresize(x, 1 / Fraction(factor), antialias)
    operator = deg.bicubic(factor, antialias=antialias)
    assert (operator(x) - expected).abs().max() < 1e-12
    assert (operator(x.float()) - expected).abs().max() < 1e-6


def test_bicubic_matches_the_known_imresize_of_a_ramp():
    """imresize(0:7, 0.5), by hand: cubic weights at distances 1/4, 3/4, 5/4, 7/4 of the stretched kernel."""
    weights = [0.43359375, 0.11328125, -0.03515625, -0.01171875]  # Keys / 2, inner to outer; their sum is 1/2
    ramp = np.arange(8.0)
    y = deg.bicubic(2)(torch.tensor(ramp).repeat(8, 1)[None, None])[0, 0, 0]
    inner = sum(w * (ramp[3 - k] + ramp[4 + k]) for k, w in enumerate(weights))  # pixel 1.5 lies between 3 and 4
    assert abs(inner - 3.5) < 1e-12
    edge = sum(w * (ramp[max(k - 1, 0) if k else 0] + ramp[1 + k]) for k, w in enumerate(weights))
    assert abs(y[0] - edge) < 1e-12


@pytest.mark.parametrize("operator", ["bicubic", "bilinear", "lanczos"])
def test_resampling_agrees_with_pillow_away_from_the_edges(operator):
    x = image(1, 1, 96, 64)
    small = Image.fromarray(x[0, 0].float().numpy()).resize((16, 24), Image.Resampling[operator.upper()])
    ours = getattr(deg, operator)(4)(x)[0, 0]
    inside = np.s_[4:-4, 4:-4]
    assert np.abs(np.asarray(small) - ours.numpy())[inside].max() < 1e-6


def test_box_is_the_block_mean_and_nearest_takes_a_pixel_of_each_block():
    x = image(1, 1, 24, 12)
    blocks = x.reshape(1, 1, 6, 4, 3, 4)
    assert torch.allclose(deg.box(4)(x), blocks.mean((3, 5)), atol=1e-12)
    assert torch.equal(deg.nearest(4)(x), x[..., 2::4, 2::4])  # MATLAB: ceil of the cell's centre


def test_gaussian_blur_is_scipys():
    x = image(1, 1, 40, 31)
    expected = scipy.ndimage.gaussian_filter(x[0, 0].numpy(), (1.5, 0.7), mode="reflect", truncate=4.0)
    assert np.abs(deg.gaussian_blur((1.5, 0.7))(x)[0, 0].numpy() - expected).max() < 1e-12


def test_oblique_blurs_are_upright_ones_when_the_angle_says_so():
    x = image(1, 1, 48, 48)
    turned = deg.gaussian_blur((1.0, 2.0), angle=90)(x)
    straight = deg.gaussian_blur((2.0, 1.0))(x)
    assert (turned - straight)[..., 12:-12, 12:-12].abs().max() < 1e-3  # the upright kernel ends at 4 sigma
    line = deg.motion_blur(2, 0)(torch.eye(48, dtype=torch.float64)[None, None])
    assert abs(line.sum().item() - 48) < 1e-9


@pytest.mark.parametrize("n", [32, 33, 40, 42])
def test_kspace_truncation_keeps_the_central_lines_of_the_fft(n):
    x = image(n)
    m = math.ceil(n / 4)
    lines = np.fft.fftfreq(n, 1 / n)
    shift = np.exp(1j * np.pi * lines / n)  # from corner to centre of the first pixel
    spectrum = np.fft.fft(x.numpy()) / shift
    kept = np.where(np.abs(lines) < m / 2, 1.0, np.where(np.abs(lines) == m / 2, 0.5, 0.0)) * spectrum
    at = (np.arange(m) + 0.5) / m
    expected = (np.exp(2j * np.pi * np.outer(at, lines)) @ kept / n).real
    ours = deg.kspace_truncation(4)(x.repeat(n, 1)[None, None])[0, 0, 0]
    assert np.abs(ours.numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operator", LINEAR, ids=repr)
def test_adjoint_and_null_space(operator, size, dtype):
    x, z = image(2, 3, *size, dtype=dtype), image(2, 3, *size, seed=1, dtype=dtype)
    y = operator(x)
    w = torch.rand_like(y)
    left, right = (y * w).double().sum(), (x * operator.adjoint(w, size)).double().sum()
    assert abs(left - right) / abs(left) < 1e-5
    assert (operator(x + operator.null_part(z)) - y).abs().max() < 1e-5
    assert (operator.range_part(x) + operator.null_part(x) - x).abs().max() < 1e-5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operator", LINEAR, ids=repr)
def test_pseudo_inverse_satisfies_penroses_conditions(operator, size):
    x, y = image(1, 1, *size), operator(image(1, 1, *size, seed=1))
    back = operator.pinv(operator(x), size)
    assert (operator(back) - operator(x)).abs().max() < 1e-5  # D D+ D = D
    assert (operator.pinv(operator(operator.pinv(y, size)), size) - operator.pinv(y, size)).abs().max() < 1e-5
    w, v = torch.rand_like(y), image(1, 1, *size, seed=3)
    symmetric = [(operator(operator.pinv(w, size)) * y).sum(), (w * operator(operator.pinv(y, size))).sum()]
    assert abs(symmetric[0] - symmetric[1]) / abs(symmetric[0]) < 1e-5
    assert abs((operator.range_part(v) * x).sum() - (v * operator.range_part(x)).sum()) < 1e-5 * v.numel()
    assert (back - operator.range_part(x)).abs().max() < 1e-5  # D+ D is the projector


@pytest.mark.parametrize("operator", [op for op in LINEAR if "Gaussian" not in op.name], ids=repr)
def test_pseudo_inverse_in_single_precision(operator):
    y = operator(image(1, 1, 67, 50, dtype=torch.float32))
    assert (operator(operator.pinv(y, (67, 50))) - y).abs().max() < 1e-5


def test_pseudo_inverse_is_numpys_of_the_whole_matrix():
    operator = deg.compose(deg.gaussian_blur(0.6), deg.bicubic(2))
    full = torch.stack([operator(e.reshape(1, 1, 8, 6)).flatten() for e in torch.eye(48, dtype=torch.float64)], 1)
    y = image(1, 1, 4, 3)
    expected = np.linalg.pinv(full.numpy()) @ y.flatten().numpy()
    assert np.abs(operator.pinv(y, (8, 6)).flatten().numpy() - expected).max() < 1e-10


def test_gradients_reach_the_image():
    x = image(1, 1, 12, 8).requires_grad_()
    for operator in (deg.bicubic(4), deg.motion_blur(3, 40), deg.compose(deg.bicubic(2), deg.rician_noise(0.1))):
        assert torch.autograd.gradcheck(lambda v, d=operator: d(v, generator=torch.Generator().manual_seed(0)), x)
    deg.jpeg(50)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # straight through


def test_noise_has_the_stated_statistics_and_repeats_with_the_seed():
    x = torch.full((1, 1, 400, 400), 0.5, dtype=torch.float64)
    draw = lambda noise, seed: noise(x, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    for noise, mean, std in [
        (deg.gaussian_noise(0.1), 0.5, 0.1),
        (deg.speckle_noise(0.2), 0.5, 0.1),
        (deg.rician_noise(0.1), *_rice(0.5, 0.1)),
    ]:
        y = draw(noise, 0)
        assert abs(y.mean() - mean) < 1e-3 and abs(y.std() - std) < 1e-3
        assert torch.equal(y, draw(noise, 0)) and not torch.equal(y, draw(noise, 1))
    background = deg.rician_noise(0.1)(torch.zeros(1, 1, 400, 400))
    assert abs(background.mean() - 0.1 * math.sqrt(math.pi / 2)) < 1e-3  # Rayleigh: air is not black


def _rice(signal: float, sigma: float) -> tuple[float, float]:
    import scipy.stats

    mean, variance = scipy.stats.rice.stats(signal / sigma, scale=sigma)
    return float(mean), float(variance) ** 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels):
    x = image(1, channels, 24, 24)
    pixels = (x[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze() if channels == 1 else pixels).save(file, "JPEG", quality=30)
    expected = torch.from_numpy(np.array(Image.open(file))).reshape(pixels.shape).permute(2, 0, 1) / 255
    assert (deg.jpeg(30)(x)[0] - expected).abs().max() < 1e-6


def test_composition_applies_left_to_right_and_stays_linear_when_it_can():
    blur, down, noise = deg.gaussian_blur(1.0), deg.bicubic(4), deg.gaussian_noise(0.05)
    x = image(1, 3, 33, 30)
    linear = deg.compose(blur, down)
    assert isinstance(linear, deg.Separable) and linear.factor == 4
    assert (linear(x) - down(blur(x))).abs().max() < 1e-12
    noisy = deg.compose(blur, down, noise)
    g = torch.Generator().manual_seed(3)
    expected = noise(down(blur(x)), generator=torch.Generator().manual_seed(3))
    assert torch.allclose(noisy(x, generator=g), expected) and noisy.factor == 4


@pytest.mark.parametrize("factor", [0, -2, float("nan"), float("inf")])
def test_a_factor_that_is_not_positive_is_refused(factor):
    with pytest.raises(ValueError, match="positive"):
        deg.bicubic(factor)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.full((1, 1, 8, 8), math.nan), ValueError, "NaN"),
        (torch.full((1, 1, 8, 8), math.inf), ValueError, "infinite"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), TypeError, "255"),
        (torch.zeros(8, 8), ValueError, r"\(B, C, H, W\)"),
        (torch.zeros(1, 1, 0, 8), ValueError, "empty"),
        (np.zeros((1, 1, 8, 8)), TypeError, "tensor"),
    ],
)
def test_bad_images_are_named(bad, error, message):
    for operator in (deg.bicubic(4), deg.motion_blur(3), deg.gaussian_noise(0.1)):
        with pytest.raises(error, match=message):
            operator(bad)


def test_one_pixel_and_images_smaller_than_the_kernel():
    pixel = torch.full((1, 1, 1, 1), 0.25)
    for operator in LINEAR:
        if operator.factor >= 1:
            assert torch.allclose(operator(pixel), pixel, atol=1e-6)
    tiny = image(1, 1, 3, 2)
    assert (deg.bicubic(4)(tiny) - imresize(tiny, Fraction(1, 4))).abs().max() < 1e-12


def test_wrong_sizes_and_parameters_say_what_was_expected():
    with pytest.raises(ValueError, match=r"starts from \(3, 3\)"):
        deg.bicubic(4).pinv(torch.zeros(1, 1, 4, 4), (12, 12))
    for make in (lambda: deg.gaussian_noise(-1), lambda: deg.gaussian_blur(-1), lambda: deg.motion_blur(-1)):
        with pytest.raises(ValueError, match="-1"):
            make()
    with pytest.raises(ValueError, match=r"1 .*100"):
        deg.jpeg(0)
    with pytest.raises(ValueError, match="truncated"):
        deg.kspace_truncation(Fraction(1, 2))(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="no 4x4 block"):
        deg.crop_to_multiple(torch.zeros(1, 1, 3, 9), 4)


def test_crop_to_multiple_cuts_right_and_below():
    x = image(1, 1, 11, 9)
    assert torch.equal(deg.crop_to_multiple(x, 4), x[..., :8, :8])


def test_autocast_costs_no_digits():
    D, x = deg.bicubic(4), torch.rand(1, 1, 32, 24, generator=torch.Generator().manual_seed(0))
    plain = D(x), D.pinv(D(x), (32, 24)), D.range_part(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = D(x), D.pinv(D(x), (32, 24)), D.range_part(x)
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))
