"""Taking up a run again in its own folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from kd_lightning.checkpoints import usable
from kd_lightning.config import plain
from kd_lightning.errors import UserError
from kd_lightning.experiment.once import SHAPELESS
from kd_lightning.run_folder import finished
from kd_lightning.secrets import without_secrets
from kd_lightning.stored_config import RESOLVED, stored_values

INITIALIZATION = "initialization"  # the folder of the training before the training

# What may differ when a run is taken up again: where it runs, what it shows and what it measures.
FREE = ("paths", "hydra", "logger", "callbacks", "test", "on_nonfinite", *(f"trainer.{name}" for name in SHAPELESS))


def same_config(config: DictConfig, folder: Path) -> None:
    """Raise `UserError` if the folder holds a run of another config, naming the first key that differs."""
    stored = config_of(folder)
    if stored is None:
        return
    for key, before, after in differences(stored, without_secrets(plain(config))):
        raise UserError(
            f"hydra.run.dir={folder}: holds a run with {key}={before}, not {after}; give the same config to take it up "
            "again, or another folder"
        )


def config_of(folder: Path) -> Mapping[str, Any] | None:
    """The config of a folder's run, or None where it is neither finished nor can be taken up."""
    if finished(folder) is not None and (folder / RESOLVED).exists():
        return stored_values(folder)
    last = usable(folder / "checkpoints") or usable(folder / INITIALIZATION / "checkpoints")
    if last is None:
        return None
    stored: Mapping[str, Any] = torch.load(last, map_location="cpu", weights_only=True)["hyper_parameters"]["config"]
    return stored


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys with different values in two configs, but for those that a resumed run may change."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if f"{prefix}{name}" in FREE:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new
