"""Networks of the user's own class, made from the arguments that the config gives."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.part import Part

CLASSES = "num_classes"


def own_model(settings: Mapping[str, Any]) -> Part[nn.Module]:
    """Makes the network of a `_target_`, for a key of the config and what tells the number of classes.

    A class that needs `num_classes`, and is given none in its settings, gets these.
    """

    def build(key: str, num_classes: Callable[[], int]) -> Any:
        """Raises `UserError` for what cannot be made."""
        try:
            return instantiate(settings, **further(settings, num_classes))
        except InstantiationException as error:
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from None
            reason = " ".join(str(error.__cause__ or error).split())
            target = settings["_target_"]
            raise UserError(f"{key}._target_={target}: {reason}; check the path and its arguments") from error

    return Part(build, settings)


def further(settings: Mapping[str, Any], num_classes: Callable[[], int]) -> dict[str, Any]:
    """What a class needs and the data tell."""
    try:
        needed = inspect.signature(get_object(str(settings["_target_"]))).parameters.get(CLASSES)
    except Exception:  # told of where it is made
        return {}
    if CLASSES in settings or needed is None or needed.default is not needed.empty:
        return {}
    return {CLASSES: num_classes()}


def as_model(value: Any) -> Any:
    """A model of a config: its name as it is, a mapping with `_target_` as what makes it; each of a list of them.

    Of a network as a mapping, the `model` in it.
    """
    if isinstance(value, list):
        return [as_model(one) for one in value]
    if isinstance(value, Mapping) and "model" in value:
        return {**value, "model": as_model(value["model"])}
    return own_model(value) if isinstance(value, Mapping) and isinstance(value.get("_target_"), str) else value
