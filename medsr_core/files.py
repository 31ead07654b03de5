"""Text files that are never half written."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all: a full disk or an interrupted run leaves the old one as it was."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
