"""What a training is called where runs are looked at together: its name, its group, its tags, its flat config."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.conf import plain
from kd_lightning.config.parts.recipe import ALONE, CURRICULUM, own_curriculum
from kd_lightning.config.parts.students import MODELS as SEVERAL
from kd_lightning.data import DataModule
from kd_lightning.learners.names import of_learner
from kd_lightning.networks import Network, Student, short_name
from kd_lightning.reporting.tables.config_tree import call
from kd_lightning.runs.folder import sweep_of
from kd_lightning.system.secrets import without_secrets
from kd_lightning.tasks import Task
from kd_lightning.teachers import Teacher
from kd_lightning.tracking.description import Description
from kd_lightning.training.steps import Training

SCHEDULED = ("temperature", "alpha")  # by one name, also where it is a schedule
OF_DISTILLATION = (*SCHEDULED, "loss", "initialization", "curriculum")
NETWORKS = (Student.owner, Teacher.role)
PLACES = ("paths", "hydra", "logger", "callbacks")


def describe(training: Training, config: DictConfig, data: DataModule, task: Task) -> Description:
    """A training of the run that a config is of."""
    method, is_result = method_name(config), not training.is_kept
    return Description(
        role=training.name,
        name=run_name(config, training, method),
        group=group_name(Path(config.paths.output_dir)),
        tags=[method, data.name] if is_result else [data.name],
        config={**flat_config(config, training), "data.name": data.name},
        compared=compared_by(training, task),
        is_result=is_result,
    )


def compared_by(training: Training, task: Task) -> list[str]:
    """The logged names by which trainings are compared, of several learners those of each."""
    names = [f"{stage}/{column.name}" for stage in ("val", "test") for column in task.validated]
    learners = training.learners
    return names if len(learners) == 1 else [of_learner(name, one) for one in learners for name in names]


def method_name(config: DictConfig) -> str:
    """The published method that was chosen, else the names of the terms."""
    return chosen("method") or "+".join(str(name) for name, term in config.loss.items() if term)


def chosen(group: str) -> str | None:
    """The value of a config group on the command line or in the defaults; None outside of Hydra."""
    return HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None


def run_name(config: DictConfig, training: Training, method: str) -> str:
    """A name that a person can read, such as `resnet8 ← resnet20, ce+kd, T=4 α=0.9, seed 0`."""
    seed, networks = f"seed {config.seed}", training.networks
    if training.is_kept:
        return f"{' '.join(filter(None, (networks, training.called)))}, {seed}"
    return ", ".join(part for part in (networks, method, soft_target_values(config), seed) if part)


def soft_target_values(config: DictConfig) -> str:
    """The temperature and alpha, as far as the terms take them."""
    terms = str(OmegaConf.to_container(config.loss, resolve=False))
    values = {"T": "temperature", "α": "alpha"}  # noqa: RUF001
    told = {key: plain(config[key]) for key in values.values()}
    told = {key: call(value) if isinstance(value, Mapping) else f"{value:g}" for key, value in told.items()}
    return " ".join(f"{sign}={told[key]}" for sign, key in values.items() if f"${{{key}}}" in terms)


def group_name(folder: Path) -> str:
    """The name of a sweep's folder, or of a single run's; with the day in front where that is the folder around it."""
    folder = folder.resolve()
    group = sweep_of(folder) or folder
    day = group.parent.name
    return f"{day}/{group.name}" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) else group.name


def flat_config(config: DictConfig, training: Training) -> dict[str, Any]:
    """The config with dotted keys, without what has no part in this training.

    A network trained by itself has no temperature: where jobs are compared over it, it would stand among them.
    """
    values: dict[str, Any] = without_secrets(plain(config))
    values |= {key: call(values[key]) for key in SCHEDULED if isinstance(values.get(key), Mapping)}
    if training.is_kept and not training.sources:
        left_out = (*OF_DISTILLATION, *(owner for owner in NETWORKS if owner != training.first.network.owner))
        values = {name: value for name, value in values.items() if name not in left_out}
    flat = flatten({name: value for name, value in values.items() if name not in PLACES})
    named = [network for network in NETWORKS if network in values and values[network].get("model")]
    flat |= {f"{network}.model": short_name(values[network]["model"]) for network in named}
    if Student.owner in named and values[Student.owner].get(SEVERAL):
        students = [one.network for one in training.learners.values() if one.network.owner == Student.owner]
        flat[f"{Student.owner}.model"] = ", ".join(one.name for one in students)
    return flat


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, their keys joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def curriculum_record(config: DictConfig, trained_alone: Iterable[Network]) -> dict[str, Any]:
    """The curricula of the distilled student and of the student alone, each its class and what it was made with.

    Nothing where there is none.
    """
    found = {CURRICULUM: config.curriculum}
    if any(network.alone == ALONE for network in trained_alone):
        found[f"{ALONE}_{CURRICULUM}"] = own_curriculum(ALONE, config)
    given = {key: plain(one) for key, one in found.items() if one}
    return {
        key: {"name": short_name(one), **{name: value for name, value in one.items() if not name.startswith("_")}}
        for key, one in given.items()
    }
