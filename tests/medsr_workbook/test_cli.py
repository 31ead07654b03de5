import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from click.testing import CliRunner
from PIL import Image

from medsr_core import images, networks, upscalers
from medsr_core.degradation import bicubic
from medsr_core.networks.features import Perceptual
from medsr_workbook.commands import main as main_module
from medsr_workbook.commands.main import main


def medsr(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def scans(tmp_path):
    """A folder with two small gray PNG images."""
    folder = tmp_path / "my scans"
    folder.mkdir()
    for index in range(2):
        noise = np.random.default_rng(index).integers(0, 256, (48, 44), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"scan{index}.png")
    return folder


def test_help_is_quick_because_torch_waits():
    code = "import sys; import medsr_workbook.commands.main; sys.exit(bool({'torch', 'papermill'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "command", [[], ["run"], ["enhance"], ["evaluate"], ["data"], ["data", "list"], ["data", "show"]]
)
def test_every_command_has_help(command):
    result = medsr(*command, "--help")
    assert result.exit_code == 0 and "Usage: " in result.output


@pytest.mark.parametrize("command", ["enhance", "evaluate"])
def test_help_lists_the_methods_there_are(command):
    text = medsr(command, "--help").output
    assert [name for name in networks.METHODS if name not in text] == []


def test_version_is_the_packages():
    from importlib.metadata import version

    assert medsr("--version").output.strip() == f"medsr, version {version('medsr')}"


def test_evaluate_writes_every_score_and_prints_n_and_intervals(scans, tmp_path):
    out = tmp_path / "new" / "scores.json"
    result = medsr("evaluate", "--data", scans, "--methods", "bicubic, nearest", "--factor", 2, "--out", out)
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())
    assert len({(row["image"], row["method"]) for row in rows}) == 4
    assert {row["method"] for row in rows} == {"bicubic", "nearest"}
    for row in rows:
        assert {"image", "method", "factor", "psnr", "ssim", "consistency"} <= set(row) and row["factor"] == 2
    assert "2 (2)" in result.output and "[" in result.output and "4 scores in" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--data", "brain", "--methods", "tv,magic"], "unknown method 'magic'; known methods: nearest"),
        (["evaluate", "--data", "nowhere"], "brain"),
        (["enhance", "{scan}", "-o", "x.png", "--method", "magic"], "known methods: nearest"),
        (["enhance", "{scan}", "-o", "x.gif"], "unknown extension"),
        (["enhance", "{scan}", "-o", "no/such/x.png"], "no such folder"),
        (["enhance", "{scan}", "-o", "{scan}"], "is the input"),
        (["data", "show", "nowhere"], "brain"),
        (["run", "--data", "nowhere"], "sets are brain"),
    ],
)  # fmt: skip
def test_the_impossible_is_refused_in_one_line_with_what_is_possible(scans, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = medsr(*(argument.format(scan=scans / "scan0.png") for argument in arguments))
    assert result.exit_code == 2
    assert message in result.output and result.output.startswith("Error: ") and result.output.count("\n") == 1


def test_enhance_makes_the_file_larger_by_the_method(scans, tmp_path):
    target = tmp_path / "large.png"
    result = medsr("enhance", scans / "scan0.png", "-o", target, "--method", "lanczos", "--factor", 2)
    assert result.exit_code == 0, result.output
    expected = upscalers.upscale(images.read(scans / "scan0.png").pixels, "lanczos", factor=2)
    assert torch.allclose(images.read(target).pixels, expected, atol=0.51 / 255)
    assert "96x88" in result.output


def test_enhance_writes_a_sample_their_mean_and_their_spread_and_warns_once(scans, tmp_path):
    lr, options = scans / "scan0.png", ("--method", "sr3", "--weights", "brain", "--steps", 2, "--seed", 5)
    result = medsr("enhance", lr, "-o", tmp_path / "sr.tif", *options, "--samples", 3)
    assert result.exit_code == 0 and result.output.count("no diagnostic device") == 1, result.output
    drawn = upscalers.samples(images.read(lr).pixels, 3, weights="brain", steps=2, seed=5)
    expected = {"sr": drawn[0], "sr-mean": drawn.mean(0), "sr-spread": (10 * drawn.std(0)).clamp(0, 1)}
    for name, image in expected.items():
        assert torch.allclose(images.read(tmp_path / f"{name}.tif").pixels, image, atol=0.51 / 255), name
    refused = medsr("enhance", lr, "-o", tmp_path / "x.png", "--method", "srgan", "--samples", 3)
    assert refused.exit_code == 2 and "one answer" in refused.output and not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "options, hint",
    [(["--steps", 2001], "1 to 2000"), (["--sampler", "euler"], "dpm++"), (["--factor", 3], "4x: brain")],
)
def test_enhance_names_what_sr3_can_do(scans, tmp_path, options, hint):
    result = medsr("enhance", scans / "scan0.png", "-o", tmp_path / "x.png", "--method", "sr3", *options)
    assert result.exit_code == 2 and hint in result.output and not (tmp_path / "x.png").exists()


