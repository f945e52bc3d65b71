"""torchdistill's own loop: its distillation box, configured as in its CIFAR-100 examples, with our networks.

The teacher is put in eval mode, which the box leaves to the user.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import RandomSampler

from benchmarks.speed.cifar import PillowImages
from benchmarks.speed.reference_loop import WORKERS
from benchmarks.speed.settings import ALPHA, BATCH_SIZE, LEARNING_RATE, MOMENTUM, TEMPERATURE, WEIGHT_DECAY, Pair
from kd_lightning.models import create_model

LOG_EVERY = 100  # steps


def torchdistill_steps(pair: Pair, images: PillowImages, device: torch.device) -> Iterator[None]:
    """One training step for each `next`, epoch after epoch. Raises ImportError without torchdistill."""
    from torchdistill.core.distillation import get_distillation_box  # type: ignore[import-not-found]
    from torchdistill.misc.log import MetricLogger, SmoothedValue  # type: ignore[import-not-found]

    logging.getLogger("torchdistill").setLevel(logging.WARNING)
    teacher, student = create_model(pair.teacher, 100, 3).eval(), create_model(pair.student, 100, 3)
    box = get_distillation_box(teacher, student, {"train": images}, training(), device, None, False, 1)
    epoch = 0
    while True:
        box.pre_epoch_process(epoch=epoch)
        meters = MetricLogger(delimiter="  ")
        meters.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        meters.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
        for inputs, target, further in meters.log_every(box.train_data_loader, LOG_EVERY, f"Epoch: [{epoch}]"):
            began = time.time()
            inputs, target = inputs.to(device), target.to(device)
            loss = box.forward_process(inputs, target, further)
            box.post_forward_process(loss=loss)
            meters.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
            meters.meters["img/s"].update(len(inputs) / (time.time() - began))
            if torch.isnan(loss) or torch.isinf(loss):
                raise ValueError(f"loss={loss}")
            yield
        box.post_epoch_process()
        epoch += 1


def training() -> dict[str, Any]:
    """A `train` section: KD of logits by SGD, and a step schedule."""
    soft_targets = {
        "student_module_path": ".",
        "student_module_io": "output",
        "teacher_module_path": ".",
        "teacher_module_io": "output",
        "temperature": TEMPERATURE,
        "alpha": 1 - ALPHA,  # theirs is the labels' weight
        "reduction": "batchmean",
    }
    sgd = {"lr": LEARNING_RATE, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}
    term = {"criterion": {"key": "KDLoss", "kwargs": soft_targets}, "weight": 1.0}
    return {
        "num_epochs": 240,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": BATCH_SIZE, "num_workers": WORKERS},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": sgd},
        "scheduler": {"key": "MultiStepLR", "kwargs": {"milestones": [150, 180, 210], "gamma": 0.1}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": term}}},
    }
