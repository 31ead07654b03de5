"""What exported pages need: pictures with their alternative texts, panels as pictures, changes of text but not of code.

`Described` is a preprocessor for nbconvert, which forgets both. The runner and the slides use it, and `make setup` puts
it into the environment's configuration (etc/jupyter/jupyter_nbconvert_config.json), so that JupyterLab's File > Save
and Export and `jupyter nbconvert --to html` use it as well.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
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
            live = is_panel(data)
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if live or ("image/png" in data and alt):
                output["data"] = {"text/html": picture(data["image/png"], alt) if "image/png" in data else ""}
                output["data"]["text/html"] += NOTE if live else ""
        return cell, resources


def is_panel(data: dict[str, str]) -> bool:
    """Is an output with this data (MIME type -> content) a panel of sliders?"""
    return WIDGET in data or "needs a running kernel]" in data.get("text/plain", "")


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Markdown whose prose has been changed, and whose code has not."""
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def picture(png: str, alt: str | None) -> str:
    """An <img> of a PNG in base64, described."""
    return f'<img src="data:image/png;base64,{png.strip()}" alt="{html.escape(alt or "", quote=True)}">'
