"""SRFlow by property: exact inverses, exact densities, and the counts of the released networks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import AffineTransform, Independent, Normal, TransformedDistribution

from medsr_core import networks, upscalers
from medsr_core.networks import esrgan, srflow

TINY = {"width": 8, "depth": 2, "growth": 4, "taps": (1, 2), "steps": 2, "hidden": 8}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def random_flow(seed=0, *, far=0.1, **changes):
    """Not at its start, where couplings do next to nothing, but so `far` from it; in float64."""
    torch.manual_seed(seed)
    flow = srflow.SRFlow(**{**TINY, "channels": 1, **changes}).double().eval()
    for parameter in flow.parameters():
        parameter.data += far * torch.randn_like(parameter)
    return flow


def pair(flow, h=2, w=3, count=2, seed=1):
    g = torch.Generator().manual_seed(seed)
    shape = (count, flow.channels, h, w)
    hr = torch.rand(shape[0], shape[1], flow.factor * h, flow.factor * w, generator=g, dtype=torch.float64)
    return hr, torch.rand(shape, generator=g, dtype=torch.float64)


def test_counts_are_those_of_the_released_networks():
    with torch.device("meta"):
        assert parameters(networks.create("srflow", preset="paper")) == 39_265_235
        faces = networks.create("srflow", preset="faces")
        assert parameters(faces.encoder) == 5_943_555 and parameters(faces) == 39_753_955
        assert len(faces.levels) == 4 and [level.leaving for level in faces.levels] == [6, 12, 0, 0]


@pytest.mark.parametrize("changes", [{}, {"channels": 3}, {"factor": 8}, {"factor": 2, "base": True}, {"splits": 1}])
def test_decoding_undoes_encoding_and_there_are_as_many_latents_as_pixels(changes):
    flow = random_flow(**changes)
    hr, lr = pair(flow, h=4, w=2)
    z, _ = flow.encode(hr, lr)
    assert tuple(z.shape) == flow.latent_shape(lr) and z.numel() == hr.numel()
    torch.testing.assert_close(flow.decode(lr, z), hr, atol=1e-9, rtol=0)
    single = flow.float()
    torch.testing.assert_close(single.decode(lr.float(), single.encode(hr.float(), lr.float())[0]), hr.float(),
                               atol=1e-3, rtol=0)  # fmt: skip


@pytest.mark.parametrize("changes, sides", [({}, (2, 2)), ({"channels": 3, "factor": 2, "base": True}, (2, 2))])
def test_the_density_is_that_of_the_autograd_jacobian(changes, sides):
    flow = random_flow(**changes)
    hr, lr = pair(flow, *sides, count=1)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.encode(x.view_as(hr), lr)[0].flatten(), hr.flatten())
    z, density = flow.encode(hr, lr)
    log_det = torch.linalg.slogdet(jacobian)[1] - hr.numel() * math.log(
        255 / 256
    )  # densities are of (255 hr + u) / 256
    expected = Normal(0.0, 1.0).log_prob(z).sum() + log_det
    torch.testing.assert_close(density[0], expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("kind", ["actnorm", "1x1", "injector", "coupling", "split"])
def test_each_layer_against_its_jacobian_and_its_inverse(kind):
    torch.manual_seed(0)
    layer = {
        "actnorm": lambda: srflow.ActNorm(4), "1x1": lambda: srflow.Invertible1x1(4),
        "injector": lambda: srflow.Injector(4, 3, 5), "coupling": lambda: srflow.Coupling(4, 3, 5),
        "split": lambda: srflow.Split(4),
    }[kind]().double().eval()  # fmt: skip
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    h, given = torch.randn(1, 4, 2, 2).double(), torch.randn(1, 3, 2, 2).double()

    def run(x):
        out = layer(x.view(1, 4, 2, 2), *(() if kind == "split" else (given,)))
        return torch.cat([part.flatten() for part in out[:-1]]), out[-1]

    jacobian = torch.autograd.functional.jacobian(lambda x: run(x)[0], h.flatten())
    torch.testing.assert_close(run(h)[1][0], torch.linalg.slogdet(jacobian)[1], atol=1e-9, rtol=0)
    y = run(h)[0].view(1, 4, 2, 2)
    back = layer.inverse(y[:, :2], y[:, 2:]) if kind == "split" else layer.inverse(y, given)
    torch.testing.assert_close(back, h, atol=1e-9, rtol=0)


def test_an_injector_is_torchs_affine_transform():
    """One step rebuilt with torch.distributions: h = z / scale - shift."""
    torch.manual_seed(0)
    layer, given, h = (
        srflow.Injector(2, 3, 5).double(),
        torch.randn(1, 3, 2, 2).double(),
        torch.randn(1, 2, 2, 2).double(),
    )
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    shift, scale = layer.net(given)
    theirs = Independent(
        TransformedDistribution(Normal(torch.zeros_like(h), torch.ones_like(h)), AffineTransform(-shift, 1 / scale)), 3
    )
    z, log_det = layer(h, given)
    torch.testing.assert_close(Normal(0.0, 1.0).log_prob(z).sum((1, 2, 3)) + log_det, theirs.log_prob(h))


def test_the_cost_in_bits_by_hand():
    """With all rotations the identity and all last convolutions zero, every scale is s = sigmoid(2) + 1e-4."""
    flow = random_flow(factor=2, steps=1)
    for module in flow.modules():
        if isinstance(module, srflow.ActNorm):
            nn.init.zeros_(module.bias), nn.init.zeros_(module.log_scale)
        elif isinstance(module, srflow.Invertible1x1):
            nn.init.eye_(module.weight)
        elif isinstance(module, (srflow.ShiftAndScale, srflow.Split)):
            last = getattr(module, "last", None) or module.net
            nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)
    hr, lr = pair(flow, 2, 2, count=1)
    expected = density_by_hand(((255 * hr).round() + 0.5) / 256, 1 / (1 + math.exp(-2)) + 1e-4)
    torch.testing.assert_close(flow.bits(hr, lr, u=0.5), 8 - expected / (16 * math.log(2)), atol=1e-9, rtol=0)


def density_by_hand(y, s):
    """Squeeze, times s, second half times s again, second half leaves; once more without leaving."""
    h, density = F.pixel_unshuffle(y, 2), 0.0
    for last in (False, True):
        h = s * h
        half = h.shape[1] // 2
        h = torch.cat([h[:, :half], s * h[:, half:]], 1)
        log_det = (1.5 * math.log(s)) * h.numel()
        leaves, h = (h, None) if last else (h[:, half:], h[:, :half])
        density = density + Normal(0.0, 1.0).log_prob(leaves).sum((1, 2, 3)) + log_det
        if h is not None:
            h = F.pixel_unshuffle(h, 2)
    return density


def test_actnorm_is_set_once_and_stays_set_after_saving(tmp_path):
    norm, h = srflow.ActNorm(3), 5 + 2 * torch.randn(4, 3, 6, 6)
    out, _ = norm.train()(h)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-3, rtol=0)
    flow = srflow.SRFlow(channels=1, **TINY).train()
    flow.bits(torch.rand(2, 1, 16, 16), torch.rand(2, 1, 4, 4))
    networks.save(flow, tmp_path / "f.safetensors")
    loaded = networks.load("srflow", weights=tmp_path / "f.safetensors").train()
    before = loaded.levels[0].steps[0][0].bias.clone()
    loaded.bits(torch.rand(2, 1, 16, 16) / 9, torch.rand(2, 1, 4, 4))
    assert torch.equal(loaded.levels[0].steps[0][0].bias, before)


def test_a_flow_around_a_network_starts_from_its_image_and_leaves_it_alone():
    torch.manual_seed(0)
    rrdb = esrgan.Generator(channels=1, width=8, depth=2, growth=4)
    flow = srflow.SRFlow.around(rrdb, steps=1, hidden=8, taps=(1, 2))
    assert flow.base and not any(p.requires_grad for p in flow.encoder.parameters())
    lr = torch.rand(1, 1, 4, 6)
    flow.train().bits(rrdb(lr).detach() + 0.01 * torch.randn(1, 1, 16, 24), lr)  # sets the spreads
    torch.testing.assert_close(flow.eval()(lr), rrdb(lr), atol=0.02, rtol=0)


def test_temperature_and_seeds(tmp_path):
    flow = random_flow().float()
    networks.save(flow, tmp_path / "f.safetensors")
    lr = torch.rand(1, 1, 5, 6)  # an odd side

    def draw(count=2, **options):
        return upscalers.samples(lr, count, method="srflow", weights=tmp_path / "f.safetensors", **options)

    assert draw().shape == (2, 1, 1, 20, 24)
    assert torch.equal(draw(1, seed=3)[0], draw(2, seed=3)[0]) and not torch.equal(draw()[0], draw()[1])
    assert torch.equal(*draw(temperature=0))
    spreads = [draw(8, temperature=t).std(0).mean() for t in (0.2, 0.5, 0.9)]
    assert spreads == sorted(spreads) and spreads[0] > 0
    with pytest.raises(ValueError, match="temperature is -1"):
        draw(temperature=-1)
    with pytest.raises(ValueError, match="no steps"):
        draw(project="steps")


def test_what_cannot_be():
    flow = random_flow()
    hr, lr = pair(flow, 2, 2)
    with pytest.raises(ValueError, match=r"belongs to an HR image of \(8, 8\)"):
        flow.encode(hr[..., :4], lr)
    with pytest.raises(ValueError, match="must be even"):
        flow.encode(*pair(flow, 3, 2))
    z, _ = flow.encode(hr, lr)
    with pytest.raises(ValueError, match="NaN"):
        flow.decode(lr, z * float("nan"))
    with pytest.raises(ValueError, match="latents of this LR image"):
        flow.decode(lr, z[:, :4])
    with pytest.raises(ValueError, match="taps"):
        srflow.SRFlow(depth=1, taps=(1, 2))


def test_far_latents_come_back_finite():
    """Scales are bounded below, so the way back never divides by nothing."""
    flow = random_flow(far=0.03).float()
    _, lr = pair(flow, 4, 4)
    z = 10 * torch.randn(flow.latent_shape(lr))
    assert torch.isfinite(flow.decode(lr.float(), z)).all()
