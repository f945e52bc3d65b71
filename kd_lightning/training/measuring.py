"""Measuring networks: on the validation data that select them, and on the test set."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning import Trainer
from torch import Tensor, nn

from kd_lightning.callbacks import MeasuredPart
from kd_lightning.columns import VALIDATED
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.models.profile import Profile, profile_models
from kd_lightning.module import DistillationModule
from kd_lightning.runs.arrays import Arrays
from kd_lightning.runs.files import checkpoint as checkpoint_file
from kd_lightning.sources import LogitsOf, Source
from kd_lightning.system.records import Damaged, archive_is_damaged
from kd_lightning.tasks import Task
from kd_lightning.tasks.task import AGREEMENT
from kd_lightning.terminal import console, is_first_rank, warn
from kd_lightning.training.context import Context
from kd_lightning.training.fit import Fit, quiet
from kd_lightning.training.memory_format import use_channels_last, use_contiguous
from kd_lightning.training.ranks.launcher import launch_with_peers

Metrics = dict[str, float | None]
Weights = dict[str, Tensor]
OfCheckpoints = Mapping[str, Weights]  # by `best` and `last`


@dataclass(frozen=True)
class TestedNetwork:
    """A network, its metrics, what its training took where it was trained, and its answers class by class.

    `test` holds the test metrics and, where there are validation data, those of validation with `_validation` behind
    their names; `arrays` what the task's predictions give for figures.
    """

    network: nn.Module
    test: Metrics
    time: dict[str, float] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


Tested = tuple[Metrics, Arrays]


def test(trainer: Trainer, module: DistillationModule, data: DataModule) -> Tested:
    """The test metrics of a module's first learner as it is, without their prefix, and its answers class by class."""
    return test_each(trainer, module, data)[module.learner]


def test_each(trainer: Trainer, module: DistillationModule, data: DataModule) -> dict[str, Tested]:
    """The same of each learner by name."""
    with counting(trainer):
        results = trainer.test(module, datamodule=data, verbose=False)
    answers = module.tested if len(module.learners) > 1 else {module.learner: module.tested}
    arrays = {name: {key: tensor.cpu().numpy() for key, tensor in own.items()} for name, own in answers.items() if own}
    measured = by_learner(module, results[0], "test")
    return {name: (measured[name], arrays.get(name, {})) for name in module.learners}


def by_learner(module: DistillationModule, logged: Mapping[str, float], stage: str) -> dict[str, Metrics]:
    """What was logged of a stage, by learner and without what stands in front; what is of all belongs to each."""
    if len(module.learners) == 1:
        return {module.learner: {name.removeprefix(f"{stage}/"): value for name, value in logged.items()}}
    found: dict[str, Metrics] = {}
    for learner in module.learners:
        others = tuple(f"{stage}/{other}/" for other in module.learners if other != learner)
        own = {name: value for name, value in logged.items() if not name.startswith(others)}
        found[learner] = {
            name.removeprefix(f"{stage}/").removeprefix(f"{learner}/"): value for name, value in own.items()
        }
    return found


def untested(task: Task) -> Metrics:
    """The metrics of a student that was not tested: all of them null."""
    selects = task.selects_on.name
    return dict.fromkeys([*task.measured(), AGREEMENT, f"{selects}_best", f"{selects}_last"])


def validate(trainer: Trainer, module: DistillationModule, data: DataModule) -> Metrics:
    """The task's metrics of a module's first learner on the validation data; null where these are the test set."""
    return validate_each(trainer, module, data)[module.learner]


def validate_each(trainer: Trainer, module: DistillationModule, data: DataModule) -> dict[str, Metrics]:
    """The same of each learner by name."""
    measured: Mapping[str, float] = {}
    if data.validates_on == "validation":
        with without_loggers(trainer), counting(trainer):  # the curves hold the epochs of the training alone
            results = trainer.validate(module, datamodule=data, verbose=False)
        measured = results[0] if results else {}
    found: dict[str, Metrics] = {}
    for learner, own in by_learner(module, measured, "val").items():
        part: Metrics = {"images_validation": own["images"]} if "images" in own else {}
        found[learner] = part | {f"{one.name}{VALIDATED}": own.get(one.name) for one in module.task.validated}
    return found


