"""FSRNet by property: maps against scikit-image and formulas, and what gradients and exchanged maps reach."""

import math

import numpy as np
import pytest
import torch
from skimage.draw import polygon2mask
from torch import nn

from medsr_core.networks import facial_prior as prior
from medsr_core.networks import fsrnet

SMALL = {**fsrnet.TEACHING, "width": 8, "coarse": 1, "encoder": 2, "decoder": 1, "prior_width": 16, "hourglasses": 1}


def network(**changes) -> fsrnet.FSRNet:
    """A small network that has left its zero start."""
    torch.manual_seed(0)
    net = fsrnet.FSRNet(**{**SMALL, **changes})
    for layer in (net.coarse_image, net.last, net.prior.maps):
        nn.init.normal_(layer.weight, std=0.1)
    return net.eval()


def face(count: int = 3) -> torch.Tensor:
    """Landmarks (count, 68, 2) drawn at random, not on a grid, inside 128 x 128 pixels."""
    return 20 + 88 * torch.rand((count, 68, 2), generator=torch.Generator().manual_seed(1))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- the maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_heat_map_peaks_at_its_landmark_and_sums_to_two_pi_sigma_squared(sigma):
    points = torch.tensor([[[30.0, 20.0], [25.0, 41.0]]])
    maps = prior.heat_maps(points, 64, sigma=sigma)[0]
    for (x, y), one in zip(points[0].int().tolist(), maps, strict=True):
        assert one[y, x] == one.max() == 1
        assert one.sum().item() == pytest.approx(2 * math.pi * sigma**2, rel=1e-3)


def test_landmarks_are_on_the_grid_of_pixel_centres():
    """Averaging 2 x 2 pixels puts the HR pixels 40 and 41 into pixel 20: a landmark at 40.5 is at its centre."""
    landmarks = face(1)
    landmarks[0, 8] = torch.tensor([40.5, 70.5])
    contour = prior.facial_prior(landmarks)[0, prior.MAPS.index("contour points")]
    assert contour[35, 20] == 1


def test_areas_agree_with_scikit_image():
    angle = torch.linspace(0, 2 * math.pi, 12)[:-1]
    radius = 20 + 8 * torch.cos(3 * angle)  # not convex
    corners = torch.stack([31.3 + radius * torch.cos(angle), 30.1 + radius * torch.sin(angle)], -1)
    ours = prior.filled(corners[None], 64, samples=1)[0].numpy()
    theirs = polygon2mask((64, 64), corners.flip(-1).numpy())
    np.testing.assert_array_equal(ours, theirs)
    x, y = corners.double().numpy().T
    area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2  # the shoelace formula
    assert prior.filled(corners[None], 64).sum().item() == pytest.approx(area, rel=5e-3)


def test_a_stroke_has_its_width():
    line = prior.stroke(torch.tensor([[[10.0, 20.0], [30.0, 20.0], [50.0, 20.0]]]), 64, width=2.0)[0]
    assert line[:, 25].sum() == 2 and line[20, 25] == 1 and line[:, 55].sum() == 0


def test_mirroring_landmarks_and_mirroring_maps_agree():
    """Right and left must change places in both, or a network is taught that a right eye is a left one."""
    landmarks = face()
    torch.testing.assert_close(
        prior.facial_prior(prior.mirrored_landmarks(landmarks)), prior.mirrored_maps(prior.facial_prior(landmarks)),
        atol=1e-4, rtol=0,
    )  # fmt: skip
    twice = prior.mirrored_landmarks(prior.mirrored_landmarks(landmarks))
    torch.testing.assert_close(twice, landmarks, atol=1e-4, rtol=0)
    assert prior.MAPS[prior.MIRRORED_MAPS[prior.MAPS.index("right eye")]] == "left eye"
    assert [prior.MIRROR[i] for i in (0, 8, 21, 36, 48, 60)] == [16, 8, 22, 45, 54, 64]  # known pairs of the order


def test_maps_have_names_shapes_and_a_range():
    maps = prior.facial_prior(face(2), image=128)
    assert maps.shape == (2, len(prior.MAPS), 64, 64) and len(set(prior.MAPS)) == fsrnet.TEACHING["maps"]
    assert maps.min() >= 0 and maps.max() <= 1 and (maps.amax((2, 3)) > 0).all()


@pytest.mark.parametrize("bad", [torch.zeros(68, 2), torch.zeros(1, 5, 2), torch.full((1, 68, 2), math.nan)])
def test_other_landmarks_are_refused(bad):
    with pytest.raises(ValueError, match=r"\(B, 68, 2\)"):
        prior.facial_prior(bad)


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_paper_preset_has_the_size_of_the_re_implementations():
    with torch.device("meta"):
        net = fsrnet.FSRNet(**fsrnet.PAPER)
        assert parameters(net) == 3_263_691
        assert parameters(fsrnet.FSRNet(**{**fsrnet.PAPER, "maps": 194 + 9})) == 3_288_459
        assert 0.6e6 < parameters(fsrnet.FSRNet(**fsrnet.TEACHING)) < 1.2e6
    assert parameters(net.coarse) + parameters(net.coarse_image) == 225_536
    assert parameters(net.encoder) == 926_528
    assert [parameters(part) for part in (net.prior.features, net.prior.maps)] == [1_738_816, 1_419]
    assert parameters(net.decoder) + parameters(net.last) == 371_392


@pytest.mark.parametrize("preset", [fsrnet.PAPER, fsrnet.TEACHING])
def test_no_two_blocks_share_weights(preset):
    """A re-implementation repeats one block object: 12 residual blocks with the weights of one."""
    net = fsrnet.FSRNet(**preset)
    tensors = [t for t in net.state_dict().values() if t.ndim]  # by name, so that a shared one comes twice
    assert len({t.data_ptr() for t in tensors}) == len(tensors)


