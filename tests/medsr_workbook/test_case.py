"""The case: the same seed hides the same, what is bought is what is measured, and the score is counted by hand."""

import math
from dataclasses import replace

import pytest
import torch

import data_fetch
from medsr_core import degradation, images, restoration, upscalers
from medsr_core.measures import lesions, metrics
from medsr_workbook import case
from medsr_workbook.case import Plan

HIDDEN = case.draw("brain", 0)
CLEAR = replace(HIDDEN.scanner, blur=(0.0, 0.0), noise=0.0, kind="detector")


def test_a_seed_draws_one_case_and_another_seed_another():
    again, other = case.draw("brain", 0), case.draw("brain", 11)
    assert torch.equal(again.truth, HIDDEN.truth) and again.places == HIDDEN.places
    assert again.scanner == HIDDEN.scanner != other.scanner and other.places != HIDDEN.places
    kinds = {case.draw("brain", seed).scanner.kind for seed in range(12)}
    assert kinds == {"detector", "file", "k-space"}
    assert {case.draw("fundus", seed).scanner.kind for seed in range(8)} == {"detector", "file"}


@pytest.mark.parametrize("data", ["brain", "fundus", "heart"])
def test_lesions_are_hidden_where_the_doctor_asks_and_nowhere_else(data):
    drawn = case.draw(data, 3)
    changed = (drawn.truth - drawn.healthy).abs().amax(1)[0]
    assert len(drawn.places) >= 1 and all(drawn.region[int(r), int(c)] for r, c in drawn.places)
    far = [math.dist(place, spot) for spot in changed.nonzero().tolist() for place in drawn.places]
    assert min(far) < 1 and changed.max() > 0.15
    nearest = [min(math.dist(place, spot) for place in drawn.places) for spot in changed.nonzero().tolist()]
    assert max(nearest) < drawn.radius + 2
    text = repr(drawn)
    assert "places" not in text and "Scanner" not in text


def test_no_skin_and_no_tissue_are_said_in_one_line(tmp_path):
    with pytest.raises(data_fetch.DataError, match="medsr data get isic"):
        case.draw("skin", 0)
    images.write(tmp_path / "bright.png", torch.linspace(0.8, 1, 64).expand(1, 1, 64, 64))
    with pytest.raises(ValueError, match="no even tissue"):
        case.draw(str(tmp_path), 0)


def test_prices_and_what_cannot_be_bought():
    assert Plan(4, "none", "sr3").prices == {"factor 4": 4, "extra: none": 0, "sr3": 2}
    assert Plan(2, "none", "tv").prices["tv"] == 0 and Plan(4, "none", "medgan").prices["medgan"] == 1
    assert case.check(HIDDEN, Plan(4, "contrast", "medgan")) == "brain"
    with pytest.raises(ValueError, match=r"costs 11 of 10 points \(factor 2 8, extra: lines 3, tv 0\)"):
        case.check(HIDDEN, Plan(2, "lines", "tv"))
    for plan, name in ((Plan(3), "factor"), (Plan(4, "more"), "extra"), (Plan(4, "none", "magic"), "method")):
        with pytest.raises(ValueError, match=f"{name} is .*; give one of"):
            case.check(HIDDEN, plan)
    with pytest.raises(ValueError, match=r"medgan has no weights for brain and factor 8; take regression, sr3"):
        case.check(HIDDEN, Plan(8, "none", "medgan"))
    with pytest.raises(ValueError, match="esrgan has no weights for fundus"):  # only of gray brains
        case.check(case.draw("fundus", 0), Plan(4, "none", "esrgan"))


def test_a_clear_scanner_measures_what_everybody_assumes():
    clear = replace(HIDDEN, scanner=CLEAR)
    plan = Plan(4, "none", "backprojection")
    hr, lr = degradation.task(HIDDEN.truth, 4)
    torch.testing.assert_close(case.acquire(clear, plan).lr, lr)
    torch.testing.assert_close(case.restore(clear, plan, case.acquire(clear, plan)), upscalers.upscale(lr, plan.method))
    assert metrics.psnr(case.restore(HIDDEN, plan, case.acquire(HIDDEN, plan)), hr, data_range=1.0) < metrics.psnr(
        upscalers.upscale(lr, plan.method), hr, data_range=1.0
    )


