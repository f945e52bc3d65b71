"""How the distilled student is trained, where that differs from how the run trains its other networks."""

import copy
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain

PARTS = ("optimizer", "scheduler", "trainer")


def of_student(config: DictConfig) -> DictConfig:
    """The config with `student.optimizer`, `student.scheduler` and `student.trainer` laid over the run's.

    The teacher and the student alone are trained by the config as it is. Raises UserError for what is no mapping.
    """
    own = {part: _differences(part, config) for part in PARTS}
    if not any(own.values()):
        return config
    changed = as_the_others(config)
    for part, values in own.items():
        changed[part] = OmegaConf.merge(plain(config[part]) or {}, values)
    return changed


def as_the_others(config: DictConfig) -> DictConfig:
    """A copy of the config in which the distilled student is trained like the run's other networks."""
    changed = copy.deepcopy(config)
    with open_dict(changed.student):
        changed.student.update(dict.fromkeys(PARTS))
    return changed


def _differences(part: str, config: DictConfig) -> dict[str, Any]:
    """What the student's config says of a part of the recipe, without what it leaves as it is."""
    values = plain(config.student.get(part))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"student.{part}={values}: what differs from {part} when the student is distilled, as a mapping; or null"
        )
    return {str(name): value for name, value in values.items() if value is not None}
