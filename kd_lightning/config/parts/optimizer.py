"""The optimizer of a config, with what it is made with beside its own arguments."""

from collections.abc import Callable, Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.optim import Optimizer

from kd_lightning.config.conf import plain
from kd_lightning.errors import UserError
from kd_lightning.optimizers import SAM, LayerDecay

LAYER_DECAY, SHARPNESS = "layer_decay", "sam"
BESIDE = (LAYER_DECAY, SHARPNESS)  # keys of the group that are no arguments of an optimizer's class


def optimizer_from(config: DictConfig) -> Callable[..., Optimizer]:
    """What makes the optimizer of a config. Raises UserError for a value of its own keys."""
    # As plain values, for optimizers keep them in checkpoints, which load with `weights_only=True`.
    make: Callable[..., Optimizer] = instantiate(without_beside(config), _convert_="all")
    beside = {key: plain(config.get(key)) for key in BESIDE}
    try:
        if beside[LAYER_DECAY] is not None:
            make = LayerDecay(make, beside[LAYER_DECAY])
        return make if beside[SHARPNESS] is None else SAM(make, beside[SHARPNESS])
    except UserError as error:
        raise UserError(f"optimizer.{error}") from error


def without_beside(config: DictConfig) -> Any:
    """The arguments of the optimizer's class alone."""
    values = plain(config)
    return {key: value for key, value in values.items() if key not in BESIDE} if isinstance(values, dict) else values


def without_unset(settings: Any) -> Any:
    """Settings of an optimizer as they name what is kept: without the keys beside its arguments that are null."""
    if not isinstance(settings, Mapping):
        return settings
    return {key: value for key, value in settings.items() if key not in BESIDE or value is not None}
