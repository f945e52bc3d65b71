"""summary.json: what came out of a run."""

from collections.abc import Container, Mapping
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig

from kd_lightning.data import DataModule
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.folder.memory import peak_memory
from kd_lightning.experiment.networks.network import short_name
from kd_lightning.experiment.testing import TestedNetwork, costs
from kd_lightning.losses.sample_weights import named
from kd_lightning.models.profile import Profile
from kd_lightning.objective import Objective
from kd_lightning.runs.summary import Part, PlanRecord, Role, Summary
from kd_lightning.schedules.progress import END
from kd_lightning.tasks import Task
from kd_lightning.term import Term


def summarise(
    config: DictConfig,
    data: DataModule,
    task: Task,
    objective: Objective,
    networks: Mapping[str, TestedNetwork | None],
    names: Mapping[str, str],
    selected: str,
    skipped_steps: int | None,
) -> Summary:
    """A run's summary; `networks` and `names` are by name, `selected` is the student's checkpoint."""
    student = networks["student"]
    assert student is not None
    there = {name: tested for name, tested in networks.items() if tested is not None}
    cost = costs(there, data)
    found = {name: network_record(names[name], cost[name], tested) for name, tested in there.items()}
    return Summary(
        {**data_record(data, task, selected, config.test), **curriculum_record(config)},
        config.seed,
        plan_record(there),
        {name: found.get(name) for name in networks},
        objective_record(objective),
        student.time,
        peak_memory(),
        skipped_steps,
    )


def plan_record(there: Container[str]) -> PlanRecord:
    """Distillation: a teacher, a student alone, a distilled student, as far as they are there."""
    student = "distilled student" if "teacher" in there else "student"
    parts = {
        "teacher": Part("teacher", Role.TEACHER),
        "scratch": Part("student alone", Role.BASELINE),
        "student": Part(student, Role.STUDENT),
    }
    networks = {name: part for name, part in parts.items() if name in there}
    return PlanRecord("distillation", "student", "scratch" if "scratch" in there else None, networks)


def data_record(data: DataModule, task: Task, selected: str, tested: bool) -> dict[str, Any]:
    """The data, what compares networks on them, what selected the weights, and whether the student was tested."""
    seen = data.fingerprint()
    known = {"name": data.name, "images": data.sizes()}
    return {
        **seen,
        **{key: value for key, value in known.items() if key not in seen},
        **task.of_data(),
        "task": task.compared().as_record(),
        "validates_on": data.validates_on,
        "selected_checkpoint": selected,
        "tested": tested,
    }


def curriculum_record(config: DictConfig) -> dict[str, Any]:
    """The curriculum of the distilled student: its class and what it was made with; nothing where there is none."""
    settings = plain(config.curriculum) or {}
    own = {name: value for name, value in settings.items() if not name.startswith("_")}
    return {"curriculum": {"name": short_name(settings), **own}} if settings else {}


def network_record(name: str, cost: Profile, tested: TestedNetwork) -> dict[str, Any]:
    """One network's line of the comparison: its size, its cost and its metrics."""
    return {"model": name, **asdict(cost), **tested.test}


def objective_record(objective: Objective) -> dict[str, Any]:
    """Each term with its weight and the parameters of its loss, at the training's end, and what weighs its samples."""
    weights = objective.weights(END)
    return {
        name: {
            "loss": type(term.loss).__name__,
            "weight": weights[name],
            **_plain_attributes(term),
            **({} if term.sample_weight is None else {"sample_weight": named(term.sample_weight)}),
            **({} if term.stream is None else {"stream": term.stream}),
        }
        for name, term in objective.items()
    }


def _plain_attributes(term: Term) -> dict[str, Any]:
    """What a term's loss was given, such as its temperature; of a schedule the number at the training's end."""
    with term.numbers_at(END):
        return {
            name: value
            for name, value in vars(term.loss).items()
            if not name.startswith("_") and name != "training" and isinstance(value, (int, float, str, bool))
        }
