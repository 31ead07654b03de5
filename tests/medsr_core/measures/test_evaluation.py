import json
import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from data_fetch.sets import Entry, ImageSet
from medsr_core import degradation, networks, upscalers
from medsr_core.measures import evaluation
from medsr_workbook import tables

FACTOR = 4


def image(height, width, channels=1, seed=0):
    """A smooth random image: noise, blurred, so that methods differ."""
    noise = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2).clamp(0, 1)


def image_set(*pixels, subjects=None):
    names = subjects or [f"subject-{index}" for index in range(len(pixels))]
    entries = [
        Entry(f"image-{index}", names[index], lambda picture=picture: (picture, None))
        for index, picture in enumerate(pixels)
    ]
    return ImageSet("made", "made up", "tests", "none", "none", tuple(entries))


@pytest.mark.parametrize(("channels", "eight_bit"), [(1, False), (3, False), (1, True)])
def test_scores_are_the_protocol_computed_by_scikit_image(channels, eight_bit):
    stored = image(61, 70, channels)
    (score,) = evaluation.evaluate(image_set(stored), ["lanczos"], factor=FACTOR, eight_bit=eight_bit)

    hr = stored[..., :60, :68]
    lr = degradation.bicubic(FACTOR)(hr).clamp(0, 1)
    lr = (lr * 255).round() / 255 if eight_bit else lr
    sr = upscalers.upscale(lr, "lanczos", factor=FACTOR)
    sr = (sr * 255).round() / 255 if eight_bit else sr
    a, b = (picture[0, :, 4:-4, 4:-4].double().numpy() for picture in (hr, sr))
    assert score["psnr"] == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-3)
    reference = structural_similarity(
        a, b, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert score["ssim"] == pytest.approx(reference, abs=1e-4)
    error = (degradation.bicubic(FACTOR)(sr) - lr).square().mean().item()
    assert score["consistency"] == pytest.approx(error, rel=1e-3, abs=1e-9)


def test_eight_bits_cost_consistency():
    scans = image_set(image(64, 64))
    exact, rounded = (
        evaluation.evaluate(scans, ["backprojection"], eight_bit=flag)[0]["consistency"] for flag in (False, True)
    )
    assert exact < rounded / 10


def test_rows_have_what_item_promises_and_every_image_meets_every_method():
    scores = evaluation.evaluate(image_set(image(40, 40), image(48, 44, 3)), ["nearest", "bicubic"])
    assert [(row["image"], row["method"]) for row in scores] == [
        (name, method) for name in ("image-0", "image-1") for method in ("nearest", "bicubic")
    ]
    for row in scores:
        assert {"data", "image", "subject", "method", "factor", "psnr", "ssim", "consistency", "seconds"} <= set(row)
        assert row["data"] == "made" and row["factor"] == 4


def test_exactly_restored_image_is_null_in_json_and_left_out_of_the_mean(tmp_path):
    black = torch.zeros(1, 1, 40, 40)
    scores = evaluation.evaluate(image_set(black, image(40, 40)), ["nearest"])
    assert scores[0]["psnr"] is None and math.isfinite(scores[1]["psnr"])
    evaluation.write_json(scores, tmp_path / "deep" / "scores.json")
    assert json.loads((tmp_path / "deep" / "scores.json").read_text()) == scores
    (row,) = evaluation.summary(scores)
    assert row["psnr"].mean == pytest.approx(scores[1]["psnr"]) and row["psnr"].n == 1 and row["n"] == 2
    (row,) = evaluation.summary(scores[:1])
    assert row["psnr"] is None
    tables.table(scores[:1])


def test_too_small_image_is_left_out_by_name_and_none_left_is_an_error():
    short = image(40, 19)  # cropped to 16 columns, less two borders of 4: 8 are left of SSIM's 11
    with pytest.raises(ValueError, match="at least 19x19"), pytest.warns(UserWarning, match="image-0 left out"):
        evaluation.evaluate(image_set(short), ["nearest"])
    with pytest.warns(UserWarning, match="image-0 left out"):
        scores = evaluation.evaluate(image_set(short, image(20, 20)), ["nearest"])
    assert [row["image"] for row in scores] == ["image-1"]


@pytest.mark.parametrize("methods", [["bicubic", "magic"], [], [" "]])
def test_unknown_method_is_refused_before_an_image_is_opened(methods):
    def never():
        raise AssertionError("opened")

    scans = ImageSet("x", "", "", "", "", (Entry("a", "a", never),))
    with pytest.raises(ValueError, match=r"known methods: nearest, .*tv"):
        evaluation.evaluate(scans, methods)


def scores_of(values, subjects, method="bicubic"):
    return [
        {"data": "d", "image": str(i), "subject": s, "method": method, "factor": 4, "psnr": v, "ssim": v / 100,
         "consistency": 1 / v, "seconds": 0.1}
        for i, (v, s) in enumerate(zip(values, subjects, strict=True))
    ]  # fmt: skip


def test_a_cascade_is_scored_like_any_method(tmp_path):
    torch.manual_seed(0)
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        networks.save(networks.create("regression", channels=1, factor=2, width=8, multipliers=(1, 2)), path)
    weights, scans = ",".join(map(str, paths)), image_set(image(64, 64))
    (row,) = evaluation.evaluate(scans, ["regression"], factor=4, weights=weights)
    hr = scans[0].pixels
    sr = upscalers.upscale(degradation.bicubic(4)(hr).clamp(0, 1), "regression", weights=weights)
    crop = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert row["psnr"] == pytest.approx(-10 * math.log10((sr - hr)[crop].square().mean()), abs=1e-3)


def test_interval_draws_subjects_not_images():
    rng = np.random.default_rng(0)
    values = np.concatenate([mean + 0.1 * rng.standard_normal(30) for mean in (28, 30, 33)]).tolist()
    by_subject = evaluation.summary(scores_of(values, ["a"] * 30 + ["b"] * 30 + ["c"] * 30))[0]
    by_image = evaluation.summary(scores_of(values, [str(i) for i in range(90)]))[0]
    assert by_subject["subjects"] == 3 and by_subject["n"] == 90
    width, narrow = (row["psnr"].high - row["psnr"].low for row in (by_subject, by_image))
    assert width > 3 * narrow


def test_best_first_and_what_is_not_told_from_it_image_by_image_is_a_tie():
    """Images differ by a decibel; a method that is always 0.1 dB worse is worse, one that is so by chance is not."""
    people = [str(i) for i in range(20)]
    rng = np.random.default_rng(1)
    base = 30 + rng.standard_normal(20)
    scores = (
        scores_of((base - 8).tolist(), people, "far")
        + scores_of((base - 0.1).tolist(), people, "always")
        + scores_of((base - 0.1 + rng.standard_normal(20)).tolist(), people, "by chance")
        + scores_of(base.tolist(), people, "best")
    )
    rows = {row["method"]: row for row in evaluation.summary(scores)}
    ours, best = rows["always"]["psnr"], rows["best"]["psnr"]
    assert ours.high > best.low and rows["always"]["tied"] == [] and rows["far"]["tied"] == rows["best"]["tied"] == []
    leader = next(iter(rows.values()))
    assert ("psnr" in rows["by chance"]["tied"]) != (leader["method"] == "by chance")
    one = evaluation.summary(scores_of([30.0], ["a"], "best") + scores_of([29.0], ["a"], "worse"))
    assert one[1]["tied"] == ["psnr", "ssim", "consistency"]  # a single image tells nothing


def test_interrupted_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "scores.json"
    evaluation.write_json([{"psnr": 1.0}], target)
    with pytest.raises(ValueError):
        evaluation.write_json([{"psnr": math.nan}], target)
    assert json.loads(target.read_text()) == [{"psnr": 1.0}]
    assert list(tmp_path.iterdir()) == [target]


def test_html_table_has_every_method():
    scores = evaluation.evaluate(image_set(image(40, 40)), ["nearest", "bicubic"])
    fragment = tables.html_table(scores)
    assert "nearest" in fragment and "bicubic" in fragment and "<pre>" in fragment
