"""Concepts: what samples are taught and assessed by, and what validation measures of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import NO_LABEL


class Concepts(NamedTuple):
    """The concepts of a training by name, and which of them a sample is of; -1 where it is of none.

    Args:
        names: of all K.
        of_samples: int64 (N,), of the training samples by their positions.
        of_classes: int64 (C,), of the classes, where these decide it.
        of_indices: int64 (M,), of what validation's batches have as `index`, where classes do not decide it.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Concepts
        >>> target = torch.tensor([0, 2, 1, 2])
        >>> concepts = Concepts(["cat", "car"], target.clamp(max=1), of_classes=torch.tensor([0, 1, 1]))
        >>> concepts.of(target, None).tolist()
        [0, 1, 1, 1]
    """

    names: Sequence[str]
    of_samples: Tensor
    of_classes: Tensor | None = None
    of_indices: Tensor | None = None

    def of(self, target: Tensor, index: Tensor | None) -> Tensor:
        """Of validated samples, int64 (B,), of which those without a label are of none.

        Raises UserError where the batch does not tell.
        """
        if self.of_classes is not None:
            known = ~torch.isin(target, target.new_tensor(NO_LABEL))
            return torch.where(known, self.of_classes.to(target.device)[target.clamp(min=0)], -1)
        if index is None or self.of_indices is None or len(index) != len(target):
            raise UserError(
                "curriculum.concepts: validation's batches have no index, by which a sample's concept is found; give "
                "batches with 'index', or concepts that are classes or groups of them"
            )
        return self.of_indices.to(index.device)[index]

    def in_validation(self, target: Tensor | None, index: Tensor) -> Tensor:
        """Of all validation samples, int64 (V,).

        Raises UserError where nobody tells before they are read, and for a class of which no concept is known.
        """
        if self.of_classes is not None and target is None:
            raise UserError(
                "curriculum.concepts: the validation data tell no classes before they are read; give their data set an "
                "attribute `targets`, a whole number for each sample"
            )
        count = 0 if target is None or not len(target) else int(target.max()) + 1
        if self.of_classes is not None and count > len(self.of_classes):
            raise UserError(
                f"curriculum.concepts: the validation data have a class {count - 1}, and concepts are known of classes "
                f"0 to {len(self.of_classes) - 1}; give it one"
            )
        return self.of(index if target is None else target, index)


class ConceptScores(Metric):
    """How many samples there are of each concept, and how many are right.

    `update` takes logits (B, C), target (B,) and the concepts (B,), -1 of none; `compute` gives the accuracy of each,
    (K,), NaN of a concept without samples.
    """

    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self, concepts: int) -> None:
        super().__init__()
        for name in ("right", "count"):
            self.add_state(name, torch.zeros(concepts, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor, concepts: Tensor) -> None:
        counted, rows = (concepts >= 0).long(), concepts.clamp(min=0)
        self.right.index_add_(0, rows, (logits.argmax(dim=1) == target).long() * counted)
        self.count.index_add_(0, rows, counted)

    def compute(self) -> Any:
        return self.right.cpu().double() / self.count.cpu()  # as exact as gates compare it
