"""Checking the networks that a config names: they have weights, and fit the data and the terms."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from kd_lightning.batch import Batch, as_streams, example_of, main_stream
from kd_lightning.config.checks.training import check_schedules
from kd_lightning.config.parts.recipe import own_terms
from kd_lightning.data import DataModule, ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.learners.over_sources import OverPeers
from kd_lightning.networks import Network
from kd_lightning.objective import Objective
from kd_lightning.plans import Parts
from kd_lightning.signals import DETACHED, PEERS, Signal, has_rows, read, requested, taps_of_source, views_in
from kd_lightning.signals import TRAINING_SET as TRAINING_SET_SIGNALS
from kd_lightning.taps.inspection import Adapt, Cost
from kd_lightning.teachers import Teacher
from kd_lightning.teachers.classes import OF_ITS_CLASSES
from kd_lightning.training.context import Context, Terms

LEARNER, TEACHER = "student", "teacher"  # in the names of signals
TRAINING_SET = ("index", "target")
GIVEN = ("student", "teacher", "train", "progress", "target", "index", "view")


def check_classes(experiment: Experiment) -> None:
    """Pretrained networks know the data's classes."""
    for network in experiment.teacher.networks().values():
        network.check_classes(experiment.data)


def check_models(experiment: Experiment, parts: Parts, others: Mapping[str, Experiment] = MappingProxyType({})) -> None:
    """The models run on the data, know its classes, and have every tap that a term takes; what they cost is noted.

    Seen on networks without memory behind them where possible, so it costs little. `others` are those of the other
    students, of which terms may take signals, by their names.
    """
    student, teacher = experiment.student, experiment.taught_by
    context = replace(parts.context, recipe=parts.recipe)
    adapt = adapted(experiment)
    peers = {name: (one.student, adapted(one)) for name, one in others.items()}
    experiment.costs.update(check_terms("loss", parts.terms(), student, teacher, adapt, context, peers))
    if parts.pretraining is not None:
        check_terms("initialization.loss", parts.pretraining.terms(), student, teacher, adapt, context)
    for network in {one.alone: one for one in reversed(experiment.trained_alone())}.values():
        if own_terms(network.alone, experiment.config) is not None:
            terms = context.alone[network.alone].terms()
            check_terms(f"{network.alone}.loss", terms, network, Teacher(), None, context)


def adapted(experiment: Experiment) -> Adapt | None:
    """How a student is rebuilt, around a teacher like its own."""
    return experiment.student.adapted_to_one_like(lambda example: experiment.taught_by.like(experiment.data, example))


def check_terms(
    key: str,
    terms: Terms,
    learner: Network,
    teacher: Teacher,
    adapt: Adapt | None,
    context: Context,
    peers: Mapping[str, tuple[Network, Adapt | None]] = MappingProxyType({}),
) -> dict[str, Cost]:
    """What the networks cost, which have every tap that these terms take, in shapes that fit. Raises UserError."""
    data, task = context.data, context.task
    objective = Objective({name: OverPeers.around(term, [*peers]) for name, term in teacher.over(terms).items()})
    check_schedules(objective, key, data)
    check_signals(key, objective, teacher, context, [*peers])
    check_known_classes(key, objective, teacher, data)
    task.check_losses({f"{key}.{name}": term.loss for name, term in objective.items()})
    if not objective.needs_training_labels:  # which are not read yet
        objective.see_labels(None, task.width)
    names = objective.names()
    taps: dict[str, list[str] | None] = {LEARNER: [], TEACHER: None, **{name: [] for name in peers}}
    values: dict[str, Tensor] = {}
    costs: dict[str, Cost] = {}
    networks = teacher.networks()
    looked_at = [
        (LEARNER, learner, "", adapt),
        *((TEACHER, network, prefix, None) for prefix, network in networks.items()),
        *((name, network, "", own) for name, (network, own) in peers.items() if requested(name, names)),
    ]
    for source, network, prefix, adapted in looked_at:
        wanted = requested(source, names)
        named = set().union(*wanted.values())
        taken = {tap.removeprefix(prefix) for tap in named if tap.startswith(prefix) or "." not in tap}
        try:
            seen = network.inspect(data, task, taken, adapted)
        except UserError as error:
            remedy = None if adapted is None else remedy_of_classes(teacher, data)
            if remedy is None:
                raise
            raise UserError(f"{error}; {remedy}") from error
        costs[network.model_key] = seen.cost
        given = {"logits": seen.values["logits"]} if prefix else {}
        given |= {f"{prefix}{tap}": seen.values[tap] for tap in seen.taps}
        taps[source] = list(dict.fromkeys([*(taps[source] or []), *given]))
        for input in wanted:
            values |= {str(Signal(source, tap, input)): value.to("meta") for tap, value in given.items()}
    if not teacher.tells_signals():  # what that one gives is known once it is built
        return costs
    keys = {name: f"{network.model_key.removesuffix('.model')}.taps" for name, (network, _) in peers.items()}
    objective.connect(taps, TRAINING_SET if isinstance(data, ImageDataModule) else (), keys)
    teacher.check_with(context, taps_of_source(TEACHER, objective.names()))
    if not any(name.startswith("train.") for name in objective.names()):  # the training samples are not read yet
        values |= {f"{name}{DETACHED}": value for name, value in values.items()}
        values |= task.rows({name: value for name, value in values.items() if has_rows(name)}, {})[0]
        outputs = next((value for name, value in values.items() if has_rows(name)), torch.zeros(2, device="meta"))
        values |= {"target": task.blank_target(outputs)}
        examples = {name: example_of(batch) for name, batch in as_streams(dict(data.streams) or data.example()).items()}
        streams: dict[str, Batch] = move_data_to_device(examples, torch.device("meta"))
        tensors = {name: {**only_tensors(batch), **values} for name, batch in streams.items()}
        with torch.device("meta"):
            objective.build(tensors[main_stream(streams)], tensors)
    return costs


