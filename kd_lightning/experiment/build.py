"""Building networks, and the module around them, from their configs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import nn

from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.models import create_model, load_weights, normalize_inputs, pretrained_normalization
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Objective
from kd_lightning.signals import resolve_taps
from kd_lightning.teachers import FrozenTeacher

Normalization = tuple[Sequence[float], Sequence[float]]


def model_name(settings: Mapping[str, Any]) -> str:
    """What tables and summaries call a network: its name, or its class's."""
    model = settings["model"]
    return model if isinstance(model, str) else str(model["_target_"]).rsplit(".", 1)[-1]


def is_file(weights: str | None) -> bool:
    """Whether `weights` names a file rather than a way to get them."""
    return weights not in (None, "train", "pretrained")


def build_network(role: str, settings: DictConfig, data: ImageDataModule) -> nn.Module:
    """The network of `student` or `teacher`, with its weights and its own normalisation in front.

    With `weights: train` it is random: the training comes afterwards.
    """
    network = create_model(
        settings.model,
        data.num_classes,
        data.in_channels,
        pretrained=settings.weights == "pretrained",
        key=f"{role}.model",
    )
    metadata: dict[str, str] = {}
    if is_file(settings.weights):
        metadata = load_weights(network, Path(settings.weights).expanduser(), f"{role}.weights")
    mean, std = normalization(role, settings, data, metadata)
    return normalize_inputs(network, mean, std)


def normalization(role: str, settings: DictConfig, data: ImageDataModule, metadata: Mapping[str, str]) -> Normalization:
    """The mean and standard deviation that a network was, or will be, trained with."""
    if settings.normalization != "auto":
        mean, std = settings.normalization["mean"], settings.normalization["std"]
        if len(mean) != data.in_channels or len(std) != data.in_channels:
            raise UserError(
                f"{role}.normalization={settings.normalization}: the data have {data.in_channels} channels; "
                "give one mean and one std each"
            )
        return list(mean), list(std)
    if "mean" in metadata and "std" in metadata:
        return json.loads(metadata["mean"]), json.loads(metadata["std"])
    known = pretrained_normalization(settings.model)
    if known is not None and (is_file(settings.weights) or settings.weights == "pretrained"):
        return known if len(known[0]) == data.in_channels else averaged(known, data.in_channels)
    return data.mean, data.std


def averaged(known: Normalization, channels: int) -> Normalization:
    """A colour normalisation for images of another number of channels: the mean over its own."""
    mean, std = ([sum(values) / len(values)] * channels for values in known)
    return mean, std


def file_metadata(settings: Mapping[str, Any], network: nn.Module) -> dict[str, str]:
    """What goes into a weights file beside the weights: the model's name and its normalisation."""
    mean, std = (getattr(network, name).flatten().tolist() for name in ("input_mean", "input_std"))
    return {"model": model_name(settings), "mean": json.dumps(mean), "std": json.dumps(std)}


def build_module(config: DictConfig, data: ImageDataModule, teacher: nn.Module | None) -> DistillationModule:
    """The module that a config describes; its student's random weights come from the seed."""
    seed_everything(config.seed, workers=True, verbose=False)
    objective = Objective({name: instantiate(term) for name, term in config.loss.items() if term})
    example = example_input(data)
    if teacher is not None:
        taps = resolve_taps("teacher", teacher, config.teacher.taps, objective, example)
        teacher = FrozenTeacher(teacher, taps, model_name(config.teacher))
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return DistillationModule(
        student=build_network("student", config.student, data),
        teacher=teacher,
        terms=dict(objective.items()),
        optimizer=instantiate(config.optimizer),
        scheduler=instantiate(config.scheduler) if config.scheduler else None,
        student_taps=config.student.taps,
        example_input=example,
        num_classes=data.num_classes,
        config={str(name): value for name, value in plain.items()},
    )


def example_input(data: ImageDataModule) -> torch.Tensor:
    """Noise in the data's shape (2, C, H, W), to see shapes with."""
    return torch.rand(2, *data.input_shape, generator=torch.Generator().manual_seed(0))
