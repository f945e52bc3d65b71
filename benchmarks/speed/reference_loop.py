"""The usual way to distil on CIFAR: Pillow transforms in worker processes, eager float32, numbers asked for each step.

Its step does what RepDistiller's does for KD; the networks are this project's, so that they are equal.
"""

import os
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.speed.cifar import PillowImages
from benchmarks.speed.settings import ALPHA, BATCH_SIZE, LEARNING_RATE, MOMENTUM, TEMPERATURE, WEIGHT_DECAY, Pair
from kd_lightning.models import create_model
from kd_lightning.taps import TapReader, find_taps

WORKERS = min(8, os.cpu_count() or 1)


class Meter:
    """The latest value and the running mean."""

    def __init__(self) -> None:
        self.value = self.sum = self.mean = 0.0
        self.count = 0

    def update(self, value: float, count: int = 1) -> None:
        self.value = value
        self.sum += value * count
        self.count += count
        self.mean = self.sum / self.count


class WithFeatures:
    """A network that returns the maps of its stages beside its logits, as published models do for feature losses."""

    def __init__(self, network: nn.Module) -> None:
        example = torch.zeros(2, 3, 32, 32, device=next(network.parameters()).device)
        self.reader = TapReader(network, {**find_taps(network, example), "logits": ""})

    def __call__(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        signals = self.reader(images)
        return list(signals.values()), signals["logits"]


def reference_steps(
    pair: Pair, images: PillowImages, device: torch.device, batch_size: int = BATCH_SIZE
) -> Iterator[None]:
    """One training step for each `next`, epoch after epoch."""
    student = create_model(pair.student, 100, 3).to(device).train()
    teacher = create_model(pair.teacher, 100, 3).to(device).eval()
    ask_student, ask_teacher = WithFeatures(student), WithFeatures(teacher)
    optimizer = torch.optim.SGD(student.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    loader = DataLoader(images, batch_size, shuffle=True, num_workers=WORKERS)
    while True:
        data_s, batch_s, losses, top1, top5 = (Meter() for _ in range(5))
        since = time.time()
        for inputs, target in loader:
            data_s.update(time.time() - since)
            inputs, target = inputs.float().to(device), target.to(device)
            _, logits = ask_student(inputs)
            with torch.no_grad():
                features, teacher_logits = ask_teacher(inputs)
                _ = [feature.detach() for feature in features]
            loss = (1 - ALPHA) * F.cross_entropy(logits, target) + ALPHA * soft_targets(logits, teacher_logits)
            first, fifth = accuracy(logits, target)
            losses.update(loss.item(), len(inputs))
            top1.update(first.item(), len(inputs))
            top5.update(fifth.item(), len(inputs))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            batch_s.update(time.time() - since)
            since = time.time()
            yield


def soft_targets(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """T²·KL, summed over classes, mean over the batch (B, C)."""
    log_student = F.log_softmax(logits / TEMPERATURE, dim=1)
    of_teacher = F.softmax(teacher_logits / TEMPERATURE, dim=1)
    return F.kl_div(log_student, of_teacher, reduction="sum") * TEMPERATURE**2 / len(logits)


def accuracy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Per cent of the batch whose label is the likeliest class, and among the five likeliest."""
    with torch.no_grad():
        right = logits.topk(5, dim=1).indices == target[:, None]
        return right[:, :1].sum() * (100.0 / len(target)), right.sum() * (100.0 / len(target))
