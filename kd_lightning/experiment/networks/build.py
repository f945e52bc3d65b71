"""Building the module around networks, and what it minimises, from a config."""

from typing import Any

from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig
from torch import nn

from kd_lightning.curricula import Curriculum
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.secrets import without_secrets
from kd_lightning.experiment.networks.instantiation import make
from kd_lightning.experiment.recipe import of_student
from kd_lightning.experiment.task import task_of
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Objective, Term

TRAINING_SET = ("index", "target")


def build_terms(loss: DictConfig, key: str = "loss") -> dict[str, Term]:
    """The terms that `loss` names, without those that are taken away; `key` is where it stands in the config."""
    return {str(name): make(term, f"{key}.{name!s}") for name, term in loss.items() if term}


def curriculum_of(config: DictConfig) -> Curriculum | None:
    """A fresh curriculum as the config describes it, or None. Raises `UserError` for what is none."""
    if not config.curriculum:
        return None
    made: object = make(config.curriculum, "curriculum")
    if not isinstance(made, Curriculum):
        raise UserError(
            f"curriculum._target_={config.curriculum.get('_target_')}: makes {type(made).__name__}, no curriculum; "
            "make it a subclass of kd_lightning.curricula.Curriculum"
        )
    return made


def build_optimization(config: DictConfig) -> dict[str, Any]:
    """A module's `optimizer`, `scheduler` and `on_nonfinite`."""
    # As plain values, for optimizers keep them in checkpoints, which load with `weights_only=True`.
    scheduler = instantiate(config.scheduler, _convert_="all") if config.scheduler else None
    return {
        "optimizer": instantiate(config.optimizer, _convert_="all"),
        "scheduler": scheduler,
        "on_nonfinite": config.get("on_nonfinite", "stop"),
    }


def build_module(
    experiment: Experiment, teacher: nn.Module | None, began: DictConfig | None = None
) -> DistillationModule:
    """The module of an experiment, with its teacher as that was built; random weights come from the seed alone.

    Its checkpoints keep the config, or the one that its training `began` with.
    """
    config, data, described, _ = experiment
    seed_everything(config.seed, workers=True, verbose=False)
    student = described.build(data, described.adapted_to(teacher))
    module = module_around(student, experiment, teacher, config.loss, curriculum_of(config))
    if began is not None:
        module.save_hyperparameters({"config": dict(without_secrets(plain(began)))}, logger=False)
    return module


def module_around(
    student: nn.Module,
    experiment: Experiment,
    teacher: nn.Module | None,
    loss: DictConfig,
    curriculum: Curriculum | None = None,
) -> DistillationModule:
    """The module that trains this student as an experiment describes, with these terms."""
    config, data = experiment.config, experiment.data
    terms = build_terms(loss)
    example, task = example_input(data), task_of(config, data)
    if teacher is not None:
        teacher = experiment.teacher.source(teacher, Objective(terms).names(), config, data, example)
    data.setup()
    return DistillationModule(
        student=student,
        teacher=teacher,
        terms=terms,
        **build_optimization(of_student(config)),
        student_taps=experiment.student.given_taps() or "auto",
        example_input=dict(data.streams) or data.example(),
        task=task,
        training_set=data.training_set(),
        curriculum=curriculum,
        config=dict(without_secrets(plain(config))),
    )