@contextmanager
def counting(trainer: Trainer) -> Iterator[None]:
    """Log how many images are measured where that may be a part of them."""
    count = MeasuredPart()
    trainer.callbacks.append(count)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        trainer.callbacks.remove(count)  # type: ignore[attr-defined]


def is_sound(metrics: Metrics) -> bool:
    """Whether what was measured is finite: an infinite NLL is that of logits that are not."""
    return all(value is None or math.isfinite(value) for value in metrics.values())


@contextmanager
def without_loggers(trainer: Trainer) -> Iterator[None]:
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.loggers = loggers


def measure(trainer: Trainer, module: DistillationModule, data: DataModule) -> tuple[Metrics, Arrays]:
    """A module's student as it is, on the test set and on the validation data."""
    tested, arrays = test(trainer, module, data)
    return tested | validate(trainer, module, data), arrays


def holds_all(tested: Metrics, arrays: Arrays, task: Task) -> bool:
    """Whether what was measured once holds all that the task measures now: a metric may be newer."""
    wanted = {*task.measured(), *(f"{column.name}{VALIDATED}" for column in task.validated)}
    return wanted <= tested.keys() and {*task.arrays} <= arrays.keys()


def measure_alone(
    network: nn.Module, context: Context, taps: Mapping[str, str] | str = "auto", owner: str = "teacher"
) -> TestedNetwork:
    """Measure a network that needs no training; `taps` names its logits where its output does not.

    Raises UserError, in the words of the config's `owner`.
    """
    quiet()
    recipe = context.recipe
    shown = bool((recipe.callbacks.settings or {}).get("progress_bar")) and console.is_terminal
    trainer = recipe.trainer([], [], enable_checkpointing=False, enable_progress_bar=shown)
    launch_with_peers(trainer)
    module = DistillationModule(as_network(network), student_taps=taps, task=context.task)
    if recipe.channels_last:
        use_channels_last(module, example_input(context.data))
    try:
        tested, arrays = measure(trainer, module, context.data)
    except UserError as error:  # the module knows it as its student
        raise UserError(str(error).replace("student", owner)) from error
    return TestedNetwork(network, tested, arrays=arrays)


def costs(networks: Mapping[str, TestedNetwork], data: DataModule) -> dict[str, Profile]:
    """What one image costs each network, measured beside each other, never kept from another run.

    The networks are in the usual order in memory afterwards.
    """
    ordered = {role: use_contiguous(as_network(tested.network)) for role, tested in networks.items()}
    repeats = 20 if is_first_rank() else 1  # the first rank writes them; the others leave it the machine
    return profile_models(ordered, example_input(data), repeats)


def test_learners(
    trainer: Trainer, module: DistillationModule, data: DataModule, weights: Mapping[str, OfCheckpoints], selected: str
) -> dict[str, Tested]:
    """Each learner with its selected weights, and what selects of the `best` and the `last`; the module holds those.

    The selected ones alone are logged.
    """
    tested: dict[str, Tested] = {}
    selects = module.task.selects_on.name
    of_each: dict[str, Metrics] = {learner: {} for learner in weights}
    for name in sorted({name for own in weights.values() for name in own}, key=lambda name: name == selected):
        load_weights_of(module, weights, name)
        with nullcontext() if name == selected else without_loggers(trainer):
            tested = test_each(trainer, module, data)
        for learner, (metrics, _) in tested.items():
            of_each[learner][f"{selects}_{name}"] = metrics[selects]
    return {
        learner: ({**metrics, f"{selects}_best": of_each[learner][f"{selects}_last"], **of_each[learner]}, arrays)
        for learner, (metrics, arrays) in tested.items()
    }


