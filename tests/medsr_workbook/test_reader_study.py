"""The class experiment: fair questions, answers that survive, intervals and taus; buttons pressed from Python."""

import collections
import datetime
import io
import json
import math
import re
import time
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm

from medsr_workbook import reader_study, reader_widgets
from medsr_workbook.reader_study import Sheet

METHODS = ["bicubic", "gan", "sr3"]
OTHER = {"left": "right", "right": "left"}


def pictures(count=4):
    g = torch.Generator().manual_seed(0)
    made = {name: list(torch.rand(count, 1, 1, 16, 16, generator=g)) for name in ("real", *METHODS)}
    return made.pop("real"), made


def raises(error):
    def fail(*_):
        raise error

    return fail


def answer_all(sheet, rule):
    while sheet.question is not None:
        sheet.answer(rule(sheet.question), 1.0)


# --- questions ------------------------------------------------------------------------------------------------------


def test_every_method_and_image_is_asked_about_equally_often_on_both_sides():
    asked = reader_study.choices(METHODS, 5, count=30, student="anna")
    assert collections.Counter(q["method"] for q in asked) == dict.fromkeys(METHODS, 10)
    assert set(collections.Counter((q["method"], q["image"]) for q in asked).values()) == {2}
    sides = [q["real"] for s in range(20) for q in reader_study.choices(METHODS, 5, count=30, student=f"s{s}")]
    assert abs(sides.count("left") - 300) < 3 * math.sqrt(600) / 2


def test_students_see_other_orders_and_the_same_student_the_same_one():
    anna, bert = (reader_study.choices(METHODS, 5, student=name) for name in ("anna", "bert"))
    assert anna == reader_study.choices(METHODS, 5, student="anna") != bert
    assert anna != reader_study.choices(METHODS, 5, student="anna", seed=1)
    ranks = reader_study.rankings(METHODS, 5, count=3, student="anna")
    assert len({q["image"] for q in ranks}) == 3 and all(sorted(q["shown"]) == METHODS for q in ranks)


# --- sheets ---------------------------------------------------------------------------------------------------------


def test_a_sheet_opened_again_goes_on_after_the_last_answer(tmp_path):
    asked = reader_study.choices(METHODS, 4, count=6, student="anna")
    first = Sheet(tmp_path, "anna", asked)
    first.answer("left", 1.234)
    first.answer("right")
    again = Sheet(tmp_path, "anna", asked)
    assert again.answers == first.answers and again.question == asked[2]
    answer_all(again, lambda q: q["real"])
    assert Sheet(tmp_path, "anna", asked).question is None
    with pytest.raises(ValueError, match="all questions are answered"):
        again.answer("left")
    assert [path.name for path in tmp_path.iterdir()] == ["anna-choice.json"]


def test_a_sheet_refuses_what_would_spoil_the_count(tmp_path):
    asked = reader_study.choices(METHODS, 4, count=6, student="anna")
    sheet = Sheet(tmp_path, "anna", asked)
    with pytest.raises(ValueError, match="'left' or 'right'"):
        sheet.answer("both")
    sheet.answer("left")
    with pytest.raises(ValueError, match="answers other questions"):
        Sheet(tmp_path, "anna", reader_study.choices(METHODS, 4, count=6, student="anna", seed=1))
    for name in ("../anna", "", "a b"):
        with pytest.raises(ValueError, match="letters, digits"):
            Sheet(tmp_path, name, asked)
    ranks = Sheet(tmp_path, "anna", reader_study.rankings(METHODS, 4))
    with pytest.raises(ValueError, match=r"each of .* once"):
        ranks.answer(["sr3", "sr3", "gan"])
    (tmp_path / "bert-choice.json").write_text("[")
    with pytest.raises(ValueError, match=r"bert-choice\.json is no sheet"):
        reader_study.fool_rates(tmp_path)


