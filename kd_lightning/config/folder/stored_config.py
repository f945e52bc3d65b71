"""The config of a run in its folder: written with every value resolved, read without resolving anything."""

from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.conf import plain
from kd_lightning.errors import UserError
from kd_lightning.runs.config import moved, stored_values
from kd_lightning.runs.files import AS_COMPOSED, HYDRA, OF_HYDRA, OVERRIDES, RESOLVED
from kd_lightning.store.remembered import is_remembered, remember
from kd_lightning.system.files import set_aside_folder, write_text
from kd_lightning.system.records import Damaged, read_record, sealed_yaml
from kd_lightning.system.secrets import without_secrets


def save_config(config: DictConfig, folder: Path) -> None:
    """Write `.hydra/`, as Hydra itself would before the config is checked: over that of an earlier run.

    Beside the config as it was composed stands what it came to, without the secrets of the environment.
    """
    hydra_config = HydraConfig.get()
    values = yaml.safe_dump(without_secrets(plain(config)), sort_keys=False, allow_unicode=True)
    written = {
        RESOLVED: values,
        OVERRIDES: OmegaConf.to_yaml(hydra_config.overrides.task),
        OF_HYDRA: OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra_config})),
        AS_COMPOSED: OmegaConf.to_yaml(config),  # last: it makes the folder a run's
    }
    (folder / HYDRA).mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        set_aside_folder(folder / name)
        write_text(folder / name, sealed_yaml(text))
    remember(values)


def is_stored(folder: Path) -> bool:
    """Whether a folder holds what `save_config` writes, as it was written."""
    try:
        given = read_record(folder / OVERRIDES, [str], yaml.safe_load, strict=True)
        return given is not None and (folder / RESOLVED).exists() and stored_values(folder, strict=True) is not None
    except Damaged:
        return False


def run_config(run: str | Path, trust: bool = False) -> DictConfig:
    """A run's config, its paths where the run is now; nothing in it is resolved but the folder's own path.

    Raises `UserError` where the folder holds no run, and unless `trust`, or the run began in this user's store, where
    something foreign would be built from it; see `check_foreign`.
    """
    from kd_lightning.config.folder.foreign import check_foreign

    if not isinstance(run, (str, Path)):
        raise UserError(f"run={run}: must be the path of a run's folder, such as run=outputs/DATE/TIME")
    folder = Path(run).expanduser()
    values = stored_values(folder)
    if values is None:
        raise UserError(f"run={folder}: no run's folder; give one that kd-train printed, such as run=outputs/DATE/TIME")
    if not trust and not is_remembered(yaml.safe_dump(values, sort_keys=False, allow_unicode=True)):
        check_foreign(values, f"run={folder}")
    config = OmegaConf.create(moved(values, values["paths"]["output_dir"], "${paths.output_dir}"))
    config.paths.output_dir = str(folder)
    return config
