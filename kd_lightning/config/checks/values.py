"""Checking what can be told of a config by its values alone, which needs no torch."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig

from kd_lightning.config.checks.groups import check_groups, check_members, is_described
from kd_lightning.config.checks.students import check_students
from kd_lightning.config.conf import plain
from kd_lightning.config.parts.recipe import BATCH_SIZE, OWN_PARTS, PARTS, own_part, own_terms, own_values
from kd_lightning.errors import UserError

OF_SOFT_TARGETS: dict[str, tuple[Callable[[float], bool], str]] = {  # the root keys, each a number or a schedule
    "temperature": (lambda number: number > 0, "must be a number above 0; 4 is usual"),
    "alpha": (lambda number: 0 <= number <= 1, "the share of the soft targets, a number from 0 to 1; 0.9 is usual"),
}


def check_values(config: DictConfig) -> None:
    """Groups, numbers, terms, the training before the training; raises `UserError` for the first that is wrong."""
    check_groups(config)
    check_students(config)
    check_numbers(config)
    check_loss(config.get("loss"), "loss")
    check_initialization(config.initialization)
    check_members(config)
    check_recipe(config, "")
    for owner in OWN_PARTS:
        own = own_values(owner, config)
        if is_described(own):
            check_recipe(own, f"{owner}.")
            check_own(owner, config)


def check_recipe(values: DictConfig, key: str) -> None:
    """Finite numbers in what trains the run's networks, or one of them, under keys that begin so. Raises UserError."""
    for part in PARTS:
        check_finite(plain(values.get(part)), f"{key}{part}")
    check_clipping(values.get("trainer"), f"{key}trainer")


def check_own(owner: str, config: DictConfig) -> None:
    """Terms and batches that a network has of its own where it is trained by itself. Raises UserError."""
    terms = own_terms(owner, config)
    if terms is not None:
        check_loss(terms, f"{owner}.loss")
    for name, value in (own_part(owner, "data", config) if "data" in OWN_PARTS[owner] else {}).items():
        if name != BATCH_SIZE:
            raise UserError(
                f"{owner}.data.{name}={value}: networks are trained on the same data; {owner}.data.{BATCH_SIZE} alone "
                "can be another"
            )
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{owner}.data.{name}={value}: must be a whole number, 1 or more")


def check_finite(part: Any, key: str) -> None:
    """No number of a part, in any depth, is NaN or infinite. Raises UserError."""
    if isinstance(part, Mapping | list):
        for name, inner in part.items() if isinstance(part, Mapping) else enumerate(part):
            check_finite(inner, f"{key}.{name}")
    elif isinstance(part, float) and not math.isfinite(part):
        raise UserError(f"{key}={part}: must be a finite number")


def check_clipping(trainer: Any, key: str) -> None:
    """Gradients are clipped to a size, or not at all: Lightning takes a size below 0 for none. Raises UserError."""
    size = trainer.get("gradient_clip_val") if isinstance(trainer, DictConfig) else None
    if size is not None and (not _is_number(size) or size < 0):
        raise UserError(f"{key}.gradient_clip_val={size}: must be a number above 0; null clips nothing")


def check_numbers(config: DictConfig) -> None:
    """Temperature above 0, alpha between 0 and 1, and a seed. Raises UserError."""
    for key, (allowed, meaning) in OF_SOFT_TARGETS.items():
        value = config[key]
        if not _is_schedule(value) and not (_is_number(value) and allowed(value)):
            raise UserError(f"{key}={value}: {meaning}")
    if not isinstance(config.seed, int) or isinstance(config.seed, bool) or not 0 <= config.seed < 2**32:
        raise UserError(f"seed={config.seed}: must be a whole number, at least 0 and below 2**32")
    if config.on_nonfinite not in ("stop", "skip"):
        raise UserError(f"on_nonfinite={config.on_nonfinite}: must be stop or skip")


def check_loss(loss: Any, key: str) -> None:
    """There is a term, each has a loss, and a weight or a schedule of one. Raises UserError."""
    if not isinstance(loss, DictConfig) or not any(loss.values()):
        raise UserError(f"{key}=[]: nothing to minimise; name at least one term, as in loss=[ce,kd]")
    for name, term in ((str(name), term) for name, term in loss.items()):
        if term is not None and not isinstance(term, DictConfig):
            raise UserError(
                f"{key}.{name}={term}: a term is a mapping, as in conf/loss; {key}.{name}=null takes it away"
            )
        if not term:
            continue
        if not term.get("loss"):
            target = term.get("_target_")
            if target is not None and not str(target).endswith(".Term"):
                raise UserError(f"{key}.{name}._target_={target}: a term has a loss; give {key}.{name}.loss beside it")
            raise UserError(f"{key}.{name}.loss=null: a term needs a loss; {key}.{name}=null takes the term away")
        weight = term.get("weight", 1.0)
        if not _is_schedule(weight) and not (_is_number(weight) and 0 <= weight < math.inf):
            raise UserError(f"{key}.{name}.weight={weight}: must be a number, 0 or more, or a schedule with _target_")


def check_initialization(initialization: DictConfig | None) -> None:
    """The training before the training has a length, a learning rate and terms. Raises UserError."""
    if initialization is None:
        return
    epochs, lr, loss = (initialization.get(name) for name in ("epochs", "lr", "loss"))
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise UserError(f"initialization.epochs={epochs}: must be a whole number, 1 or more; or initialization=null")
    if not _is_number(lr) or not 0 <= lr < math.inf:
        raise UserError(f"initialization.lr={lr}: must be a number, 0 or more")
    check_loss(loss, "initialization.loss")


def _is_schedule(value: Any) -> bool:
    return isinstance(value, DictConfig) and "_target_" in value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
