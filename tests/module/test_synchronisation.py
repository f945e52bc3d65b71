"""Nothing in a training step waits for the device: seen in the source, with fake tensors, and on a GPU where one is."""

import ast
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

import kd_lightning
from kd_lightning.callbacks.moving_average import copied, move
from kd_lightning.data import CropFlip
from kd_lightning.learners.objectives import total_of
from kd_lightning.module import DistillationModule
from kd_lightning.optimizers import SAM
from kd_lightning.schedules.length import Length
from tests.experiment.test_methods import METHODS, first_batch, modules

PACKAGE = Path(kd_lightning.__file__).parent
FOLDERS = ("learners", "losses", "models/projectors", "optimizers", "sources")
STEP = (
    "batch.py",
    "callbacks/moving_average.py",
    "callbacks/passes.py",
    "callbacks/sharpness.py",
    "curricula/following.py",
    "finite.py",
    "module.py",
    "objective.py",
    "schedules/length.py",
    "schedules/progress.py",
    "signals.py",
    "term.py",
    "data/augmentation/augment.py",
    "data/views.py",
    "models/normalization.py",
    "taps/address.py",
    "taps/reader.py",
    "tasks/dense.py",
    "tasks/rows.py",
    *(str(file.relative_to(PACKAGE)) for folder in FOLDERS for file in sorted((PACKAGE / folder).rglob("*.py"))),
)
WAITS = {"item", "tolist", "numpy", "cpu", "nonzero", "unique", "is_nonzero", "equal", "allclose", "masked_select"}
ALLOWED = {
    ("curricula/following.py", "cpu"),  # of a draw, as its epoch begins
    ("curricula/following.py", "tolist"),  # of what a validation measured
    ("finite.py", "tolist"),  # of weights, before they are saved
    ("learners/following/schedules.py", "tolist"),  # of what an epoch observed, once it is validated
    ("learners/random_state.py", "equal"),  # of generators' states, which lie on the host
    ("models/normalization.py", "tolist"),  # of statistics that go into a file
    ("sources/cached.py", "cpu"),  # answers that the file lacks
    ("tasks/rows.py", "nonzero"),  # of targets before they lie on the device
}


def waiting(file: str) -> Iterator[tuple[str, str]]:
    """The file and the name of each call that gives a number of the device to Python."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in WAITS | {"print"}:
                yield file, name


def test_no_code_of_a_step_asks_for_a_number() -> None:
    assert {call for file in STEP for call in waiting(file)} == ALLOWED


@pytest.mark.parametrize("method", METHODS)
def test_no_method_needs_a_number_to_go_on(method: str) -> None:
    for module, data in modules(method):
        module.length = Length(max_epochs=10, max_steps=math.inf, steps_from={0: 1})
        batch = first_batch(data)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = each(batch, mode.from_tensor)
            step(module, data.on_after_batch_transfer(fake))


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_no_step_waits_for_the_gpu(method: str) -> None:
    for module, data in modules(method):
        module.length = Length(max_epochs=10, max_steps=math.inf, steps_from={0: 1})
        module.cuda()
        batch = each(first_batch(data), torch.Tensor.cuda)
        step(module, data.on_after_batch_transfer(batch))
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(module, data.on_after_batch_transfer(batch))
        finally:
            torch.cuda.set_sync_debug_mode("default")
            module.cpu()  # its teacher is also that of the other phase


def each(batch: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A batch with its tensors changed, those of mappings in it too, such as the images that others are mixed with."""
    return {name: each(one, change) for name, one in batch.items()} if isinstance(batch, dict) else change(batch)


def step(module: DistillationModule, batch: dict[str, torch.Tensor]) -> None:
    total_of(module.losses((module.signals(batch), {}), module.progress())).backward()


def test_a_moving_average_and_a_look_nearby_need_none() -> None:
    with FakeTensorMode():
        weights = [torch.nn.Parameter(torch.rand(4, 3)), torch.nn.Parameter(torch.rand(4))]
        for weight in weights:
            weight.grad = torch.rand_like(weight)
        before = SAM(torch.optim.SGD, rho=0.05).climb(weights)
        assert [value.shape for value in before] == [(4, 3), (4,)]
        counted = {"weight": weights[0].detach(), "count": torch.tensor(3)}
        move(copied(counted), counted, decay=0.9)


def test_a_number_would_be_noticed() -> None:
    with FakeTensorMode():
        values = torch.rand(3)
        with pytest.raises(DataDependentOutputException):
            values.sum().item()
        with pytest.raises(DynamicOutputShapeException):
            values[values > 0.5]
        with pytest.raises(DataDependentOutputException):
            bool(values.sum() > 0)


def test_augmentation_needs_none() -> None:
    with FakeTensorMode():
        images, views = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, dtype=torch.long)
        assert CropFlip()(images, views).shape == images.shape