def test_the_scanners_blur_is_wider_along_its_angle():
    point = torch.zeros(1, 1, 65, 65)
    point[..., 32, 32] = 1
    seen = replace(CLEAR, blur=(1.0, 3.0), angle=0.0).sees(point)[0, 0]
    offset = torch.arange(65.0) - 32
    down, across = ((seen.sum(axis) * offset.square()).sum().sqrt().item() for axis in (1, 0))
    assert (down, across) == pytest.approx((1.0, 3.0), rel=0.02)


def test_lines_that_were_bought_are_in_the_answer():
    clear, plan = replace(HIDDEN, scanner=CLEAR), Plan(4, "lines", "bicubic")
    sr = case.restore(clear, plan, case.acquire(clear, plan))
    plain = case.restore(clear, Plan(4, "none", "bicubic"), case.acquire(clear, Plan(4, "none", "bicubic")))
    mask = restoration.scan_lines((176, 176), 4, extra=0.2, seed=0)
    missed = [(restoration.kspace(x - HIDDEN.truth)[..., mask]).abs().square().sum() for x in (sr, plain)]
    assert missed[0] < 0.05 * missed[1]  # not 0: the answer is clipped to [0, 1]


def test_a_second_contrast_shows_every_other_lesion():
    clear = replace(HIDDEN, scanner=CLEAR)
    guide = case.acquire(clear, Plan(4, "contrast", "bicubic")).guide
    healthy = (3 * HIDDEN.healthy).sin().square()
    changed = lesions.scores_at((guide - healthy).abs(), HIDDEN.places) > 0.01
    assert changed.tolist() == [i % 2 == 0 for i in range(len(HIDDEN.places))]


def test_the_score_is_counted_by_hand():
    spots = lesions.detections(HIDDEN.healthy, case.ANATOMY)
    (row, column) = next(s for s in spots if all(math.dist(s, place) > 10 for place in HIDDEN.places))
    nothing = next((r, c) for r, c in torch.cartesian_prod(*[torch.arange(20.0, 150, 3)] * 2).tolist()
                   if all(math.dist((r, c), s) > 6 for s in (*spots, *HIDDEN.places)))  # fmt: skip
    first, *others = HIDDEN.places
    found = case.score(HIDDEN, HIDDEN.truth, [(first[0] + 2, first[1]), (row, column), nothing])
    assert (found.found, found.lesions, found.mistaken, found.invented) == (1, 1 + len(others), 1, 1)
    assert found.psnr == math.inf and found.points == 3 - 1 - 2 + 3  # no more than three points for decibels
    twice = case.score(HIDDEN, HIDDEN.truth, [first, first])
    assert (twice.found, twice.invented, twice.mistaken) == (1, 0, 0)
    plain = Plan(4, "none", "bicubic")
    base = case.score(HIDDEN, case.restore(HIDDEN, plain, case.acquire(HIDDEN, plain)), [])
    assert (base.found, base.gain, base.points) == (0, 0.0, 0)
    assert replace(base, gain=1.9, found=2).points == 7 and replace(base, gain=-4.0).points == 0


def test_the_word_opens_what_is_sealed_and_practice_is_open():
    sealed = case.draw("brain", 10)
    assert case.opened(HIDDEN) and not case.opened(sealed) and not case.opened(sealed, "spleen")
    assert case.opened(sealed, " Ventricle ")
    row, column = sealed.places[0]
    place = f"({row:.0f}, {column:.0f})"
    assert place in case.key(sealed, "ventricle") and place not in case.key(sealed)
    stated = case.sheet(sealed, Plan(4, "lines", "tv"), 0.1, [(10.0, 20.0)])
    assert "factor 4 (4), extra: lines (3), tv (0), 7 of 10 points" in stated and "(10, 20)" in stated
    assert "stated above the threshold 0.1, at (row, column): none" in case.sheet(sealed, Plan(), 0.1, [])


def test_suspects_lie_in_the_region_and_above_the_threshold():
    few, many = (case.suspects(HIDDEN.truth, HIDDEN.region, threshold) for threshold in (0.2, 0.02))
    assert set(few) < set(many) and all(HIDDEN.region[int(r), int(c)] for r, c in many)
    assert case.score(HIDDEN, HIDDEN.truth, many).found == len(HIDDEN.places)
