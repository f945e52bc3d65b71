"""Regression: each sample has K numbers."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat
from typing_extensions import Self

from kd_lightning.batch import Batch, as_batch
from kd_lightning.columns import Column
from kd_lightning.errors import UserError
from kd_lightning.losses import MeanSquaredError
from kd_lightning.losses.functional.logits.regression import as_outputs
from kd_lightning.tasks.task import AGREEMENT, Arrays, Shape, Stage, Task

MOST = 2_000  # samples of a figure
SHOWN = 4  # outputs of a figure
NAMES = {"teacher": "teacher", "scratch": "student alone", "student": "distilled student"}


class Regression(Task):
    """Outputs (B, K) against numbers (B, K), or (B,) of a single output; metrics are means over samples and outputs.

    Args:
        num_outputs: K; None takes it from a batch of the data.
        selects_on: the column that chooses the best epoch and a sweep's best: `mse`, `mae` or `r2`.

    >>> import torch
    >>> from kd_lightning.tasks import Regression
    >>> Regression(1).metrics("val")(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0]]))["mse"].item()
    0.5
    """

    columns = (
        Column("mse", "mean squared error", ".4g", higher_is_better=False),
        Column("mae", "mean absolute error", ".4g", higher_is_better=False, in_sweeps=False),
        Column("r2", "R²", ".3f", in_sweeps=False),
        Column(AGREEMENT, "mean distance to teacher", ".4g", higher_is_better=False, in_sweeps=False),
    )
    supervised = "mse"
    arrays = ("predicted", "true")
    outputs = "numbers"
    losses = "mse, mae, regression_kd"

    def __init__(self, num_outputs: int | None = None, selects_on: str | None = None) -> None:
        self.num_outputs = num_outputs
        super().__init__(selects_on)

    @property
    def width(self) -> int | None:
        return self.num_outputs

    def with_data(self, data: Any) -> Self:
        if self.num_outputs is not None:
            return self
        found = copy.copy(self)
        found.num_outputs = columns_of(data)
        return found

    def metrics(self, stage: Stage) -> MetricCollection:
        return MetricCollection(
            {
                "mse": torchmetrics.MeanSquaredError(),
                "mae": torchmetrics.MeanAbsoluteError(),
                "r2": CoefficientOfDetermination(),
            }
        )

    def loss(self) -> nn.Module:
        return MeanSquaredError()

    def agreement(self) -> Metric | None:
        return torchmetrics.MeanAbsoluteError()

    def predictions(self) -> Metric | None:
        return PredictedAgainstTrue()

    def figures(self, arrays: Mapping[str, Arrays]) -> Mapping[str, Mapping[str, Any]]:
        found = {NAMES.get(name, name): one for name, one in arrays.items() if "predicted" in one}
        outputs = min((one["predicted"].shape[1] for one in found.values()), default=0)
        ends = [f" of output {output + 1}" for output in range(outputs)] if outputs > 1 else [""]
        drawn = zip(range(outputs), ends[:SHOWN], strict=False)
        return {f"Predicted against true{end}": _scatter(found, output) for output, end in drawn}

    def check(self, outputs: Mapping[str, Shape], data: Any) -> None:
        if self.num_outputs is not None and outputs["logits"] != (self.num_outputs,):
            shape = "x".join(map(str, outputs["logits"])) or "no"
            raise UserError(f"gives {shape} outputs for a sample, the targets have {self.num_outputs}; build it so")

    def check_batch(self, batch: Batch) -> None:
        target = batch.get("target")
        if not isinstance(target, Tensor):
            if target is None:
                return
            raise UserError(f"target of type {type(target).__name__}: give a tensor of numbers (B, K)")
        wrong = target.is_floating_point() and target.device.type == "cpu" and not bool(target.isfinite().all())
        if wrong or target.is_complex() or target.dtype == torch.bool:
            found = f"{str(target.dtype).removeprefix('torch.')}{', not all finite' if wrong else ''}"
            raise UserError(f"target={found}: a regression learns finite numbers; leave out samples without")

    def check_step(self, role: str, outputs: Tensor, target: Tensor | None, training: bool) -> None:
        shape = tuple(outputs.shape)
        if outputs.ndim != 2 or (self.num_outputs is not None and shape[1] != self.num_outputs):
            wanted = "K" if self.num_outputs is None else self.num_outputs
            raise UserError(f"{role}.logits={shape}: a regression has outputs (B, {wanted}), a row for each sample")
        if target is not None:
            try:
                as_outputs(outputs, target)
            except ValueError as error:
                raise UserError(f"target={tuple(target.shape)}: {error}") from error

    def counted(self, outputs: Tensor, target: Tensor, wrong: Tensor) -> Tensor:
        return torch.where(wrong[:, None], torch.inf, outputs)

    def labelled(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return outputs, as_outputs(outputs, target)

    def blank_target(self, outputs: Tensor) -> Tensor:
        return torch.zeros_like(outputs)

    def of_data(self) -> dict[str, Any]:
        return {"num_outputs": self.num_outputs}


def columns_of(data: Any) -> int | None:
    """How many columns the targets of the data have, (B, K), 1 of (B,); None where an example has none."""
    target = as_batch(data.example()).get("target")
    if not isinstance(target, Tensor) or not 1 <= target.ndim <= 2:
        return None
    return 1 if target.ndim == 1 else target.shape[1]


class CoefficientOfDetermination(Metric):
    """R², 1 - Σ(y - ŷ)²/Σ(y - mean y)², the mean over outputs. Takes outputs (B, K) and target (B, K).

    An output whose target never changes counts 1 where it is met exactly, else 0; of no sample it is NaN.
    """

    # torchmetrics' own takes what varies by less than 1e-4 for constant, and loses digits far from 0.
    full_state_update = False
    higher_is_better = True
    outputs: list[Tensor] | Tensor
    target: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("outputs", "target"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, target: Tensor) -> None:
        assert isinstance(self.outputs, list)
        assert isinstance(self.target, list)
        self.outputs.append(outputs.float())
        self.target.append(target.float())

    def compute(self) -> Tensor:
        outputs, target = dim_zero_cat(self.outputs), dim_zero_cat(self.target)
        if not len(target):
            return torch.full((), torch.nan)
        residual = (target - outputs).square().sum(dim=0)
        total = (target - target.mean(dim=0)).square().sum(dim=0)
        constant = (target == target[0]).all(dim=0)
        return torch.where(constant, (residual == 0).float(), 1 - residual / total).mean()


class PredictedAgainstTrue(Metric):
    """Some samples' outputs beside their targets: `predicted` and `true`, both (M, K), M at most `MOST`."""

    full_state_update = False
    predicted: list[Tensor] | Tensor
    true: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("predicted", "true"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, target: Tensor) -> None:
        assert isinstance(self.predicted, list)
        assert isinstance(self.true, list)
        self.predicted.append(outputs.float())
        self.true.append(as_outputs(outputs, target).float())

    def compute(self) -> dict[str, Tensor]:
        found = {"predicted": dim_zero_cat(self.predicted), "true": dim_zero_cat(self.true)}
        every = -(-len(found["true"]) // MOST)
        return {name: value[:: max(every, 1)] for name, value in found.items()}


def _scatter(networks: Mapping[str, Arrays], output: int) -> dict[str, Any]:
    """Predicted against true of one output, for each network, and the line of those that are met."""
    data: list[dict[str, Any]] = []
    for name, arrays in networks.items():
        points = [[round(float(x), 6) for x in arrays[axis][:, output]] for axis in ("true", "predicted")]
        data.append({"type": "scatter", "mode": "markers", "name": name, "x": points[0], "y": points[1]})
    ends = [min(min(one["x"]) for one in data), max(max(one["x"]) for one in data)]
    line = {"type": "scatter", "mode": "lines", "name": "met", "x": ends, "y": ends, "line": {"dash": "dot"}}
    return {"data": [*data, line], "layout": {"xaxis": {"title": "true"}, "yaxis": {"title": "predicted"}}}
