"""The example gives the numbers that stand beside its calls."""

import re
import runpy
from pathlib import Path

import pytest

RESTORE = Path(__file__).resolve().parent.parent / "examples" / "restore.py"


def test_example_gives_the_numbers_beside_its_calls():
    """Each answer's PSNR is a comment in the line that makes it."""
    text = RESTORE.read_text(encoding="utf-8")
    expected = [float(n) for line in text.splitlines() for n in re.findall(r"([\d.]+) dB", line.partition("  # ")[2])]
    found = runpy.run_path(str(RESTORE))["main"]()
    assert list(found.values()) == pytest.approx(expected, abs=0.05)
