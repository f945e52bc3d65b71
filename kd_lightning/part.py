"""What makes an object, and the plain values that it is made from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


@dataclass(frozen=True)
class Part(Generic[Made]):
    """Makes one of the objects of an experiment; `settings`, plain values, name what is kept of it.

    Examples:
        >>> import torch
        >>> from kd_lightning.part import Part
        >>> settings = {"_target_": "torch.optim.SGD", "lr": 0.1}
        >>> sgd = Part(lambda parameters: torch.optim.SGD(parameters, lr=0.1), settings)
        >>> type(sgd(torch.nn.Linear(2, 1).parameters())).__name__
        'SGD'
    """

    make: Callable[..., Made]
    settings: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Made:
        return self.make(*args, **kwargs)

    @property
    def target(self) -> str:
        """What is made, by its dotted name; nothing where the settings do not tell."""
        return str(self.settings.get("_target_", "")) if isinstance(self.settings, dict) else ""
