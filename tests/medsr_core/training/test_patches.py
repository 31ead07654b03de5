"""What a training sees: aligned patches, where structure is, turned, flipped, blurred; a function of (seed, step)."""

import pytest
import scipy.ndimage
import torch

from medsr_core import training
from medsr_core.degradation import bicubic
from medsr_core.training.patches import Batches, Patches, blurred
from tests.medsr_core.training.pictures import image


def test_lr_patches_are_cut_from_the_whole_lr_image():
    hr = image(size=(64, 80))
    lr = bicubic(4)(hr)
    patches = Patches([[hr]], patch=32, channels=1)
    for step in range(4):
        for low, high in zip(*patches.batch(0, step, 4), strict=True):
            assert low.shape == (1, 8, 8) and high.shape == (1, 32, 32)
            turned = [(torch.rot90(hr[0], k, (1, 2)), torch.rot90(lr[0], k, (1, 2))) for k in range(4)]
            turned += [(h.flip(2), w.flip(2)) for h, w in turned]
            places = 0
            for h, w in turned:
                windows = h.unfold(1, 32, 4).unfold(2, 32, 4)[0]
                for y, x in (windows == high[0]).all(-1).all(-1).nonzero().tolist():
                    assert torch.equal(w[:, y : y + 8, x : x + 8], low)
                    places += 1
            assert places == 1


def test_a_batch_depends_on_seed_and_step_only():
    patches = Patches([[image(i) for i in range(3)]], patch=32, channels=1)
    first, again = patches.batch(1, 7, 4)[1], patches.batch(1, 7, 4)[1]
    assert torch.equal(first, again)
    others = [patches.batch(seed, step, 4)[1] for seed, step in [(1, 8), (2, 7), (7, 1)]]
    assert not any(torch.equal(first, other) for other in others)


def test_processes_share_one_batch():
    patches = Patches([[image(i) for i in range(3)]], patch=32, channels=1)
    lr, hr = patches.batch(0, 0, 6)
    shares = [patches.batch(0, 0, 6, rank, 3) for rank in range(3)]
    for rank, (low, high) in enumerate(shares):
        assert torch.equal(low, lr[rank::3]) and torch.equal(high, hr[rank::3])
    with pytest.raises(ValueError, match="multiple"):
        patches.batch(0, 0, 4, 0, 3)


def test_patches_lie_where_structure_is_and_sources_are_drawn_equally():
    edge = torch.zeros(1, 1, 128, 128)
    edge[..., 100:104, 16:20] = 1  # a dot at the lower left
    flat, many = torch.full((1, 1, 64, 64), 0.25), [edge] * 5
    patches = Patches([many, [flat]], patch=32, channels=1)
    drawn = torch.cat([patches.batch(0, step, 16)[1] for step in range(12)])
    is_flat = (drawn == 0.25).all(-1).all(-1).all(-1)
    assert 0.35 < is_flat.double().mean() < 0.65
    has_dot = drawn[~is_flat].amax((1, 2, 3)) == 1
    uniform = 32 * 32 / 97**2 * 1.2  # share of places where a uniform draw would find it
    assert has_dot.double().mean() > 4 * uniform
    assert not has_dot.all(), "smooth places count a little, too"


def test_colour_and_size_of_images():
    assert Patches([[image(), image(channels=3)]], patch=32, channels=3).batch(0, 0, 8)[1].shape == (8, 3, 32, 32)
    gray_as_rgb = image().repeat(1, 3, 1, 1)
    assert Patches([[gray_as_rgb]], patch=32, channels=1).batch(0, 0, 2)[0].shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match="three-channel"):
        Patches([[image(channels=3)]], patch=32, channels=1)
    with pytest.raises(ValueError, match="96x96"):
        Patches([[image()]])
    with pytest.raises(ValueError, match="multiple of 4"):
        Patches([[image()]], patch=30)


@pytest.mark.parametrize("upright, ways", [(False, 8), (True, 2)])
def test_patches_are_turned_and_flipped_all_ways(upright, ways):
    """Every symmetry of a square about equally often; of upright images only the flip left to right."""
    hr = torch.zeros(1, 1, 32, 32)
    hr[0, 0, :8, :16] = 1  # no symmetry of the square leaves it as it is
    patches = Patches([[hr]], patch=32, channels=1, upright=upright)
    seen = torch.cat([patches.batch(0, step, 16)[1] for step in range(20)])
    symmetries = [torch.rot90(flipped, k, (2, 3)) for k in range(4) for flipped in (hr, hr.flip(3))]
    counts = [int((seen == one).all((1, 2, 3)).sum()) for one in symmetries]
    assert sum(counts) == 320 and sum(count > 0 for count in counts) == ways
    assert min(count for count in counts if count) > 0.6 * 320 / ways
    assert not upright or counts[:2] == [c for c in counts if c]


def test_each_image_of_a_batch_is_blurred_by_its_own_width():
    torch.manual_seed(0)
    x, widths = torch.rand(3, 1, 40, 40), torch.tensor([0.4, 1.0, 2.0])
    for ours, one, width in zip(blurred(x, widths), x, widths.tolist(), strict=True):
        theirs = scipy.ndimage.gaussian_filter(one[0].numpy(), width, mode="reflect", truncate=4.0)
        assert abs(ours[0].numpy() - theirs).max() < 1e-3


def test_widths_of_a_cascades_blur_differ_within_a_batch():
    dot = torch.zeros(1, 1, 32, 32)
    dot[..., 15:17, 15:17] = 1  # the same however it is turned
    patches = Patches([[dot]], patch=32, channels=1, enlarged=True)
    lr, hr = Batches(training.Run("sr3", batch=8, blur=3.0), patches)[0]
    assert torch.equal(hr[:1].expand_as(hr), hr)
    middles = lr[:, 0, 15:17, 15:17].mean((1, 2))
    assert len(middles.unique()) == 8 and middles.max() > 1.3 * middles.min()
    plain, _ = Batches(training.Run("sr3", batch=8), patches)[0]
    assert (plain - plain[:1]).abs().max() < 1e-6
