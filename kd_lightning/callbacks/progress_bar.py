"""The progress bar of a training."""

import sys
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

TRAIN = "train/"
NARROW, BAR = 100, 12  # columns of a terminal that has no room for times beside the terms; and of the bar there
OF_VALIDATION = ("val/top1", "val/nll")  # the first that there is


class TermsProgressBar(RichProgressBar):
    """Lightning's, with the total loss, its terms and the validation accuracy; silent where there is no terminal."""

    @property
    def is_enabled(self) -> bool:
        return super().is_enabled and sys.stdout.isatty()

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Lightning's columns; in a narrow terminal a shorter bar, without times."""
        description, bar, batches, *times = super().configure_columns(trainer)
        if self._console is not None and self._console.width < NARROW:
            bar.bar_width, times = BAR, []
        return [description, bar, batches, *times]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands behind the bar, by short names."""
        metrics = super().get_metrics(trainer, pl_module)
        shown = {name.removeprefix(TRAIN): value for name, value in metrics.items() if name.startswith(TRAIN)}
        watched = [name for name in OF_VALIDATION if name in metrics]
        return shown | {name.replace("/", " "): metrics[name] for name in watched[:1]}
