"""The training before the training, which some methods begin with."""

from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from kd_lightning.experiment.config import plain
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.resume import INITIALIZATION
from kd_lightning.experiment.folder.secrets import without_secrets
from kd_lightning.experiment.networks.build import build_terms, module_around, source_of
from kd_lightning.experiment.recipe import without_own
from kd_lightning.experiment.training import fit
from kd_lightning.module import DistillationModule
from kd_lightning.runs.files import CHECKPOINTS, LAST
from kd_lightning.terminal import say

STUDENT = "student"
KEPT_CALLBACKS = ("checkpoint_last", "checkpoint_timed", "progress_bar")


def initialise(
    module: DistillationModule,
    experiment: Experiment,
    teacher: nn.Module | None,
    folder: Path,
    began: DictConfig,
    title: str,
) -> None:
    """Train what `initialization.loss` reaches, at a constant learning rate and without validation.

    Afterwards the module's student holds what it learned, and so does each part of a term that a term of the same name
    trained. An interrupted one is taken up again; a finished one is loaded. `title` names the run's
    networks.
    """
    if (folder / CHECKPOINTS / LAST).exists():  # the training itself has begun, and holds it all
        return
    config, data = experiment.config, experiment.data
    short = experiment._replace(config=as_training(config), teacher=experiment.teacher.uncached())
    first = first_module(module.student, short, teacher)
    say(
        INITIALIZATION,
        f"{config.initialization.epochs} epochs, {' + '.join(name for name, _ in first.objective.items())}",
    )
    values = without_secrets(plain(began))  # what a resumed run is compared with
    first.save_hyperparameters({"config": dict(values)}, logger=False)
    fit(short.config, first, data, folder / INITIALIZATION, folder / INITIALIZATION, "student", title)
    own = module.objective.state_dict()
    learned = {name: value for name, value in first.objective.state_dict().items() if name in own}
    module.objective.load_state_dict(learned, strict=False)
    module.begin_sources()  # with a student that has learned, and for terms that take other taps
    module.ask_sources()


def first_module(student: nn.Module, short: Experiment, teacher: nn.Module | None) -> DistillationModule:
    """The module of the initialisation, by an experiment whose config is `as_training`."""
    terms = build_terms(short.config.initialization.loss)
    return module_around(student, short.student, terms, short.config, short.data, source_of(teacher, terms, short))


def as_training(config: DictConfig) -> DictConfig:
    """The config with the initialisation's length and learning rate, its callbacks without any that select."""
    short = without_own(STUDENT, config)
    short.optimizer.lr = config.initialization.lr
    short.scheduler = None
    short.trainer.max_epochs, short.trainer.max_steps = config.initialization.epochs, -1
    short.trainer.limit_val_batches = 0
    short.callbacks = {name: value for name, value in (config.callbacks or {}).items() if name in KEPT_CALLBACKS}
    short.logger = {name: value for name, value in (config.logger or {}).items() if name == "csv"}
    return short
