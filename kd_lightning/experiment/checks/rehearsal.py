"""One real step of each training on copies, before the first of them begins: what would fail later fails here."""

import copy
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from lightning import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, Callback, LearningRateFinder, LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from torch import nn

from kd_lightning.callbacks import SeededBatches
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import NonFinite
from kd_lightning.experiment import os_errors
from kd_lightning.experiment.bad_input import BAD_INPUT
from kd_lightning.experiment.checks.batches import check_batches
from kd_lightning.experiment.checks.blame import Tried, refusal, setting
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.resume import INITIALIZATION, began_with
from kd_lightning.experiment.initialization import as_training, first_module
from kd_lightning.experiment.networks.build import build_module
from kd_lightning.experiment.networks.memory_format import use_channels_last
from kd_lightning.experiment.recipe import own_key, recipe_of
from kd_lightning.experiment.storage.networks import data_alone, is_trained, module_alone
from kd_lightning.experiment.training import at, make_callbacks, quiet
from kd_lightning.module import DistillationModule
from kd_lightning.store.source_code import RELEASED
from kd_lightning.system.disk import failure_of
from kd_lightning.terminal import console, is_first_rank

APART = (ProgressBar, LearningRateFinder, BatchSizeFinder)  # callbacks that show, or that train by themselves


class Training(NamedTuple):
    """What is trained, by which config and on which data, what makes its module, and the key of its own recipe."""

    name: str
    config: DictConfig
    data: DataModule
    make: Callable[[], DistillationModule]
    owner: str | None


def rehearse(experiment: Experiment, folder: Path) -> None:
    """Raise `UserError` for what would end one of the run's trainings in its first step, validation or test.

    Networks, optimizers and data are copies, of which nothing is left; the random state is afterwards as it was. A run
    that has begun before is not rehearsed, nor are the ranks that follow the first.
    """
    if not is_first_rank() or began_with(folder)[0] is not None:
        return
    quiet()
    data = experiment.data
    data.setup()
    with isolate_rng(), warnings.catch_warnings(), console.capture(), TemporaryDirectory() as place:
        warnings.simplefilter("ignore")
        for training in trainings(experiment, Path(place)):
            rehearse_training(training, experiment, Path(place))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def trainings(experiment: Experiment, place: Path) -> Iterator[Training]:
    """The trainings that are to come, as far as no earlier run has done them; they write below `place`."""
    config, data, student, _ = experiment
    short = on_copies(experiment, place)
    for network in experiment.trained_alone():
        if not is_trained(network, config, data):
            own = network.by_itself(short.config)
            name = "student alone" if network is student else "teacher"
            yield Training(
                name, own, data_alone(network, own, data), partial(module_alone, network, own, data), network.alone
            )
    if config.initialization:
        yield Training(INITIALIZATION, as_training(short.config), data, lambda: initialization(short), None)
    own = recipe_of(student.owner, short.config)
    yield Training("student", own, data, lambda: build_module(short, built(short)), student.owner)


def built(experiment: Experiment) -> nn.Module | None:
    """The teacher, with random weights where it is to be trained."""
    return experiment.teacher.build(experiment.config, experiment.data)


def initialization(experiment: Experiment) -> DistillationModule:
    teacher = built(experiment)
    student = build_module(experiment, teacher).student
    short = experiment._replace(config=as_training(experiment.config), teacher=experiment.teacher.uncached())
    return first_module(student, short, teacher)


def on_copies(experiment: Experiment, place: Path) -> Experiment:
    """The experiment with all that it writes below `place`, where the teacher is asked for one batch alone."""
    config = at(experiment.config, place)
    config.paths.cache_dir = str(place / "cache")
    return experiment._replace(config=config, teacher=experiment.teacher.asked_as_the_training_goes())


