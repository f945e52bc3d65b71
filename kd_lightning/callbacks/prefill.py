"""Asking the teacher all that a training will ask, beforehand."""

from collections.abc import Iterator

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from kd_lightning.data import ImageDataModule
from kd_lightning.data.views import view_of
from kd_lightning.module import DistillationModule
from kd_lightning.teachers import CachedTeacher
from kd_lightning.terminal import say


class Prefill(Callback):
    """Keeps the teacher's answers to the views of all epochs to come, each rank its part, in large batches."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, DistillationModule)
        assert isinstance(data, ImageDataModule)
        teacher = pl_module.teacher
        if not isinstance(teacher, CachedTeacher):  # it is the teacher that is trained, or the student alone
            return
        for epoch in range(trainer.current_epoch, trainer.max_epochs or 0):
            rows = data.train_set.rows[trainer.global_rank :: trainer.world_size]
            views = view_of(data.seed, epoch, rows, data.num_views)
            missing = ~teacher.answers.has(rows, views)
            if missing.any():
                say("teacher", f"answering {int(missing.sum()):,} of {len(rows):,} views of epoch {epoch + 1}")
            for index, view in _batches(rows[missing], views[missing], data.eval_batch_size):
                batch = {"input": data.train_set.images.read(index, view), "index": index, "view": view}
                batch = trainer.strategy.batch_to_device(teacher.before_transfer(batch))
                with trainer.precision_plugin.forward_context():
                    teacher(data.on_after_batch_transfer(batch))


def _batches(index: Tensor, view: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(index, size), torch.split(view, size), strict=True)
