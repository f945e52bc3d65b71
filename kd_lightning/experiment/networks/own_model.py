"""A network of the user's own class, made from the arguments that the config gives it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models import check_model_name

CLASSES = "num_classes"


class OwnModel:
    """Makes the network of a `_target_`; as text it is that.

    One that needs `num_classes`, and is given none in its settings, gets these.
    """

    def __init__(self, settings: Mapping[str, Any], key: str, num_classes: Callable[[], int]) -> None:
        self.settings, self.key, self.num_classes = settings, key, num_classes

    def __str__(self) -> str:
        return str(self.settings["_target_"])

    def __call__(self) -> nn.Module:
        """Raises `UserError` for what cannot be made, or is no network."""
        try:
            model = instantiate(self.settings, **self.further())
        except InstantiationException as error:
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from error
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"{self.key}._target_={self}: {reason}; check the path and its arguments") from error
        if not isinstance(model, nn.Module):
            raise UserError(
                f"{self.key}._target_={self}: built {type(model).__name__}, not a torch.nn.Module; name a model class"
            )
        return model

    def further(self) -> dict[str, Any]:
        """What it needs and the data tell."""
        try:
            needed = inspect.signature(get_object(str(self))).parameters.get(CLASSES)
        except Exception:  # told of where it is made
            return {}
        if CLASSES in self.settings or needed is None or needed.default is not needed.empty:
            return {}
        return {CLASSES: self.num_classes()}


def check_model(model: Any, key: str) -> None:
    """Raise `UserError` unless a config's value is the name of a model, or a mapping with the `_target_` of a class."""
    if isinstance(model, str):
        check_model_name(model, key)
    elif not (isinstance(model, Mapping) and isinstance(model.get("_target_"), str)):
        raise UserError(f"{key}={model}: must be a model's name, such as resnet8x4, or a mapping with _target_")
