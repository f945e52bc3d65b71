"""A class for each pixel or each token: semantic segmentation, token classification."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from kd_lightning.batch import Batch
from kd_lightning.columns import Column
from kd_lightning.errors import UserError
from kd_lightning.signals import LENGTHS
from kd_lightning.tasks.classes import bars_by_class
from kd_lightning.tasks.classification import Classification
from kd_lightning.tasks.metrics import MacroScore, NegativeLogLikelihood
from kd_lightning.tasks.rows import Rows, with_known_rows
from kd_lightning.tasks.task import AGREEMENT, Arrays, Shape, Stage

NO_LABEL = -100


class DenseClassification(Classification):
    """Classes for each position of a sample; each that counts is learned and measured as if it were a sample.

    Those count that have a label and, of tokens, that the input's `attention_mask` leaves in: the mean of a term is
    over them all, as if the batch were theirs.

    Args:
        num_classes: C; None takes the data's.
        selects_on: the column that chooses the best epoch and a sweep's best; the first one where None.
        ignore_index: another label than -1 and -100 that stands for none, such as 255.
    """

    layout: str
    """Outputs in letters: B, C, and those of the positions."""

    def __init__(
        self, num_classes: int | None = None, selects_on: str | None = None, ignore_index: int | None = None
    ) -> None:
        super().__init__(num_classes, selects_on)
        self.ignore_index = ignore_index

    def check(self, outputs: Mapping[str, Shape], data: Any) -> None:
        shape, wanted = outputs["logits"], self.layout.replace("B, ", "")
        fits = len(shape) == len(wanted.split(", "))
        classes = shape[wanted.split(", ").index("C")] if fits else None
        if not fits or self.num_classes not in (None, classes):
            found = "x".join(map(str, shape)) or "0-dimensional"
            raise UserError(
                f"gives {found} logits for a sample; {self.name} has ({wanted}), here of {self.num_classes} classes; "
                "build it for these"
            )

    def check_batch(self, batch: Batch) -> None:
        super().check_batch(self._ignoring(batch))

    def before_transfer(self, batch: Batch) -> Batch:
        return with_known_rows(self._ignoring(batch))

    def rows(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        if not outputs:
            return {}, batch
        batch = self._ignoring(batch)
        target = batch.get("target")
        given = {name: self._classes_last(name, value) for name, value in outputs.items()}
        positions = next(iter(given.values())).shape[:-1] if target is None else target.shape
        given = {name: self._at(positions, name, value) for name, value in given.items()}
        rows = Rows(batch, tuple(positions), next(iter(given.values())).device)
        changed = {**batch, LENGTHS: rows.lengths}
        if target is not None:
            changed["target"] = rows.of(target.flatten())
        if isinstance(index := batch.get("index"), Tensor):
            changed["index"] = rows.of_samples(index)
        return {name: rows.of(value.flatten(0, -2)) for name, value in given.items()}, changed

    def _ignoring(self, batch: Batch) -> Batch:
        target = batch.get("target")
        if self.ignore_index is None or not isinstance(target, Tensor):
            return batch
        return {**batch, "target": target.long().masked_fill(target == self.ignore_index, NO_LABEL)}

    def _classes_last(self, name: str, value: Tensor) -> Tensor:
        letters = self.layout.split(", ")
        if value.ndim != len(letters):
            raise UserError(f"{name}={tuple(value.shape)}: {self.name} takes logits ({self.layout})")
        return value.movedim(letters.index("C"), -1)

    def _at(self, positions: Shape, name: str, value: Tensor) -> Tensor:
        """Outputs (B, …, C) of these positions (B, …). Raises `UserError` for others."""
        if value.shape[:-1] == positions:
            return value
        raise UserError(
            f"{name}={tuple(value.shape)}: there are {tuple(positions)} labels or other outputs; a class for each "
            "position is needed, and networks that give as many"
        )


class SemanticSegmentation(DenseClassification):
    """Logits (B, C, H, W) against class indices (B, H, W). Logits of another size are interpolated to the targets'.

    Mean IoU is the mean over the classes that occur, of the pixels of all images together.

    >>> import torch
    >>> from kd_lightning.tasks import SemanticSegmentation
    >>> task = SemanticSegmentation(3, ignore_index=255)
    >>> batch = {"target": torch.tensor([[[0, 255], [2, 1]]])}
    >>> rows, batch = task.rows({"student.logits": torch.zeros(1, 3, 2, 2)}, batch)
    >>> rows["student.logits"].shape, batch["target"].tolist()
    (torch.Size([3, 3]), [0, 2, 1])
    """

    layout = "B, C, H, W"
    arrays = ("iou",)
    columns = (
        Column("miou", "mean IoU", ".2%"),
        Column("top1", "pixel accuracy", ".2%"),
        Column("nll", "NLL", ".3f", higher_is_better=False, in_sweeps=False),
        Column(AGREEMENT, "agreement with teacher", ".2%", in_sweeps=False),
    )

    def metrics(self, stage: Stage) -> MetricCollection:
        if self.num_classes is None:
            return super().metrics(stage)
        return MetricCollection(
            {
                "miou": MulticlassJaccardIndex(self.num_classes, validate_args=False),
                "top1": MulticlassAccuracy(self.num_classes, average="micro", validate_args=False),
                "nll": NegativeLogLikelihood(),
            }
        )

    def predictions(self) -> Metric | None:
        return None if self.num_classes is None else ClassIoU(self.num_classes)

    def by_class(self) -> Metric | None:
        return self.predictions()

    def figures(self, arrays: Mapping[str, Arrays]) -> Mapping[str, Mapping[str, Any]]:
        return bars_by_class(arrays, "iou", "IoU")

    def _at(self, positions: Shape, name: str, value: Tensor) -> Tensor:
        if value.shape[:-1] != positions and value.shape[0] == positions[0] and len(positions) == 3:
            value = F.interpolate(value.movedim(-1, 1), positions[1:], mode="bilinear").movedim(1, -1)
        return super()._at(positions, name, value)


class TokenClassification(DenseClassification):
    """Logits (B, T, C) against class indices (B, T), as Hugging Face's models of that name give and take them.

    >>> import torch
    >>> from kd_lightning.tasks import TokenClassification
    >>> task, mask = TokenClassification(2), torch.tensor([[1, 1, 0]])
    >>> inputs = {"input_ids": torch.ones(1, 3), "attention_mask": mask}
    >>> batch = {"input": inputs, "target": torch.tensor([[-100, 1, 1]])}
    >>> rows, batch = task.rows({"student.logits": torch.zeros(1, 3, 2)}, batch)
    >>> rows["student.logits"].shape, batch["target"].tolist()
    (torch.Size([1, 2]), [1])
    """

    layout = "B, T, C"
    columns = (
        Column("top1", "token accuracy", ".2%"),
        Column("f1", "F1", ".2%"),
        Column("nll", "NLL", ".3f", higher_is_better=False, in_sweeps=False),
        Column(AGREEMENT, "agreement with teacher", ".2%", in_sweeps=False),
    )

    def metrics(self, stage: Stage) -> MetricCollection:
        if self.num_classes is None:
            return super().metrics(stage)
        return MetricCollection(
            {
                "top1": MulticlassAccuracy(self.num_classes, average="micro", validate_args=False),
                "f1": MacroScore(self.num_classes, "f1"),
                "nll": NegativeLogLikelihood(),
            }
        )


class ClassIoU(MulticlassJaccardIndex):
    """Each class's intersection over union, as `iou` (C,)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None, ignore_index=NO_LABEL, validate_args=False)

    def compute(self) -> Any:
        return {"iou": super().compute()}
