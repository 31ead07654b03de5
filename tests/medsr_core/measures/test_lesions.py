"""Lesions are placed where asked, found by their contrast, and counted as ROC theory has it."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

import data_fetch
from medsr_core import degradation, upscalers
from medsr_core.measures import lesions


@pytest.fixture(scope="module")
def brain():
    return data_fetch.load("brain", limit=1)[0].pixels


def flat(channels=1, value=0.4):
    return torch.full((1, channels, 64, 64), value)


def test_a_lesion_changes_its_disc_and_nothing_else():
    hr = flat()
    ill = lesions.place(hr, [(20, 20), (40, 45)], 3.0, 0.25)
    changed = (ill != hr)[0, 0]
    assert changed.sum().item() == pytest.approx(2 * math.pi * 3.5**2, rel=0.05)
    assert ill[0, 0, 20, 20].item() == pytest.approx(0.65) and ill[0, 0, 40, 45].item() == pytest.approx(0.65)
    assert torch.equal(lesions.place(hr, [(20, 20)], 3.0, 0.0), hr) and torch.equal(lesions.place(hr, [], 3.0, 0.5), hr)


def test_on_the_retina_it_is_dark_and_green_suffers_most():
    change = (lesions.place(flat(3), [(32, 32)], 2.0, 0.2) - flat(3))[0, :, 32, 32]
    assert change.tolist() == pytest.approx([-0.08, -0.2, -0.12], abs=1e-6)
    assert lesions.scores_at(lesions.place(flat(3), [(32, 32)], 2.0, 0.2), [(32, 32)]).item() > 0.15


def test_sites_are_in_smooth_tissue_apart_and_repeatable(brain):
    places = lesions.sites(brain, 8, seed=1)
    assert len(places) == 8 and places == lesions.sites(brain, 8, seed=1) != lesions.sites(brain, 8, seed=2)
    assert min(math.dist(a, b) for i, a in enumerate(places) for b in places[:i]) >= 24
    around = [brain[0, 0, int(r) - 4 : int(r) + 5, int(c) - 4 : int(c) + 5] for r, c in places]
    assert all(0.1 < patch.mean() < 0.8 for patch in around)
    assert np.mean([patch.std() for patch in around]) < 0.5 * brain[brain > 0.1].std()
    assert lesions.sites(torch.zeros(1, 1, 64, 64), 4) == []


def test_response_is_the_laplacian_of_gaussian_of_scipy():
    from scipy.ndimage import gaussian_laplace

    x = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    s = 3.0 / math.sqrt(2)
    expected = -(s**2) * gaussian_laplace(x[0, 0].double().numpy(), s) * math.e / 2
    ours = lesions.response(x, scales=(3.0,))[0, 0].numpy()
    assert np.corrcoef(ours[8:-8, 8:-8].ravel(), expected[8:-8, 8:-8].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("radius", [1.5, 2.0, 3.0])
def test_the_answer_is_about_the_contrast_and_in_proportion(radius):
    strong, weak = (lesions.scores_at(lesions.place(flat(), [(32, 30)], radius, c), [(32, 30)]) for c in (0.4, 0.1))
    assert strong.item() == pytest.approx(0.4, rel=0.25) and strong.item() == pytest.approx(4 * weak.item(), rel=1e-3)


def test_detections_are_where_the_lesions_are():
    ill = lesions.place(flat(), [(16, 16), (40, 30)], 2.0, 0.3)
    assert lesions.detections(ill, 0.15) == [(16.0, 16.0), (40.0, 30.0)]
    assert lesions.detections(ill, 0.5) == [] == lesions.detections(flat(), 0.01)
    assert lesions.false_lesions(ill, flat(), 0.15) == [(16.0, 16.0), (40.0, 30.0)]
    assert lesions.false_lesions(ill, lesions.place(flat(), [(41, 31)], 2.0, 0.3), 0.15) == [(16.0, 16.0)]


def test_recovered_contrast_of_perfect_half_and_no_restoration():
    places = [(16, 16), (40, 30)]
    ill = lesions.place(flat(), places, 2.0, 0.3)
    for share in (1.0, 0.5, 0.0):
        back = flat() + share * (ill - flat())
        assert lesions.recovered(back, flat(), places, 2.0, 0.3).tolist() == pytest.approx([share] * 2, abs=1e-5)


def test_small_lesions_are_lost_with_resolution(brain):
    places = lesions.sites(brain, 6)
    found = []
    for radius in (1.0, 2.0, 4.0):
        lr = degradation.bicubic(4)(lesions.place(brain, places, radius, 0.25)).clamp(0, 1)
        found.append(lesions.scores_at(upscalers.upscale(lr, "bicubic"), places).mean().item())
    assert found[0] < 0.06 < 0.12 < found[2] and found == sorted(found)


def test_auc_is_the_area_under_the_roc_and_agrees_with_mann_whitney():
    from scipy.stats import mannwhitneyu

    generator = torch.Generator().manual_seed(0)
    absent = torch.randn(40, generator=generator, dtype=torch.float64).round(decimals=1)
    present = torch.randn(30, generator=generator, dtype=torch.float64).round(decimals=1) + 1
    alarms, hits = lesions.roc(present, absent)
    area = lesions.auc(present, absent)
    assert torch.trapezoid(hits, alarms).item() == pytest.approx(area)
    assert mannwhitneyu(present, absent).statistic / (30 * 40) == pytest.approx(area)
    assert (alarms.diff() >= 0).all() and (hits.diff() >= 0).all() and alarms[-1] == hits[-1] == 1
    assert lesions.auc(absent, absent) == pytest.approx(0.5)


def test_auc_interval_holds_the_auc_and_narrows_with_more_groups():
    generator = torch.Generator().manual_seed(0)

    def width(count):
        absent = torch.randn(count, generator=generator)
        found = lesions.auc_interval(absent + 0.5 + torch.randn(count, generator=generator), absent, list(range(count)))
        assert found.low < found.mean < found.high and found.n == count
        return found.high - found.low

    assert width(200) < 0.5 * width(20)


def test_auc_of_one_image_is_uncertain_too_and_unequal_lists_are_refused():
    generator = torch.Generator().manual_seed(0)
    absent, present = torch.randn(20, generator=generator), 1 + torch.randn(20, generator=generator)
    one = lesions.auc_interval(present, absent, ["a"] * 20)
    assert one == lesions.auc_interval(present, absent, list(range(20))) and one.low < one.mean < one.high
    with pytest.raises(ValueError, match="19 scores with, 20 without, 20 groups"):
        lesions.auc_interval(present[1:], absent, ["a"] * 20)


def test_no_border_is_no_border_and_no_lesions_have_no_contrast(brain):
    assert len(lesions.sites(brain, 3, border=0)) == 3
    assert lesions.recovered(brain, brain, [], 2.0, 0.3).shape == (0,)


def test_detection_rate_counts():
    rate = lesions.detection_rate(torch.tensor([0.1, 0.3, 0.4, 0.2]), 0.25, ["a", "a", "b", "b"])
    assert rate.mean == 0.5 and rate.n == 4


def test_stored_scores_are_pooled_place_by_place():
    rows = [
        {"image": "a", "subject": "anna", "radius": 0, "absent": [0.1, 0.2], "false": 1},
        {"image": "a", "subject": "anna", "radius": 1.5, "present": [0.3, 0.4]},
        {"image": "a", "subject": "anna", "radius": 2.0, "present": [0.5, 0.6]},
        {"image": "b", "subject": "anna", "radius": 0, "absent": [0.0]},
        {"image": "b", "subject": "anna", "radius": 1.5, "present": [0.9]},
    ]
    present, absent, groups = lesions.pooled(rows, 1.5)
    assert torch.allclose(present, torch.tensor([0.3, 0.4, 0.9])) and groups == ["a", "a", "b"]
    assert torch.allclose(absent, torch.tensor([0.1, 0.2, 0.0]))
    rows += [{"image": "c", "subject": "bert", "radius": r, key: [0.7]} for r, key in ((0, "absent"), (1.5, "present"))]
    assert lesions.pooled(rows, 1.5)[2] == ["anna", "anna", "anna", "bert"]  # both images of one person together


def test_auc_interval_is_that_of_a_bootstrap_done_by_hand():
    """Both sides of a drawn group come along, each as often as it was drawn; areas by SciPy's Mann-Whitney U."""
    g = torch.Generator().manual_seed(3)
    groups = [name for name in "abcdef" for _ in range(4)]
    absent = torch.randn(24, generator=g) + torch.randn(6, generator=g).repeat_interleave(4)
    present = absent + 1 + torch.randn(24, generator=g)
    found = lesions.auc_interval(present, absent, groups, seed=5, resamples=200)
    drawn = torch.randint(6, (200, 6), generator=torch.Generator().manual_seed(5))
    areas = []
    for row in drawn.tolist():
        places = [4 * group + i for group in row for i in range(4)]
        u = scipy.stats.mannwhitneyu(present[places].numpy(), absent[places].numpy()).statistic
        areas.append(u / 24**2)
    assert found[1:3] == pytest.approx(np.quantile(areas, [0.025, 0.975]).tolist(), abs=1e-6)
