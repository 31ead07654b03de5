"""The toy's points against simulation, its bound against a search; the jackknife against theory; mixed weights."""

import math

import pytest
import torch

from medsr_core import networks
from medsr_core.measures import tradeoff
from medsr_workbook.toys import gaussian


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.0), (0.4, 0.6), (1.0, 0.2)])
def test_answers_are_where_a_simulation_finds_them(a, b):
    truth, error, fresh = torch.randn(3, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = a * (truth + 0.8 * error) + b * fresh
    distortion, perception = gaussian.answer(a, b, noise=0.8)
    assert distortion == pytest.approx((made - truth).square().mean().item(), rel=0.01)
    transport = (made.sort().values - truth.sort().values).square().mean().sqrt()  # optimal in one dimension
    assert perception == pytest.approx(transport.item(), abs=0.01)


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_no_answer_is_below_the_bound_and_some_are_on_it(noise):
    gaps = []
    for a in torch.linspace(0, 1.5, 151).tolist():
        for b in torch.linspace(0, 1.5, 31).tolist():
            distortion, perception = gaussian.answer(a, b, noise=noise)
            gaps.append(distortion - gaussian.bound(perception, noise=noise))
    assert min(gaps) > -1e-12
    best = 1 / (1 + noise**2)
    for share in (0, 0.3, 1):  # from the posterior mean to the same, stretched to the truth's spread
        a = best + share * (math.sqrt(best) - best)
        distortion, perception = gaussian.answer(a, 0, noise=noise)
        assert distortion == pytest.approx(gaussian.bound(perception, noise=noise))


@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_mean_of_samples_loses_what_theory_says(count):
    best = gaussian.posterior_mean(noise=0.7)
    assert best.distortion == pytest.approx(0.49 / 1.49)
    distortion, perception = gaussian.mean_of_samples(count, noise=0.7)
    assert distortion == pytest.approx((1 + 1 / count) * best.distortion)
    assert perception < best.perception and (count > 1 or perception < 1e-12)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = torch.randn(50, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def mean(rows, reference):
        return float(rows.mean() - reference.mean())

    found = tradeoff.set_distance(mean, list(values), torch.ones(3, 1, dtype=torch.float64))
    half = 1.96 * values.std().item() / math.sqrt(50)
    expected = values.mean().item() - 1
    assert found[:3] == pytest.approx((expected, expected - half, expected + half)) and found.n == 50
    alone = tradeoff.set_distance(mean, list(values[:1]), torch.ones(3, 1))
    assert alone.mean == mean(values[0], torch.ones(3, 1)) and math.isnan(alone.low) and math.isnan(alone.high)


def test_points_are_shares_of_bicubics_error_image_by_image():
    people = ["anna", "anna", "bert"]
    bicubic = {"method": "bicubic", "subjects": people, "mse": [4.0, 1.0, 9.0]}
    gan = {"method": "srgan", "subjects": people, "mse": [1.0, 1.0, 81 / 4]}
    rows = [row | {"spectrum": [0.2, 0.4, 0.9], "kernel distance": [3, 2, 5]} for row in (bicubic, gan)]
    distortion, looks = tradeoff.points(rows, "spectrum")["srgan"]
    assert distortion.mean == pytest.approx((50 + 100 + 150) / 3) and (distortion.low, distortion.high) == (75, 150)
    assert looks.mean == pytest.approx(0.5) and (looks.low, looks.high) == pytest.approx((0.3, 0.9))
    assert tradeoff.points(rows, "spectrum")["bicubic"][0][:3] == (100, 100, 100)
    assert tradeoff.points(rows, "kernel distance")["srgan"][1] == (3, 2, 5, 3)
    for wrong, measure in ((rows[1:], "spectrum"), (rows, "sharpness"), ([], "spectrum")):
        with pytest.raises(ValueError, match=r"there are .*spectrum, kernel distance|there are no rows"):
            tradeoff.points(wrong, measure)
    with pytest.raises(ValueError, match="0 samples"):
        gaussian.mean_of_samples(0, noise=0.7)


@pytest.mark.parametrize("method", ["srgan", "medgan"])
def test_interpolated_weights_go_from_one_network_to_the_other(method):
    lr = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    start = networks.load(networks.METHODS[method].starts_from, weights="brain")
    end = networks.load(method, weights="brain")
    torch.testing.assert_close(networks.interpolated(method, 0, weights="brain")(lr), start(lr))
    torch.testing.assert_close(networks.interpolated(method, 1, weights="brain")(lr), end(lr))
    half = networks.interpolated(method, 0.5, weights="brain").state_dict()
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(half[name], (tensor + end.state_dict()[name]) / 2)


def test_only_adversarial_methods_have_a_start_to_mix_with():
    with pytest.raises(ValueError, match="srgan or medgan"):
        networks.interpolated("srresnet", 0.5)
