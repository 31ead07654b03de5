"""Every number that a notebook shows, and none that it does not."""

import nbformat
import pytest

from medsr_workbook import lesson, record


def notebook(*shown, tags=()):
    """A notebook whose one code cell has shown these Markdown texts, or data by type."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/markdown": text} if isinstance(text, str) else text)
        for text in shown
    ]
    cells = [nbformat.v4.new_markdown_cell("From **1** to **2**"), nbformat.v4.new_code_cell("x = 3", outputs=outputs)]
    for tag in tags:
        cells.insert(0, nbformat.v4.new_code_cell("n = 2", metadata={"tags": [tag]}))
    return nbformat.v4.new_notebook(cells=cells)


def values(text):
    return [
        (row["quantity"], row["of"], row["value"], row["low"], row["high"]) for row in record.numbers(notebook(text))
    ]


def test_a_table_gives_a_row_for_each_number_in_it():
    rows = [
        {"method": "bicubic", "PSNR (dB)": 27.93, "SSIM": "0.823 [0.81, 0.84]", "seen": "17.8%", "verdict": "tie"},
        {"method": "SR3, mean of 5", "PSNR (dB)": "−1.5 dB ≈", "SSIM": "–", "seen": "0.1 → 0.2", "verdict": "tie"},
    ]
    assert values("Scores of **both**\n\n" + lesson.table(rows) + "\n\nfour of them") == [
        ("PSNR (dB)", "bicubic", 27.93, None, None),
        ("SSIM", "bicubic", 0.823, 0.81, 0.84),
        ("seen", "bicubic", 0.178, None, None),
        ("PSNR (dB)", "SR3, mean of 5", -1.5, None, None),
    ]


def test_words_before_the_first_number_name_the_row():
    rows = [{"method": "sr3", "projected": "end", "PSNR": "**+0.65 [+0.61, +0.70] (n = 8)**", "s": "26,707"}]
    assert values(lesson.table(rows)) == [("PSNR", "sr3, end", 0.65, 0.61, 0.7), ("s", "sr3, end", 26707.0, None, None)]


def test_bold_numbers_of_a_sentence_are_told_apart_by_their_place():
    text = "SR3 found **55 %**, in 3 of 8, and lost **-1.33 [-1.39, -1.27] (n = 8)** dB, in **all**"
    sentence = "SR3 found … %, in … of …, and lost … (n = …) dB, in all"
    assert values(text) == [(sentence, "1", 0.55, None, None), (sentence, "2", -1.33, -1.39, -1.27)]


def test_scraps_are_read_and_papermills_own_cells_do_not_count():
    scrap = {record.SCRAP: {"name": "psnr", "data": 31.5, "encoder": "json", "version": 1}}
    text = {record.SCRAP: {"name": "who", "data": "me", "encoder": "text", "version": 1}}
    (row,) = record.numbers(notebook(scrap, text, tags=["injected-parameters"]))
    assert row == {"cell": 2, "quantity": "psnr", "of": "", "value": 31.5, "low": None, "high": None}


@pytest.mark.parametrize("text", ["", "no number", "| a |\n| --- |", "**bold** and 3", "x | y"])
def test_what_shows_no_number_gives_none(text):
    assert values(text) == []