def check_known_classes(key: str, objective: Objective, teacher: Teacher, data: DataModule) -> None:
    """The terms take nothing that is of other classes than the data's. Raises UserError."""
    remedy = remedy_of_classes(teacher, data)
    for name, term in objective.items() if remedy is not None else ():
        taken = taps_of_source(TEACHER, term.names()) & {*OF_ITS_CLASSES}
        if taken:
            raise UserError(f"{key}.{name}: takes {TEACHER}.{min(taken)}; {remedy}, or take terms on features")


def remedy_of_classes(teacher: Teacher, data: DataModule) -> str | None:
    """What helps where a network of the teacher knows other classes than the data's; None where none does."""
    found = (network.told_of_classes(data) for network in teacher.networks().values())
    return next((told for told in found if told is not None), None)


def check_signals(
    key: str, objective: Objective, teacher: Teacher, context: Context, peers: Sequence[str] = ()
) -> None:
    """The terms take nothing that nobody gives. Raises UserError."""
    data = context.data
    data.check_views(views_in(objective.names()))
    if isinstance(data, ImageDataModule) and data.mixing.is_on:
        for name, term in objective.items():
            if any(signal == "index" or signal.startswith(f"{TRAINING_SET_SIGNALS}.") for signal in term.names()):
                raise UserError(
                    f"{data.mixing.key}: {key}.{name} remembers images by their index, and a mixed image is two; leave "
                    "the term out, or mix none"
                )
    if any(term.stream is not None for _, term in objective.items()):
        objective.check_streams(data.streams)
    for name, term in objective.items():
        if not teacher.exists and requested(TEACHER, term.names()):
            alone = context.task.supervised
            if key != "loss":
                raise UserError(
                    f"{key}.{name}: this term needs a teacher, and this network is trained by itself; give it terms as "
                    f"{alone}, or {key}=null"
                )
            raise UserError(f"loss={name}: this term needs a teacher; choose one, or loss={alone} with teacher=none")
        for argument, signal in term.named_signals():
            first = read(signal)
            source = signal if first is None else first.source
            if source == PEERS:
                raise UserError(
                    f"{key}.{name}: takes {signal}, of the other students, and there is one; give student.models=[…], "
                    "and plan=mutual"
                )
            if source not in (*GIVEN, *peers):
                raise UserError(
                    f"{key}.{name}.{argument}={signal}: nobody gives this signal; names begin with {', '.join(GIVEN)}"
                )


def check_weights(experiment: Experiment) -> None:
    """Files of weights fit their networks, and given normalisations the data."""
    data, student, teacher = experiment.data, experiment.student, experiment.teacher
    student.check_weights(data, adapted(experiment))
    for network in teacher.networks().values():
        network.check_weights(data)


def only_tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: value for name, value in batch.items() if isinstance(value, Tensor)}
