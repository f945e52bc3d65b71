"""What the tasks share whose networks give a number for each of C classes."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from typing_extensions import Self

from kd_lightning.errors import UserError
from kd_lightning.losses.arguments import check_whole
from kd_lightning.tasks.regression import NAMES
from kd_lightning.tasks.task import Arrays, Shape, Task


class TaskOfClasses(Task):
    """A task with C classes, of the data where they are not given.

    Raises UserError for a C that is no whole number above 0.
    """

    def __init__(self, num_classes: int | None = None, selects_on: str | None = None) -> None:
        if num_classes is not None:
            check_whole(num_classes=num_classes)
        self.num_classes = num_classes
        super().__init__(selects_on)

    @property
    def width(self) -> int | None:
        return self.num_classes

    def with_data(self, data: Any) -> Self:
        if self.num_classes is not None:
            return self
        found = copy.copy(self)
        found.num_classes = self.classes_of(data)
        return found

    def classes_of(self, data: Any) -> int:
        """C of the data."""
        found: int = data.num_classes
        return found

    def check(self, outputs: Mapping[str, Shape], data: Any) -> None:
        if self.num_classes is not None and outputs["logits"] != (self.num_classes,):
            shape = "x".join(map(str, outputs["logits"])) or "0-dimensional"
            raise UserError(f"gives {shape} logits, the data have {self.num_classes} classes; build it for these")


def bars_by_class(arrays: Mapping[str, Arrays], array: str, label: str) -> Mapping[str, Mapping[str, Any]]:
    """A figure of an array (C,) of shares, a bar for each network and class; none where no network has it.

    A class without a share, which is NaN, has no bar.
    """
    found = {NAMES.get(name, name): one[array] for name, one in arrays.items() if name != "data" and array in one}
    if not found:
        return {}
    classes = range(len(next(iter(found.values()))))
    names = [str(name) for name in arrays.get("data", {}).get("class_names", classes)]
    bars = [
        {"type": "bar", "name": name, "x": names, "y": [_percent(share) for share in shares]}
        for name, shares in found.items()
    ]
    title = f"{label[0].upper()}{label[1:]} by class"
    return {title: {"data": bars, "layout": {"yaxis": {"title": f"{label} %"}}}}


def _percent(share: float) -> float | None:
    return None if np.isnan(share) else round(100 * float(share), 2)
