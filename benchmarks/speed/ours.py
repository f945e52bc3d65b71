"""This project's training, as kd-train builds it from its config."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hydra import compose, initialize_config_dir
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from benchmarks.speed.settings import ALPHA, BATCH_SIZE, LEARNING_RATE, MOMENTUM, TEMPERATURE, WEIGHT_DECAY, Pair
from benchmarks.speed.timing import now
from kd_lightning.config.conf import conf_dir
from kd_lightning.config.parts.objects import recipe_from
from kd_lightning.config.resolvers import register_resolvers
from kd_lightning.experiment.checks.config import check
from kd_lightning.plans import Trained
from kd_lightning.training.fit import fit, quiet
from kd_lightning.training.measuring import TestedNetwork
from kd_lightning.training.modules import build_module


def composed(pair: Pair, root: Path, overrides: Sequence[str]) -> DictConfig:
    """What kd-train makes of these overrides, with CIFAR-100 in `root` and a teacher with random weights."""
    register_resolvers()
    given = [
        "data=cifar100",
        f"data.root={root}",
        f"data.batch_size={BATCH_SIZE}",
        f"teacher.model={pair.teacher}",
        "teacher.weights=null",
        f"student.model={pair.student}",
        "scratch=false",
        f"temperature={TEMPERATURE}",
        f"alpha={ALPHA}",
        f"optimizer.lr={LEARNING_RATE}",
        f"optimizer.momentum={MOMENTUM}",
        f"optimizer.weight_decay={WEIGHT_DECAY}",
        "trainer.max_epochs=1",
        "trainer.limit_val_batches=0",
        "callbacks.progress_bar=null",
        "paths.output_dir=.",
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", [*given, *overrides])


class Clock(Callback):
    """Takes the time at the beginning of two steps."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.times: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx in (self.first, self.last):
            self.times.append(now())


class Ours:
    """A contestant: the beginning of the same epoch again and again, each time under a trainer of its own.

    With `teacher.cache`, the first time fills the cache with all that the others ask of it, if it is as long.
    """

    def __init__(self, config: DictConfig, folder: Path) -> None:
        quiet()
        warnings.filterwarnings("ignore", ".*limit_val_batches=0.*")
        OmegaConf.set_struct(config, False)  # the clock joins its callbacks
        self.config, self.folder = config, folder
        self.experiment = check(config)
        self.data = self.experiment.data
        seed_everything(config.seed, workers=True, verbose=False)
        self.parts, teacher = self.experiment.parts, self.experiment.teacher
        built = teacher.build(self.parts.context)
        learned_from = None if built is None else Trained(teacher.role, teacher, TestedNetwork(built, {}))
        self.training = self.parts.distilled_together(learned_from)
        self.module = build_module(self.training, self.parts.context)

    def __call__(self, warm_up: int, steps: int) -> float:
        self.config.trainer.limit_train_batches = warm_up + steps + 1
        self.config.callbacks.clock = {"_target_": f"{__name__}.Clock", "first": warm_up, "last": warm_up + steps}
        run = Path(mkdtemp(dir=self.folder))
        description = self.parts.context.describe(self.training)
        trainer = fit(recipe_from(self.config), self.module, self.data, run, run, description).trainer
        (clock,) = [callback for callback in trainer.callbacks if isinstance(callback, Clock)]  # type: ignore[attr-defined]
        first, last = clock.times
        return last - first
