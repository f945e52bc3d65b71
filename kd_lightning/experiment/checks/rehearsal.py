"""One real step of each training on copies, before the first of them begins: what would fail later fails here."""

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, Callback, LearningRateFinder, ProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, OmegaConf

from kd_lightning.callbacks import LRFinder, SeededBatches, for_learners
from kd_lightning.config.conf import plain
from kd_lightning.config.parts.objects import trainer_from
from kd_lightning.config.parts.recipe import own_key
from kd_lightning.config.refusals import os_errors
from kd_lightning.config.refusals.bad_input import BAD_INPUT
from kd_lightning.config.refusals.blame import Tried, refusal, setting
from kd_lightning.data.data import example_input
from kd_lightning.errors import NonFinite, UserError
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.resume import began_with
from kd_lightning.plans import Convert, Mean, Trained, Training
from kd_lightning.plans.follow import follow
from kd_lightning.plans.plan import Step
from kd_lightning.runs.files import CHECKPOINTS, INITIALIZATION, TENSORBOARD, WANDB
from kd_lightning.runs.summary import KEYS
from kd_lightning.store import Store
from kd_lightning.store.source_code import RELEASED
from kd_lightning.system.disk import failure_of
from kd_lightning.teachers import Teacher
from kd_lightning.terminal import console, is_first_rank
from kd_lightning.training import converting, kept
from kd_lightning.training.batches import check_batches
from kd_lightning.training.context import Recipe
from kd_lightning.training.finetuning.unfreezing import unfreezing
from kd_lightning.training.fit import quiet
from kd_lightning.training.measuring import TestedNetwork
from kd_lightning.training.memory_format import use_channels_last
from kd_lightning.training.modules import build_module

FOLLOWED = "plan: a step follows the training that the run is about; keep that one, with is_kept=True"
WITHOUT_RESULT = "plan: none of its trainings is the run's own; let the last one be, with is_kept=False"
TAKEN = {*KEYS, CHECKPOINTS, INITIALIZATION, WANDB, TENSORBOARD}  # in a summary, or in a run's folder
APART = (ProgressBar, LearningRateFinder, BatchSizeFinder, LRFinder)  # callbacks that show, or that train by themselves


