"""Where the cache keeps what is made once for all runs."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig


def home_of(kind: str, decided_by: dict[str, Any], config: DictConfig) -> Path:
    """The folder of one of a kind, named by 16 hexadecimal digits that stand for all that decides what is in it."""
    fingerprint = hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:16]
    return Path(config.paths.cache_dir).expanduser() / kind / fingerprint