def test_an_answer_that_was_not_stored_is_not_given(tmp_path, monkeypatch):
    sheet = Sheet(tmp_path, "anna", reader_study.choices(METHODS, 4, count=6, student="anna"))
    sheet.answer("left")
    with monkeypatch.context() as full_disk, pytest.raises(OSError, match="no space left"):
        full_disk.setattr("os.replace", raises(OSError("no space left")))
        sheet.answer("right")
    sheet.answer("right")
    assert [given["answer"] for given in Sheet(tmp_path, "anna", sheet.questions).answers] == ["left", "right"]


def test_a_second_tab_does_not_undo_the_answers_of_the_first(tmp_path):
    asked = reader_study.choices(METHODS, 4, count=6, student="anna")
    old, new = Sheet(tmp_path, "anna", asked), Sheet(tmp_path, "anna", asked)
    new.answer("left")
    with pytest.raises(ValueError, match="newer answers; run the cell again"):
        old.answer("right")
    assert Sheet(tmp_path, "anna", asked).answers == new.answers


def test_two_students_of_one_name_do_not_share_a_sheet(tmp_path, monkeypatch):
    asked = reader_study.choices(METHODS, 4, count=6, student="anna")
    Sheet(tmp_path, "anna", asked).answer("left")
    before = (tmp_path / "anna-choice.json").read_bytes()
    with monkeypatch.context() as elsewhere, pytest.raises(ValueError, match="another student called anna; take"):
        elsewhere.setattr("platform.node", lambda: "another computer")
        Sheet(tmp_path, "anna", asked)
    assert (tmp_path / "anna-choice.json").read_bytes() == before
    assert len(Sheet(tmp_path, "anna", asked).answers) == 1


def test_answers_without_a_folder_stay_until_the_kernel_ends_and_nobody_is_called_me_in_one(tmp_path):
    asked = reader_study.choices(METHODS, 4, count=6, student="me")
    Sheet(reader_study.place("", "me", "brain", 4), "me", asked).answer("left")
    assert len(Sheet(reader_study.place("", "me", "brain", 4), "me", asked).answers) == 1  # the cell was run again
    fewer = reader_study.choices(METHODS, 2, count=6, student="me")  # other questions do not stop it
    assert Sheet(reader_study.place("", "me", "brain", 2), "me", fewer).answers == []
    assert reader_study.place(str(tmp_path), "anna") == tmp_path
    with pytest.raises(ValueError, match="take a nickname"):
        reader_study.place(tmp_path, "me")


def test_no_methods_images_or_questions_are_refused():
    for methods, images, count in (([], 3, 4), (METHODS, 0, 4), (METHODS, 3, 0)):
        for ask in (reader_study.choices, reader_study.rankings):
            with pytest.raises(ValueError, match="at least one of each"):
                ask(methods, images, count=count)


# --- the class ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fooled", "shown", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (15, 50, 0.1910, 0.4375)],  # Wilson's formula by hand
)
def test_rate_has_wilsons_interval(fooled, shown, low, high):
    found = reader_study.rate(fooled, shown)
    assert (found.rate, found.low, found.high) == pytest.approx((fooled / shown, low, high), abs=1e-4)
    z, p = norm.ppf(0.975), fooled / shown
    middle, half = p + z**2 / (2 * shown), z * math.sqrt(p * (1 - p) / shown + z**2 / (4 * shown**2))
    assert found.high == pytest.approx((middle + half) / (1 + z**2 / shown))
    assert "of 10)" in str(reader_study.rate(3, 10))


def test_fool_rates_count_wrong_answers_over_the_folder(tmp_path):
    for name in ("anna", "bert"):
        sheet = Sheet(tmp_path, name, reader_study.choices(METHODS, 4, count=12, student=name))
        answer_all(sheet, lambda q: OTHER[q["real"]] if q["method"] == "sr3" else q["real"])
    half_way = Sheet(tmp_path, "carl", reader_study.choices(["gan"], 4, count=4, student="carl"))
    half_way.answer(OTHER[half_way.question["real"]])
    counts = {method: rate[:2] for method, rate in reader_study.fool_rates(tmp_path).items()}
    assert counts == {"bicubic": (0, 8), "gan": (1, 9), "sr3": (8, 8)}
    with pytest.raises(ValueError, match="no answers yet"):
        reader_study.fool_rates(tmp_path / "elsewhere")


