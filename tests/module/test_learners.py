"""Several learners in one fit: each ends as it would alone, and they may learn from one another."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import SeededBatches
from kd_lightning.losses import CrossEntropy, FitNet, SoftTarget
from kd_lightning.models.projectors import Regressor
from kd_lightning.schedules.learning_rate import Cosine
from kd_lightning.schedules.torch_schedule import TorchSchedule
from tests.module.test_module import EXAMPLE, IMAGES, TAPS, TARGETS, loader, network, trainer

TERMS = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.5),
    "kd": Term(SoftTarget(4), ["student.logits", "teacher.logits"]),
    "fitnet": Term(FitNet(), ["student.hint", "teacher.hint"], 10.0, partial(Regressor)),
}
OPTIMIZERS: dict[str, Any] = {
    "wide": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "slim": partial(torch.optim.AdamW, lr=0.01),
}
SCHEDULERS: dict[str, Any] = {
    "wide": Cosine(interval="step"),
    "slim": TorchSchedule(make=partial(ReduceLROnPlateau, factor=0.1, patience=0), monitor="val/nll"),
}


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return {"wide": network(6), "slim": network(2)}


def learning(*names: str, **options: Any) -> DistillationModule:
    """A module of one learner alone, or of several in one fit."""
    given, teacher = networks(), network(4)
    torch.manual_seed(5)
    one = len(names) == 1
    settings: dict[str, Any] = {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS} | options
    chosen = {key: value[names[0]] if one else {name: value[name] for name in names} for key, value in settings.items()}
    student: Any = given[names[0]] if one else {name: given[name] for name in names}
    taps: dict[str, Any] = {"student_taps": TAPS, "teacher_taps": TAPS}
    return DistillationModule(student, teacher, TERMS, example_input=EXAMPLE, num_classes=3, **taps, **chosen)


def own_state(module: DistillationModule, name: str) -> dict[str, Tensor]:
    several = len(module.learners) > 1
    found = {}
    for part in ("student", "objective"):
        start = f"{part}.{name}." if several else f"{part}."
        for key, value in module.state_dict().items():
            if key.startswith(start):
                found[f"{part}.{key.removeprefix(start)}"] = value
    return found


def fitted(folder: Path, *names: str, seeded: bool = False, **options: Any) -> DistillationModule:
    module = learning(*names)
    run = trainer(folder, **options, callbacks=[SeededBatches(7)] if seeded else [])
    torch.manual_seed(11)
    run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
    return module


@pytest.mark.parametrize(
    "options",
    [
        {"seeded": True, "gradient_clip_val": 0.5},
        {"seeded": True, "gradient_clip_val": 0.01, "gradient_clip_algorithm": "value", "max_epochs": 1},
        {"seeded": True, "accumulate_grad_batches": 2},
        {"seeded": True, "precision": "bf16-mixed", "max_epochs": 1},
        {"max_epochs": 1},
    ],
)
def test_two_learners_in_one_fit_end_as_each_would_alone(tmp_path: Path, options: dict[str, Any]) -> None:
    both = fitted(tmp_path, "wide", "slim", **options)
    for name in ("wide", "slim"):
        alone = own_state(fitted(tmp_path, name, **options), name)
        together = own_state(both, name)
        assert list(together) == list(alone)
        assert any("projections" in key for key in alone)
        for key, value in alone.items():
            assert torch.equal(together[key], value), f"{name}: {key}"
