"""Every shipped weights file answers as it did when it was shipped: a real image in, a small stored answer out.

python tests/medsr_core/test_weights.py      # store the answers of files that are new or were replaced
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import data_fetch
from medsr_core import networks
from medsr_core.degradation import task

STORED = Path(__file__).with_name("weights.json")
FILES = {file.path.stem: file for file in networks.shipped()}
INPUTS = {"brain": "brain", "heart": "heart", "fundus": "fundus", "faces": "faces"}  # others: a photograph


def answer(file):
    """Mean of the answer in 8 x 8 cells, as lists: an input of 16x16 pixels (of 10x10 at 16x), one call."""
    network = networks.load(file.method, weights=file.name, factor=file.factor)
    with torch.no_grad():
        if networks.METHODS[file.method].samples == "search":
            z = torch.linspace(-1.5, 1.5, network.latent).roll(3).view(1, -1)
            return cells(network(z))
        pixels = data_fetch.load(INPUTS.get(file.name.split("-")[0], "natural"), limit=1)[0].pixels
        side = min(16 * file.factor, 160)
        top, left = ((n - side) // 2 for n in pixels.shape[-2:])
        lr = task(pixels[..., top : top + side, left : left + side], file.factor)[1]
        lr = lr.mean(1, keepdim=True) if network.channels == 1 else lr
        return cells(network.first_guess(lr) if hasattr(network, "first_guess") else network(lr))


def cells(image):
    return [[round(float(v), 5) for v in row] for row in F.adaptive_avg_pool2d(image.mean(1), 8)[0]]


def digest(file):
    return hashlib.sha256(file.path.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", FILES)
def test_shipped_weights_answer_as_they_did(name):
    stored = json.loads(STORED.read_text()).get(name)
    assert stored and stored["file"] == digest(FILES[name]), f"{name} is new: python {Path(__file__).name}"
    found, expected = torch.tensor(answer(FILES[name])), torch.tensor(stored["cells"])
    assert expected.std() > 0.01, "an answer that says something"
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_no_answer_is_stored_of_a_file_that_is_gone():
    assert json.loads(STORED.read_text()).keys() == FILES.keys()


if __name__ == "__main__":
    old = json.loads(STORED.read_text()) if STORED.exists() else {}
    new = {}
    for name, file in FILES.items():
        kept = old.get(name, {}).get("file") == digest(file)
        new[name] = old[name] if kept else {"file": digest(file), "cells": answer(file)}
        print(name, "kept" if kept else "stored", flush=True)
    STORED.write_text("{\n" + ",\n".join(f'"{n}": {json.dumps(v)}' for n, v in new.items()) + "\n}\n")
