"""The training before the training, which some methods begin with."""

from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from kd_lightning.batch import example_batch
from kd_lightning.config import plain
from kd_lightning.data import ImageDataModule
from kd_lightning.experiment.answers import is_cached
from kd_lightning.experiment.build import example_input, module_around
from kd_lightning.experiment.recipe import as_the_others
from kd_lightning.experiment.resume import INITIALIZATION
from kd_lightning.experiment.training import fit
from kd_lightning.module import DistillationModule
from kd_lightning.secrets import without_secrets
from kd_lightning.taps import evaluating
from kd_lightning.terminal import say

KEPT_CALLBACKS = ("checkpoint_last", "progress_bar")


def initialise(
    module: DistillationModule, config: DictConfig, data: ImageDataModule, teacher: nn.Module | None, folder: Path
) -> None:
    """Train what `initialization.loss` reaches, at a constant learning rate and without validation.

    Afterwards the module's student holds what it learned, and so does each part of a term that a term of the same name
    trained. An interrupted one is taken up again; a finished one is loaded.
    """
    if (folder / "checkpoints" / "last.ckpt").exists():  # the training itself has begun, and holds it all
        return
    short = as_training(config)
    first = module_around(module.student, short, data, teacher, config.initialization.loss)
    say(
        INITIALIZATION,
        f"{config.initialization.epochs} epochs, {' + '.join(name for name, _ in first.objective.items())}",
    )
    values = without_secrets(plain(config))  # what a resumed run is compared with
    first.save_hyperparameters({"config": dict(values)}, logger=False)
    frozen = freeze_unreached(first, example_input(data))
    fit(short, first, data, folder / INITIALIZATION, folder / INITIALIZATION, "student")
    for parameter in frozen:
        parameter.requires_grad_(True)
    own = module.objective.state_dict()
    learned = {name: value for name, value in first.objective.state_dict().items() if name in own}
    module.objective.load_state_dict(learned, strict=False)


def as_training(config: DictConfig) -> DictConfig:
    """The config with the initialisation's length and learning rate, its callbacks without any that select."""
    short = as_the_others(config)
    short.optimizer.lr = config.initialization.lr
    short.scheduler = None
    if is_cached(config):
        short.teacher.cache = "off"  # what is kept is for the training itself
    short.trainer.max_epochs, short.trainer.max_steps = config.initialization.epochs, -1
    short.trainer.limit_val_batches = 0
    short.callbacks = {name: value for name, value in (config.callbacks or {}).items() if name in KEPT_CALLBACKS}
    short.logger = {name: value for name, value in (config.logger or {}).items() if name == "csv"}
    return short


def freeze_unreached(module: DistillationModule, example: Tensor) -> list[nn.Parameter]:
    """Freeze the student's parameters that no term reaches, which several ranks would wait for; returns them."""
    parameters = [parameter for parameter in module.student.parameters() if parameter.requires_grad]
    with evaluating(module), torch.enable_grad():
        total = module.objective(module.signals(example_batch(example))).total
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    unreached = [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    for parameter in unreached:
        parameter.requires_grad_(False)
    return unreached
