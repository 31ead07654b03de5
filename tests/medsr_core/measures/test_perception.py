"""Perception measures against closed forms, loops by hand and scipy; and against errors of known kind."""

import importlib.util
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats
import torch

import data_fetch
from medsr_core.degradation import bicubic, gaussian_blur
from medsr_core.measures import perception
from medsr_core.networks.features import Perceptual
from medsr_workbook.toys import distortions


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def photographs():
    return [scan.pixels[..., :256, :256] for scan in data_fetch.load("natural", split="all")]


# --- features -------------------------------------------------------------------------------------------------------


def test_features_are_one_row_per_cell_and_gray_is_gray_in_three_channels():
    images = torch.rand(2, 1, 70, 100, generator=torch.Generator().manual_seed(0))
    rows = perception.features(images)
    assert rows.shape == (2 * 2 * 3, 112)
    torch.testing.assert_close(rows, perception.features(images[..., :64, :96].repeat(1, 3, 1, 1)))
    torch.testing.assert_close(rows[6:], perception.features(images[1:]), rtol=1e-3, atol=1e-3)


def test_cells_of_air_do_not_count():
    image = torch.zeros(1, 1, 64, 64)
    image[..., :32, :32] = 0.5
    assert len(perception.features(image)) == 1 and len(perception.features(image, dark=0)) == 4


def test_features_refuse_what_has_no_cell():
    with pytest.raises(ValueError, match="no cell of 32x32"):
        perception.features(torch.rand(1, 1, 16, 64))
    with pytest.raises(ValueError, match="multiple of 16"):
        perception.features(torch.rand(1, 1, 64, 64), cell=24)


def test_feature_distance_is_the_perceptual_loss_per_image(photographs):
    hr = torch.cat(photographs[:2])
    blurred = torch.cat([gaussian_blur(1.0)(hr[:1]), hr[1:]])
    distance = perception.feature_distance(blurred, hr)
    assert distance[0] > 0.05 and distance[1] == 0


# --- two sets -------------------------------------------------------------------------------------------------------


def test_frechet_of_shifted_and_stretched_samples_is_the_closed_form():
    """y = A x + c has mean A m + c and covariance A C A': then the formula, with scipy's matrix root."""
    x = normal(300, 6)
    mix, shift = normal(6, 6, 1) / 3 + torch.eye(6), torch.arange(6.0, dtype=torch.float64)
    y = x @ mix.T + shift
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(cov_x @ cov_y).real
    means = ((x.mean(0) - y.mean(0)) ** 2).sum().item()
    expected = means + np.trace(cov_x + cov_y - 2 * root)
    assert perception.frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert perception.frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)
    assert perception.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert perception.frechet_distance(x, x + shift) == pytest.approx(55, rel=1e-9)


def test_frechet_sees_a_difference_in_the_dimensions_it_keeps():
    x, y = normal(400, 40), normal(400, 40, 1)
    y[:, 3] += 10
    low, full = (perception.frechet_distance(x, y, dimensions=k) for k in (4, None))
    assert 90 < low < full < 130


def test_frechet_is_biased_when_samples_are_few_and_says_so_and_the_kernel_distance_is_not():
    pairs = [(normal(40, 12, 2 * s), normal(40, 12, 2 * s + 1)) for s in range(30)]
    with pytest.warns(UserWarning, match="40 samples in 12 dimensions is biased"):
        frechet = [perception.frechet_distance(x, y) for x, y in pairs]
    kernel = torch.tensor([perception.kernel_distance(x, y) for x, y in pairs])
    assert min(frechet) > 1
    assert abs(kernel.mean()) < 3 * kernel.std() / math.sqrt(30) and (kernel < 0).any()