def load_weights_of(module: DistillationModule, weights: Mapping[str, OfCheckpoints], name: str) -> None:
    """Put the weights of a checkpoint into a module, of each learner its own; the last ones where it has none."""
    for learner, own in weights.items():
        module.network_of(learner).load_state_dict(own.get(name, own["last"]))


def as_network(network: nn.Module) -> nn.Module:
    """A network as it is; a source as a network that gives its logits."""
    return LogitsOf(network) if isinstance(network, Source) else network


def stored_weights(folder: Path, which: str, learner: str, learners: Sequence[str]) -> Weights | None:
    """A learner in a folder's `best` or `last` checkpoint; None where there is none. Raises `Damaged`."""
    name = learner if len(learners) > 1 else None
    return weights_in(folder, best_of(name) if which == "best" else which, f"student.{name}" if name else "student")


def best_of(learner: str | None) -> str:
    """The checkpoint of a training's best epoch; of several learners that of one of them."""
    return "best" if learner is None else f"best_{learner}"


def weights_in(folder: Path, which: str, source: str) -> Weights | None:
    """A source's weights in a folder's checkpoint; None where there is none. Raises `Damaged`."""
    checkpoint = folder / checkpoint_file(which)
    if not checkpoint.exists():
        return None
    if archive_is_damaged(checkpoint):
        remedy = f"remove it to have the weights of the other checkpoint reported, or {checkpoint.parent} to train anew"
        raise Damaged(f"{checkpoint}: is damaged; {remedy}")
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix(f"{source}."): stored[name] for name in stored if name.startswith(f"{source}.")}


def selected_checkpoint(data: DataModule, folder: Path, learners: Sequence[str]) -> str:
    """`best` where validation data select, else `last`: the best epoch on the test set would be selected on it."""
    names = [*learners] if len(learners) > 1 else [None]
    has_best = all((folder / checkpoint_file(best_of(name))).exists() for name in names)
    return "best" if has_best and data.validates_on == "validation" else "last"


def load_selected(module: DistillationModule, data: DataModule, folder: Path) -> None:
    """Put the weights that a training is judged by into its module, which holds the last ones."""
    if selected_checkpoint(data, folder, module.learners) == "best":
        best = stored_weights(folder, "best", module.learner, module.learners)
        assert best is not None
        module.network_of(module.learner).load_state_dict(best)


def measure_learners(
    done: Fit, module: DistillationModule, data: DataModule, folder: Path, tests: bool
) -> tuple[dict[str, TestedNetwork], str]:
    """The learners with the weights that they are judged by, and which these are, `best` or `last`.

    Without `tests` the test set is not read, and its metrics are null.
    """
    learners = module.learners
    weights = {name: weights_of(done, module.network_of(name), folder, name, learners) for name in learners}
    selected = selected_checkpoint(data, folder, learners)
    tested: dict[str, Tested] = {name: (untested(module.task), {}) for name in learners}
    if tests:
        tested = test_learners(done.trainer, module, data, weights, selected)
    load_weights_of(module, weights, selected)
    validated = validate_each(done.trainer, module, data)
    networks = {
        name: TestedNetwork(module.network_of(name), metrics | validated[name] | done.found(name), done.time, arrays)
        for name, (metrics, arrays) in tested.items()
    }
    return networks, selected


def weights_of(done: Fit, network: nn.Module, folder: Path, learner: str, learners: Sequence[str]) -> OfCheckpoints:
    """The last weights of a learner, which its network holds, and its best ones, where there are any."""
    weights = {"last": {name: value.clone() for name, value in network.state_dict().items()}}
    best = stored_weights(folder, "best", learner, learners)
    place = folder / checkpoint_file(best_of(learner if len(learners) > 1 else None))
    if best is not None:
        weights["best"] = best
    elif place.name in [Path(getattr(one, "best_model_path", "")).name for one in done.trainer.checkpoint_callbacks]:
        warn(f"{place}: is not there any more; the last weights are reported")
    return weights
