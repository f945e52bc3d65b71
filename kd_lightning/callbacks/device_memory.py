"""The memory that a training takes on its device."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.callbacks.logging_step import is_logged

GIB = 2**30


class DeviceMemory(Callback):
    """Logs `train/memory_gib`: the most that tensors took on the GPU so far; nothing on a CPU.

    So far in the run under kd-train, its earlier trainings included; elsewhere in the process.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda" and is_logged(trainer):
            peak = torch.tensor(torch.cuda.max_memory_allocated(pl_module.device) / GIB)
            pl_module.log("train/memory_gib", peak, on_step=True, on_epoch=False)
