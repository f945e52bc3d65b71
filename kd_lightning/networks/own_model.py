"""A network of the user's own class, made from the arguments that the config gives it."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models import check_model_name
from kd_lightning.part import Part


class OwnModel:
    """Makes the network of a `Part`, which is told the number of classes, for a class that needs it; as text its name.

    `key` is where it stands in the config.
    """

    def __init__(self, part: Part[nn.Module], key: str, num_classes: Callable[[], int]) -> None:
        self.part, self.key, self.num_classes = part, key, num_classes

    def __str__(self) -> str:
        return self.part.target

    def __call__(self) -> nn.Module:
        """Raises `UserError` for what cannot be made, or is no network."""
        model: object = self.part(self.key, self.num_classes)
        if not isinstance(model, nn.Module):
            raise UserError(
                f"{self.key}._target_={self}: built {type(model).__name__}, not a torch.nn.Module; name a model class"
            )
        return model


def check_model(model: Any, key: str) -> None:
    """Raise `UserError` unless a value is the name of a model, or has the `_target_` of a class."""
    if isinstance(model, str):
        check_model_name(model, key)
        return
    settings = model.settings if isinstance(model, Part) else model
    if not (isinstance(settings, Mapping) and isinstance(settings.get("_target_"), str)):
        raise UserError(f"{key}={settings}: must be a model's name, such as resnet8x4, or a mapping with _target_")
