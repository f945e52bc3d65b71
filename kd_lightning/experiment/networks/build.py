"""Building networks, and the module around them, from their configs."""

from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig
from torch import Tensor, nn

from kd_lightning.data import ImageDataModule
from kd_lightning.experiment.config import is_file, plain
from kd_lightning.experiment.folder.secrets import without_secrets
from kd_lightning.experiment.networks.instantiation import make
from kd_lightning.experiment.networks.normalization import normalization
from kd_lightning.experiment.networks.settings import given_taps
from kd_lightning.experiment.recipe import of_student
from kd_lightning.experiment.storage.answers import with_answers
from kd_lightning.experiment.task import task_of
from kd_lightning.finite import refuse_nonfinite
from kd_lightning.models import create_model, load_weights, normalize_inputs, stored_normalization
from kd_lightning.models.ready import ready
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Objective, Term
from kd_lightning.sources import FrozenNetwork, Source
from kd_lightning.taps.inspection import Adapt
from kd_lightning.taps.resolving import resolve_taps

TRAINING_SET = ("index", "target")


def model_name(settings: Mapping[str, Any]) -> str:
    """What tables and summaries call a network: its name, or its class's."""
    model = settings.get("model") or settings
    return model if isinstance(model, str) else str(model["_target_"]).rsplit(".", 1)[-1]


def is_own_teacher(config: DictConfig) -> bool:
    """Whether the teacher is a class of the user's own rather than one frozen network."""
    return "_target_" in config.teacher


def has_teacher(config: DictConfig) -> bool:
    return is_own_teacher(config) or config.teacher.model is not None


def adapted_to(teacher: nn.Module | None, config: DictConfig) -> Adapt | None:
    """How the config has its student rebuilt, around a teacher that is one network; None where it stays as it is."""
    if not config.student.get("adapt"):
        return None
    network = None if isinstance(teacher, Source) else teacher
    return lambda student, example: instantiate(config.student.adapt)(student, network, example)


def roles(config: DictConfig) -> list[str]:
    """The networks that are built by name: the student, and the teacher unless it is none or a class of its own."""
    return ["student", "teacher"] if has_teacher(config) and not is_own_teacher(config) else ["student"]


def adapted_to_its_like(config: DictConfig, data: ImageDataModule) -> Adapt | None:
    """How the student is rebuilt, around a teacher without its weights."""
    if not config.student.get("adapt"):
        return None

    def adapt(student: nn.Module, example: Tensor) -> nn.Module:
        teacher: nn.Module | None = None
        if "teacher" in roles(config):
            teacher = create_model(plain(config.teacher.model), data.num_classes, data.in_channels, key="teacher.model")
            teacher = ready(teacher, example)
        rebuild = adapted_to(teacher, config)
        assert rebuild is not None
        return rebuild(student, example)

    return adapt


def build_network(role: str, settings: DictConfig, data: ImageDataModule, adapt: Adapt | None = None) -> nn.Module:
    """The network of `student` or `teacher`, with its weights and its own normalisation in front.

    With `weights: train` it is random: the training comes afterwards. `adapt` rebuilds it before it gets its weights
    from a file, of which a student's classifier may be left out.
    """
    network = create_model(
        settings.model,
        data.num_classes,
        data.in_channels,
        pretrained=settings.weights == "pretrained",
        key=f"{role}.model",
    )
    network = ready(network, example_input(data))
    network = network if adapt is None else adapt(network, example_input(data))
    metadata: dict[str, str] = {}
    if is_file(settings.weights):
        metadata = load_weights(
            network,
            settings.weights,
            f"{role}.weights",
            weights_key=settings.get("weights_key"),
            new_classifier=role == "student",
        )
        refuse_nonfinite(network, f"{role}.weights={settings.weights}")
    mean, std = normalization(role, settings, data, metadata)
    return normalize_inputs(network, mean, std)


def logits_tap(role: str, settings: Mapping[str, Any]) -> dict[str, str] | str:
    """The tap that a network of `student` or `teacher` needs to be tested: its logits, where the config names them."""
    given = given_taps(role, settings.get("taps", "auto"))
    return {"logits": given["logits"]} if "logits" in given else "auto"


def named_logits(role: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`logits_tap` where there is one, for what names a kept result."""
    tap = logits_tap(role, settings)
    return {} if tap == "auto" else {"logits": tap}


def file_metadata(settings: Mapping[str, Any], network: nn.Module) -> dict[str, str]:
    """What goes into a weights file beside the weights: the model's name and its normalisation."""
    return {"model": model_name(settings), **stored_normalization(network)}


def build_terms(loss: DictConfig, key: str = "loss") -> dict[str, Term]:
    """The terms that `loss` names, without those that are taken away; `key` is where it stands in the config."""
    return {str(name): make(term, f"{key}.{name!s}") for name, term in loss.items() if term}


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
    config: DictConfig, data: ImageDataModule, teacher: nn.Module | None, began: DictConfig | None = None
) -> DistillationModule:
    """The module that a config describes; its student's random weights come from the seed alone.

    Its checkpoints keep the config, or the one that its training `began` with.
    """
    seed_everything(config.seed, workers=True, verbose=False)
    student = build_network("student", config.student, data, adapted_to(teacher, config))
    module = module_around(student, config, data, teacher, config.loss)
    if began is not None:
        module.save_hyperparameters({"config": dict(without_secrets(plain(began)))}, logger=False)
    return module


def module_around(
    student: nn.Module, config: DictConfig, data: ImageDataModule, teacher: nn.Module | None, loss: DictConfig
) -> DistillationModule:
    """The module that trains this student as a config describes, with these terms."""
    terms = build_terms(loss)
    example, task = example_input(data), task_of(config, data)
    if teacher is not None and not isinstance(teacher, Source):
        given = given_taps("teacher", config.teacher.taps)
        taps = resolve_taps("teacher", teacher, given or "auto", Objective(terms).names(), example, task.width)
        frozen = FrozenNetwork(
            teacher,
            taps,
            model_name(config.teacher),
            batch_statistics=bool(config.teacher.get("batch_statistics")),
            num_classes=task.width,
        )
        teacher = with_answers(frozen, config, data, example)
    data.setup()
    return DistillationModule(
        student=student,
        teacher=teacher,
        terms=terms,
        **build_optimization(of_student(config)),
        student_taps=given_taps("student", config.student.taps) or "auto",
        example_input=example,
        task=task,
        training_set=dict(zip(TRAINING_SET, (data.train_set.rows, data.train_set.targets), strict=True)),
        config=dict(without_secrets(plain(config))),
    )


def example_input(data: ImageDataModule) -> torch.Tensor:
    """Noise in the data's shape (2, C, H, W), to see shapes with."""
    return torch.rand(2, *data.input_shape, generator=torch.Generator().manual_seed(0))
