"""What validation measures by concept, after each epoch."""

import torch
from lightning import Trainer
from torch import Tensor

from kd_lightning.curricula.concepts import Concepts, ConceptScores
from kd_lightning.errors import UserError
from kd_lightning.ranks import on_any_rank
from kd_lightning.tasks import Task


class ConceptAssessment:
    """The accuracy of each concept on the first validation loader; `name` is the curriculum's, for messages."""

    def __init__(self, name: str, task: Task) -> None:
        self.name, self.task = name, task
        self.concepts: Concepts | None = None
        self.scores: ConceptScores | None = None

    def begin(self, concepts: Concepts | None, trainer: Trainer) -> None:
        """Measure these from now on. Raises UserError where there are no validation data, or no classes."""
        self.concepts, self.scores = concepts, None
        if concepts is None:
            return
        if self.task.outputs != "classes" or self.task.width is None:
            raise UserError(
                f"curriculum={self.name}: assesses concepts by the accuracy of classes, and {self.task.name} has "
                "none; use another curriculum"
            )
        if not trainer.enable_validation:
            raise UserError(
                f"curriculum={self.name}: assesses concepts on validation data, and there are none; give some"
            )

    def reset(self) -> None:
        self.scores = None

    def update(self, outputs: Tensor, target: Tensor, index: Tensor | None) -> None:
        """Count a batch: logits (N, C), target and index (N,)."""
        if self.concepts is None:
            return
        if self.scores is None:
            self.scores = ConceptScores(len(self.concepts.names)).to(outputs.device)
        self.scores.update(outputs, target, self.concepts.of(target, index))

    def by_concept(self, device: torch.device) -> dict[str, float]:
        """Each concept's accuracy, over all ranks; NaN of one without samples."""
        if self.concepts is None or not on_any_rank(self.scores is not None):
            return {}
        scores = ConceptScores(len(self.concepts.names)).to(device) if self.scores is None else self.scores
        return dict(zip(self.concepts.names, scores.compute().tolist(), strict=True))
