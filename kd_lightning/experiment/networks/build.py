"""Building the module around networks, and what it minimises, from a config."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig
from torch import nn

from kd_lightning.curricula import Curriculum
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.secrets import without_secrets
from kd_lightning.experiment.networks.instantiation import make
from kd_lightning.experiment.networks.network import Network
from kd_lightning.experiment.recipe import recipe_of
from kd_lightning.experiment.task import task_of
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Objective, Term
from kd_lightning.sources import Source

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
    terms = build_terms(config.loss)
    source, recipe = source_of(teacher, terms, experiment), recipe_of(described.owner, config)
    module = module_around(student, described, terms, recipe, data, source, curriculum_of(config))
    module.save_hyperparameters({"config": dict(without_secrets(plain(began or config)))}, logger=False)
    return module


def source_of(teacher: nn.Module | None, terms: Mapping[str, Term], experiment: Experiment) -> Source | None:
    """A built teacher as the source of what these terms take of it."""
    if teacher is None:
        return None
    config, data, _, described = experiment
    return described.source(teacher, Objective(terms).names(), config, data, example_input(data))


def module_around(
    network: nn.Module,
    described: Network,
    terms: Mapping[str, Term],
    config: DictConfig,
    data: DataModule,
    teacher: Source | None = None,
    curriculum: Curriculum | None = None,
) -> DistillationModule:
    """The module that trains a network with these terms, by the config of that training."""
    data.setup()
    return DistillationModule(
        student=network,
        teacher=teacher,
        terms=terms,
        **build_optimization(config),
        student_taps=described.given_taps() or "auto",
        example_input=dict(data.streams) or data.example(),
        task=task_of(config, data),
        training_set=data.training_set(),
        curriculum=curriculum,
    )
