"""What the steps of a training minimised."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


class Losses(Callback):
    """What each step minimised."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self.found.append(float(outputs["loss"]))
