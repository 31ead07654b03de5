"""Stored rows are chosen by name and compared image by image."""

import json

import pytest
import torch

import data_fetch
from medsr_core.measures import intervals
from medsr_workbook import studies

ROWS = [
    {"image": "a", "method": "tv", "psnr": 30.0},
    {"image": "b", "method": "tv", "psnr": 32.0},
    {"image": "a", "method": "sr3", "psnr": 29.0},
    {"image": "c", "method": "sr3", "psnr": 10.0},
]


def test_rows_are_loaded_and_chosen_by_name(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(ROWS))
    assert studies.load(tmp_path / "x.json", method="sr3") == ROWS[2:]
    assert studies.where(ROWS, method="tv", image="b") == [ROWS[1]] and studies.where(ROWS, nothing=1) == []
    assert studies.values(ROWS, "image") == ["a", "b", "c"]


def test_the_stored_interval_of_a_set():
    rows = [*ROWS, {"image": None, "method": "tv", "n": 2, "frechet": [0.3, 0.2, 0.4]}]
    assert studies.interval(rows, "frechet", method="tv") == intervals.Interval(0.3, 0.2, 0.4, 2)
    for names in ({"method": "sr3"}, {"method": "typo"}):
        with pytest.raises(ValueError, match="0 rows with 'frechet'"):
            studies.interval(rows, "frechet", **names)
    with pytest.raises(ValueError, match="2 rows with 'psnr'"):
        studies.interval(rows, "psnr", method="tv")


def test_means_and_differences_with_their_intervals():
    assert studies.mean(ROWS, "psnr", method="tv") == intervals.bootstrap([30.0, 32.0])
    found = studies.difference(ROWS, "psnr", {"method": "sr3"}, {"method": "tv"})
    assert found.mean == -1.0 and found.n == 1
    repeated = [*ROWS, ROWS[0] | {"psnr": 50.0}]
    with pytest.raises(ValueError, match="3 rows for 2 of image: choose by more names"):
        studies.difference(repeated, "psnr", {"method": "tv"}, {"method": "sr3"})
    exact = [*ROWS[1:], ROWS[0] | {"psnr": None}]  # infinite, and left out
    assert studies.mean(exact, "psnr", method="tv").n == 1
    with pytest.raises(ValueError, match="no image in common"):
        studies.difference(exact, "psnr", {"method": "tv", "image": "a"}, {"method": "sr3"})
    with pytest.raises(ValueError, match=r"no row with 'psnr' and .*'typo'.* there are .*'tv', 'sr3'"):
        studies.mean(ROWS, "psnr", method="typo")
    with pytest.raises(ValueError, match="no image in common"):
        studies.difference(ROWS, "psnr", {"method": "tv"}, {"method": "bicubic"})


def test_a_table_of_differences_has_each_pair_against_its_base():
    rows = [
        {"image": "a", "method": m, "D": d, "psnr": value}
        for m, d, value in [("tv", "box", 1.0), ("tv", "blur", 2.0), ("sr3", "box", 4.0), ("sr3", "blur", 8.0)]
    ]
    ahead = studies.differences(rows, "psnr", "method", "D", {"method": "tv"})
    drop = studies.differences(rows, "psnr", "method", "D", {"D": "box"})
    assert {m: [i.mean for i in line.values()] for m, line in ahead.items()} == {"tv": [0, 0], "sr3": [3, 6]}
    assert {m: [i.mean for i in line.values()] for m, line in drop.items()} == {"tv": [0, 1], "sr3": [0, 4]}


def test_a_ranked_column_says_what_is_best_and_what_is_not_told_from_it():
    scores = {"HR": [9.0, 9.0, 9.0], "tv": [3.0, 4.0, 5.0], "sr3": [2.0, 3.0, 4.0], "gan": [3.5, 3.0, 5.0]}
    rows = [{"image": str(i), "method": m, "psnr": x} for m, line in scores.items() for i, x in enumerate(line)]
    best, *others = (studies.ranked(rows, "psnr", digits=1, ceiling="HR")[m] for m in ("tv", "sr3", "gan"))
    assert best.startswith("**4.0 [") and best.endswith("]**") and others[0].startswith("3.0 [")
    assert [text.endswith(" ≈") for text in others] == [False, True]  # one less on every image; up and down
    assert studies.ranked(rows, "psnr", digits=1)["HR"] == "**9.0 [9.0, 9.0]**"
    least = studies.ranked(rows, "psnr", most=False, ceiling="HR")
    assert least["sr3"].startswith("**") and not least["HR"].endswith(("≈", "*"))


def test_subjects_are_drawn_whole():
    rows = [{"image": str(i), "subject": "ab"[i // 8], "psnr": float(i // 8)} for i in range(16)]
    assert studies.mean(rows, "psnr") == intervals.bootstrap(
        [row["psnr"] for row in rows], groups=[row["subject"] for row in rows]
    )


def test_intervals_in_words():
    assert studies.signed(intervals.Interval(1.234, -0.5, 2.0, 3)) == "+1.23 [-0.50, +2.00]"
    assert studies.plain(intervals.Interval(0.9, 0.85, 0.95, 3), 1) == "0.9 [0.8, 0.9]"


def test_a_study_replaces_its_own_rows_and_keeps_the_others(tmp_path):
    path = tmp_path / "x.json"
    studies.update(path, ROWS, by=("image", "method"))
    assert json.loads(path.read_text()) == ROWS and len(path.read_text().splitlines()) == len(ROWS) + 2
    studies.update(path, [{"image": "a", "method": "tv", "psnr": 31.0, "ssim": 0.9}], by=("image", "method"))
    assert studies.load(path, image="a", method="tv") == [{"image": "a", "method": "tv", "psnr": 31.0, "ssim": 0.9}]
    assert studies.load(path)[:-1] == ROWS[1:]
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_numbers_are_stored_short():
    row = {"name": "a", "n": 123456, "x": 0.000123456789, "list": [1.23456789, None], "levels": {"0.5": 2 / 3}}
    assert studies.short(row) == {
        "name": "a", "n": 123456, "x": 0.00012346, "list": [1.2346, None], "levels": {"0.5": 0.66667}
    }  # fmt: skip


def test_the_middle_of_an_image_and_the_person_behind_a_file():
    image = torch.arange(35.0).view(1, 1, 5, 7)
    assert studies.middle(image, 3).tolist() == [[[[9, 10, 11], [16, 17, 18], [23, 24, 25]]]]
    assert studies.middle(image, 6).shape == (1, 1, 5, 6) and studies.middle(image, 9).shape == image.shape
    people = {"Image_09L": "Image_09", "TCGA-FG-6692": "TCGA-FG-6692", "MF0309PRE_2": "MF0309", "AURORA": "AURORA"}
    assert {name: data_fetch.person(name) for name in people} == people


def test_a_stored_study_is_found_from_any_folder_and_the_one_at_hand_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs = studies.find("results/steps.json")
    assert theirs.is_absolute() and studies.load("results/steps.json") == json.loads(theirs.read_text())
    assert studies.find("results").is_dir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "steps.json").write_text('[{"image": 0}]')
    assert studies.load("results/steps.json") == [{"image": 0}]
    monkeypatch.setattr(studies.sys, "prefix", str(tmp_path / "environment"))
    installed = tmp_path / "environment" / "share" / "medsr" / "results" / "only.json"
    installed.parent.mkdir(parents=True)
    installed.write_text("[]")
    assert studies.find("results/only.json") == installed
    with pytest.raises(FileNotFoundError, match=r"no results/no\.json"):
        studies.load("results/no.json")
