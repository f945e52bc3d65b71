"""Classes that no release of this package fixes: the source of the user's own."""

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from kd_lightning.experiment.config import plain

RELEASED = ("kd_lightning.", "lightning.", "timm.", "torch.", "torchvision.")  # whose versions a run records


def own_code(*configs: Any) -> dict[str, str]:
    """SHA-256 of the file of each `_target_` in these configs that is the user's own, by its name."""
    names = {name for config in configs for name in targets(plain(config)) if not name.startswith(RELEASED)}
    files = {name: source_file(name) for name in sorted(names)}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file is not None}


def targets(value: Any) -> Iterator[str]:
    """Each `_target_` in nested plain values."""
    if isinstance(value, dict):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from targets(inner)


def source_file(name: str) -> Path | None:
    """Where a class or function is written; None for what has no source, or is not found."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(get_object(name)))
    except Exception:  # whatever an import may raise; it is reported where the object is made
        return None
    return None if file is None else Path(file)
