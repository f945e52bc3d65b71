"""Carrying out the steps of a plan: trainings that are kept for all runs, and the one that the run is about."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from lightning import Trainer
from typing_extensions import Self

from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.rehearsal import FOLLOWED, WITHOUT_RESULT
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.summary import Compared, summarise
from kd_lightning.models import save_weights
from kd_lightning.module import DistillationModule
from kd_lightning.networks.description import Description, builds
from kd_lightning.plans import Convert, Mean, Parts, Trained, Training
from kd_lightning.plans.plan import Step
from kd_lightning.reporting.loggers import show_curriculum
from kd_lightning.runs.files import CHECKPOINTS, INITIALIZATION, LAST, weights_of
from kd_lightning.runs.summary import Part, Role, Summary
from kd_lightning.store.remembered import remember
from kd_lightning.teachers import Teacher
from kd_lightning.terminal import say
from kd_lightning.tracking.outcome import outcome_of
from kd_lightning.tracking.results import log_results
from kd_lightning.tracking.wandb.logger import one_wandb_run
from kd_lightning.training import converting, kept
from kd_lightning.training.finetuning.unfreezing import unfreezing
from kd_lightning.training.fit import fit
from kd_lightning.training.measurements import measure_mean
from kd_lightning.training.measuring import TestedNetwork, measure_alone, measure_learners
from kd_lightning.training.modules import build_module


class Done(NamedTuple):
    """The training that a run is about, once it is over: its module, its first learner, the selected checkpoint."""

    training: Training
    module: DistillationModule
    trainer: Trainer
    result: str
    selected: str


class Execution:
    """Carries out the steps of an experiment's plan in a run's folder; `compared` are the networks so far, by name.

    Leaving it ends what is logged. Raises `UserError` for a plan that trains or converts behind a training which is not
    kept.
    """

    def __init__(self, experiment: Experiment, parts: Parts, folder: Path) -> None:
        self.experiment, self.parts, self.folder = experiment, parts, folder
        self.context = parts.context
        self.compared: dict[str, Compared] = {}
        self.done: Done | None = None  # the training that the run is about
        self.logging = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> bool | None:
        return self.logging.__exit__(*raised)

    def carry_out(self, step: Step) -> Trained:
        if isinstance(step, Mean):
            return self.mean(step)
        if self.done is not None:
            raise UserError(FOLLOWED)
        if isinstance(step, Teacher):
            return self.of_teacher(step)
        if isinstance(step, Convert):
            return converting.obtain(step, self.context)
        if step.prepares is not None:
            return self.prepared(step)
        return self.kept(step) if step.is_kept else self.result(step)

    def of_teacher(self, teacher: Teacher) -> Trained:
        tested = teacher.obtain(self.context)
        assert tested is not None
        for name, (model, member) in teacher.measured.items():
            self.compared[name] = Compared(model, Part(name.replace("_", " "), Role.MEMBER), member)
        self.compared[teacher.role] = Compared(teacher.name, Part(teacher.role, Role.TEACHER), tested)
        return Trained(teacher.role, teacher, tested)

    def kept(self, training: Training) -> Trained:
        trained = kept.obtain(training, self.context)
        assert trained.tested is not None
        if training.is_compared:
            self.compare(training, {training.name: trained.tested})
        return trained

    def compare(self, training: Training, tested: Mapping[str, TestedNetwork]) -> None:
        for (name, learner), own in zip(training.learners.items(), tested.values(), strict=True):
            part = Part(learner.title or name, learner.role, learner.baseline)
            self.compared[name] = Compared(learner.network.name, part, own)

    def mean(self, step: Mean) -> Trained:
        trained = measure_mean(step, self.context)
        assert trained.tested is not None
        self.compared[step.name] = Compared(step.model, Part(step.title or step.name, step.role), trained.tested)
        return trained

    def prepared(self, training: Training) -> Trained:
        """The training before another one; it is taken up again where it was interrupted, and loaded where it is over.

        Where the training itself has begun, that holds it all, and nothing is done.
        """
        module = build_module(training, self.context)
        if not (self.folder / CHECKPOINTS / LAST).exists():
            terms = " + ".join(terms_of(module))
            epochs = training.recipe.trainer.settings["max_epochs"]
            say(training.name, f"{epochs} epochs, {terms}")
            folder = self.folder / INITIALIZATION
            fit(training.recipe, module, kept.data_of(training), folder, folder, self.context.describe(training))
        tested = TestedNetwork(module.student, {})
        return Trained(training.name, training.first.network, tested, module.objective.state_dict())

    def result(self, training: Training) -> Trained:
        """The training that the run is about, in the run's folder, measured and compared with the networks so far."""
        config, context, folder = self.experiment.config, self.context, self.folder
        module = build_module(training, context)
        say(training.name, f"{networks_of(training)}, {' + '.join(terms_of(module))}")
        name = next(iter(training.learners))
        self.logging.enter_context(one_wandb_run())
        beside = [callback for one in training.sources.values() for callback in one.callbacks()]
        beside += unfreezing(training, module)
        data = kept.data_of(training)
        fitted = fit(training.recipe, module, data, folder, folder, context.describe(training), beside)
        tested, selected = measure_learners(fitted, module, training.data, folder, config.test)
        self.measure_changed(training, module)
        self.compare(training, tested)
        self.done = Done(training, module, fitted.trainer, name, selected)
        return Trained(name, training.first.network, self.compared[name].tested)

    def finish(self) -> Summary:
        """The summary; the first rank writes the learners' weights and tells the loggers.

        Raises `UserError` for a plan without a training that the run is about.
        """
        if self.done is None:
            raise UserError(WITHOUT_RESULT)
        training, module, trainer, result, selected = self.done
        skipped = module.finite.skipped if training.recipe.on_nonfinite == "skip" else None
        summary = summarise(self.experiment, module, self.compared, result, selected, skipped)
        if trainer.is_global_zero:
            for name, learner in training.learners.items():
                network = self.compared[name].tested.network
                described = Description.of(learner.network, training.data, self.context.task).beside_weights()
                metadata = {**learner.network.file_metadata(network), **described}
                remember(builds(metadata))
                save_weights(network, self.folder / weights_of(name), metadata)
            arrays = {**self.compared[result].tested.arrays, **self.context.task.constants(training.data)}
            log_results(trainer.loggers, outcome_of(summary, arrays, self.folder / weights_of(result)))
            show_curriculum(trainer.loggers, self.folder)
        return summary

    def measure_changed(self, training: Training, module: DistillationModule) -> None:
        """Measure what the network learned from, as it is at the end, where its training changed it."""
        for name in training.sources:
            source = module.sources.get(name)
            if source is not None and source.changes and name in self.compared:
                self.compared[name] = self.compared[name]._replace(tested=measure_alone(source, self.context))


def networks_of(training: Training) -> str:
    """The networks that a training trains, in a line."""
    return ", ".join(learner.network.name for learner in training.learners.values())


def terms_of(module: DistillationModule) -> list[str]:
    """The names of all terms, each once."""
    return list(dict.fromkeys(name for objective in module.objectives.values() for name, _ in objective.items()))