def test_agreement_is_one_for_the_same_order_and_minus_one_for_the_reverse(tmp_path):
    good = {"bicubic": [3.0] * 4, "gan": [2.0] * 4, "sr3": [1.0] * 4}
    for name in ("anna", "bert", "carl"):
        answer_all(
            Sheet(tmp_path, name, reader_study.rankings(METHODS, 4, student=name)), lambda _: ["sr3", "gan", "bicubic"]
        )
    swapped = good | {"gan": [1.0] * 4, "sr3": [2.0] * 4}  # one of three pairs is the other way: tau = (2 - 1) / 3
    reverse = {method: [-value for value in values] for method, values in good.items()}
    blind = {method: [0.0] * 4 for method in good}
    taus = reader_study.agreement(
        tmp_path, {"good": good, "swapped": swapped, "reverse": reverse, "blind": blind}
    )  # fmt: skip
    assert [taus[name].mean for name in taus] == pytest.approx([1, 1 / 3, -1, 0])
    assert taus["good"].n == 3
    with pytest.raises(ValueError, match="good has no scores of gan; it has of bicubic, sr3"):
        reader_study.agreement(tmp_path, {"good": {m: v for m, v in good.items() if m != "gan"}})


def test_sheets_that_came_as_files_are_counted_once_and_nobody_is_overwritten(tmp_path):
    def made(name, seed, answers):
        sheet = Sheet(
            tmp_path / f"{name}{seed}", name, reader_study.choices(METHODS, 4, count=6, student=name, seed=seed)
        )
        for _ in range(answers):
            sheet.answer("left", 1.0)
        return sheet.path.read_bytes()

    early, late, namesake = made("anna", 0, 2), made("anna", 1, 4), made("anna", 2, 3)
    folder = tmp_path / "class"
    assert reader_study.gather(folder, {"anna-choice.json": early}) == ["anna-choice.json"]
    assert reader_study.gather(folder, {"anna-choice.json": early}) == ["anna-choice.json"]
    assert reader_study.gather(folder, {"anna-choice.json": late}) == ["anna-2-choice.json"]
    both = {"x/anna-choice.json": namesake, "bert-choice.json": made("bert", 0, 6)}
    assert reader_study.gather(folder, both) == ["anna-3-choice.json", "bert-choice.json"]
    assert sum(rate.shown for rate in reader_study.fool_rates(folder).values()) == 2 + 4 + 3 + 6
    longer = json.loads(early)
    longer["answers"].append({"answer": "right", "seconds": 1.0})
    reader_study.gather(folder, {"anna-choice.json": json.dumps(longer).encode()})  # the same student went on
    reader_study.gather(folder, {"anna-choice.json": early})  # and the old file came late
    assert sum(rate.shown for rate in reader_study.fool_rates(folder).values()) == 16
    for name, content in (("anna-choice.json", b"["), ("notes.json", early)):
        with pytest.raises(ValueError, match="sheet"):
            reader_study.gather(folder, {"carl-choice.json": late, name: content})
    assert not (folder / "carl-choice.json").exists()


def test_the_lecturers_panel_draws_the_class(tmp_path):
    sheet = Sheet(tmp_path / "mine", "anna", reader_study.choices(METHODS, 4, count=6, student="anna"))
    answer_all(sheet, lambda q: OTHER[q["real"]])
    panel = reader_widgets.gathering(tmp_path / "class")
    assert "0 sheet(s)" in panel.children[1].value and panel.picture.layout.display == "none"
    file = {"name": "anna-choice.json", "content": memoryview(sheet.path.read_bytes()), "type": "", "size": 1,
            "last_modified": datetime.datetime.now()}  # fmt: skip
    panel.controls["sheets"].value = (file,)
    assert "1 sheet(s)" in panel.children[1].value and bytes(panel.picture.value).startswith(b"\x89PNG")
    rates = {"choice": reader_study.fool_rates(tmp_path / "class")}
    (axes,) = reader_widgets.fool_rate_figure(rates).axes
    assert "which is real?" in axes.get_title() and [t.get_text() for t in axes.get_yticklabels()] == METHODS


