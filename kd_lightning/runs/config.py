"""The config of a run as it stands in its folder: plain values."""

from pathlib import Path
from typing import Any

import yaml

from kd_lightning.runs.folder import goes_on
from kd_lightning.system.records import NONE, Each, read_record

AS_COMPOSED, RESOLVED = ".hydra/config.yaml", ".hydra/resolved.yaml"
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


def stored_values(folder: Path) -> dict[str, Any] | None:
    """The values of a run's config, as they were written; None where the folder has none.

    Raises `Damaged` for a file that is damaged, or no config of kd-train's.
    """
    for name in (RESOLVED, AS_COMPOSED):
        remedy = f"to write it anew, {goes_on(folder)}"
        values: dict[str, Any] | None = read_record(folder / name, CONFIG, yaml.safe_load, remedy)
        if values is not None:
            return values
    return None
