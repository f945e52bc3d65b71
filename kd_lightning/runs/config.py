"""The config of a run as it stands in its folder: plain values."""

from pathlib import Path
from typing import Any

import yaml

from kd_lightning.runs.files import AS_COMPOSED, RESOLVED
from kd_lightning.runs.folder import goes_on
from kd_lightning.system.records import NONE, Each, read_record, warn_of_absent

CONFIG = {
    "paths": Each(object, {"output_dir": str}),
    "seed": int,
    "data": Each(object),
    "student": Each(object, {"model": object}),
    "teacher": (Each(object), NONE),
    "loss": Each(object),
    "optimizer": Each(object),
    "trainer": Each(object),
}


def stored_values(folder: Path, *, strict: bool = False) -> dict[str, Any] | None:
    """The values of a run's config, as they were written; None where the folder has none.

    Raises `Damaged` for a file that is damaged, or no config of kd-train's; `strict` as in `read_record`.
    """
    for name in (RESOLVED, AS_COMPOSED):
        remedy = f"to write it anew, {goes_on(folder)}"
        values: dict[str, Any] | None = read_record(folder / name, CONFIG, yaml.safe_load, remedy, strict=strict)
        if values is not None:
            warn_of_absent(folder / RESOLVED, f"{AS_COMPOSED} is read; {remedy}")
            return values
    return None


def moved(value: Any, before: str, now: str) -> Any:
    """Plain values in which paths below a folder, names of mappings too, lie in another one."""
    if isinstance(value, dict):
        return {moved(name, before, now): moved(inner, before, now) for name, inner in value.items()}
    if isinstance(value, list):
        return [moved(inner, before, now) for inner in value]
    if isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
        return now + value.removeprefix(before)
    return value