# --- a simulated class ----------------------------------------------------------------------------------------------


def test_simulated_students_are_fooled_as_signal_detection_says(tmp_path):
    gap = {"bicubic": [2.0] * 8, "gan": [0.8] * 8, "sr3": [0.0] * 8}
    reader_study.simulate(
        tmp_path, lambda name: reader_study.choices(METHODS, 8, count=60, student=name), gap, students=30
    )
    rates = reader_study.fool_rates(tmp_path)
    for method, values in gap.items():
        expected = norm.cdf(-values[0] / math.sqrt(2))
        assert rates[method].shown == 600
        assert abs(rates[method].rate - expected) < 3 * math.sqrt(expected * (1 - expected) / 600)


def test_simulated_rankings_follow_what_the_students_see(tmp_path):
    gap = {"bicubic": [6.0] * 4, "gan": [3.0] * 4, "sr3": [0.0] * 4}
    other = {"bicubic": [0.0] * 4, "gan": [3.0] * 4, "sr3": [6.0] * 4}
    reader_study.simulate(tmp_path, lambda name: reader_study.rankings(METHODS, 4, student=name), gap)
    taus = reader_study.agreement(tmp_path, {"theirs": gap, "reverse": other})
    assert taus["theirs"].low > 0.8 and taus["reverse"].high < -0.8 and taus["theirs"].n == 12


# --- buttons --------------------------------------------------------------------------------------------------------


def shown(html):
    """Name -> (pixels of the file, width on the page where there is room) of the images of a piece of HTML."""
    tags = re.findall(r'<img alt="(\w+)" style="--pixels: (\d+)px" src=".*?base64,(.*?)">', html)
    times = int(re.search(r"calc\(var\(--pixels\) \* (\d+)\); max-width: none", html)[1])
    return {
        name: (np.asarray(Image.open(io.BytesIO(b64decode(file)))), times * int(width)) for name, width, file in tags
    }


def test_what_is_judged_keeps_its_pixels_and_gray_values(tmp_path):
    g = torch.Generator().manual_seed(0)
    for size in ((70, 130), (420, 500)):  # enlarged three times, and cut to its middle
        real, made = [torch.rand(1, 3, *size, generator=g)], {"gan": [torch.rand(1, 3, *size, generator=g)]}
        question = {"method": "gan", "image": 0, "real": "right"}
        panel = reader_widgets.forced_choice(Sheet(tmp_path, f"a{size[0]}", [question]), made, real)
        panel.controls["start"].click()
        seen = shown(panel.children[2].value)
        for name, image in {"left": made["gan"][0], "right": real[0]}.items():
            pixels, width = seen[name]
            expected = image[0] if size == (70, 130) else image[0, :, :, 30:470]
            assert np.abs(pixels - 255 * expected.permute(1, 2, 0).numpy()).max() < 0.501
            assert width == {130: 390, 500: 440}[size[1]]


def test_a_double_click_does_not_answer_the_next_pair(tmp_path):
    real, made = pictures()
    sheet = Sheet(tmp_path, "anna", reader_study.choices(METHODS, 4, count=6, student="anna"))
    panel = reader_widgets.forced_choice(sheet, made, real)
    panel.controls["start"].click()
    time.sleep(reader_widgets.SHORTEST_ANSWER)
    panel.controls["left"].click()
    panel.controls["left"].click()
    assert len(sheet.answers) == 1


