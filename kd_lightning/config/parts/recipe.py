"""How each network of a run is trained: by the run's recipe, with what its own part of the config says laid over it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lightning.config.conf import OF_THE_PLACE, TARGET, plain
from kd_lightning.errors import UserError

if TYPE_CHECKING:
    from kd_lightning.data import DataModule

PARTS = ("optimizer", "scheduler", "trainer")
BY_ITSELF = ("data", "loss")  # what a training of one network by itself may have besides
ALONE = "scratch"  # the key of the student that is trained by itself
CURRICULUM = "curriculum"  # which that one may have, too
OWN_PARTS: dict[str, tuple[str, ...]] = {  # what a network may have of its own, by the key that it stands under
    "student": PARTS,  # when it is distilled
    "teacher": (*PARTS, *BY_ITSELF),
    ALONE: (*PARTS, *BY_ITSELF, CURRICULUM),
}
BATCH_SIZE = "batch_size"


def recipe_of(owner: str, config: DictConfig) -> DictConfig:
    """The config by which a network is trained: the run's, with what stands under its owner's key laid over it.

    `owner` is a key of `OWN_PARTS`. A part with a `_target_` stands for itself: no argument of the run's reaches it.
    The terms stay where they are; see `own_terms`. Raises UserError for what is no mapping.
    """
    own = {part: own_part(owner, part, config) for part in PARTS}
    size = own_batch_size(owner, config)
    if size is None and not any(own.values()):
        return config
    changed = without_own(owner, config)
    for part, values in own.items():
        if values:
            changed[part] = laid_over(plain(config[part]), values)
    if size is not None:
        OmegaConf.update(changed, f"data.{BATCH_SIZE}", size, force_add=True)
    return changed


def without_own(owner: str, config: DictConfig) -> DictConfig:
    """A copy of the config in which a network has no optimizer, schedule and trainer of its own."""
    changed = copy.deepcopy(config)
    given = own_values(owner, changed)
    with open_dict(changed):
        if owner != ALONE:
            given.update(dict.fromkeys(PARTS))
        elif given:
            changed[ALONE] = {part: given[part] for part in (*BY_ITSELF, CURRICULUM) if given.get(part)} or True
    return changed


def own_terms(owner: str, config: DictConfig) -> DictConfig | None:
    """The terms of its own that a network by itself is trained with; None for the task's supervised loss alone."""
    terms: DictConfig | None = own_values(owner, config).get("loss") if "loss" in OWN_PARTS[owner] else None
    return terms


def own_curriculum(owner: str, config: DictConfig) -> DictConfig | None:
    """What draws the samples of a network by itself; with true the run's curriculum. Raises UserError."""
    if CURRICULUM not in OWN_PARTS[owner]:
        return None
    given = own_values(owner, config).get(CURRICULUM)
    if given in (None, False):
        return None
    if given is True and not config.curriculum:
        raise UserError(f"{owner}.{CURRICULUM}=true: the run has none; choose curriculum=paced, or leave it out")
    if given is not True and not (isinstance(given, DictConfig) and TARGET in given):
        raise UserError(
            f"{owner}.{CURRICULUM}={given}: must be true, the run's own, or a mapping with {TARGET}, or null"
        )
    found: DictConfig = config.curriculum if given is True else given
    return found


def own_values(owner: str, config: DictConfig) -> DictConfig:
    """What stands under an owner's key; nothing where that is no mapping, as `scratch=true`."""
    values = config.get(owner)
    return values if isinstance(values, DictConfig) else OmegaConf.create({})


def own_part(owner: str, part: str, config: DictConfig) -> dict[str, Any]:
    """What an owner says of a part of the recipe, without what it leaves as it is. Raises UserError."""
    values = plain(own_values(owner, config).get(part))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"{owner}.{part}={values}: what differs from the run's {part} in this training, as a mapping; or null"
        )
    return {str(name): value for name, value in values.items() if value is not None or TARGET in values}


def own_key(owner: str, key: str, config: DictConfig) -> str:
    """Where a key of a training's config stands: below its owner where that gives it, else where the run has it."""
    given = OmegaConf.select(own_values(owner, config), key) if key.partition(".")[0] in OWN_PARTS[owner] else None
    return key if given is None else f"{owner}.{key}"


def laid_over(run: Mapping[str, Any] | None, own: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the run's with an owner's values over it; those with a `_target_` instead of it."""
    if TARGET not in own:
        return dict(plain(OmegaConf.merge(dict(run or {}), dict(own))))
    return {**{name: value for name, value in (run or {}).items() if name in OF_THE_PLACE}, **own}


def has_scratch(config: DictConfig) -> bool:
    """Whether the student is also to be trained by itself: `scratch` says so, or how that is done."""
    return config[ALONE] is not False


def own_batch_size(owner: str, config: DictConfig) -> int | None:
    return own_part(owner, "data", config).get(BATCH_SIZE) if "data" in OWN_PARTS[owner] else None


def in_its_batches(owner: str, config: DictConfig, data: DataModule) -> DataModule:
    """The run's data in batches as large as a network has them. Raises UserError where the data make their own."""
    size = own_batch_size(owner, config)
    return data if size is None else data.in_batches_of(size)
