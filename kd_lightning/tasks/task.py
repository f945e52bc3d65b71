"""What a task says: what good means, and what outputs and targets have to be."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from typing_extensions import Self

from kd_lightning.batch import Batch
from kd_lightning.columns import Column, Compared
from kd_lightning.errors import UserError

Stage = Literal["val", "test"]
Shape = tuple[int, ...]
Arrays = Mapping[str, np.ndarray]
AGREEMENT = "agreement"
OUTPUTS = {"classes": "one class of several", "labels": "any number of labels", "numbers": "numbers"}


class Task:
    """What networks are measured by, and which of them is the best.

    A subclass sets `columns` and gives `metrics`; everything else has a default. Metrics without a column are logged
    alone. A column of the name `agreement` shows what `agreement` measures.

    Args:
        selects_on: the name of the column that chooses the best epoch and a sweep's best; where None the class's own
            `selects_on`, which is the first of its columns unless it sets another.

    Raises `UserError` for a name that no column has.
    """

    columns: Sequence[Column]
    selects_on: Column
    supervised: str = "ce"
    """The name of the term that learns from targets."""
    outputs: str | None = None
    """`classes`, of which a sample has one, `labels`, of which it has any number, or `numbers`; losses for others are
    refused. None takes every loss."""
    losses: str = ""
    """What to take instead of a loss that is refused."""
    arrays: Sequence[str] = ()
    """The names of what `predictions` gives."""

    def __init__(self, selects_on: str | None = None) -> None:
        if selects_on is not None:
            self.selects_on = self.column(selects_on)
        elif not hasattr(self, "selects_on"):
            self.selects_on = self.columns[0]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        columns = cls.__dict__.get("columns")
        if isinstance(columns, Sequence) and columns and "selects_on" not in cls.__dict__:
            cls.selects_on = columns[0]

    def metrics(self, stage: Stage) -> MetricCollection:
        """The metrics of a stage by name, each with `update(outputs, target)` of what `rows` gives.

        Those of `val` are measured after each epoch, those of `test` once.
        """
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What summaries call it."""
        return type(self).__name__

    @property
    def width(self) -> int | None:
        """How many numbers a network gives for a sample, where that is known; it tells them among several outputs."""
        return None

    def with_data(self, data: Any) -> Self:
        """The task on these data, from which it may take what it was not given."""
        return self

    def loss(self) -> nn.Module:
        """The supervised loss, which takes outputs and target. Raises `UserError` where a task has none of its own."""
        raise UserError(f"terms=None: {self.name} has no loss of its own; give the terms")

    def agreement(self) -> Metric | None:
        """How much two networks agree, with `update(outputs, others)`; None where nothing measures it."""
        return None

    def predictions(self) -> Metric | None:
        """What figures are drawn from: `update(outputs, target)`; `compute` gives arrays by name."""
        return None

    def by_class(self) -> Metric | None:
        """What a curriculum is told of each class: `update(outputs, target)`; `compute` gives (C,) by name."""
        return None

    def constants(self, data: Any) -> Arrays:
        """Arrays of the data, by name, which figures need too."""
        return {}

    def figures(self, arrays: Mapping[str, Arrays]) -> Mapping[str, Mapping[str, Any]]:
        """Further figures of a run's page by title, as Plotly has them in plain values: `data` and `layout`.

        Drawn once, as a run ends, and kept with it. `arrays` are those of `predictions` for each network that was
        tested, by its name in the summary (`student`, `teacher`, …), and under `data` the `constants`.
        """
        return {}

    def check(self, outputs: Mapping[str, Shape], data: Any) -> None:
        """Raise `UserError` unless a network with these outputs, without the batch's dimension, is one for the data."""

    def check_batch(self, batch: Batch) -> None:
        """Raise `UserError` for targets that cannot be, seen where they lie on the CPU."""

    def check_step(self, role: str, outputs: Tensor, target: Tensor | None, training: bool) -> None:
        """Raise `UserError` for outputs of a source, or a target, that nothing here is learned from or measured by."""

    def counted(self, outputs: Tensor, target: Tensor, wrong: Tensor) -> Tensor:
        """Outputs as they are measured, of which the samples `wrong` (B,) are not finite."""
        return outputs

    def labelled(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and target of what has a label, as metrics take them: (N, C) and (N, …)."""
        return outputs, target

    def rows(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Mapping[str, Tensor], Batch]:
        """Outputs by name, with a row (N, C) for each token or pixel that counts, and the batch with targets for these.

        What is given is returned where an output is one row for each sample. Raises `UserError` for other shapes.
        """
        return outputs, batch

    def blank_target(self, outputs: Tensor) -> Tensor:
        """Targets for outputs of an example, (N, C), that has none of its own."""
        return torch.zeros(len(outputs), dtype=torch.int64, device=outputs.device)

    def before_transfer(self, batch: Batch) -> Batch:
        """The batch, while it lies on the CPU, with what `rows` would have to ask the device for."""
        return batch

    def check_losses(self, losses: Mapping[str, nn.Module]) -> None:
        """Raise `UserError` for a loss, by the key of its term, on other outputs than these, as its `outputs` says.

        One that matches soft targets, and says no more, is for classes.
        """
        for key, loss in losses.items():
            given = getattr(loss, "outputs", None) or ("classes" if getattr(loss, "soft_target", False) else None)
            if self.outputs is not None and given in OUTPUTS and given != self.outputs:
                raise UserError(
                    f"{key}={type(loss).__name__}: takes outputs of {OUTPUTS[given]}, and {self.name} has "
                    f"{OUTPUTS[self.outputs]}; take {self.losses}, or another task"
                )

    def chance(self) -> float | None:
        """What guessing reaches in the column that selects, where that is a share."""
        return None

    def of_data(self) -> dict[str, Any]:
        """What it knows of the data, in plain values, for the summary."""
        return {}

    def column(self, name: str) -> Column:
        """The column of a name. Raises `UserError` where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise UserError(f"selects_on={name}: {self.name} has no such column; choose one of {self._selecting()}")

    def _selecting(self) -> str:
        return ", ".join(column.name for column in self.columns if column.name in self.metrics("val"))

    @property
    def validated(self) -> list[Column]:
        """What a summary holds of the validation data too, first what selects."""
        measured = self.metrics("val")
        found = [column for column in self.columns if column.name in measured]
        return sorted(found, key=lambda column: column != self.selects_on)

    def measured(self) -> list[str]:
        """What a test measures, by name."""
        return [str(name) for name in self.metrics("test")]

    def compared(self) -> Compared:
        """What a summary tells of it."""
        return Compared(self.name, tuple(self.columns), self.selects_on, self.chance())

    def check_columns(self) -> None:
        """Raise `UserError` for a column that nothing measures, and unless validation measures what selects."""
        tested = {*self.measured(), AGREEMENT}
        for column in self.columns:
            if column.name not in tested:
                raise UserError(f"columns={column.name}: no metric of the test; let metrics('test') give it")
        if self.selects_on.name not in self.metrics("val"):
            raise UserError(
                f"selects_on={self.selects_on.name}: is not measured in validation, which selects; choose one of "
                f"{self._selecting()}"
            )
