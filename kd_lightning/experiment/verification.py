"""Asking a teacher again what it has answered, to see that what is kept is right."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from kd_lightning.cache.encoding import divergence
from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.answers import with_answers
from kd_lightning.experiment.build import example_input, model_name
from kd_lightning.experiment.evaluation import find_teacher
from kd_lightning.teachers import CachedTeacher, FrozenTeacher

SAMPLE = 256
# Of the largest number of an answer: its rounding, and what another batch size or device makes of the same sums.
TOLERANCE = {"16": 2**-10, "32": 2**-14}
MIXED_TOLERANCE = 2**-5


@dataclass(frozen=True)
class Verification:
    """How many answers are kept, how many were asked for again, and the largest difference, relative to an answer.

    `divergence` is the mean KL in nats of what is kept from the teacher's answers, where more than rounding is lost.
    """

    kept: int
    asked: int
    difference: float
    tolerance: float
    divergence: float | None

    @property
    def is_right(self) -> bool:
        return self.difference <= self.tolerance


def verify(folder: Path, sample: int = SAMPLE) -> Verification:
    """Compare a sample of the answers in a folder with what the teacher says now.

    Raises UserError where the teacher or the data are not on this machine any more, or not the same.
    """
    stored = json.loads((folder / "cache.json").read_text())
    config = DictConfig(stored["config"])
    config.paths.output_dir, config.paths.cache_dir = str(folder), str(folder.parent.parent)
    config.teacher.cache = stored["of"]
    data: ImageDataModule = instantiate(config.data)
    data.prepare_data()
    data.setup()
    teacher = rebuilt(folder, config, data)
    index, view = teacher.answers.filled()
    total = len(index)
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:sample].sort().values
    index, view = index[chosen], view[chosen]
    with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed(stored)):
        batch = {"input": data.train_set.images.read(index, view), "index": index, "view": view}
        asked = teacher.teacher(data.on_after_batch_transfer(batch))[teacher.kept] if len(index) else torch.empty(0, 1)
    kept = teacher.answers.read(index, view)[0]
    exact = teacher.answers.encoding.decode(teacher.answers.encoding.encode(asked.float()))
    tolerance = MIXED_TOLERANCE if is_mixed(stored) else TOLERANCE[str(config.teacher.cache_bits)]
    lost = divergence(teacher.answers.encoding, asked) if teacher.answers.encoding.is_partial else None
    return Verification(total, len(index), relative_difference(kept, exact), tolerance, lost)


def rebuilt(folder: Path, config: DictConfig, data: ImageDataModule) -> CachedTeacher:
    """The teacher whose answers a folder holds."""
    network = find_teacher(config, data)
    if network is None:
        raise UserError(f"{folder.name}: its teacher is not on this machine any more; kd-cache rm {folder.name}")
    assert isinstance(network, nn.Module)
    teacher = with_answers(FrozenTeacher(network, name=model_name(config.teacher)), config, data, example_input(data))
    assert isinstance(teacher, CachedTeacher)
    if teacher.answers.records.path.parent != folder:
        raise UserError(f"{folder.name}: the teacher, or the data, are not what they were; kd-cache rm {folder.name}")
    teacher.request({"logits"})
    return teacher


def is_mixed(stored: dict[str, Any]) -> bool:
    return str(stored["precision"]).endswith("mixed")


def relative_difference(kept: Tensor, exact: Tensor) -> float:
    if not len(kept):
        return 0.0
    scale = exact.abs().amax(dim=1).clamp(min=1.0)
    return float(((kept - exact).abs().amax(dim=1) / scale).max())