def test_enhance_refuses_before_the_work_what_cannot_be_written_or_has_no_meaning(scans, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("worked in vain")

    monkeypatch.setattr(upscalers, "upscale", never)
    Image.new("RGB", (20, 20)).save(tmp_path / "colour.png")
    for source, output, options, hint in (
        (tmp_path / "colour.png", "x.nii.gz", [], "NIfTI holds gray values"),
        (scans / "scan0.png", "x.png", ["--method", "tv", "--sampler", "ddim", "--steps", 9], "--steps and --sampler"),
        (scans / "scan0.png", "nowhere/x.png", [], "no such folder"),
    ):
        result = medsr("enhance", source, "-o", tmp_path / output, *options)
        assert result.exit_code == 2 and hint in result.output, result.output


def test_train_sr3_from_the_command_line_and_use_it(scans, tmp_path):
    common = ("--data", scans, "--channels", 1, "--factor", 2, "--batch", 2, "--patch", 16, "--steps", 2)
    folder = tmp_path / "run"
    result = medsr("train", "sr3", *common, "--out", folder)
    assert result.exit_code == 2 and "3 subjects" in result.output  # two files cannot be split by subject
    for name in ("scan2.png", "scan3.png"):
        (scans / name).write_bytes((scans / "scan0.png").read_bytes())
    result = medsr("train", "sr3", *common, "--out", folder, "--blur", 0.5, "--measured", 2)
    assert result.exit_code == 0, result.output
    changed = medsr("train", "sr3", *common, "--out", folder, "--blur", 0.5, "--steps", 3, "--resume")
    assert changed.exit_code == 2 and "terms" in changed.output
    network = networks.load("sr3", weights=folder / "generator.safetensors")
    assert (network.factor, network.channels) == (2, 1) and network.scale != 8.0  # measured on the data
    assert medsr("train", "medgan-pixel", *common).exit_code == 2  # it takes no factor
    refused = medsr("train", "regression", *common, "--measured", 2)
    assert refused.exit_code == 2 and "for sr3" in refused.output


def test_enhance_takes_every_page_and_will_not_drop_some(tmp_path):
    stack = np.random.default_rng(0).integers(0, 2**16, (3, 12, 10), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    assert medsr("enhance", tmp_path / "stack.tif", "-o", tmp_path / "l.tif", "--method", "nearest").exit_code == 0
    assert images.read(tmp_path / "l.tif").pixels.shape == (3, 1, 48, 40)
    result = medsr("enhance", tmp_path / "stack.tif", "-o", tmp_path / "l.png")
    assert result.exit_code == 2 and "3 images" in result.output and not (tmp_path / "l.png").exists()


def test_run_gives_parameters_collects_results_and_scores(make_notebook, scans, tmp_path, monkeypatch):
    cell = "factor: int = 4  # times\ndata: str = 'brain'  # set"
    make_notebook("00_a", [cell, "print(factor, data)"], {0: ["parameters"]})
    make_notebook("01_b", ["raise RuntimeError('broken on purpose')"])
    monkeypatch.chdir(tmp_path)

    refused = medsr("run", "-p", "facter", 2)
    assert refused.exit_code == 2 and "factor (int, default 4): times" in refused.output
    assert not (tmp_path / "runs").exists()

    result = medsr("run", "-p", "factor", 2, "--data", "my scans")
    assert result.exit_code == 1 and "broken on purpose" in result.output and "01_b" in result.output
    assert "backprojection" in result.output and "index.html" in result.output
    executed = (tmp_path / "runs" / "00_a.ipynb").read_text()
    assert f"2 {scans}" in executed  # the path is absolute: notebooks run in their own folder
    assert "backprojection" in (tmp_path / "runs" / "index.html").read_text()
    assert len(json.loads((tmp_path / "runs" / "scores.json").read_text())) == 2 * 11  # images x methods


def test_data_list_names_every_set():
    import data_fetch

    text = medsr("data", "list").output
    assert all(name in text for name in data_fetch.names())


def test_data_show_has_licence_and_citation():
    text = medsr("data", "show", "brain").output
    assert "licence:" in text and "McConnell" in text and "Holmes" in text


def test_data_show_says_whether_a_set_is_upright():
    faces = medsr("data", "show", "faces").output
    assert "upright:  yes" in faces and "public domain" in faces and "astronaut, 128x128, RGB" in faces
    assert "upright:  no" in medsr("data", "show", "heart").output


def test_train_resumes_and_its_weights_can_be_evaluated(scans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["train", "srresnet", "--data", str(scans), "--holdout", "scan0", "--channels", "1", "--batch", "2"]
    common += ["--patch", "32", "--every", "2", "--out", "run"]
    first = medsr(*common, "--steps", "2")
    assert first.exit_code == 0, first.output
    again = medsr(*common, "--steps", "4")
    assert again.exit_code == 2 and "resume" in again.output
    resumed = medsr(*common, "--steps", "4", "--resume")
    assert resumed.exit_code == 0 and "run/generator.safetensors: srresnet, 4 steps" in resumed.output
    arguments = ["--methods", "srresnet", "--weights", "run/generator.safetensors", "--out", "s.json"]
    scored = medsr("evaluate", "--data", str(scans), *arguments)
    assert scored.exit_code == 0 and json.loads(Path("s.json").read_text())[0]["method"] == "srresnet"


def test_train_takes_the_squared_error_in_the_pixel_stage_only(scans, tmp_path):
    common = ["--data", str(scans), "--holdout", "scan0", "--channels", "1", "--batch", "1", "--patch", "32"]
    common += ["--loss", "mse", "--steps", "1"]
    done = medsr("train", "srresnet", *common, "--out", str(tmp_path / "run"))
    assert done.exit_code == 0 and (tmp_path / "run" / "generator.safetensors").is_file()
    refused = medsr("train", "srgan", *common, "--out", str(tmp_path / "other"))
    assert refused.exit_code == 2 and "pixel stage" in refused.output


def test_train_refuses_an_unknown_method_before_reading_data(tmp_path):
    result = medsr("train", "magic", "--data", str(tmp_path), "--steps", "1")
    assert result.exit_code == 2 and "srresnet, srgan, medgan-pixel, medgan" in result.output


def test_evaluate_takes_subjects_and_measures_features(scans, tmp_path):
    out = tmp_path / "s.json"
    common = ["evaluate", "--data", str(scans), "--methods", "bicubic,nearest", "--out", str(out)]
    result = medsr(*common, "--subjects", "scan1", "--features")
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())
    assert {row["subject"] for row in rows} == {"scan1"} and "features" in result.output
    pixels = images.read(scans / "scan1.png").pixels
    lr = bicubic(4)(pixels).clamp(0, 1)
    expected = Perceptual()(upscalers.upscale(lr, "bicubic"), pixels).item()
    assert rows[0]["features"] == pytest.approx(expected, rel=1e-5)
    nobody = medsr(*common, "--subjects", "nobody")
    assert nobody.exit_code == 2 and "scan0, scan1" in nobody.output


@pytest.mark.filterwarnings("always")  # the command prints them itself
@pytest.mark.parametrize("size", [(1, 1), (3, 60), (18, 60)])
def test_an_image_too_small_is_left_out_and_the_others_are_scored(scans, size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(scans / "small.png")
    out = scans.parent / "scores.json"
    result = medsr("evaluate", "--data", str(scans), "--methods", "bicubic", "--out", str(out))
    assert result.exit_code == 0 and "warning: small left out" in result.output
    assert {row["image"] for row in json.loads(out.read_text())} == {"scan0", "scan1"}


def test_the_game_resumes_from_other_weights_than_the_default(scans, tmp_path):
    generator = networks.create("srresnet", channels=1, depth=1, width=8, tail=4)
    networks.save(generator, tmp_path / "start.safetensors")
    common = ["train", "srgan", "--data", str(scans), "--holdout", "scan0", "--channels", "1", "--batch", "1"]
    common += ["--patch", "32", "--start", str(tmp_path / "start.safetensors"), "--out", str(tmp_path / "run")]
    for steps, resume in ((1, ()), (2, ("--resume",))):
        result = medsr(*common, "--steps", str(steps), *resume)
        assert result.exit_code == 0, result.output
    assert networks.load("srgan", weights=tmp_path / "run" / "generator.safetensors").arguments["width"] == 8


def test_train_again_by_recipe_stage_after_stage(scans, tmp_path):
    """Two stages, the second from the first; what is given besides changes the recipe; the new weights tell both."""
    for name in ("scan2.png", "scan3.png"):
        (scans / name).write_bytes((scans / "scan0.png").read_bytes())
    small = {"channels": 1, "factor": 2, "batch": 2, "patch": 16, "network": {"width": 4, "multipliers": [1, 2]}}
    stages = [{"method": "sr3", "steps": 2, **small}, {"method": "sr3", "steps": 1, "rate": 1e-4, **small}]
    first = networks.create("sr3", channels=1, factor=2, width=4, multipliers=(1, 2))
    networks.save(first, tmp_path / "old.safetensors", method="sr3", recipes=stages)
    again = ("train", "--recipe", tmp_path / "old.safetensors", "--data", scans, "--out", tmp_path / "new")
    result = medsr(*again, "--seed", 3)
    assert result.exit_code == 0, result.output
    told = networks.about(tmp_path / "new" / "generator.safetensors")
    assert [(r["steps"], r["seed"], r.get("rate")) for r in told["recipes"]] == [(2, 3, None), (1, 3, 1e-4)]
    assert told["data"][0]["images"] == 2 and told["held_out"] and told["method"] == "sr3"
    assert networks.about(tmp_path / "new" / "stage-1" / "generator.safetensors")["steps"] == 2
    silent = networks.create("srresnet", width=4, depth=1, tail=4)
    networks.save(silent, tmp_path / "silent.safetensors", method="srresnet")
    for wrong, hint in (
        (("train", "--recipe", tmp_path / "silent.safetensors", "--data", scans), "does not say how"),
        (("train", "srresnet", "--recipe", tmp_path / "old.safetensors", "--data", scans), "is a sr3"),
        (("train", "--recipe", "sr3-kidney", "--data", scans), "shipped: "),
        (("train", "srresnet", "--steps", 1), "--data NAME_OR_FOLDER"),
        (("train", "srresnet", "--data", scans), "--steps N"),
        (("train", "pulse", "--data", scans, "--steps", 1), "more than HR images"),
    ):
        refused = medsr(*wrong)
        assert refused.exit_code == 2 and hint in refused.output, refused.output


def test_weights_are_listed_and_have_cards(tmp_path):
    listed = medsr("weights", "list").output
    assert [file.path.stem for file in networks.shipped() if file.path.stem not in listed] == []
    assert "held out" in medsr("weights", "card", "sr3-fundus").output
    assert medsr("weights", "card").exit_code == 2
    network = networks.create("srresnet", width=4, depth=1, tail=4)
    networks.save(network, tmp_path / "mine.safetensors", method="srresnet")
    assert medsr("weights", "card", tmp_path / "mine.safetensors", "--write").exit_code == 0
    assert "not stated" in (tmp_path / "mine.md").read_text()


def test_short_help_is_that_of_the_commands():
    """`medsr --help` lists what it does not import."""
    for name, words in main_module.COMMANDS.items():
        command = main_module.main.get_command(None, name)
        first, theirs = (text.split()[0].strip(",") for text in (words, command.get_short_help_str()))
        assert command.name == name and first == theirs, name


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_search_says_whether_it_found(tmp_path):
    torch.manual_seed(0)
    decoder = networks.create("pulse", latent=8, widths=(12, 8, 8))
    networks.save(decoder, tmp_path / "decoder.safetensors")
    images.write(tmp_path / "lr.png", torch.full((1, 3, 4, 4), 0.5))
    common = ("enhance", tmp_path / "lr.png", "-o", tmp_path / "sr.png", "--method", "pulse", "--steps", 2)
    common = (*common, "--weights", tmp_path / "decoder.safetensors", "--starts", 1)
    assert "; found: mean squared error" in medsr(*common, "--eps", 0.9).output
    missed = medsr(*common, "--eps", 1e-9)
    assert missed.exit_code == 0 and "NOT FOUND, the nearest" in missed.output
    assert "warning: pulse found no image" in missed.output
    refused = medsr("enhance", tmp_path / "lr.png", "-o", tmp_path / "x.png", "--method", "tv", "--eps", 0.1)
    assert refused.exit_code == 2 and "for pulse only" in refused.output


def test_a_face_of_another_size_is_done_and_what_to_expect_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for side in (16, 24):
        Image.new("RGB", (side, side), "gray").save(f"{side}.png")
        said = medsr(
            "enhance", f"{side}.png", "-o", f"out{side}.png", "--method", "fsrnet", "--weights", "faces", "--factor", 8
        )
        assert said.exit_code == 0 and ("whole, upright, aligned faces of 16x16" in said.output) == (side == 24)
