"""medsr data ..., and every other command on a set by its name."""

from __future__ import annotations

import json

import papermill
import pytest
from click.testing import CliRunner

import data_fetch
from data_fetch.catalogue import SOURCES
from medsr_workbook.commands.main import main
from tests.data_fetch.official import camus, chase, picture, stare, write, zipped

NAMES = tuple(f"im{number:04d}" for number in range(1, 7))


def medsr(*arguments, answer: str | None = None):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)


@pytest.fixture
def offered(offer):
    return offer("stare", stare(), expected=NAMES)


@pytest.mark.parametrize("command", ["list", "get", "import", "check", "card", "show"])
def test_every_command_has_help_and_the_option_that_says_where(command):
    result = medsr("data", command, "--help")
    assert result.exit_code == 0 and "--data-dir" in result.output and "MEDSR_DATA" in result.output


def test_the_list_has_what_there_is_and_what_is_here(folder, offered):
    text = medsr("data", "list").output
    assert all(name in text for name in (*data_fetch.names(), *SOURCES)) and str(folder) in text
    row = next(line for line in text.splitlines() if "│ stare " in line)
    assert "get" in row and "0.4 GB" in row and row.rstrip(" │").endswith("no")
    medsr("data", "get", "stare", "--accept")
    row = next(line for line in medsr("data", "list").output.splitlines() if "│ stare " in line)
    assert "6 images" in row


def test_terms_are_shown_before_the_first_download_and_accepted_by_prompt_or_option(folder, server, offered):
    nobody = medsr("data", "get", "stare")
    assert nobody.exit_code == 2 and "to accept them: --accept" in nobody.output
    assert offered.citation in nobody.output and offered.terms in nobody.output
    refused = medsr("data", "get", "stare", answer="n\n")
    assert refused.exit_code == 2 and not server.asked
    accepted = medsr("data", "get", "stare", answer="y\n")
    assert accepted.exit_code == 0 and "stare: 6 images, in" in accepted.output
    again = medsr("data", "get", "stare")
    assert again.exit_code == 0 and "Do you accept" not in again.output and "stare is here" in again.output


def test_a_set_can_be_scored_by_name_wherever_the_data_are(folder, offered, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSR_DATA", str(tmp_path / "elsewhere"))  # set by the option later: monkeypatch puts it back
    other = tmp_path / "other place"
    assert medsr("data", "get", "stare", "--accept", "--data-dir", other).exit_code == 0
    assert (other / "stare" / "record.json").is_file() and not (tmp_path / "elsewhere").exists()
    out = tmp_path / "scores.json"
    common = ["evaluate", "--data", "stare", "--methods", "bicubic", "--out", out]
    scored = medsr("--data-dir", other, *common)
    assert scored.exit_code == 0, scored.output
    assert {row["image"] for row in json.loads(out.read_text())} == {s.name for s in data_fetch.load("stare")}
    text = medsr("data", "show", "stare", "--data-dir", other).output
    assert "im0" in text and "32x32, RGB" in text and "Hoover" in text


@pytest.mark.parametrize("command", [["evaluate", "--data", "brats"], ["run", "--data", "brats"],
                                     ["train", "srresnet", "--data", "brats", "--steps", "1"],
                                     ["data", "show", "brats"], ["data", "check", "brats"],
                                     ["data", "get", "brats", "--accept"]])  # fmt: skip
def test_without_the_data_every_command_says_in_one_line_how_to_get_it(folder, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = medsr(*command)
    assert result.exit_code == 2 and result.output.startswith("Error: brats") and result.output.count("\n") == 1
    assert "synapse.org" in result.output and "medsr data import brats FILE_OR_FOLDER" in result.output
    assert not (tmp_path / "runs").exists(), "before any work"


def test_a_notebook_run_by_papermill_stops_with_that_line(folder, make_notebook, tmp_path, monkeypatch):
    path = make_notebook(
        "00_a", ["data: str = 'brain'", "import data_fetch\nscans = data_fetch.load(data)"], {0: ["parameters"]}
    )
    with pytest.raises(papermill.PapermillExecutionError, match=r"DataError: camus is not in .*medsr data get camus"):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", {"data": "camus"}, progress_bar=False)


def test_import_says_what_is_missing_and_check_what_is_damaged(folder, tmp_path):
    place = write(tmp_path / "CAMUS", camus(2))
    result = medsr("data", "import", "camus", place)
    assert result.exit_code == 0, result.output
    assert "Non-commercial" in result.output and "camus: 8 of 2000 images" in result.output
    assert "missing are patient0003_2CH_ED, " in result.output
    assert "camus: every file is as it came" in medsr("data", "check").output
    frame = place / "database_nifti/patient0001/patient0001_2CH_ED.nii.gz"
    frame.write_bytes(frame.read_bytes()[:-1] + b"?")
    checked = medsr("data", "check", "camus")
    assert checked.exit_code == 2 and f"{frame} is not as it came" in checked.output
    assert "no longer counted as here: camus; get or import them again" in checked.output
    assert medsr("data", "check").output == ""


def test_import_refuses_what_is_no_such_set(folder, tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"beach.jpg": picture("JPEG")}))
    result = medsr("data", "import", "chase", tmp_path / "x.zip")
    assert result.exit_code == 2 and "Error: x.zip is not the archive it should be" in result.output


def test_cards_are_complete(folder):
    for name in SOURCES:
        text = medsr("data", "card", name).output
        assert all(line in text for line in ("citation:", "terms:", "licence:", "archives:", "files:", "HR:"))
    assert "Holmes" in medsr("data", "card", "brain").output
    assert "MB" in medsr("data", "card", "chase").output and "sha256:6428ecc3" in medsr("data", "card", "stare").output
    assert medsr("data", "card", "lungs").exit_code == 2


def test_several_sets_and_a_limit(folder, offered, offer):
    offer("chase", {"CHASEDB1.zip": chase()})
    result = medsr("data", "get", "stare", "chase", "--accept", "--limit", "4")
    assert result.exit_code == 0, result.output
    assert "stare: 4 of 6 images" in result.output and "chase: 4 of 28 images" in result.output
    assert len(data_fetch.load("chase", split="all")) == len(data_fetch.masks("chase", split="all")) == 4
