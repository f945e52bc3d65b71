"""Taking up a run again in its own folder."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from kd_lightning.callbacks.resuming.checkpoint_files import usable
from kd_lightning.config.conf import plain
from kd_lightning.config.parts.objects import trainer_from
from kd_lightning.config.parts.recipe import OWN_PARTS
from kd_lightning.errors import UserError
from kd_lightning.runs.config import stored_values
from kd_lightning.runs.files import CHECKPOINTS, INITIALIZATION, RESOLVED
from kd_lightning.runs.folder import finished
from kd_lightning.system.records import Damaged, Each, damaged, fault, warn_once
from kd_lightning.system.secrets import without_secrets
from kd_lightning.training.keys import SHAPELESS
from kd_lightning.training.ranks.shares import DEVICES, shares_of

# What may differ when a run is taken up again: where it runs, what it shows and what it measures. What the user's own
# keys decide stands where they are referred to.
FREE = (
    "paths",
    "hydra",
    "logger",
    "callbacks",
    "test",
    "on_nonfinite",
    "extra",
    *(f"{owner}trainer.{name}" for owner in ("", *(f"{owner}." for owner in OWN_PARTS)) for name in SHAPELESS),
)


def same_config(config: DictConfig, folder: Path, batch_size: int) -> DictConfig:
    """The config as the folder's run began with it: on other devices perhaps, which share as large a batch.

    Raises `UserError` if the folder holds a run of another config, naming the first key that differs.
    """
    stored, last = began_with(folder)
    if stored is None:
        return config
    began, ranks = shares_of(last or {}), trainer_from(config.trainer)([], []).world_size
    found = [*differences(stored, without_secrets(plain(config)))]
    is_elsewhere = began is not None and ranks != began.ranks
    if last is None:  # and nothing is trained
        is_elsewhere = any(key.startswith("trainer.") and key in DEVICES for key, _, _ in found)
    for key, before, after in found:
        if is_elsewhere and key in DEVICES:
            continue
        raise UserError(
            f"hydra.run.dir={folder}: holds a run with {key}={before}, not {after}; give the same config to take it up "
            "again, or another folder"
        )
    if began is None or not is_elsewhere:
        return config
    began.on(ranks, batch_size)
    return as_it_began(config, stored)


def began_with(folder: Path) -> tuple[Mapping[str, Any] | None, dict[str, Any] | None]:
    """The config of a folder's run, None where it is neither finished nor can be taken up, and the checkpoint it is of.

    That is None where the config is the one that a finished run wrote. Raises `Damaged` where such a run lost both.
    """
    lost = None
    if finished(folder) is not None and (folder / RESOLVED).exists():
        try:
            return stored_values(folder, strict=True), None
        except Damaged as error:
            lost = error
    last = last_checkpoint(folder)
    if lost is not None and last is None:
        raise lost
    if lost is not None:
        warn_once(f"{lost}; the config in the checkpoint counts")
    return (None if last is None else last["hyper_parameters"]["config"]), last


def last_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder goes on from, or None. Raises `Damaged` where it is no checkpoint of a run."""
    last = usable(folder / CHECKPOINTS) or usable(folder / INITIALIZATION / CHECKPOINTS)
    if last is None:
        return None
    checkpoint: dict[str, Any] = torch.load(last, map_location="cpu", weights_only=True)
    if (wrong := fault(checkpoint, {"hyper_parameters": {"config": Each(object)}})) is not None:
        raise damaged(last, wrong)
    return checkpoint


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


def as_it_began(config: DictConfig, stored: Mapping[str, Any]) -> DictConfig:
    """The config with the devices that a run began with, and their batches; `stored` is that run's."""
    began = copy.deepcopy(config)
    for key in DEVICES:
        group, name = key.split(".")
        if name in stored[group]:
            OmegaConf.update(began, key, stored[group][name], force_add=True)
        elif name in began[group]:
            OmegaConf.set_struct(began, False)
            del began[group][name]
    return began
