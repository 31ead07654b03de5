"""SR3's U-Net and its weights files: by the paper's counts and by property."""

import json
import math
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from medsr_core import diffusion, networks, tiling
from medsr_core.networks import sr3
from medsr_core.networks.sr3 import bicubic_start
from medsr_core.training import losses

TINY = {"width": 4, "multipliers": (1, 2)}
RADIUS = 35  # pixels that TINY sees in each direction: see `test_a_far_pixel_changes_nothing`


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(network, seed=0, amount=0.1):
    """A fresh network answers 0, and each of its blocks does; tests of what they compute need other weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p += amount * torch.randn(p.shape, generator=generator)
    return network.eval()


def make(method="sr3", seed=0, **changes):
    return randomised(networks.create(method, **{**TINY, **changes}), seed)


def saved(path, method="sr3", seed=0, **changes):
    network = make(method, seed, **changes)
    networks.save(network, path)
    return str(path), network


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task, millions", [("16-128", 550), ("64-256", 625), ("64-512", 625), ("256-1024", 150)])
def test_paper_sizes(task, millions):
    """Saharia et al. 2021, table A.1. On the meta device: no memory, no arithmetic."""
    with torch.device("meta"):
        counts = [sum(p.numel() for p in networks.create(m, preset=task).parameters()) for m in ("sr3", "regression")]
    low, high = (int(side) for side in task.split("-"))
    assert sr3.TASKS[task]["factor"] == high // low
    assert counts[0] == pytest.approx(millions * 1e6, rel=0.02)
    assert 0 < counts[0] - counts[1] < 1e-3 * counts[0]  # only y's three channels in the first convolution


def test_paper_is_one_of_the_tasks_and_a_wrong_size_names_them():
    assert sr3.TASKS["64-256"] == sr3.PAPER
    with pytest.raises(ValueError, match="'teaching', 'paper', '16-128', '64-256', '64-512', '256-1024'"):
        networks.create("sr3", preset="128-1024")


@pytest.mark.parametrize("changes", [{}, {"norm": "group", "attention": True, "residual": False, "predicts": "noise"}])
def test_a_fresh_network_says_nothing(changes):
    network = networks.create("sr3", **TINY, **changes)
    y, x = randn(2, 3, 12, 8), rand(2, 3, 12, 8)
    assert torch.equal(network(y, x, torch.tensor([0.1, 0.9])), torch.zeros_like(y))
    regression, lr = networks.create("regression", **TINY, **changes), rand(2, 3, 3, 2)
    x = bicubic_start(regression, lr)
    torch.testing.assert_close(regression(lr), x if regression.residual else torch.full_like(x, 0.5))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 3), (7, 10)])
@pytest.mark.parametrize("attention", [False, True])
def test_images_of_any_size(size, attention):
    h, w = size
    regression = make("regression", multipliers=(1, 1, 2), attention=attention, factor=2)
    assert regression(rand(2, 3, h, w)).shape == (2, 3, 2 * h, 2 * w)
    network = make(multipliers=(1, 1, 2), attention=attention, factor=2)
    y0 = network.denoise(randn(2, 3, h, w), rand(2, 3, h, w, seed=1), torch.tensor([0.2, 0.7]))
    assert y0.shape == (2, 3, h, w) and y0.isfinite().all()


def test_images_of_a_batch_and_their_noise_levels_do_not_mix():
    network, y, x = make(), randn(2, 3, 9, 6), rand(2, 3, 9, 6)
    levels = torch.tensor([0.1, 0.8])
    both = network(y, x, levels)
    alone = [network(y[i : i + 1], x[i : i + 1], levels[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_answer_depends_on_noise_level_y_and_x():
    network, y, x, level = make(), randn(1, 3, 8, 8), rand(1, 3, 8, 8), torch.tensor([0.5])
    answer = network(y, x, level)
    for other in (network(y, x, level + 0.01), network(y + 0.1, x, level), network(y, x + 0.1, level)):
        assert (other - answer).abs().max() > 1e-3


def test_a_far_pixel_changes_nothing():
    network, x, level = make(), rand(1, 3, 96, 96), torch.tensor([0.5])
    y, other = randn(1, 3, 96, 96), randn(1, 3, 96, 96)
    other[..., 48, 48] += 10
    changed = (network(other, x, level) != network(y, x, level)).any(1)[0].nonzero()
    reach = (changed - 48).abs().max().item()
    assert 10 < reach <= RADIUS
    papers, x = make(norm="group", attention=True), x[..., :40, :40]
    first, second = (papers(image[..., 40:80, 48:88], x, level) for image in (y, other))
    assert (first != second)[..., -1, -1].all()  # 39 pixels away: attention, and norms over the image


@pytest.mark.parametrize("size", [(70, 131), (128, 97)])
@pytest.mark.parametrize("multipliers", [(1, 2), (1, 1, 1)])
def test_tiles_are_the_whole_image_if_they_keep_its_grid(size, multipliers):
    """Halving pairs pixels from a tile's first one; `align` lets the pairs of a tile be the whole image's."""
    network = make(multipliers=multipliers)
    y, x, level = randn(1, 3, *size), rand(1, 3, *size, seed=1), torch.tensor([0.3])
    denoise = partial(network.denoise, noise_level=level)
    margin = RADIUS if len(multipliers) == 2 else 80
    with torch.no_grad():
        whole = denoise(y, x)
        tiled = tiling.in_tiles(denoise, y, x, tile=33, margin=margin, align=network.unet.multiple)
    assert (tiled - whole).abs().max() < 1e-4 * network.scale


def test_wrong_arguments_name_the_right_ones():
    for wrong, message in [
        ({"channels": 2}, "1 or 3"), ({"factor": 3}, "2, 4, 8 or 16"), ({"predicts": "y0"}, "noise, velocity"),
        ({"schedule": "sigmoid"}, "linear, cosine, warm-up"), ({"norm": "layer"}, "'group' or 'pixel'"),
        ({"multipliers": ()}, "1 to 8 multipliers"), ({"multipliers": (1, 0)}, "whole numbers"),
        ({"blocks": 0}, "1 to 8 blocks"), ({"embedding": 7}, "even"), ({"scale": 0.0}, "above 0"),
        ({"scale": float("nan")}, "above 0"),
    ]:  # fmt: skip
        for method in ("sr3", "regression"):
            with pytest.raises(ValueError, match=message):
                networks.create(method, **wrong)


@pytest.mark.parametrize("residual", [False, True])
def test_encode_and_decode_are_inverse_and_estimates_are_images(residual):
    network = make(residual=residual, scale=5.0)
    x, image = rand(2, 3, 6, 6), rand(2, 3, 6, 6, seed=1)
    torch.testing.assert_close(network.decode(network.encode(image, x), x), image)
    estimate = network.decode(network.denoise(9 * randn(2, 3, 6, 6), x, torch.tensor([0.01, 0.99])), x)
    assert estimate.min() > -1e-5 and estimate.max() < 1 + 1e-5 and estimate.std() > 0.1


@pytest.mark.parametrize("predicts", ["noise", "velocity"])
def test_a_network_that_knows_the_answer_is_understood(predicts, monkeypatch):
    """Its prediction is the training target of `losses.denoising`: then the estimate is HR, and the loss 0."""
    network = make(predicts=predicts, scale=3.0)
    x, hr, noise, level = rand(2, 3, 8, 8), rand(2, 3, 8, 8, seed=1), randn(2, 3, 8, 8), torch.tensor([0.1, 0.9])
    y0, g = network.encode(hr, x), level.view(-1, 1, 1, 1)
    target = diffusion.TARGETS[predicts](y0, noise, g)
    monkeypatch.setattr(network.unet, "forward", lambda image, noise_level: target)
    y = diffusion.diffuse(y0, level, noise)
    torch.testing.assert_close(network.decode(network.denoise(y, x, level), x), hr, rtol=0, atol=1e-5)
    assert losses.denoising(network, x, hr, level, noise) == 0


# --- gray, colour, other factors, files --------------------------------------------------------------------------


def test_gray_and_colour_copies_agree_on_gray_images():
    gray, colour = make("regression", channels=1), make("regression")
    lr = rand(2, 1, 5, 6)
    assert networks.as_colour(gray).channels == 3 and networks.as_gray(colour).channels == 1
    torch.testing.assert_close(networks.as_colour(gray)(lr), gray(lr), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(networks.as_gray(colour)(lr), colour(lr), rtol=1e-4, atol=1e-5)
    gray, colour, level = make(channels=1), make(), torch.tensor([0.2, 0.6])
    y, x = randn(2, 1, 8, 8), rand(2, 1, 8, 8)
    three = partial(torch.Tensor.repeat, repeats=(1, 3, 1, 1))
    said = networks.as_colour(gray)(three(y), three(x), level)
    torch.testing.assert_close(said, three(gray(y, x, level)), rtol=1e-4, atol=1e-5)
    said = networks.as_gray(colour)(y, x, level)
    torch.testing.assert_close(said, colour(three(y), three(x), level).mean(1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_a_copy_for_another_factor_has_the_same_weights():
    for method in ("sr3", "regression"):
        network = make(method)
        copy = networks.copy_of(network, factor=8, channels=1)
        assert copy.factor == 8 and copy.channels == 1 and network.factor == 4
        assert all(p.requires_grad for p in copy.parameters())
        assert torch.equal(copy.unet.middle[0].block.conv1.weight, network.unet.middle[0].block.conv1.weight)
    assert networks.copy_of(network, factor=2)(rand(1, 3, 4, 4)).shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match="train anew"):
        networks.copy_of(networks.create("srgan", depth=1), factor=8)


@pytest.mark.parametrize("method", ["sr3", "regression"])
def test_saved_weights_come_back(method, tmp_path):
    path, network = saved(tmp_path / "some.safetensors", method, scale=6.5, factor=8, channels=1)
    loaded = networks.load(method, weights=path, factor=8)
    assert json.loads(json.dumps(network.arguments)) == loaded.arguments and loaded.scale == 6.5
    lr = rand(1, 1, 3, 4)
    answers = [n.first_guess(lr, 1) if method == "sr3" else n(lr) for n in (network, loaded)]
    assert answers[0].shape == (1, 1, 24, 32)
    torch.testing.assert_close(*answers, rtol=0, atol=1e-5)  # equal but for where weights lie in memory
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_weights_of_one_are_refused_by_the_other(tmp_path):
    for method, other in (("sr3", "regression"), ("regression", "sr3"), ("sr3", "srresnet")):
        path, _ = saved(tmp_path / f"{method}.safetensors", method)
        with pytest.raises(networks.WeightsError, match=rf"{'SR3' if method == 'sr3' else 'Regression'}, and {other}"):
            networks.load(other, weights=path)


@pytest.mark.parametrize(
    "tampered",
    [
        {"multipliers": [1] * 17}, {"multipliers": [1] * 9}, {"multipliers": [[1] * 17, 2]},
        {"multipliers": [10**9, 1]},
        {"multipliers": []}, {"multipliers": [-1, 2]}, {"multipliers": "ab"}, {"multipliers": 2}, {"blocks": 1000},
        {"width": 10**9}, {"width": -4}, {"embedding": -2}, {"embedding": 2000}, {"scale": 0}, {"scale": "x"},
        {"scale": float("nan")}, {"dropout": 5}, {"norm": "x"}, {"norm": [1]}, {"schedule": []}, {"predicts": "y"},
        {"width": 8}, {"steps": 3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("method", ["sr3", "regression"])
def test_tampered_headers_are_refused(method, tampered, tmp_path):
    path, network = saved(tmp_path / "some.safetensors", method)
    header = {"architecture": f"sr3.{type(network).__name__}", "arguments": {**network.arguments, **tampered}}
    save_file(load_file(path), path, metadata={"medsr": json.dumps(header)})
    with pytest.raises(networks.WeightsError):
        networks.load(method, weights=path)


# --- layers against independent ones ---------------------------------------------------------------------------------


@pytest.mark.parametrize("inside, out", [(32, 32), (32, 64)])
def test_a_residual_block_is_diffusers(inside, out):
    """ResnetBlock2D with scale and shift from the embedding, and the sum divided by sqrt 2."""
    from diffusers.models.resnet import ResnetBlock2D

    torch.manual_seed(0)
    ours = randomised(sr3.ResBlock(inside, out, embedding=16, norm="group", dropout=0.0))
    theirs = ResnetBlock2D(
        in_channels=inside, out_channels=out, temb_channels=16, groups=32, eps=1e-5,
        time_embedding_norm="scale_shift", output_scale_factor=2**0.5,
    ).eval()  # fmt: skip
    pairs = {"norm1": "norm1", "conv1": "conv1", "time_emb_proj": "modulate", "norm2": "norm2", "conv2": "conv2"}
    pairs |= {"conv_shortcut": "shortcut"} if inside != out else {}
    for name, mine in pairs.items():
        getattr(theirs, name).load_state_dict(getattr(ours, mine).state_dict())
    x, e = randn(2, inside, 8, 8), randn(2, 16, seed=1)
    torch.testing.assert_close(ours(x, e), theirs(x, e), atol=1e-5, rtol=1e-5)


def test_attention_is_softmax_of_scaled_products():
    ours, x = randomised(sr3.Attention(8, "group")), randn(2, 8, 4, 4)
    theirs = torch.nn.MultiheadAttention(8, 1, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(20 * ours.ask.weight[:, :, 0, 0])  # large, so that the scale matters
        ours.ask.weight.mul_(20)
        theirs.in_proj_bias.copy_(ours.ask.bias)
        theirs.out_proj.weight.copy_(ours.answer.weight[:, :, 0, 0])
        theirs.out_proj.bias.copy_(ours.answer.bias)
        tokens = ours.norm(x).flatten(2).transpose(1, 2)
        heard = theirs(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).view_as(x)
        torch.testing.assert_close(ours(x), (x + heard) / 2**0.5, atol=1e-5, rtol=1e-4)


def test_pixel_norm_is_layer_norm_of_each_pixel():
    ours = randomised(sr3.PixelNorm(6))
    theirs = torch.nn.LayerNorm(6)
    theirs.load_state_dict(ours.state_dict())
    x = randn(2, 6, 3, 5)
    torch.testing.assert_close(ours(x), theirs(x.movedim(1, -1)).movedim(-1, 1))


def test_the_noise_level_is_embedded_as_in_wavegrad():
    """sin and cos of 5000 g / 10^(4 k / half), k = 0, 1, ... (Chen et al. 2021, section 2.2)."""
    level = torch.tensor([0.001, 0.37])
    expected = [
        [f(5000 * g / 10 ** (4 * k / 3)) for f in (math.sin, math.cos) for k in range(3)] for g in level.tolist()
    ]
    torch.testing.assert_close(sr3.Sinusoids(6)(level), torch.tensor(expected), atol=2e-3, rtol=0)


def test_a_first_guess_is_asked_at_the_noisiest_level(monkeypatch):
    network, asked = make(channels=1, schedule="cosine"), []
    monkeypatch.setattr(network, "denoise", lambda y, x, g: (asked.append((y, g)), y)[1])
    network.first_guess(rand(1, 1, 8, 8))
    (y, level), *_ = asked
    assert 0 < level.item() < 1e-4 and y.std() == pytest.approx(1, abs=0.1), "there is next to no image in the noise"
