"""Files that are there whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write in one rename, so that a half-written file never exists."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(temporary, path)
