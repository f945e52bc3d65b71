"""What validation measures by concept: of the student after each epoch, and once of the source that is asked."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from kd_lightning.batch import as_batch
from kd_lightning.curricula.concepts import Asked, Concepts, ConceptScores, Known
from kd_lightning.errors import UserError
from kd_lightning.ranks import on_any_rank
from kd_lightning.sources import Source
from kd_lightning.tasks import Task


class HasSources(Protocol):
    """A module whose sources go by names."""

    sources: dict[str, Source]


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
            self.scores = self._new_scores(outputs.device)
        self.scores.update(outputs, target, self.concepts.of(target, index))

    def _new_scores(self, device: torch.device, temperature: float = 1.0) -> ConceptScores:
        assert self.concepts is not None
        assert self.task.width is not None
        return ConceptScores(len(self.concepts.names), self.task.width, temperature).to(device)

    def by_concept(self, device: torch.device) -> dict[str, float]:
        """Each concept's accuracy, over all ranks; NaN of one without samples."""
        if self.concepts is None or not on_any_rank(self.scores is not None):
            return {}
        scores = self._new_scores(device) if self.scores is None else self.scores
        return dict(zip(self.concepts.names, scores.compute()["accuracy"].tolist(), strict=True))

    def of_source(self, asked: Asked, trainer: Trainer, module: LightningModule) -> Known:
        """What a source knows of the concepts, on the batches that validation takes. Raises UserError for none."""
        assert self.concepts is not None
        sources: dict[str, Any] = getattr(module, "sources", {})
        source = sources.get(asked.source)
        key = f"curriculum.against={asked.source}"
        if source is None or source.trained:
            others = ", ".join(name for name, one in sources.items() if not one.trained) or "none"
            raise UserError(f"{key}: no source that is not trained has this name; there are {others}, or give null")
        if source.changes:
            raise UserError(
                f"{key}: changes as the training goes, and what it knows beforehand is nothing to be compared with; "
                "take another teacher, or null"
            )
        scores = self._new_scores(module.device, asked.temperature)
        for batch in validation_batches(trainer, module):
            if "target" not in batch:
                continue
            with trainer.precision_plugin.forward_context():
                given = {f"{asked.source}.logits": source(batch)["logits"]}
            rows, taken = self.task.rows(given, batch)
            logits, target = rows[f"{asked.source}.logits"], taken["target"]
            self.task.check_step(asked.source, logits, target, training=False)
            scores.update(logits, target, self.concepts.of(target, taken.get("index")))
        return Known.of(self.concepts.names, scores.compute())


def validation_batches(trainer: Trainer, module: LightningModule) -> Iterator[Any]:
    """The batches of the first validation loader on the device, as many as a validation takes; nothing is logged."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    with validating(trainer):
        loop.setup_data()
        loaders = loop._combined_loader
        assert loaders is not None
        most = loop._max_batches[0]
        for number, given in enumerate(loaders.flattened[0]):
            if number >= (most if math.isfinite(most) else number + 1):
                break
            batch = trainer.precision_plugin.convert_input(given)
            batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
            yield as_batch(trainer.strategy.batch_to_device(batch, dataloader_idx=0))


@contextmanager
def validating(trainer: Trainer) -> Iterator[None]:
    """Have hooks see a validation, not a training."""
    before = trainer.state.stage
    trainer.validating = True
    try:
        yield
    finally:
        trainer.state.stage = before
