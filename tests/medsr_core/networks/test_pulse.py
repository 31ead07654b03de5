"""PULSE: the decoder against torch's own functions, and what a search on a sphere must keep, reach and say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from torch import Tensor, nn

from data_fetch import load
from medsr_core import networks
from medsr_core.degradation import bicubic
from medsr_core.networks import pulse
from medsr_core.networks.pulse import Decoder, search


def small(widths: tuple[int, ...] = (12, 8, 8), latent: int = 8, seed: int = 0) -> Decoder:
    """A decoder of 16x16 pixels (for three widths) with random weights, large enough that images differ."""
    torch.manual_seed(seed)
    decoder = Decoder(latent=latent, widths=widths).double()
    nn.init.normal_(decoder.last.weight, std=0.3)
    return decoder.requires_grad_(False)


class Linear(nn.Module):
    """G(z) = A z + 1/2: the generator whose best point on the sphere is known."""

    channels = 1

    def __init__(self, matrix: Tensor, size: int):
        super().__init__()
        self.matrix, self.latent, self.size = nn.Parameter(matrix), matrix.shape[1], size

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.matrix.T + 0.5).view(-1, 1, self.size, self.size)


# --- the decoder ----------------------------------------------------------------------------------------------------


def test_decoder_computes_what_its_file_format_says() -> None:
    decoder, z = small(), torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p = decoder.state_dict()
    lrelu = lambda x: torch.where(x > 0, x, 0.2 * x)  # noqa: E731
    linear = lambda x, name: x @ p[f"{name}.weight"].T + p[f"{name}.bias"]  # noqa: E731
    w = lrelu(linear(lrelu(linear(z, "map.0")), "map.2"))
    x = linear(z, "first").reshape(3, 12, 4, 4)
    for block in range(3):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if block else x
        for part in "12":
            x = F.conv2d(x, p[f"blocks.{block}.conv{part}.weight"], p[f"blocks.{block}.conv{part}.bias"], padding=1)
            variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
            scale, shift = linear(w, f"blocks.{block}.mod{part}").reshape(3, 2, -1, 1, 1).unbind(1)
            x = lrelu((x - mean) / (variance + 1e-5).sqrt() * (1 + scale) + shift)
    expected = 1 / (1 + torch.exp(-F.conv2d(x, p["last.weight"], p["last.bias"], padding=1)))
    torch.testing.assert_close(decoder(z), expected, rtol=1e-10, atol=1e-10)


def test_teaching_decoder_has_the_layers_of_the_trained_one() -> None:
    with torch.device("meta"):
        decoder = Decoder(**pulse.TEACHING)  # type: ignore[arg-type]
    shapes = {name: tuple(tensor.shape) for name, tensor in decoder.state_dict().items()}
    inside = (160, 160, 160, 128, 96, 64)
    expected = {"map.0": (128, 128), "map.2": (128, 128), "first": (2560, 128), "last": (3, 32, 3, 3)}
    for n, (i, o) in enumerate(zip(inside, (160, 160, 128, 96, 64, 32), strict=True)):
        expected |= {f"blocks.{n}.conv1": (o, i, 3, 3), f"blocks.{n}.conv2": (o, o, 3, 3)}
        expected |= {f"blocks.{n}.mod1": (2 * o, 128), f"blocks.{n}.mod2": (2 * o, 128)}
    weights = {f"{name}.weight": shape for name, shape in expected.items()}
    assert shapes == weights | {f"{name}.bias": shape[:1] for name, shape in expected.items()}
    assert decoder.size == 128 and sum(map(np.prod, shapes.values())) == 2_262_371
    assert decoder.arguments == {"latent": 128, "widths": (160, 160, 128, 96, 64, 32)}


@pytest.mark.parametrize("arguments", [{"latent": 0}, {"widths": ()}, {"widths": (8, 0)}, {"widths": (4,) * 9}])
def test_decoder_refuses_arguments_that_make_none(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="whole numbers above 0, 1 to 8 widths"):
        Decoder(**arguments)


def test_decoder_refuses_latents_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"8 numbers.*\(2, 9\)"):
        small()(torch.zeros(2, 9, dtype=torch.float64))


# --- the descent ----------------------------------------------------------------------------------------------------


def test_every_latent_keeps_the_radius_that_it_was_drawn_with() -> None:
    lr = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    decoder = small()
    decoder.map.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].norm(dim=1).detach()))
    search(lr, decoder, eps=0, starts=3, steps=20)
    drawn = pulse.start_latents(8, 3, 0).double().norm(dim=1).repeat_interleave(2)
    assert len(seen) == 20 and drawn.std() > 0.1
    for radii in seen:
        torch.testing.assert_close(radii, drawn, rtol=1e-6, atol=0)


def test_a_small_projected_step_is_the_tangential_part_of_the_step() -> None:
    g = torch.Generator().manual_seed(2)
    z, step = (torch.randn(5, 16, generator=g, dtype=torch.float64) for _ in range(2))
    radius = z.norm(dim=1, keepdim=True)
    unit = z / radius
    tangential = step - (step * unit).sum(1, keepdim=True) * unit
    torch.testing.assert_close(pulse.tangential(step, z), tangential)
    for h in (1e-4, 1e-6):
        moved = (pulse.on_sphere(z + h * step, radius) - z) / h
        torch.testing.assert_close(moved, tangential, rtol=0, atol=10 * h)


def test_no_gradient_below_the_tolerance_and_each_image_has_its_own() -> None:
    error = torch.tensor([1e-3, 3e-3, 1.9e-3, 5e-3], requires_grad=True)
    pulse.tolerated(error, 2e-3).sum().backward()
    assert error.grad is not None and error.grad.tolist() == [0, 1, 0, 1]


def test_search_reaches_the_minimum_of_a_linear_generator_on_the_sphere() -> None:
    """min |B z - t|^2 on |z| = r: z = (B'B + m)^-1 B't, m the root of |z(m)| = r above minus the least eigenvalue."""
    g = torch.Generator().manual_seed(3)
    matrix = 0.02 * torch.randn(64, 6, generator=g, dtype=torch.float64)
    lr = 0.5 + 0.2 * (torch.rand(1, 1, 4, 4, generator=g, dtype=torch.float64) - 0.5)
    D = np.concatenate([bicubic(2)(column.view(1, 1, 8, 8)).view(-1, 1).numpy() for column in matrix.T], 1)
    t = lr.numpy().ravel() - 0.5
    values, vectors = np.linalg.eigh(D.T @ D)
    projected = vectors.T @ D.T @ t
    for start in range(3):
        radius = pulse.start_latents(6, 3, 4)[start].norm().item()
        length = lambda m, r=radius: np.sqrt(((projected / (values + m)) ** 2).sum()) - r  # noqa: E731
        m = brentq(length, -values[0] + 1e-12, 1e3)
        minimum = np.mean((D @ (vectors @ (projected / (values + m))) - t) ** 2)
        got = search(lr, Linear(matrix, 8), eps=0, starts=3, steps=600, seed=4)
        assert got.distances[start].item() == pytest.approx(minimum, rel=1e-3)
        assert not got.found.item()


def test_images_of_the_decoder_itself_are_found_and_d_of_them_is_the_lr_image() -> None:
    decoder, D = small(), bicubic(4)
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    lr = D(decoder(z)).clamp(0, 1)
    eps = 1e-2 * lr.var((1, 2, 3)).mean().item()
    got = search(lr, decoder, eps=eps, starts=6, steps=100)
    assert got.found.sum() > 0.9 * 12
    distance = (D(got.best) - lr).square().mean((1, 2, 3))
    torch.testing.assert_close(distance, got.distance, rtol=1e-6, atol=1e-12)
    assert (distance[got.found] <= eps).all() and torch.equal(got.found, distance <= eps)
    torch.testing.assert_close(decoder(got.latents.flatten(0, 1)), got.images.flatten(0, 1))
    assert (got.steps[got.successes] <= 100).all() and (got.steps[~got.successes] == 100).all()


def test_starts_differ_a_seed_repeats_and_more_starts_change_none() -> None:
    decoder = small()
    lr = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    three, again, two, other = (
        search(lr, decoder, eps=0, starts=n, steps=8, seed=seed) for n, seed in ((3, 1), (3, 1), (2, 1), (3, 2))
    )
    assert torch.equal(three.images, again.images)
    torch.testing.assert_close(three.images[:2], two.images)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert min((three.images[i] - three.images[j]).abs().mean().item() for i, j in pairs) > 1e-3
    assert (three.images - other.images).abs().mean((1, 2, 3, 4)).min() > 1e-3


@pytest.mark.parametrize("first", [False, True])
def test_a_batch_is_searched_as_its_images_one_by_one(first: bool) -> None:
    """The code of the paper compares the sum over a batch with the tolerance of one image, and never finds two."""
    decoder = small()
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    lr = bicubic(4)(decoder(z)).clamp(0, 1)
    lr[1] = 1 - lr[0]  # one that is not there
    # few and small steps: a long walk that finds nothing makes a difference of 1e-16 large
    options: dict[str, Any] = {"eps": 0.1 * lr.var().item(), "starts": 3, "steps": 25, "rate": 0.2, "first": first}
    together = search(lr, decoder, **options)
    assert together.found.sum() >= 2 and not together.found.all()
    for i in range(4):
        alone = search(lr[i : i + 1], decoder, **options)
        torch.testing.assert_close(alone.images[:, 0], together.images[:, i], rtol=0, atol=1e-4)
        assert torch.equal(alone.steps[:, 0], together.steps[:, i])
        torch.testing.assert_close(alone.distances[:, 0], together.distances[:, i], rtol=1e-4, atol=0)


def test_search_ends_when_all_are_found_and_says_how_far_it_is() -> None:
    decoder, calls = small(), []
    lr = bicubic(4)(decoder(pulse.start_latents(8, 1, 0).double())).clamp(0, 1)
    got = search(lr, decoder, starts=1, report=lambda *step: calls.append(step))
    assert got.found.all() and got.steps.item() == 1 and calls == [(1, 100)]
    every = search(lr, decoder, starts=3, steps=30, eps=1e-9)
    one = search(lr, decoder, starts=3, steps=30, eps=1e-9, first=True)
    assert every.steps[:, 0].tolist() == [1, 30, 30] and one.steps[:, 0].tolist() == [1, 1, 1]
    assert torch.equal(one.best, every.best)


def test_what_the_decoder_cannot_draw_is_not_found_and_the_nearest_is_returned() -> None:
    decoder = small()
    checks = (torch.arange(4)[:, None] + torch.arange(4)).remainder(2).double().expand(1, 3, 4, 4)
    steps: list[int] = []
    got = search(checks, decoder, starts=2, steps=15, report=lambda step, of: steps.append(step))
    assert not got.found.item() and steps == list(range(1, 16)) and (got.steps == 15).all()
    assert got.distance.item() == got.distances.min().item() > got.eps
    assert torch.equal(got.best[0], got.images[got.distances.argmin(), 0])
    more = search(checks, decoder, starts=2, steps=30)
    assert got.images.min() >= 0 and got.images.max() <= 1 and more.images.shape == (2, 1, 3, 16, 16)


def test_the_best_image_is_kept_and_not_the_last() -> None:
    """With a rate so large that the walk jumps about, the last image is not the best."""
    decoder, drawn = small(), []
    lr = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    decoder.register_forward_hook(lambda _, i, images: drawn.append(images.detach()))
    got = search(lr, decoder, eps=0, starts=4, steps=4, rate=5.0)
    distances = torch.stack([(bicubic(4)(images) - lr).square().mean((1, 2, 3)) for images in drawn])
    torch.testing.assert_close(got.distances[:, 0], distances.amin(0))
    assert (got.distances[:, 0] < 0.99 * distances[-1]).any()


def test_the_trained_decoder_finds_its_own_face_and_no_admirals_hat() -> None:
    decoder = networks.load("pulse", weights="faces", factor=8)
    face = decoder(torch.randn(1, 128, generator=torch.Generator().manual_seed(1)))
    hat = load("faces", split="all")[1].pixels
    lr = bicubic(8)(torch.cat([face, hat])).clamp(0, 1)
    got = search(lr, decoder, starts=2, steps=30, first=True)
    assert got.found.tolist() == [True, False] and got.distance[1] > 2 * got.eps
    assert ((bicubic(8)(got.best) - lr).square().mean((1, 2, 3)) <= got.eps).tolist() == [True, False]


# --- what goes in ---------------------------------------------------------------------------------------------------


def test_gray_stays_gray_and_is_within_the_tolerance() -> None:
    decoder = small()
    gray = bicubic(4)(decoder(pulse.start_latents(8, 1, 3).double())).mean(1, keepdim=True).clamp(0, 1)
    got = search(gray, decoder, eps=1.0, starts=2, steps=3)
    assert got.best.shape == (1, 1, 16, 16) and got.found.all()
    assert (bicubic(4)(got.best) - gray).square().mean() <= got.distance


@pytest.mark.parametrize("side", [1, 2, 4, 8, 16])
def test_any_side_that_divides_the_decoders_will_do(side: int) -> None:
    got = search(torch.full((1, 3, side, side), 0.5), small().float(), starts=1, steps=2)
    assert got.best.shape == (1, 3, 16, 16) and got.best.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_the_image_comes_back_in_the_dtype_of_the_lr_image_also_where_no_gradients_are_kept(dtype: torch.dtype) -> None:
    decoder = small().float().requires_grad_(True)
    with torch.no_grad():
        got = search(torch.full((1, 3, 4, 4), 0.5, dtype=dtype), decoder, starts=1, steps=3)
    assert got.best.dtype == dtype and got.steps.item() == 3 and not got.images.requires_grad
    assert all(weight.grad is None for weight in decoder.parameters())


@pytest.mark.parametrize("size", [(4, 8), (5, 5), (3, 3), (32, 32)])
def test_other_sizes_are_refused_with_the_right_ones_named(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]} pixels.*16x16.*a square whose side divides 16"):
        search(torch.zeros(1, 3, *size), small().float())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"starts": 0}, "starts=0"), ({"steps": 0}, "steps=0"), ({"eps": -1.0}, "eps=-1"), ({"rate": 0.0}, "rate=0"),
     ({"eps": float("nan")}, "eps=nan")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(torch.zeros(1, 3, 4, 4), small().float(), **options)


def test_pixels_that_are_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        search(torch.full((1, 3, 4, 4), float("nan")), small().float())
    with pytest.raises(TypeError, match="float"):
        search(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), small().float())