def rehearse(experiment: Experiment, folder: Path) -> None:
    """Raise `UserError` for what would end one of the run's trainings in its first step, validation or test.

    Networks, optimizers and data are copies, of which nothing is left; the random state is afterwards as it was. A run
    that has begun before is not rehearsed, nor are the ranks that follow the first.
    """
    if not is_first_rank() or began_with(folder)[0] is not None:
        return
    quiet()
    experiment.data.setup()
    with isolate_rng(), warnings.catch_warnings(), console.capture(), TemporaryDirectory() as place:
        warnings.simplefilter("ignore")
        rehearsal = Rehearsal(experiment, Path(place))
        follow(experiment.plan.steps(rehearsal.parts), rehearsal.rehearse)
        if not rehearsal.has_result:
            raise UserError(WITHOUT_RESULT)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Rehearsal:
    """Rehearses the steps of a plan, as far as no earlier run has done them; all that they write lies below `place`."""

    def __init__(self, experiment: Experiment, place: Path) -> None:
        self.experiment, self.place, self.has_result = experiment, place, False
        self.names: set[str] = set()
        parts = experiment.parts
        self.context = parts.context  # whose store holds what earlier runs have done
        here = replace(self.context, folder=place, store=Store(place / "cache"))
        self.parts = replace(parts, context=here, teacher=parts.teacher.asked_as_the_training_goes())

    def rehearse(self, step: Step) -> Trained:
        """Raises UserError for whatever fails, and for a plan that goes on behind the run's own training."""
        if self.has_result and not isinstance(step, Mean):
            raise UserError(FOLLOWED)
        self.has_result |= isinstance(step, Training) and not step.is_kept and step.prepares is None
        self.check_names(step)
        if isinstance(step, Teacher):
            there = {}
            for training in step.trainings(self.parts.context):
                if (trained := self.training(training).module) is not None:
                    there[training.first.network.model_key] = trained.student
            built = step.build(self.parts.context, there)
            return Trained(step.role, step, None if built is None else TestedNetwork(built, {}))
        if isinstance(step, Convert):
            return converting.rehearsed(step, self.parts.context)
        if isinstance(step, Mean):
            return Trained(step.name, step, TestedNetwork(step.around(self.parts.context), {}))
        module = self.training(step).module or build_module(step, self.parts.context)
        network, objective = module.network_of(module.learner), module.objectives[module.learner]
        return Trained(step.name, step.first.network, TestedNetwork(network, {}), objective.state_dict())

    def check_names(self, step: Step) -> None:
        """What a step gives has a name of its own, which stands for nothing else in a run. Raises UserError."""
        if isinstance(step, Training) and step.prepares is not None:
            return
        names = step.names() if isinstance(step, Teacher) else [step.name]
        for name in [*step.learners] if isinstance(step, Training) else names:
            if not name.isidentifier() or name in TAKEN or name in self.names:
                raise UserError(
                    f"plan: cannot give a step or a learner the name {name!r}, which is taken; choose another"
                )
            self.names.add(name)

    def training(self, training: Training) -> Tried:
        """One optimizer step, one batch of validation and one of the test. Raises UserError for whatever fails."""
        tried = Tried(self.experiment.teacher.key)
        if training.is_kept and kept.is_trained(training, self.context):
            return tried
        try:
            self.attempt(training, tried)
        except NonFinite:  # which the training itself tells, with its step and its batch
            return Tried(tried.teacher)
        except BAD_INPUT:
            raise
        except Exception as error:
            if isinstance(error, OSError) and os_errors.refusal(error, sys.argv[1:]) is not None:
                raise
            if failure_of(error) is not None:
                raise
            raise self.refusal(error, training, tried) from error
        return tried

    def refusal(self, error: Exception, training: Training, tried: Tried) -> Exception:
        """What an exception says of the config."""
        config, recipe, owner = self.experiment.config, training.recipe, training.owner

        def again(trainer: DictConfig) -> None:
            changed = replace(recipe, trainer=trainer_from(trainer))
            self.attempt(training._replace(recipe=changed), Tried(tried.teacher))

        def told(key: str) -> str:
            place = key if owner is None else own_key(owner, key, config)
            named = {part: getattr(recipe, part) for part in ("optimizer", "scheduler", "trainer")}
            laid = {part: made.settings for part, made in named.items() if made is not None}
            return setting(place, config if place != key else OmegaConf.create({**plain(config), **laid}))

        of_teacher = training.first.network.owner == Teacher.role
        learner = tried.teacher if of_teacher else f"{training.first.network.owner}.model"
        name = training.title if training.is_kept else training.name
        trainer = OmegaConf.create(dict(recipe.trainer.settings))
        return refusal(error, name, learner, trainer, tried, again, told)

    def attempt(self, training: Training, tried: Tried) -> None:
        """The same; `tried` holds what was made of the config until then."""
        data, recipe = kept.data_of(training), training.recipe
        made = recipe.callbacks(self.place)
        tried.callbacks |= {name: callback for name, callback in made.items() if is_rehearsed(callback)}
        tried.module = module = build_module(training, self.parts.context)
        if module.followed is not None:
            module.followed.rehearses = True
        tried.callbacks = by_learner(tried.callbacks, module.learners)
        real = recipe.trainer([], [], enable_checkpointing=False, enable_model_summary=False)
        validates = check_batches(real, data)
        trainer = short_trainer(recipe, tried.callbacks, self.place, first_device(real))
        trainer.callbacks.extend(unfreezing(training, module))  # type: ignore[attr-defined]
        trainer.limit_val_batches = min(1, trainer.limit_val_batches) if validates else 0
        if recipe.channels_last:
            use_channels_last(module, example_input(data))
        trainer.fit(module, datamodule=data.in_this_process())
        if training.prepares is None:
            trainer.test(module, datamodule=data.in_this_process(), verbose=False)


def by_learner(callbacks: dict[str, Callback], learners: Sequence[str]) -> dict[str, Callback]:
    """Callbacks by their names in the config; of several learners one may stand for each."""
    each = {name: for_learners([one], learners) for name, one in callbacks.items()}
    return {name if len(own) == 1 else f"{name}_{n}": one for name, own in each.items() for n, one in enumerate(own)}


def first_device(trainer: Trainer) -> Any:
    """The first of a trainer's devices, as an argument of another one's."""
    return [trainer.device_ids[0]] if trainer.strategy.root_device.type == "cuda" else 1


def is_rehearsed(callback: Callback) -> bool:
    """Whether a callback leaves nothing behind; what one of the user's own does is not known."""
    return type(callback).__module__.startswith(RELEASED) and not isinstance(callback, APART)


def short_trainer(recipe: Recipe, callbacks: dict[str, Callback], place: Path, device: Any) -> Trainer:
    """A recipe's trainer, which ends after its first step and writes no checkpoint, on one device."""
    loggers = [CSVLogger(place)] if any(recipe.loggers.settings.values()) else []
    trainer: Trainer = recipe.trainer(
        [*callbacks.values(), SeededBatches(recipe.seed), OneStep()],
        loggers,
        devices=device,
        num_nodes=1,
        strategy="auto",
        profiler=None,
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