def test_before_training_it_is_bicubic_interpolation():
    lr = torch.rand(2, 3, 16, 16)
    coarse, maps, sr = fsrnet.FSRNet(**SMALL).parts(lr)
    enlarged = nn.functional.interpolate(lr, scale_factor=8, mode="bicubic", antialias=True)
    inner = (..., slice(24, -24), slice(24, -24))  # torch treats edges otherwise
    torch.testing.assert_close(sr[inner], enlarged[inner], atol=1e-4, rtol=0)
    assert torch.equal(coarse, sr) and not maps.any()


@pytest.mark.parametrize("changes", [{}, {"feed": "features"}, {"late": False}, {"residual": False}, {"norm": "batch"}])
def test_shapes(changes):
    coarse, maps, sr = network(**changes).parts(torch.rand(2, 3, 16, 12))
    assert coarse.shape == sr.shape == (2, 3, 128, 96) and maps.shape == (2, 17, 64, 48)


def test_gray_is_the_mean_of_gray_stored_as_colour():
    net, gray = network(), torch.rand(1, 1, 16, 16)
    coarse, _, sr = net.parts(gray)
    coloured = net.parts(gray.expand(-1, 3, -1, -1))
    torch.testing.assert_close(sr, coloured[2].mean(1, keepdim=True))
    torch.testing.assert_close(coarse, coloured[0].mean(1, keepdim=True))
    assert network(channels=1)(gray).shape == (1, 1, 128, 128)


def test_the_decoder_sees_the_maps():
    """In a re-implementation the maps feed nothing, so that no map could change the image."""
    net, lr = network(), torch.rand(2, 3, 16, 16)
    coarse, maps, sr = net.parts(lr)
    torch.testing.assert_close(net.parts(lr, maps=maps)[2], sr)
    for other in (torch.zeros_like(maps), maps.flip(0)):
        changed = net.parts(lr, maps=other)
        assert (changed[2] - sr).abs().max() > 1e-4
        assert torch.equal(changed[0], coarse) and torch.equal(changed[1], maps)


def test_maps_that_do_not_fit_are_refused():
    lr = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match="sees features"):
        network(feed="features").parts(lr, maps=torch.zeros(1, 17, 64, 64))
    with pytest.raises(ValueError, match=r"\(1, 17, 64, 64\)"):
        network().parts(lr, maps=torch.zeros(1, 11, 64, 64))


@pytest.mark.parametrize("feed", ["features", "maps"])
def test_the_image_and_the_maps_each_teach_the_prior_network(feed):
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 128, 128)
    truth = prior.facial_prior(face(2))
    net = network(feed=feed)
    _, maps, sr = net.parts(lr)
    inside = [*net.prior.features.parameters()]
    from_image = torch.autograd.grad((sr - hr).square().mean(), inside, retain_graph=True)
    assert all(g.abs().sum() > 0 for g in from_image)
    from_maps = torch.autograd.grad(fsrnet.prior_loss(maps, truth), [*inside, *net.coarse.parameters()])
    assert all(g.abs().sum() > 0 for g in from_maps)


def test_the_objective_is_the_formula():
    coarse, sr, hr = torch.rand(3, 2, 3, 16, 16)
    maps, truth = torch.rand(2, 2, 17, 8, 8)
    c, s, h, m, t = (x.double().numpy() for x in (coarse, sr, hr, maps, truth))
    expected = ((h - c) ** 2).mean() + 2 * ((h - s) ** 2).mean() + 3 * ((1 + 4 * t) * (t - m) ** 2).mean()
    ours = fsrnet.objective(coarse, maps, sr, hr, truth, alpha=2.0, beta=3.0, positive=4.0)
    assert ours.item() == pytest.approx(expected, rel=1e-5)


def test_an_hourglass_keeps_the_size_and_says_which_it_takes():
    hourglass = fsrnet.Hourglass(16).eval()
    assert hourglass(torch.rand(1, 16, 24, 40)).shape == (1, 16, 24, 40)
    with pytest.raises(ValueError, match="multiples of 8"):
        hourglass(torch.rand(1, 16, 20, 24))
    with pytest.raises(ValueError, match="multiples of 2"):
        network()(torch.rand(1, 3, 15, 16))


@pytest.mark.parametrize("wrong", [{"factor": 3}, {"channels": 2}, {"feed": "both"}, {"norm": "layer"}])
def test_arguments_no_network_has(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        fsrnet.FSRNet(**{**SMALL, **wrong})


def test_the_discriminator_judges_patches_and_sees_the_lr_image():
    torch.manual_seed(0)
    opponent = fsrnet.Discriminator(width=4).eval()
    image, lr = torch.rand(2, 3, 128, 128), torch.rand(2, 3, 16, 16)
    logits = opponent(image, lr)
    assert logits.shape == (2, 1, 14, 14)
    assert (logits - opponent(image, lr.flip(0))).abs().max() > 1e-5
    changed = image.clone()
    changed[..., :8, :8] = 0
    difference = (logits - opponent(changed, lr)).abs()
    assert difference[..., 0, 0].min() > 0 and difference[..., 7:, 7:].max() == 0  # a patch is 70 x 70 pixels


def test_the_fine_image_starts_from_the_coarse_one():
    """With nothing to add, SR is the coarse image, and not the enlarged one."""
    net = network(residual=True)
    for parameter in net.last.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        coarse, _, sr = net.parts(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(sr, coarse)
