"""SR3's training and its samples: noise levels, resuming, several processes, data consistency, cascades, tiles."""

import math

import pytest
import torch

from medsr_core import degradation, diffusion, networks, training, upscalers
from medsr_core.measures import metrics
from medsr_core.networks.sr3 import bicubic_start
from medsr_core.seeds import mix
from medsr_core.training import losses
from medsr_core.training.patches import Batches, Patches

TINY = {"width": 4, "multipliers": (1, 2)}


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def saved(path, method="sr3", seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    network = networks.create(method, **{**TINY, "channels": 1, **changes})
    with torch.no_grad():
        for p in network.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
    networks.save(network, path)
    return str(path), network.eval()


def train(folder, **changes):
    settings = {"steps": 6, "network": {"width": 8, "multipliers": (1, 2)}, "channels": 1, "batch": 4, "patch": 32,
                "every": 2, "device": "cpu"}  # fmt: skip
    hr = (rand(1, 1, 48, 52) > 0.5).float()
    options = {name: changes.pop(name) for name in ("start", "report", "resume") if name in changes}
    return training.train(training.Run("sr3", **(settings | changes)), [[hr]], folder=folder, **options)


def test_each_sample_of_a_batch_is_judged_at_its_own_level(tmp_path):
    _, network = saved(tmp_path / "a.safetensors")
    x, hr, noise = rand(2, 1, 8, 8), rand(2, 1, 8, 8, seed=1), torch.randn(2, 1, 8, 8)
    levels = torch.tensor([0.05, 0.9])
    both = losses.denoising(network, x, hr, levels, noise)
    pairs = zip(x, hr, levels, noise, strict=True)
    alone = [losses.denoising(network, *(part[None] for part in pair)) for pair in pairs]
    torch.testing.assert_close(both, torch.stack(alone).mean(), rtol=1e-4, atol=1e-6)
    assert (losses.denoising(network, x, hr, levels[:1].expand(2), noise) - both).abs() > 1e-4


def test_levels_of_a_step_are_spread_and_shared_among_processes():
    alpha_bar, run = diffusion.schedule("cosine"), training.Run("sr3", batch=8, patch=16)
    patches = Patches([[torch.rand(1, 1, 24, 24)]], patch=16, channels=1, enlarged=True)
    _, _, level, noise = Batches(run, patches, alpha_bar)[3]
    t = torch.searchsorted(-alpha_bar, -level.double())
    assert sorted(((t - 1) // 250).tolist()) == pytest.approx(range(8), abs=1) and level.unique().numel() == 8
    for rank in range(2):
        share = Batches(run, patches, alpha_bar, rank=rank, world=2)[3]
        assert torch.equal(share[2], level[rank::2]) and torch.equal(share[3], noise[rank::2])


def test_stopped_and_resumed_it_ends_with_the_same_weights(tmp_path):
    def stop(step, values):
        if step == 3:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", report=stop)
    resumed = train(tmp_path / "cut", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_samples_depend_on_seed_and_number_only(tmp_path):
    path, _ = saved(tmp_path / "a.safetensors")
    lr = rand(2, 1, 6, 5)
    three = upscalers.samples(lr, 3, weights=path, steps=3)
    assert three.shape == (3, 2, 1, 24, 20) and three.min() >= 0 and three.max() <= 1
    assert torch.equal(upscalers.samples(lr, 2, weights=path, steps=3), three[:2])
    assert not torch.equal(three[0], three[1])
    assert not torch.equal(upscalers.samples(lr, 1, weights=path, steps=3, seed=1)[0], three[0])


@pytest.mark.parametrize("project", ["end", "steps"])
def test_projected_samples_explain_the_measurement(project, tmp_path):
    path, _ = saved(tmp_path / "a.safetensors", scale=40.0)
    lr, D = 0.4 + 0.2 * rand(1, 1, 8, 8), degradation.bicubic(4)
    free = upscalers.samples(lr, 1, weights=path, steps=3)[0]
    sr = upscalers.samples(lr, 1, weights=path, steps=3, project=project)[0]
    assert sr.min() > 0 and sr.max() < 1  # nothing was clipped
    assert metrics.consistency(sr, lr, D).max() < 1e-10 < metrics.consistency(free, lr, D).min()


def test_a_cascade_is_one_after_the_other(tmp_path):
    lr = rand(1, 1, 6, 6)
    first, second = (saved(tmp_path / f"r{i}.safetensors", "regression", i, factor=2)[0] for i in range(2))
    middle = upscalers.upscale(lr, "regression", weights=first, factor=2)
    expected = upscalers.upscale(middle, "regression", weights=second, factor=2)
    assert torch.equal(upscalers.upscale(lr, "regression", weights=f"{first},{second}"), expected)
    a, _ = saved(tmp_path / "a.safetensors", factor=2)
    plain, _ = saved(tmp_path / "b.safetensors", factor=2, scale=1e6)  # so small a residual is bicubic enlargement
    middle = upscalers.samples(lr, 1, weights=a, factor=2, steps=3)[0]
    sr = upscalers.samples(lr, 1, weights=f"{a},{plain}", steps=3)[0]
    torch.testing.assert_close(sr, upscalers.upscale(middle, "bicubic", factor=2), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="cascade of 2"):
        upscalers.upscale(lr, "sr3", weights=f"{a},{plain}", factor=8)


def test_a_large_image_in_tiles_is_the_image_as_a_whole(tmp_path):
    path, network = saved(tmp_path / "a.safetensors", factor=2)
    lr = rand(1, 1, 259, 10)  # 518 rows: two tiles, the second from row 195, which is odd
    x = bicubic_start(network, lr)
    generator = torch.Generator().manual_seed(mix(0, 0))
    y, alpha_bar = torch.randn(x.shape, generator=generator), diffusion.shorten(diffusion.schedule("cosine"), 2)
    with torch.no_grad():
        y0 = diffusion.dpm_solver(lambda y, level: network.denoise(y, x, level), y, alpha_bar)
    sr = upscalers.samples(lr, 1, weights=path, factor=2, steps=2)[0]
    torch.testing.assert_close(sr, network.decode(y0, x).clamp(0, 1), rtol=0, atol=1e-5)


def test_errors_name_the_choices(tmp_path):
    path, _ = saved(tmp_path / "a.safetensors")
    for wrong, message in [
        ({"count": 0}, "1 or more"), ({"steps": 0}, "1 to 2000"), ({"steps": 2001}, "1 to 2000"),
        ({"sampler": "euler"}, r"ancestral, ddim, dpm\+\+"), ({"project": "start"}, "'end' or 'steps'"),
        ({"factor": 2}, "factor 4, not 2"), ({"factor": 4.7}, "whole number"), ({"factor": math.nan}, "whole number"),
        ({"eta": 0.5}, r"dpm\+\+ has no option eta; its options: none"),
        ({"sampler": "ddim", "variance": "beta"}, "ddim has no option variance; its options: eta"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            upscalers.samples(rand(1, 1, 4, 4), **({"count": 1, "weights": path} | wrong))
