"""summary.json: what came out of a run."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from kd_lightning.config.folder.description import curriculum_record
from kd_lightning.data import DataModule
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.learners.over_members import OverMembers
from kd_lightning.losses.arguments import plain_attributes
from kd_lightning.losses.sample_weights import named
from kd_lightning.models.profile import Profile
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Objective
from kd_lightning.runs.summary import Part, PlanRecord, Role, Summary
from kd_lightning.schedules.progress import END, Progress
from kd_lightning.tasks import Task
from kd_lightning.term import Term
from kd_lightning.tracking.memory import peak_memory
from kd_lightning.training.measuring import TestedNetwork, costs


class Compared(NamedTuple):
    """A network of a comparison: its model's name, its part in the plan, and what was measured of it."""

    model: str
    part: Part
    tested: TestedNetwork


def summarise(
    experiment: Experiment,
    module: DistillationModule,
    compared: Mapping[str, Compared],
    result: str,
    selected: str,
    skipped_steps: int | None,
) -> Summary:
    """A run's summary: of networks, teachers first, the `result` of a module, its `selected` checkpoint reported."""
    taught_by = (Role.MEMBER, Role.TEACHER)
    compared = dict(sorted(compared.items(), key=lambda named: named[1].part.role not in taught_by))
    data, task, plan = experiment.data, experiment.task, experiment.plan
    cost = costs({name: one.tested for name, one in compared.items()}, data)
    records = {name: network_record(one.model, cost[name], one.tested) for name, one in compared.items()}
    baselines = [name for name, one in compared.items() if one.part.role is Role.BASELINE]
    parts = {name: one.part for name, one in compared.items()}
    return Summary(
        {
            **data_record(data, task, selected, experiment.config.test),
            **curriculum_record(experiment.config, experiment.trained_alone()),
        },
        experiment.config.seed,
        PlanRecord(getattr(plan, "name", type(plan).__name__), result, next(iter(baselines), None), parts),
        {**dict.fromkeys(getattr(plan, "networks", ())), **records},
        objectives_record(module, replace(END, assessment=module.assessment)),
        compared[result].tested.time,
        peak_memory(),
        skipped_steps,
        next((followed.told() for followed in module.routes), None),
    )


def data_record(data: DataModule, task: Task, selected: str, tested: bool) -> dict[str, Any]:
    """The data, what compares networks on them, what selected the weights, and whether the result was tested."""
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


def network_record(model: str, cost: Profile, tested: TestedNetwork) -> dict[str, Any]:
    """One network's line of the comparison: its size, its cost and its metrics."""
    return {"model": model, **asdict(cost), **tested.test}


def objectives_record(module: DistillationModule, end: Progress) -> dict[str, Any]:
    """The terms of each learner; of several with the learner's name in front."""
    several = len(module.objectives) > 1
    return {
        f"{learner}.{name}" if several else name: record
        for learner, objective in module.objectives.items()
        for name, record in objective_record(objective, module.views[learner].progress(end)).items()
    }


def objective_record(objective: Objective, end: Progress) -> dict[str, Any]:
    """Each term with its weight and the parameters of its loss, at the training's end, and what weighs its samples."""
    weights = objective.weights(end)
    return {
        name: {
            "loss": type(term.loss).__name__,
            "weight": weights[name],
            **_plain_attributes(term, end),
            **({} if term.sample_weight is None else {"sample_weight": named(term.sample_weight)}),
            **({} if term.stream is None else {"stream": term.stream}),
            **({"members": term.combine} if isinstance(term, OverMembers) else {}),
        }
        for name, term in objective.items()
    }


def _plain_attributes(term: Term, end: Progress) -> dict[str, Any]:
    """What a term's loss was given, such as its temperature; of a schedule the number at the training's end."""
    with term.numbers_at(end):
        return plain_attributes(term.loss)
