"""What exported pages need that nbconvert does not do: pictures with their alternative texts, panels as pictures.

`Described` is a preprocessor for nbconvert. The runner and the slides use it, and `make setup` puts it into the
environment's configuration (etc/jupyter/jupyter_nbconvert_config.json), so that `jupyter nbconvert --to html` and
JupyterLab's File > Save and Export use it as well.
"""

from __future__ import annotations

import html
from typing import Any

from nbconvert.preprocessors import Preprocessor

WIDGET = "application/vnd.jupyter.widget-view+json"
NOTE = "<p><em>Sliders: open the notebook in JupyterLab (<code>make lab</code>).</em></p>"


class Described(Preprocessor):
    """Shows a PNG with its alternative text, which nbconvert's page forgets, and a panel as its picture and a note."""

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        """Replace the pictures and panels among a cell's outputs by HTML."""
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            live = WIDGET in data or "needs a running kernel]" in data.get("text/plain", "")
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if live or ("image/png" in data and alt):
                output["data"] = {"text/html": picture(data["image/png"], alt) if "image/png" in data else ""}
                output["data"]["text/html"] += NOTE if live else ""
        return cell, resources


def picture(png: str, alt: str | None) -> str:
    """An <img> of a PNG in base64, described."""
    return f'<img src="data:image/png;base64,{png.strip()}" alt="{html.escape(alt or "", quote=True)}">'
