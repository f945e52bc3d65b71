"""A trained student, built from its file of weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf
from torch import nn

from kd_lightning.config.folder.foreign import check_foreign
from kd_lightning.config.folder.stored_config import run_config
from kd_lightning.config.parts.described import student_of
from kd_lightning.conversions import read_conversions
from kd_lightning.data.evaluation import EvaluationTransform
from kd_lightning.errors import UserError
from kd_lightning.experiment.experiment import experiment_of
from kd_lightning.inference.evaluation import adapted_around
from kd_lightning.inference.place import Place, find
from kd_lightning.models import read_normalization
from kd_lightning.models.weights.checkpoint_files import read_metadata
from kd_lightning.networks import Student, short_name
from kd_lightning.networks.description import DescribedData, Description, builds
from kd_lightning.networks.normalization import Normalization
from kd_lightning.plans import Convert, Mean, Training
from kd_lightning.plans import Trained as Given
from kd_lightning.plans.follow import follow
from kd_lightning.plans.plan import Step
from kd_lightning.store.remembered import is_remembered
from kd_lightning.taps.inspection import Adapt
from kd_lightning.training import converting


class LoadedStudent(NamedTuple):
    """A network in eval mode, which normalises for itself; what makes its input of an image file; its classes."""

    network: nn.Module
    transform: EvaluationTransform | None
    classes: list[str] | None


@dataclass(frozen=True)
class Trained:
    """A student's network, where it is from, and what its file tells of it."""

    network: nn.Module
    place: Place
    description: Description
    model: str


def load_student(path: str | Path, *, trust: bool = False) -> LoadedStudent:
    """The student of a run's folder, of its `student.safetensors`, or of a folder with one, as an artifact's.

    The network gives what it gave while it was trained, mostly logits (B, C), for images (B, C, H, W) in [0, 1];
    `transform` is None for data that do not come from image files, `classes` where nobody named them. Classes of the
    user's own are built where the run began on this machine, or with `trust`.

    Raises UserError where there is no student, or not what it is built from.

    Examples:
        >>> from kd_lightning import load_student
        >>> def classify(run, photo):
        ...     network, transform, classes = load_student(run)
        ...     return classes[network(transform(photo)[None]).argmax()]
        >>> try:
        ...     classify("outputs/2026-11-26/05-56-38", "cat.jpg")
        ... except ValueError as error:
        ...     print(str(error).partition(";")[0])
        path=outputs/2026-11-26/05-56-38: no such folder or file
    """
    found = trained(path, "path", trust=trust)
    return LoadedStudent(found.network, found.description.transform, found.description.classes)


def trained(path: str | Path, key: str, *, trust: bool = False) -> Trained:
    """The student at a place, on the CPU and in eval mode; `key` is how an error names the path. Raises UserError."""
    place = find(path, key)
    where = f"{key}={place.weights}"
    metadata = read_metadata(place.weights, key)
    description = Description.read(metadata, where)
    given = dict(description.network)
    if trust or is_remembered(builds(metadata)):
        given["trusted"] = [entry["conversion"] for entry in read_conversions(metadata, where)]
    else:
        check_foreign({Student.owner: given}, where)
    student = described(given, place.weights, read_normalization(metadata))
    data = DescribedData(description)
    try:
        with torch.random.fork_rng([]):  # it is built with random weights first
            network = student.build(data, around_its_teacher(student, place, data, key, trust=trust))
    except UserError as error:
        raise UserError(str(error).replace(f"{student.weights_place}={student.weights}", where)) from error
    return Trained(network.eval(), place, description, student.name)


def described(given: Mapping[str, Any], weights: Path, normalization: Normalization | None) -> Student:
    """The student of these fields, with its weights and what it normalises with."""
    statistics = None if normalization is None else dict(zip(("mean", "std"), normalization, strict=True))
    further = {"weights": str(weights), "normalization": statistics or "auto"}
    return student_of(OmegaConf.create({Student.owner: {**given, **further}}))


def around_its_teacher(student: Student, place: Place, data: DescribedData, key: str, *, trust: bool) -> Adapt | None:
    """How a student is rebuilt that has parts of its teacher; None for any other.

    Raises UserError for such a one without its run, which tells the teacher.
    """
    if not student.adapt:
        return None
    if place.run is None:
        raise UserError(
            f"{key}={place.weights}: is rebuilt around its teacher ({short_name(student.adapt)}), and the file alone "
            "does not tell that; give the run's folder"
        )
    experiment = experiment_of(run_config(place.run, trust), data)
    last: list[Training] = []

    def look(step: Step) -> Given:
        if isinstance(step, Training):
            last.append(step)
            return Given(step.name, step.first.network, None)
        if isinstance(step, Convert):
            return converting.looked_up(step)
        return Given(step.name if isinstance(step, Mean) else step.role, step, None)

    follow(experiment.plan.steps(experiment.parts), look)
    learners = last[-1].learners
    learner = learners.get(place.weights.stem, last[-1].first)
    return adapted_around(learner, last[-1], data)
