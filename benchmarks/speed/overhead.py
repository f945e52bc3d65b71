"""What a training step costs under the Trainer, over a bare PyTorch loop of the same networks, data and precision."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.speed.ours import Ours, composed
from benchmarks.speed.settings import ALPHA, PAIRS, TEMPERATURE, Pair
from benchmarks.speed.timing import Effort, Row, alternate, median_ratio, say, stepwise
from kd_lightning.data import ImageDataModule
from kd_lightning.losses import functional

EFFORT = Effort(steps=4, warm_up=1, repeats=5)


def measure(root: Path, folder: Path, pairs: tuple[Pair, ...] = PAIRS, effort: Effort = EFFORT) -> list[Row]:
    return [compare(pair, root, folder, effort) for pair in pairs]


def compare(pair: Pair, root: Path, folder: Path, effort: Effort) -> Row:
    """One pair, with all callbacks and the logger that kd-train has by default, without its progress bar."""
    say(f"Trainer over a bare loop: {pair}")
    ours = Ours(composed(pair, root, ["trainer.accelerator=cpu"]), folder)
    seconds = alternate({"bare loop": stepwise(bare_steps(ours)), "under the Trainer": ours}, effort)
    bare, trained = seconds.values()
    return Row(
        "overhead",
        f"{pair}: a step under the Trainer over one of a bare loop",
        1000 * statistics.median(bare),
        1000 * statistics.median(trained),
        "ms",
        median_ratio(trained, bare),
        seconds,
    )


def bare_steps(ours: Ours) -> Iterator[None]:
    """One training step for each `next`, with networks, optimizer and loader of their own, in float32."""
    config, data = ours.config, ours.data
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    student = ours.experiment.student.build(data).train().to(memory_format=layout)
    teacher = ours.experiment.teacher.build(ours.parts.context)
    assert teacher is not None
    teacher = teacher.eval().to(memory_format=layout)
    optimizer = ours.parts.recipe.optimizer(student.parameters())
    while True:
        for batch in batches(data):
            images, target = batch["input"], batch["target"]
            logits = student(images)
            with torch.no_grad():
                answers = teacher(images)
            soft = functional.kd(logits, answers, TEMPERATURE)
            loss = (1 - ALPHA) * functional.cross_entropy(logits, target) + ALPHA * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def batches(data: ImageDataModule) -> Iterator[dict[str, torch.Tensor]]:
    """One epoch's, augmented."""
    for batch in data.train_dataloader():
        yield data.on_after_batch_transfer(batch)
