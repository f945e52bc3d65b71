"""Measuring networks: on the validation data that select them, and on the test set."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig
from torch import Tensor, nn

from kd_lightning.callbacks import MeasuredPart
from kd_lightning.columns import VALIDATED
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.experiment.networks.memory_format import use_channels_last, use_contiguous
from kd_lightning.experiment.ranks.launcher import launch_with_peers
from kd_lightning.experiment.task import task_of
from kd_lightning.experiment.training import quiet
from kd_lightning.models.profile import Profile, profile_models
from kd_lightning.module import DistillationModule
from kd_lightning.runs.arrays import Arrays
from kd_lightning.runs.files import BEST, CHECKPOINTS
from kd_lightning.runs.files import checkpoint as checkpoint_file
from kd_lightning.sources import LogitsOf, Source
from kd_lightning.system.records import Damaged, archive_is_damaged
from kd_lightning.tasks import Task
from kd_lightning.tasks.task import AGREEMENT
from kd_lightning.terminal import console, is_first_rank

Metrics = dict[str, float | None]
Weights = dict[str, Tensor]


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


def test(trainer: Trainer, module: DistillationModule, data: DataModule) -> tuple[Metrics, Arrays]:
    """The test metrics of a module's student as it is, without their prefix, and its answers class by class."""
    with counting(trainer):
        results = trainer.test(module, datamodule=data, verbose=False)
    arrays = {name: tensor.cpu().numpy() for name, tensor in module.tested.items()}
    return {name.removeprefix("test/"): value for name, value in results[0].items()}, arrays


def untested(task: Task) -> Metrics:
    """The metrics of a student that was not tested: all of them null."""
    selects = task.selects_on.name
    return dict.fromkeys([*task.measured(), AGREEMENT, f"{selects}_best", f"{selects}_last"])


def validate(trainer: Trainer, module: DistillationModule, data: DataModule) -> Metrics:
    """The task's metrics of a module's student on the validation data; null where these are the test set."""
    measured: Mapping[str, float] = {}
    if data.validates_on == "validation":
        with without_loggers(trainer), counting(trainer):  # the curves hold the epochs of the training alone
            results = trainer.validate(module, datamodule=data, verbose=False)
        measured = results[0] if results else {}
    part: Metrics = {"images_validation": measured["val/images"]} if "val/images" in measured else {}
    return part | {f"{one.name}{VALIDATED}": measured.get(f"val/{one.name}") for one in module.task.validated}


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
    config: DictConfig, network: nn.Module, data: DataModule, taps: Mapping[str, str] | str = "auto"
) -> TestedNetwork:
    """Measure a network that needs no training; `taps` names its logits where its output does not. Raises UserError."""
    quiet()
    shown = bool((config.callbacks or {}).get("progress_bar")) and console.is_terminal
    trainer = instantiate(config.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=shown)
    launch_with_peers(trainer)
    module = DistillationModule(as_network(network), student_taps=taps, task=task_of(config, data))
    if config.channels_last:
        use_channels_last(module, example_input(data))
    try:
        tested, arrays = measure(trainer, module, data)
    except UserError as error:  # the module knows it as its student
        raise UserError(str(error).replace("student", "teacher")) from error
    return TestedNetwork(network, tested, arrays=arrays)


def costs(networks: Mapping[str, TestedNetwork], data: DataModule) -> dict[str, Profile]:
    """What one image costs each network, measured beside each other, never kept from another run.

    The networks are in the usual order in memory afterwards.
    """
    ordered = {role: use_contiguous(as_network(tested.network)) for role, tested in networks.items()}
    repeats = 20 if is_first_rank() else 1  # the first rank writes them; the others leave it the machine
    return profile_models(ordered, example_input(data), repeats)


def test_student(
    trainer: Trainer, module: DistillationModule, data: DataModule, weights: Mapping[str, Weights], selected: str
) -> tuple[Metrics, Arrays]:
    """The selected weights of a student, with what selects of the `best` and the `last`; the module holds the selected.

    The selected ones alone are logged.
    """
    tested: Metrics = {}
    selects = module.task.selects_on.name
    of_each: Metrics = {}
    arrays: Arrays = {}
    for name in sorted(weights, key=lambda name: name == selected):
        module.student.load_state_dict(weights[name])
        with nullcontext() if name == selected else without_loggers(trainer):
            tested, arrays = test(trainer, module, data)
        of_each[f"{selects}_{name}"] = tested[selects]
    return {**tested, f"{selects}_best": of_each[f"{selects}_last"], **of_each}, arrays


def as_network(network: nn.Module) -> nn.Module:
    """A network as it is; a source as a network that gives its logits."""
    return LogitsOf(network) if isinstance(network, Source) else network


def student_weights(folder: Path, which: str) -> Weights | None:
    """The student in a folder's `best` or `last` checkpoint; None where there is none. Raises `Damaged`."""
    return weights_in(folder, which, "student")


def weights_in(folder: Path, which: str, source: str) -> Weights | None:
    """A source's weights in a folder's `best` or `last` checkpoint; None where there is none. Raises `Damaged`."""
    checkpoint = folder / checkpoint_file(which)
    if not checkpoint.exists():
        return None
    if archive_is_damaged(checkpoint):
        remedy = f"remove it to have the weights of the other checkpoint reported, or {checkpoint.parent} to train anew"
        raise Damaged(f"{checkpoint}: is damaged; {remedy}")
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix(f"{source}."): stored[name] for name in stored if name.startswith(f"{source}.")}


def selected_checkpoint(data: DataModule, folder: Path) -> str:
    """`best` where validation data select, else `last`: the best epoch on the test set would be selected on it."""
    has_best = (folder / CHECKPOINTS / BEST).exists()
    return "best" if has_best and data.validates_on == "validation" else "last"


def load_selected(module: DistillationModule, data: DataModule, folder: Path) -> None:
    """Put the weights that a training is judged by into its module, which holds the last ones."""
    if selected_checkpoint(data, folder) == "best":
        best = student_weights(folder, "best")
        assert best is not None
        module.student.load_state_dict(best)