def test_forced_choice_by_its_buttons(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_widgets, "SHORTEST_ANSWER", 0)
    real, made = pictures()
    asked = reader_study.choices(METHODS, 4, count=6, student="anna")
    panel = reader_widgets.forced_choice(Sheet(tmp_path, "anna", asked), made, real, exposure=2.5)
    text, _, picture = panel.children
    press = {name: button.click for name, button in panel.controls.items()}
    assert panel.controls["left"].disabled and not panel.controls["start"].disabled and picture.value == ""
    press["start"]()
    assert "1 of 6" in text.value and "animation: medsr-gone 0s 2.5s forwards" in picture.value
    seen = {picture.value}
    for question in asked:
        press[question["real"] if question["method"] != "gan" else "left"]()
        seen.add(picture.value)
    assert len(seen) == 7
    link = re.search(r'download="anna-choice.json" href="data:application/json;base64,(.*?)"', picture.value)[1]
    assert b64decode(link) == (tmp_path / "anna-choice.json").read_bytes()
    fooled = sum(q["method"] == "gan" and q["real"] == "right" for q in asked)
    assert f"You took {fooled} of 6" in text.value
    assert all(button.disabled for button in panel.controls.values())
    assert reader_study.fool_rates(tmp_path)["gan"][:2] == (fooled, 2)
    stored = json.loads((tmp_path / "anna-choice.json").read_text())
    assert all(0 <= given["seconds"] < 60 for given in stored["answers"])


def test_which_belongs_to_the_lr_image(tmp_path):
    real, made = pictures()
    lr = [x[..., ::4, ::4] for x in real]
    asked = reader_study.choices(METHODS, 4, count=6, student="anna", fits=True)
    sheet = Sheet(tmp_path, "anna", asked)
    assert sheet.path.name == "anna-fits.json"
    panel = reader_widgets.forced_choice(sheet, made, real, lr=lr)
    panel.controls["start"].click()
    seen = shown(panel.children[2].value)
    assert list(seen) == ["left", "LR", "right"] and "LR was made from" in panel.children[0].value
    assert seen["LR"][0].shape == seen["left"][0].shape and (seen["LR"][0][:4, :4] == seen["LR"][0][0, 0]).all()
    time.sleep(reader_widgets.SHORTEST_ANSWER)
    panel.controls["left"].click()
    assert sum(rate.shown for rate in reader_study.fool_rates(tmp_path, "fits").values()) == 1
    for other, low in ((asked, None), (reader_study.choices(METHODS, 4, count=6), lr)):
        with pytest.raises(ValueError, match="LR images"):
            reader_widgets.forced_choice(Sheet(tmp_path / "new", "anna", other), made, real, lr=low)


def test_the_pair_shows_the_real_scan_on_its_side():
    real, made = pictures()
    for side in ("left", "right"):
        axes = reader_widgets.pair(made, real, {"method": "gan", "image": 2, "real": side}).axes
        shown = {each.get_title(): torch.as_tensor(each.images[0].get_array()) for each in axes}
        assert torch.equal(shown[side], real[2][0, 0])
        assert torch.equal(shown[{"left": "right", "right": "left"}[side]], made["gan"][2][0, 0])


def test_ranking_by_its_letters_with_a_slip_taken_back(tmp_path):
    _, made = pictures()
    asked = reader_study.rankings(METHODS, 4, count=2, student="anna")
    panel = reader_widgets.ranking(Sheet(tmp_path, "anna", asked), made)
    press = {name: button.click for name, button in panel.controls.items()}
    press["start"]()
    press["C"]()
    assert panel.controls["C"].disabled and "worst: C" in panel.children[0].value
    press["undo"]()
    assert not panel.controls["C"].disabled and panel.controls["undo"].disabled
    for letter in "BCA" + "ABC":
        press[letter]()
    assert "All scans are ranked" in panel.children[0].value
    answers = [given["answer"] for given in json.loads((tmp_path / "anna-ranking.json").read_text())["answers"]]
    assert answers == [[asked[0]["shown"][i] for i in (1, 2, 0)], asked[1]["shown"]]


def test_an_error_behind_a_button_is_said_and_logged(tmp_path, caplog):
    real, made = pictures()
    sheet = Sheet(tmp_path, "anna", reader_study.choices(["unknown"], 4, count=4, student="anna"))
    panel = reader_widgets.forced_choice(sheet, made, real)
    panel.controls["start"].click()
    assert "This did not work" in panel.children[0].value and "unknown" in panel.children[0].value
    assert "KeyError: 'unknown'" in caplog.text
    assert repr(panel) == "[panel: start, left, right; needs a running kernel]"
