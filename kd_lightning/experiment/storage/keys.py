"""What decides the data, and the store where a config keeps what is made once for all runs."""

from typing import Any

from omegaconf import DictConfig

from kd_lightning.data import DataModule, ImageDataModule
from kd_lightning.data.values import as_folder
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain
from kd_lightning.store import Store
from kd_lightning.store.source_code import is_released

# Arguments of images that decide nothing, or that other entries of a key tell.
TOLD = ("root", "seed", "batch_size", "num_workers", "eval_batch_size", "resident", "download")


def data_key(config: DictConfig, data: DataModule) -> dict[str, Any]:
    """What decides the data; where that is not known, the folder of the run, for which alone something is kept then."""
    known = {"data": data.fingerprint()}
    target = str(config.data.get("_target_"))
    if isinstance(data, ImageDataModule) and not is_released(target):  # whose arguments may decide anything
        given = plain(config.data)
        known["arguments"] = {name: value for name, value in given.items() if name not in TOLD}
    return known if data.undecided is None else {**known, "run": config.paths.output_dir}


def store_of(config: DictConfig) -> Store:
    """Raises UserError where there is no folder for it."""
    cache = as_folder("paths.cache_dir", config.paths.cache_dir)
    if cache is None:
        raise UserError("paths.cache_dir=null: give a folder for what runs keep for one another")
    return Store(cache)
