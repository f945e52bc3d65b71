"""Files that are there whole or not at all."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write in one rename; numbers that JSON has not become null."""
    write_text(path, json.dumps(finite(record), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write in one rename, so that a half-written file never exists."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def finite(value: Any) -> Any:
    """Plain values without the numbers that JSON has not, which become null."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