def test_kernel_distance_by_a_double_loop():
    x, y = normal(7, 3), 2 * normal(5, 3, 1) + 1

    def k(u, v):
        return (float(u @ v) / 3 + 1) ** 3

    within = [
        sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(k(u, v) for u in x for v in y) / (len(x) * len(y))
    assert perception.kernel_distance(x, y) == pytest.approx(sum(within) - 2 * across, rel=1e-9)


@pytest.mark.parametrize("distance", [perception.frechet_distance, perception.kernel_distance])
@pytest.mark.filterwarnings("ignore:the Frechet distance")
def test_sets_of_images_move_away_from_real_ones_with_blur(distance, photographs):
    real, others = (torch.cat([p[..., a : a + 128, :] for p in photographs]) for a in (0, 128))
    distances = [distance(gaussian_blur(s)(others), real) for s in (0.5, 1.5, 4.0)]
    assert distances == sorted(distances)
    with pytest.raises(ValueError, match="two or more finite rows"):
        distance(torch.full((4, 3), math.nan), torch.zeros(4, 3))


# --- natural scenes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0, 4.0])
def test_generalised_gaussian_finds_the_parameters_that_scipy_drew_from(shape):
    sample = scipy.stats.gennorm.rvs(shape, scale=0.6, size=(2, 400_000), random_state=0)
    found, left, right = perception.generalised_gaussian(torch.from_numpy(sample))
    assert found.tolist() == pytest.approx([shape] * 2, rel=0.04)
    assert torch.cat([left, right]).tolist() == pytest.approx([0.6] * 4, rel=0.04)


def test_generalised_gaussian_tells_left_from_right():
    sample = scipy.stats.gennorm.rvs(1.3, size=(1, 200_000), random_state=1)
    # a side is drawn as often as it is wide, so that the density is continuous
    side = np.random.default_rng(0).random(sample.shape) < 0.25
    skewed = np.where(side, -0.5, 1.5) * abs(sample)
    shape, left, right = (v.item() for v in perception.generalised_gaussian(torch.from_numpy(skewed)))
    assert (shape, left, right) == pytest.approx((1.3, 0.5, 1.5), rel=0.03)


def test_mscn_makes_noise_of_any_contrast_alike():
    noise = normal(128, 128)[None, None]
    window = scipy.ndimage.gaussian_filter(noise[0, 0].numpy(), 7 / 6, mode="nearest", truncate=3 / (7 / 6))
    mean = noise - perception.mscn(noise)[0] * (perception.mscn(noise)[1] + 1 / 255)
    assert np.allclose(mean[0, 0], window, atol=1e-9)
    weak, strong = (perception.mscn(0.5 + size * noise)[0].std().item() for size in (0.2, 0.8))
    assert weak == pytest.approx(strong, rel=0.05) and 0.7 < strong < 1.1


def test_natural_scene_prefers_the_real_photograph(photographs):
    model = perception.NaturalScene().fit(photographs)
    real = torch.cat(photographs)[:3]
    spoiled = {
        "noise": distortions.noise(real, 0.1),
        "blur": gaussian_blur(2.0)(real),
        "stripes": distortions.stripes(real, 0.05),
    }
    score = model.score(real)
    assert score.shape == (3,)
    assert all((model.score(x) > score + 1).all() for x in spoiled.values())
    torch.testing.assert_close(model.score(real[1:2]), score[1:2])


@pytest.mark.parametrize("patch", [12, 17, 18, 50])
def test_natural_scene_names_the_patches_it_can_cut(patch):
    with pytest.raises(ValueError, match="multiple of 4"):
        perception.NaturalScene(patch=patch)


def test_natural_scene_survives_a_flat_image_and_says_what_it_needs(photographs):
    model = perception.NaturalScene()
    with pytest.raises(ValueError, match="fit it on real images first"):
        model.score(photographs[0])
    with pytest.raises(ValueError, match="give more or larger images"):
        model.fit([photographs[0][..., :64, :64]])
    model.fit(photographs)
    assert model.score(torch.full((1, 1, 96, 96), 0.5)).isfinite().all()
    with pytest.raises(ValueError, match="hold no patch"):
        model.score(torch.rand(1, 1, 40, 64))


# --- fine detail ----------------------------------------------------------------------------------------------------


def test_spectrum_of_a_wave_is_at_its_frequency_and_white_noise_is_flat():
    wave = torch.sin(2 * math.pi * torch.arange(64) / 8).expand(1, 1, 64, 64)
    frequency, power = perception.spectrum(wave)
    assert frequency[power[0].argmax()] == 1 / 8 and frequency[-1] == 0.5
    _, flat = perception.spectrum(normal(256, 256)[None, None])
    assert flat[0, 10:].std() < 0.2 * flat[0, 10:].mean()


def test_spectrum_ratio_reads_detail_and_nothing_else():
    hr = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    assert perception.spectrum_ratio(hr, hr).tolist() == [1, 1]
    assert perception.spectrum_ratio(0.5 + 0.5 * hr, hr).tolist() == pytest.approx([0.25] * 2, rel=1e-4)
    assert (perception.spectrum_ratio(gaussian_blur(1.5)(hr), hr) < 0.1).all()
    assert perception.spectrum_ratio(hr.roll(5, -1), hr).tolist() == pytest.approx([1, 1], abs=0.1)
    low = bicubic(1 / 4)(bicubic(4)(hr))  # D lets less than an eighth of a cycle per pixel through
    assert (perception.spectrum_ratio(low, hr, band=(0.3, 0.5)) < 0.01).all()
    with pytest.raises(ValueError, match="no frequency lies in the band"):
        perception.spectrum_ratio(hr, hr, band=(0.6, 0.7))
    with pytest.raises(ValueError, match="images of one size"):
        perception.spectrum_ratio(hr, hr[..., :32])


# --- LPIPS and FID --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lpips", "fid"])
def test_the_real_ones_say_what_they_need(name):
    image = torch.rand(2, 1, 64, 64)
    with pytest.raises(ValueError, match="'lpips' or 'fid'"):
        perception.torchmetrics_score("kid", image, image)
    if importlib.util.find_spec("torchmetrics"):
        pytest.skip("torchmetrics is here; whether its weights are is not ours to test")
    with pytest.raises(ImportError, match=f"{name.upper()} needs packages .* pip install torchmetrics"):
        perception.torchmetrics_score(name, image, image)


def test_features_of_a_cell_are_the_mean_of_a_fifth_of_the_deepest_maps():
    images = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    network = Perceptual()
    with torch.no_grad():
        deepest = network.features((images.expand(-1, 3, -1, -1) - network.mean) / network.std)[-1]
    expected = [deepest[0, :, y : y + 2, x : x + 2].mean((1, 2)) / 5 for y in (0, 2) for x in (0, 2, 4)]
    torch.testing.assert_close(perception.features(images), torch.stack(expected))


def test_images_are_normalised_as_imagenet_networks_expect():
    """The published mean and standard deviation of ImageNet's pixels."""
    network = Perceptual()
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert network.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
