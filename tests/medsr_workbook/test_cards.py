"""Model cards are made from what the weights say of themselves."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

from medsr_core import networks, training
from medsr_workbook import cards

FILES = [file.path for file in networks.shipped()]
TOLD = [path for path in FILES if "recipes" in networks.about(path)]


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.stem)
def test_the_card_beside_weights_is_what_they_say(path):
    assert path.with_suffix(".md").read_text(encoding="utf-8") == cards.card(path), "medsr weights card NAME --write"


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.stem)
def test_weights_know_their_data_and_how_to_be_trained_again(path):
    about = networks.about(path)
    assert all(each["licence"] and each["images"] >= each["subjects"] > 0 for each in about["data"])
    assert about["held_out"]
    for recipe in about["recipes"]:
        run = training.Run(**recipe)
        assert run.recipe() == recipe and set(run.holdout) <= set(about["held_out"])
        assert run.start is None or networks.load(run.about.starts_from or run.method, weights=run.start)
    assert about["recipes"][-1]["method"] == about["method"]


def test_a_run_is_told_whole_and_read_back():
    run = training.Run("sr3", steps=7, data=("a b", "c"), channels=1, network={"width": 8}, upright=True)
    assert training.Run(**json.loads(json.dumps(run.recipe()))).identity() == run.identity()
    assert cards.command(run.recipe()) == (
        "medsr train sr3 --steps 7 --data 'a b' --data c --channels 1 --upright  # network width 8"
    )
    with pytest.raises(ValueError, match="bf16"):
        dataclasses.replace(run, precision="16")


def test_annotating_changes_the_header_alone(tmp_path):
    path = tmp_path / "net.safetensors"
    network = networks.create("srresnet", width=4, depth=1, tail=4)
    networks.save(network, path, method="srresnet", steps=3)
    before = path.read_bytes()
    networks.annotate(path, held_out=["Anna"], steps=4)
    assert networks.about(path)["held_out"] == ["Anna"] and networks.about(path)["steps"] == 4
    with safe_open(path, "pt") as file:
        assert all(torch.equal(file.get_tensor(name), value) for name, value in network.state_dict().items())
    assert path.read_bytes() != before


def test_a_card_says_what_is_not_known(tmp_path):
    path = tmp_path / "old.safetensors"
    networks.save(networks.create("srresnet", width=4, depth=1, tail=4), path)
    text = cards.card(path)
    assert text.count("not stated") >= 3 and "not a diagnostic device" in text
    assert f"{sum(p.numel() for p in networks.load('srresnet', weights=path).parameters()):,} parameters" in text


def test_held_out_subjects_are_those_of_all_weights_of_a_name():
    assert networks.held_out("fundus") == ["Image_09", "Image_10"]
    assert networks.held_out("nothing") == []
