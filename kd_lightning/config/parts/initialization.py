"""The recipe of the training before the training, which some methods begin with."""

from omegaconf import DictConfig

from kd_lightning.config.parts.recipe import without_own
from kd_lightning.networks import Student

WITHOUT_VALIDATION = ("checkpoint_last", "checkpoint_timed", "progress_bar")  # callbacks that no metric decides


def as_training(config: DictConfig) -> DictConfig:
    """The config with the initialisation's length and learning rate, its callbacks without any that select."""
    short = without_own(Student.owner, config)
    short.optimizer.lr = config.initialization.lr
    short.scheduler = None
    short.trainer.max_epochs, short.trainer.max_steps = config.initialization.epochs, -1
    short.trainer.limit_val_batches = 0
    short.callbacks = {name: value for name, value in (config.callbacks or {}).items() if name in WITHOUT_VALIDATION}
    short.logger = {name: value for name, value in (config.logger or {}).items() if name == "csv"}
    return short
