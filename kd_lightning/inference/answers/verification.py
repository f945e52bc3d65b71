"""Asking a teacher again what it has answered, to see that what is kept is right."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from kd_lightning.config.folder.foreign import check_foreign
from kd_lightning.data import DataModule, ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.experiment import experiment_of
from kd_lightning.sources import CachedSource
from kd_lightning.store import Answers, Store, TopK, Whole
from kd_lightning.store.encoding import Encoding, divergence
from kd_lightning.store.remembered import is_remembered
from kd_lightning.system.records import read_record
from kd_lightning.teachers import FrozenTeacher, Teacher
from kd_lightning.terminal import console
from kd_lightning.training.answers.of_views import OF_ANSWERS

SAMPLE = 256
# Of the largest number of an answer: its rounding, and what another batch size or device makes of the same sums.
TOLERANCE = {"16": 2**-10, "32": 2**-14}
MIXED_TOLERANCE = 2**-5


@dataclass(frozen=True)
class Verification:
    """How many answers are kept, how many were computed again, and the largest difference, relative to an answer.

    `divergence` is the mean KL in nats of what is kept from the teacher's answers, where more than rounding is lost.
    """

    cached: int
    recomputed: int
    difference: float
    tolerance: float
    divergence: float | None

    @property
    def is_right(self) -> bool:
        return self.difference <= self.tolerance


def verify(folder: Path, sample: int = SAMPLE, trust: bool = False) -> Verification:
    """Compare a sample of the answers in a folder with what the teacher says now. Reads alone, and downloads no data.

    Raises UserError where the teacher or the data are not on this machine any more, or not the same. It is also raised
    unless `trust`, or a run of this user's made the answers, where something foreign would be built: `check_foreign`.
    """
    folder = folder.resolve()
    stored = read_record(folder / "cache.json", OF_ANSWERS, remedy=f"kd-cache rm {folder.name}")
    if stored is None:
        raise UserError(f"cache.json, which describes it, is not there; kd-cache rm {folder.name}")
    if not trust and not is_remembered(json.dumps(stored["config"], sort_keys=True)):
        check_foreign(stored["config"], folder.name)
    config = config_of(stored, folder)
    with working_in(stored.get("made_in")):
        data: ImageDataModule = instantiate(config.data)  # no others' answers are kept
        data.setup()  # without prepare_data(), which may download
        teacher, bits = rebuilt(folder, config, data, stored["of"])
        tolerance = MIXED_TOLERANCE if is_mixed(stored) else TOLERANCE[str(bits)]
        return compare(teacher, data, sample, tolerance, mixed=is_mixed(stored))


def config_of(stored: dict[str, Any], folder: Path) -> DictConfig:
    """The config of the run that made the answers, changed to ask for them again."""
    config = DictConfig(stored["config"])
    config.paths.output_dir, config.paths.cache_dir = str(folder), str(folder.parent.parent)
    if "download" in config.data:
        config.data.download = False
    return config


@contextmanager
def working_in(folder: str | None) -> Iterator[None]:
    """Relative paths mean what they meant in this folder, where it still is."""
    before = Path.cwd()
    try:
        if folder is not None and Path(folder).is_dir():
            os.chdir(folder)
        yield
    finally:
        os.chdir(before)


def rebuilt(folder: Path, config: DictConfig, data: DataModule, kept: str) -> tuple[CachedSource, int]:
    """The network whose answers a folder holds, and in how many bits; `kept` are its `logits`, or what is `pooled`.

    Raises UserError where it is not there, or not what it was.
    """
    experiment = experiment_of(config, data)
    parts = experiment.parts
    first = next(experiment.plan.steps(parts), None)  # where the plan has its teacher in another way
    teacher = first if isinstance(first, Teacher) else experiment.teacher
    assert isinstance(teacher, FrozenTeacher)  # no other's answers are kept
    context = replace(parts.context, recipe=parts.recipe)
    found = 0
    for member in teacher.answering(parts.context):
        with console.capture():  # it says what that means for a test
            network = member.found(parts.context)
        if network is None:
            continue
        found += 1
        answers = replace(teacher.answers, cache=kept)
        with TemporaryDirectory() as elsewhere:  # another teacher gets no folder in the cache
            source = member.source(network, (), answers, replace(context, store=Store(Path(elsewhere))))
        assert isinstance(source, CachedSource)
        made = source.answers
        assert made.records is not None
        if made.records.path.parent.name == folder.name:
            images = made.records.rows // made.views
            source.of_each = [Answers(folder / "answers.bin", images, made.views, made.encoding)]
            source.request({"input": {"logits"}})
            return source, answers.bits
    if found:
        raise UserError(f"the teacher, or the data, are not what they were; kd-cache rm {folder.name}")
    raise UserError(f"its teacher is not on this machine any more; kd-cache rm {folder.name}")


def compare(
    teacher: CachedSource, data: ImageDataModule, sample: int, tolerance: float, *, mixed: bool
) -> Verification:
    """Ask a teacher for a sample of the answers that are kept."""
    answers, encoding = teacher.answers, teacher.answers.encoding
    index, view = answers.filled()
    total = len(index)
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:sample].sort().values
    index, view = index[chosen], view[chosen]
    if not len(index):
        return Verification(0, 0, 0.0, tolerance, None)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        batch = data.train_set.batch(index, view)
        recomputed = teacher.source(data.on_after_batch_transfer(batch))[teacher.tap].float()
    difference = relative_difference(encoding, answers.read(index, view)[0], recomputed)
    lost = divergence(encoding, recomputed) if encoding.is_partial else None
    return Verification(total, len(index), difference, tolerance, lost)


def is_mixed(stored: dict[str, Any]) -> bool:
    return str(stored["precision"]).endswith("mixed")


def relative_difference(encoding: Encoding, cached: Tensor, recomputed: Tensor) -> float:
    """The largest difference of answers (B, C) from what is kept of them, relative to each one's largest number."""
    whole = Whole(encoding.classes, encoding.bits) if isinstance(encoding, TopK) else encoding
    exact = whole.decode(whole.encode(recomputed))
    scale = exact.abs().amax(dim=1).clamp(min=1.0)
    if isinstance(encoding, TopK):
        # The classes that are kept, not those that would be kept now: where two logits nearly tie, rounding decides
        # which of them is the k-th.
        classes = cached.topk(encoding.k, dim=1).indices
        exact = torch.cat([exact.gather(1, classes), sum_of_others(recomputed, classes)], dim=1)
        cached = torch.cat([cached.gather(1, classes), sum_of_others(cached, classes)], dim=1)
    return float(((cached - exact).abs().amax(dim=1) / scale).max())


def sum_of_others(logits: Tensor, classes: Tensor) -> Tensor:
    """The log-sum-exp of the logits (B, C) of all but these classes (B, k): (B, 1)"""
    return logits.scatter(1, classes, -torch.inf).logsumexp(dim=1, keepdim=True)
