"""Counting images and seconds of training."""

import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.batch import as_batch, size_of
from kd_lightning.callbacks.logging_step import is_logged


class Throughput(Callback):
    """Counts the images trained on, over all devices, the seconds this took, and those of the whole fit.

    All go into checkpoints, so a resumed run counts on. The whole fit's seconds include validation and checkpoints.
    Logs `train/images_per_s`, over the steps since it was logged last.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._earlier = 0.0
        self._began: float | None = None
        self._since: float | None = None
        self._logged = (0, 0.0)  # images and seconds when the rate was logged last

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def fit_s(self) -> float:
        return self._earlier + (0.0 if self._began is None else time.perf_counter() - self._began)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()
        self._logged = (self.images, self.seconds)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += size_of(as_batch(batch)) * trainer.world_size
        if is_logged(trainer):
            self._log_rate(pl_module)

    def _log_rate(self, pl_module: LightningModule) -> None:
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        (images, seconds), self._logged = self._logged, (self.images, self.seconds + running)
        rate = torch.tensor((self._logged[0] - images) / max(1e-9, self._logged[1] - seconds))
        pl_module.log("train/images_per_s", rate, on_step=True, on_epoch=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._earlier, self._began = self.fit_s, None

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds, "fit_s": self.fit_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]
        self._earlier = state_dict["fit_s"]