def bare_trainer(config: DictConfig) -> Trainer:
    """The config's trainer without anything that writes or shows."""
    trainer: Trainer = instantiate(
        config.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    return trainer


def first_device(trainer: Trainer) -> Any:
    """The first of a trainer's devices, as an argument of another one's."""
    return [trainer.device_ids[0]] if trainer.strategy.root_device.type == "cuda" else 1


def rehearse_training(training: Training, experiment: Experiment, place: Path) -> None:
    """One optimizer step, one batch of validation and one of the test. Raises UserError for whatever fails."""
    tried = Tried(experiment.teacher.key)
    try:
        attempt(training, place, tried)
    except NonFinite:  # which the training itself tells, with its step and its batch
        return
    except BAD_INPUT:
        raise
    except Exception as error:
        if isinstance(error, OSError) and os_errors.refusal(error, sys.argv[1:]) is not None:
            raise
        if failure_of(error) is not None:
            raise

        def again(trainer: DictConfig) -> None:
            changed = copy.deepcopy(training.config)
            changed.trainer = trainer
            attempt(training._replace(config=changed), place, Tried(tried.teacher))

        def told(key: str) -> str:
            place = key if training.owner is None else own_key(training.owner, key, experiment.config)
            return setting(place, training.config if place == key else experiment.config)

        raise refusal(error, training.name, training.config, tried, again, told) from error


def attempt(training: Training, place: Path, tried: Tried) -> None:
    """The same; `tried` holds what was made of the config until then."""
    data = training.data
    made = make_callbacks(training.config, place)
    tried.callbacks |= {name: callback for name, callback in made.items() if is_rehearsed(callback)}
    tried.module = module = training.make()
    real = bare_trainer(training.config)
    validates = check_batches(real, data)
    trainer = make_trainer(training.config, tried.callbacks, place, first_device(real))
    trainer.limit_val_batches = min(1, trainer.limit_val_batches) if validates else 0
    if training.config.channels_last:
        use_channels_last(module, example_input(data))
    trainer.fit(module, datamodule=data.in_this_process())
    if training.name != INITIALIZATION:
        trainer.test(module, datamodule=data.in_this_process(), verbose=False)


def is_rehearsed(callback: Callback) -> bool:
    """Whether a callback leaves nothing behind; what one of the user's own does is not known."""
    return type(callback).__module__.startswith(RELEASED) and not isinstance(callback, APART)


def make_trainer(config: DictConfig, callbacks: dict[str, Callback], place: Path, device: Any) -> Trainer:
    """The config's trainer, which ends after its first step and writes no checkpoint, on one device."""
    logger = [CSVLogger(place)] if any((config.logger or {}).values()) else False
    kept = [one for one in callbacks.values() if logger or not isinstance(one, LearningRateMonitor)]
    trainer: Trainer = instantiate(
        config.trainer,
        devices=device,
        num_nodes=1,
        strategy="auto",
        callbacks=[*kept, SeededBatches(config.seed), OneStep()],
        logger=logger,
        profiler=None,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.save_checkpoint = Discarded(trainer)  # type: ignore[method-assign]
    loop: Any = trainer.fit_loop
    loop.min_epochs = loop.epoch_loop.min_steps = None  # else it would not stop after one
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs or -1
    if every is not None and every > 1 and (epochs == -1 or every <= epochs):
        trainer.check_val_every_n_epoch = 1
    trainer.accumulate_grad_batches = min(1, trainer.accumulate_grad_batches)
    trainer.limit_test_batches = min(1, trainer.limit_test_batches)
    return trainer


class OneStep(Callback):
    """Ends a training after its first optimizer step."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step > 0


class Discarded:
    """Makes a trainer's checkpoints as they would be written, and writes nothing."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __call__(self, filepath: Any, weights_only: bool | None = None, storage_options: Any = None) -> None:
        checkpoint = self.trainer._checkpoint_connector.dump_checkpoint(bool(weights_only))
        with open(os.devnull, "wb") as nothing:
            torch.save(checkpoint, nothing)
