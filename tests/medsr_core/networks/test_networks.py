"""The generators and discriminators against the papers' counts, and the weights files against damage."""

import json
from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from medsr_core import networks
from medsr_core.degradation import bicubic
from medsr_core.networks import medgan, srgan

TINY = {"width": 6, "depth": 1, "tail": 4}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def convolutions(module):
    """(in, out, kernel, stride) of every convolution, in order of construction."""
    return [
        (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
        for m in module.modules()
        if isinstance(m, nn.Conv2d)
    ]


def randomised(network, seed=0):
    """The residual networks start as bicubic interpolation; tests of what they compute need other weights."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.05 * torch.randn(p.shape, generator=g)
    return network.eval()


# --- SRGAN -------------------------------------------------------------------------------------------------------


def test_srgan_generator_has_the_papers_layers_and_1_549_million_parameters():
    generator = srgan.Generator()
    expected = [(3, 64, 9, 1)] + [(64, 64, 3, 1)] * (16 * 2 + 1) + [(64, 256, 3, 1)] * 2 + [(64, 3, 9, 1)]
    assert convolutions(generator) == expected
    norms = [m.num_features for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [64] * 33
    slopes = [m for m in generator.modules() if isinstance(m, nn.PReLU)]
    assert len(slopes) == 1 + 16 + 2 and all(m.num_parameters == 1 for m in slopes)
    by_hand = sum(i * o * k * k + o for i, o, k, _ in expected) + 2 * 64 * 33 + 19
    assert parameters(generator) == by_hand == 1_549_462


@pytest.mark.parametrize("family", [srgan, medgan])
@pytest.mark.parametrize("factor, shape", [(4, (2, 3, 24, 24)), (4, (1, 3, 7, 5)), (4, (1, 3, 1, 9))])
def test_every_lr_pixel_becomes_factor_by_factor(family, factor, shape):
    sr = family.Generator(**TINY)(torch.rand(shape))
    assert sr.shape == (*shape[:2], factor * shape[2], factor * shape[3])


@pytest.mark.parametrize("factor", [2, 8])
def test_srgan_has_one_sub_pixel_step_per_doubling(factor):
    assert srgan.Generator(**TINY, factor=factor)(torch.rand(1, 3, 6, 5)).shape == (1, 3, 6 * factor, 5 * factor)


def test_srgan_discriminator_has_the_papers_layers():
    discriminator = srgan.Discriminator()
    widths = [64, 64, 128, 128, 256, 256, 512, 512]
    expected = list(zip([3, *widths], widths, [3] * 8, [1, 2] * 4, strict=False))
    assert convolutions(discriminator) == expected
    norms = [m.num_features for m in discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == widths[1:]  # all but the first
    dense = [(m.in_features, m.out_features) for m in discriminator.modules() if isinstance(m, nn.Linear)]
    assert dense == [(512 * 6 * 6, 1024), (1024, 1)]
    assert discriminator(torch.rand(2, 3, 96, 96)).shape == (2, 1)


# --- the medical GAN -----------------------------------------------------------------------------------------------


def test_medgan_generator_has_three_branches_sixteen_blocks_and_three_more_on_the_x2_image():
    generator = medgan.Generator()
    expected = []
    for kernel, n in [(3, 22), (5, 21), (7, 21)]:  # 22 + 21 + 21 = 64 after concatenation
        expected += [(3, n, kernel, 1)] + [(n, n, kernel, 1)] * 4
    expected += [(64, 64, 3, 1)] * (16 * 2 + 1) + [(64, 256, 3, 1)]
    expected += [(64, 64, 3, 1)] * (3 * 2 + 1) + [(64, 256, 3, 1), (64, 3, 9, 1)]
    assert convolutions(generator) == expected
    seen = {}
    generator.deep.register_forward_hook(lambda m, i, o: seen.update(deep=o.shape))
    generator.third.register_forward_hook(lambda m, i, o: seen.update(third=o.shape))
    generator(torch.rand(1, 3, 8, 10))
    assert seen == {"deep": (1, 64, 8, 10), "third": (1, 64, 16, 20)}


@pytest.mark.parametrize("change", ["multi_scale", "two_step", "third_stage", "skips"])
def test_each_change_of_the_generator_can_be_switched_off(change):
    torch.manual_seed(0)
    full = medgan.Generator(**TINY)
    torch.manual_seed(0)
    without = medgan.Generator(**TINY, **{change: False})
    x = torch.rand(1, 3, 9, 6)
    assert without(x).shape == (1, 3, 36, 24)
    assert parameters(without) != parameters(full) or not torch.equal(without(x), full(x))
    kernels = {k for _, _, k, _ in convolutions(without.branches)}
    assert kernels == ({3} if change == "multi_scale" else {3, 5, 7})
    assert (without.third is None) == (change == "third_stage")
    shuffles = [m.upscale_factor for m in without.modules() if isinstance(m, nn.PixelShuffle)]
    assert shuffles == [2, 2]
    if without.third is not None:  # before both x2 steps, as SRGAN has them, or between them
        seen = []
        without.third.register_forward_hook(lambda m, i, o: seen.append(o.shape[-2:]))
        without(x)
        assert seen == [(9, 6) if change == "two_step" else (18, 12)]


def test_without_skips_a_silent_deep_stage_forgets_the_image():
    images = torch.rand(2, 3, 6, 6)
    for skips in (True, False):
        generator = medgan.Generator(**TINY, norm=None, skips=skips)
        nn.init.zeros_(generator.deep[-1].weight)
        first, second = generator(images[:1]), generator(images[1:])
        assert torch.equal(first, second) != skips


@pytest.mark.parametrize("change, fewer", [("extra_depth", 4), ("channel_residuals", 3), ("skips", 0)])
def test_each_change_of_the_discriminator_can_be_switched_off(change, fewer):
    torch.manual_seed(0)
    full = medgan.Discriminator(width=4, dense=8, size=32)
    torch.manual_seed(0)
    without = medgan.Discriminator(width=4, dense=8, size=32, **{change: False})
    assert len(convolutions(full)) - len(convolutions(without)) == fewer
    x = torch.rand(2, 3, 32, 32)
    assert without(x).shape == (2, 1) and not torch.equal(without(x), full(x))


def test_medgan_discriminator_without_its_changes_is_srgans():
    plain = medgan.Discriminator(extra_depth=False, channel_residuals=False, skips=False)
    assert sorted(convolutions(plain)) == sorted(convolutions(srgan.Discriminator()))
    assert parameters(plain) == parameters(srgan.Discriminator())
    projections = convolutions(medgan.Discriminator().around)
    assert projections == [(64, 128, 1, 1), (128, 256, 1, 1), (256, 512, 1, 1)]


# --- what is ours ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    ["srresnet", "srgan", "medgan-pixel", "medgan", "rrdb", "esrgan", "enhancenet-e", "enhancenet", "regression"],
)
def test_teaching_size_starts_as_bicubic_interpolation(method):
    lr = 0.3 + 0.4 * torch.rand(2, 3, 8, 12)  # so far from 0 and 1 that bicubic stays between, which the U-Net clips
    network = networks.create(method)
    assert 0.3e6 < parameters(network) < (2e6 if method == "regression" else 0.8e6)
    torch.testing.assert_close(network(lr), bicubic(Fraction(1, 4))(lr))


def test_gray_in_a_colour_network_is_the_mean_over_its_channels():
    network, gray = randomised(networks.create("srgan", **TINY)), torch.rand(1, 1, 6, 7)
    expected = network(gray.repeat(1, 3, 1, 1)).mean(1, keepdim=True)
    torch.testing.assert_close(network(gray), expected)


@pytest.mark.parametrize("method", ["srresnet", "medgan"])
def test_colour_and_gray_copies_agree_on_gray_images(method):
    network, gray = randomised(networks.create(method, **TINY)), torch.rand(2, 1, 6, 7)
    one = networks.as_gray(network)
    assert one.channels == 1
    torch.testing.assert_close(one(gray), network(gray))
    three = networks.as_colour(one)
    assert three.channels == 3
    torch.testing.assert_close(three(gray), one(gray))


def test_one_channel_network_takes_gray_stored_as_rgb_and_refuses_colour():
    network, gray = randomised(networks.create("medgan", channels=1, **TINY)), torch.rand(1, 1, 6, 7)
    torch.testing.assert_close(network(gray.repeat(1, 3, 1, 1)), network(gray).repeat(1, 3, 1, 1))
    with pytest.raises(ValueError, match="three-channel"):
        network(torch.rand(1, 3, 6, 7))
    with pytest.raises(ValueError, match="shape"):
        network(gray[0])


@pytest.mark.parametrize("wrong", [{"channels": 2}, {"factor": 3}, {"norm": "layer"}])
def test_arguments_that_no_generator_has(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        srgan.Generator(**wrong)


def test_discriminator_names_the_patch_it_needs():
    with pytest.raises(ValueError, match="96x96"):
        srgan.Discriminator(width=2)(torch.rand(1, 3, 64, 64))


def test_a_data_set_has_its_own_weights_or_the_general_ones():
    assert networks.weights_for("brain") == "brain"
    assert networks.weights_for("natural") == networks.weights_for("some/folder") == "general"


def test_unknown_names():
    with pytest.raises(ValueError, match="srresnet"):
        networks.create("edsr")
    with pytest.raises(networks.WeightsError, match="shipped"):
        networks.load("srgan", weights="teeth")


# --- weights files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    network = randomised(networks.create("medgan-pixel", channels=1, **TINY))
    path = tmp_path / "some.safetensors"
    digest = networks.save(network, path, data="nothing")
    return network, path, digest


def test_saved_weights_come_back(weights):
    network, path, _ = weights
    loaded, lr = networks.load("medgan-pixel", weights=path), torch.rand(1, 1, 5, 6)
    assert torch.equal(loaded(lr), network(lr)) and loaded.arguments == network.arguments
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert [p.name for p in path.parent.iterdir()] == ["some.safetensors"]


def test_half_precision_files_are_half_as_large_and_load_as_float32(weights):
    network, path, _ = weights
    full = path.stat().st_size
    networks.save(network, path, dtype=torch.float16)
    assert path.stat().st_size < 0.7 * full
    loaded, lr = networks.load("medgan", weights=path), torch.rand(1, 1, 5, 6)
    assert next(loaded.parameters()).dtype == torch.float32
    torch.testing.assert_close(loaded(lr), network(lr), atol=2e-3, rtol=1e-2)


def test_a_truncated_file(weights):
    _, path, _ = weights
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(networks.WeightsError, match="damaged"):
        networks.load("medgan-pixel", weights=path)


def test_a_pickle_is_not_executed(tmp_path):
    path, trace = tmp_path / "evil.safetensors", tmp_path / "trace"

    class Evil:
        def __reduce__(self):
            return trace.touch, ()

    torch.save(Evil(), path)
    with pytest.raises(networks.WeightsError, match="no safetensors file"):
        networks.load("srgan", weights=path)
    assert not trace.exists()


def test_one_changed_byte_is_noticed_with_the_card(weights):
    _, path, digest = weights
    path.with_suffix(".md").write_text(f"SHA-256: `{digest}`\n")
    networks.load("medgan-pixel", weights=path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(networks.WeightsError, match="tampered"):
        networks.load("medgan-pixel", weights=path)


def test_another_architecture(weights):
    _, path, _ = weights
    with pytest.raises(networks.WeightsError, match=r"medgan\.Generator.*srgan\.Generator"):
        networks.load("srresnet", weights=path)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "not json",
        "[1]",
        json.dumps({"architecture": "os.system", "arguments": {}}),
        json.dumps({"architecture": "medgan.Generator", "arguments": {"width": 10**9}}),
        json.dumps({"architecture": "medgan.Generator", "arguments": {"colour": 3}}),
        json.dumps({"architecture": "medgan.Generator", "arguments": {"width": 12}}),
        json.dumps({"architecture": "medgan.Generator", "arguments": "x"}),
        json.dumps({"architecture": ["medgan.Generator"], "arguments": {}}),
    ],
)
def test_a_header_that_is_not_ours(weights, header):
    _, path, _ = weights
    save_file(load_file(path), path, metadata=None if header is None else {"medsr": header})
    with pytest.raises(networks.WeightsError):
        networks.load("medgan-pixel", weights=path)


def test_weights_that_are_not_numbers(weights):
    network, path, _ = weights
    network.last.bias.data.fill_(float("nan"))
    networks.save(network, path)
    with pytest.raises(networks.WeightsError, match="NaN"):
        networks.load("medgan-pixel", weights=path)


CONVOLUTIONAL = [name for name, known in networks.TRAINED.items() if not known.whole]
SHIPPED = [(method, name) for method in CONVOLUTIONAL for name in networks.available(method)]


@pytest.mark.parametrize("method, name", SHIPPED)
def test_shipped_weights_load_and_beat_nothing_but_noise(method, name):
    """They load, match their card, and give back a smooth image nearly unchanged; their scores are in the cards."""
    network = networks.load(method, weights=name)
    ramp = torch.linspace(0.2, 0.8, 24).expand(1, 1, 24, 24)
    assert network.channels == (1 if name in ("brain", "heart") else 3)
    sr = network.first_guess(ramp) if method == "sr3" else network(ramp)
    assert (bicubic(4)(sr) - ramp).abs().max() < 0.05
    card = (networks.FOLDER / f"{method}-{name}.md").read_text(encoding="utf-8")
    for what in ("SHA-256", "medsr train", "holdout", "steps", "seed", "licence", "PSNR"):
        assert what.lower() in card.lower(), f"{method}-{name}.md does not state its {what}"


def test_the_long_skip_carries_the_shallow_features_over_a_silent_body():
    """Figure 4 of the paper: the sum of the first layer's features and of all that follows goes to the sub-pixels."""
    network = networks.create("srresnet", width=8, depth=2, tail=4, residual=False).eval()
    for parameter in network.body.parameters():
        torch.nn.init.zeros_(parameter)
    lr = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.last(network.upscale(network.head(lr)))
        torch.testing.assert_close(network(lr), expected)
        assert (expected - network.last(network.upscale(0 * network.head(lr)))).abs().max() > 1e-3


@pytest.mark.parametrize("method", ["srgan", "medgan"])
def test_discriminators_leak_a_fifth(method):
    """LeakyReLU with alpha = 0.2 (Ledig et al. 2017, section 2.1.1)."""
    opponent = networks.create_discriminator(method, size=32)
    slopes = [layer.negative_slope for layer in opponent.modules() if isinstance(layer, torch.nn.LeakyReLU)]
    assert len(slopes) >= 9 and set(slopes) == {0.2}
