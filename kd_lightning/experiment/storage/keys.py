"""Where the cache keeps what is made once for all runs."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kd_lightning.data.values import as_folder
from kd_lightning.errors import UserError


def cache_folder(kind: str, key: dict[str, Any], config: DictConfig) -> Path:
    """The folder of one of a kind, named by 16 hexadecimal digits that stand for all that decides what is in it."""
    fingerprint = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    cache = as_folder("paths.cache_dir", config.paths.cache_dir)
    if cache is None:
        raise UserError("paths.cache_dir=null: give a folder for what runs keep for one another")
    return cache / kind / fingerprint
