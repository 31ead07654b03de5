"""Upscalers against Pillow, linear programming and what each promises."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from PIL import Image

from medsr_core import degradation, networks, restoration, upscalers
from medsr_core.measures import metrics


def scan(*shape, seed=0):
    """A smooth random picture with edges, in [0, 1]."""
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = degradation.gaussian_blur(3.0)(noise)
    return (smooth > smooth.mean()).double() * 0.5 + 0.25


@pytest.mark.parametrize("method", networks.CLASSICAL)
@pytest.mark.parametrize(
    ("channels", "factor", "size"), [(1, 4, (9, 7)), (3, 2, (1, 5)), (1, 8, (1, 1)), (1, 1, (6, 6))]
)
def test_every_method_keeps_the_contract(method, channels, factor, size):
    lr = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    sr = upscalers.upscale(lr, method, factor=factor)
    assert sr.shape == (2, channels, factor * size[0], factor * size[1]) and sr.dtype == lr.dtype
    assert sr.min() >= 0 and sr.max() <= 1
    alone = torch.cat([upscalers.upscale(image[None], method, factor=factor) for image in lr])
    assert torch.allclose(sr, alone, atol=1e-5)  # an image does not depend on its batch
    flat = torch.full_like(lr, 0.3)
    assert torch.allclose(upscalers.upscale(flat, method, factor=factor), torch.tensor(0.3), atol=1e-5)


def test_nearest_repeats_pixels():
    lr = torch.rand(1, 1, 4, 3)
    expected = np.kron(lr[0, 0], np.ones((4, 4)))
    assert np.array_equal(upscalers.upscale(lr, "nearest")[0, 0], expected.astype(np.float32))


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos"])
def test_interpolations_agree_with_pillow_away_from_the_edges(method):
    lr = 0.25 + 0.5 * torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(0))
    expected = Image.fromarray(lr[0, 0].numpy()).resize((80, 96), Image.Resampling[method.upper()])
    inside = np.s_[16:-16, 16:-16]
    assert np.abs(upscalers.upscale(lr, method)[0, 0].numpy() - np.asarray(expected))[inside].max() < 1e-5


@pytest.mark.parametrize("method", ["backprojection", "tv"])
def test_answers_that_explain_the_measurement(method):
    D = degradation.bicubic(4)
    hr = scan(1, 3, 64, 48)
    lr = D(hr)
    unclipped = networks.METHODS[method].factory(lr, 4)
    assert metrics.consistency(unclipped, lr, D).max() < 1e-20
    assert metrics.consistency(upscalers.upscale(lr, "bicubic"), lr, D).max() > 1e-5
    assert metrics.mse(unclipped, hr) < metrics.mse(restoration.bicubic(lr, 4), hr)


def test_tv_finds_the_least_total_variation():
    """On stripes the problem is one-dimensional, and a linear program solves it exactly."""
    D = degradation.bicubic(4)
    hr = scan(1, 1, 48, 1, seed=3)[0, 0, :, 0]
    lr = D(hr.reshape(1, 1, 48, 1).repeat(1, 1, 1, 48))
    ours = restoration.tv(lr, 4, iterations=1500)[0, 0, :, 0]
    difference = np.diff(np.eye(48), axis=0)
    bounds = np.hstack([difference, -np.eye(47)]), np.hstack([-difference, -np.eye(47)])  # |x_i+1 - x_i| <= t_i
    best = scipy.optimize.linprog(
        np.r_[np.zeros(48), np.ones(47)],
        A_ub=np.vstack(bounds),
        b_ub=np.zeros(94),
        A_eq=np.hstack([D.rows(48).numpy(), np.zeros((12, 47))]),
        b_eq=lr[0, 0, :, 0].numpy(),
        bounds=(None, None),
    )
    assert best.status == 0
    assert ours.diff().abs().sum() == pytest.approx(best.fun, rel=1e-3)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(ValueError, match=r"nearest, bilinear, bicubic, .*tv"):
        upscalers.upscale(torch.zeros(1, 1, 4, 4), "magic")


@pytest.mark.parametrize("factor", [0, -4, 2.5, math.nan, math.inf])
def test_factor_must_be_a_positive_whole_number(factor):
    with pytest.raises(ValueError, match="whole number"):
        upscalers.upscale(torch.zeros(1, 1, 4, 4), factor=factor)


@pytest.mark.parametrize(
    ("lr", "error", "message"),
    [
        (torch.full((1, 1, 4, 4), math.nan), ValueError, "NaN"),
        (torch.full((1, 1, 4, 4), 200.0), ValueError, r"\[0, 1\]"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), TypeError, "255"),
        (torch.zeros(4, 4), ValueError, r"\(B, C, H, W\)"),
        (torch.zeros(1, 2, 4, 4), ValueError, "C = 1 or 3"),
    ],
)
def test_bad_images_are_named(lr, error, message):
    with pytest.raises(error, match=message):
        upscalers.upscale(lr)


def tiny(method, path):
    """A small network with random weights, also in its last layer, saved to `path`."""
    torch.manual_seed(0)
    unet = networks.TRAINED[method].sees == "bicubic"
    own = {"ESRGAN": {"growth": 4}, "EnhanceNet": {}}.get(networks.TRAINED[method].family, {"tail": 4})
    network = networks.create(
        method, **({"width": 4, "multipliers": (1, 2)} if unet else {"width": 8, "depth": 1, **own})
    )
    torch.nn.init.normal_(network.unet.last[-1].weight if unet else network.last.weight, std=0.05 if unet else 0.01)
    networks.save(network, path)
    return network.eval()


@pytest.mark.parametrize("method", [name for name, known in networks.TRAINED.items() if not known.whole])
@pytest.mark.parametrize("channels", [1, 3])
def test_trained_methods_keep_the_contract(method, channels, tmp_path):
    path = tmp_path / "tiny.safetensors"
    network = tiny(method, path)
    lr = torch.rand(2, channels, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sr = upscalers.upscale(lr, method, weights=str(path))
    assert sr.shape == (2, channels, 36, 28) and sr.dtype == lr.dtype and sr.min() >= 0 and sr.max() <= 1
    assert (sr - upscalers.upscale(lr, "bicubic")).abs().max() > 1e-3
    if method == "sr3":
        assert torch.equal(sr, upscalers.samples(lr, 1, weights=str(path))[0])
    else:
        with torch.no_grad():
            assert (sr - network(lr.float()).clamp(0, 1)).abs().max() < 1e-5


def test_a_face_network_sees_the_whole_image(tmp_path):
    path, lr = tmp_path / "face.safetensors", torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network = networks.create("fsrnet", width=8, coarse=1, encoder=1, decoder=1, prior_width=16, hourglasses=1)
    torch.nn.init.normal_(network.last.weight, std=0.1)
    networks.save(network, path)
    sr = upscalers.upscale(lr, "fsrnet", factor=8, weights=path)
    with torch.no_grad():
        assert (sr - network.eval()(lr).clamp(0, 1)).abs().max() < 1e-5
    assert sr.shape == (1, 3, 128, 256) and torch.equal(sr, upscalers.upscale(lr, "fsrgan", factor=8, weights=path))
    with pytest.raises(ValueError, match="multiples of 2"):
        upscalers.upscale(lr[..., :15, :], "fsrnet", factor=8, weights=path)


def test_a_search_gives_samples_and_says_what_it_did_not_find(tmp_path):
    path, said = tmp_path / "decoder.safetensors", []
    torch.manual_seed(0)
    decoder = networks.create("pulse", latent=8, widths=(12, 8, 8))
    networks.save(decoder, path)
    lr = degradation.bicubic(4)(decoder(torch.randn(2, 8))).clamp(0, 1).detach()
    options = {"method": "pulse", "weights": path, "steps": 5, "starts": 2, "eps": 1e-2}
    drawn = upscalers.samples(lr, 3, report=lambda done, steps: said.append((done, steps)), **options)
    assert drawn.shape == (3, 2, 3, 16, 16) and said[-1][1] == 15 and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[:2], upscalers.samples(lr, 2, **options))
    options.pop("method")
    assert torch.equal(drawn[0], upscalers.upscale(lr, "pulse", **options))
    assert metrics.consistency(drawn[0], lr, degradation.bicubic(4)).max() <= 1e-2
    checks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(2, 2).expand(1, 3, 4, 4)
    with pytest.warns(UserWarning, match="found no image within eps = 0.002 of 1 of 1 .*; the nearest is at"):
        upscalers.upscale(checks, "pulse", weights=path, steps=2)
    for refused, message in (({"factor": 8}, "2 pixels a side"), ({"project": "end"}, "project=None")):
        with pytest.raises(ValueError, match=message):
            upscalers.samples(lr, 1, method="pulse", weights=path, **refused)
    with pytest.raises(ValueError, match="sr3, pulse draw samples"):
        upscalers.samples(lr, 1, method="tv")


def test_trained_methods_refuse_other_factors_and_missing_weights(tmp_path):
    lr, path = torch.zeros(1, 1, 8, 8), tmp_path / "tiny.safetensors"
    tiny("srresnet", path)
    with pytest.raises(ValueError, match=r"shipped: 4x: .*brain"):
        upscalers.upscale(lr, "srresnet", weights="kidney")
    with pytest.raises(ValueError, match=r"factor 2; shipped: 4x: .*brain"):
        upscalers.upscale(lr, "srresnet", weights="brain", factor=2)
    with pytest.raises(ValueError, match="factor 4, not 2"):
        upscalers.upscale(lr, "srresnet", weights=path, factor=2)


def test_weights_that_were_trained_on_are_read_again(tmp_path):
    lr, path = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), tmp_path / "tiny.safetensors"
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = tiny("srresnet", path)
        with torch.no_grad():
            expected = network(lr).clamp(0, 1)
        torch.testing.assert_close(upscalers.upscale(lr, "srresnet", weights=path), expected, rtol=0, atol=1e-5)


def test_shipped_brain_weights_beat_bicubic_on_slices_they_never_saw():
    import data_fetch

    D = degradation.bicubic(4)
    gains = []
    for scan in data_fetch.load("brain", limit=3):
        lr = D(scan.pixels).clamp(0, 1)
        score = [upscalers.upscale(lr, method, weights="brain") for method in ("medgan-pixel", "bicubic")]
        trained, plain = (metrics.psnr(sr, scan.pixels, data_range=1.0).item() for sr in score)
        gains.append(trained - plain)
    assert min(gains) > 2.0
