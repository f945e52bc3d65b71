"""Which parts of a network learn while it is fine-tuned, and when."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule
from kd_lightning.errors import UserError
from kd_lightning.models import create_model
from kd_lightning.taps import by_depth
from kd_lightning.training.finetuning.unfreezing import Unfreezing
from tests.module.test_module import IMAGES, TARGETS, loader, trainer


class Changes(lightning.Callback):
    """Notes after each step which entries of the network it changed."""

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}
        self.seen: list[set[str]] = []

    def state(self, pl_module: Any) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in pl_module.student.state_dict().items()}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.before = self.state(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        now = self.state(pl_module)
        self.seen.append({name for name, value in now.items() if not value.equal(self.before[name])})
        self.before = now


def network() -> nn.Module:
    torch.manual_seed(3)
    return create_model("digits_cnn_4", num_classes=3, in_channels=1)


def changed(folder: Path, alone: list[int] | None, optimizer: Any, **options: Any) -> list[set[str]]:
    """What each of the steps of two epochs changed, of three batches each."""
    learner, changes = network(), Changes()
    module = DistillationModule(learner, optimizer=optimizer, num_classes=3)
    unfreezing = Unfreezing(by_depth(learner, IMAGES[:2]), alone)
    trainer(folder, max_epochs=2, callbacks=[unfreezing, changes], **options).fit(
        module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS)
    )
    return changes.seen


OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "fused": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "adamw": partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_head_alone_learns(tmp_path: Path, optimizer: str) -> None:
    for seen in changed(tmp_path, [-1], OPTIMIZERS[optimizer], gradient_clip_val=0.1):
        assert seen == {"fc.weight", "fc.bias"}, "no weight decays, no statistics follow the data"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_stages_join_from_the_head_down_over_the_first_half(tmp_path: Path, optimizer: str) -> None:
    stages = [{name for name in network().state_dict() if name.startswith(f"layer{stage}.")} for stage in (1, 2, 3)]
    assert all(stages)
    head = {"fc.weight", "fc.bias"}
    learning = [head, head | stages[2], head | stages[2] | stages[1], *[{*network().state_dict()}] * 3]
    seen = changed(tmp_path, None, OPTIMIZERS[optimizer])
    assert [[*sorted(step)] for step in seen] == [[*sorted(step)] for step in learning]


def test_what_does_not_learn_clips_no_gradient(tmp_path: Path) -> None:
    learner = network()
    groups = by_depth(learner, IMAGES[:2])
    unfreezing = Unfreezing(groups, alone=None)
    unfreezing.learning = [len(groups) - 1]
    for parameter in learner.parameters():
        parameter.grad = torch.ones_like(parameter)
    unfreezing.on_before_optimizer_step(None, None, torch.optim.SGD(learner.parameters(), lr=1))  # type: ignore[arg-type]
    assert {name for name, value in learner.named_parameters() if value.grad is not None} == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("name", "blocks", "heads"),
    [
        ("timm/deit_tiny_distilled_patch16_224", "blocks", ["head", "head_dist"]),
        ("torchvision/mobilenet_v2", "features", ["classifier.1"]),
        ("resnet8", "layer2", ["fc"]),
    ],
)
def test_every_module_is_somewhere_and_the_head_last(name: str, blocks: str, heads: list[str]) -> None:
    model = create_model(name, num_classes=10).to("meta")
    size = 224 if "224" in name else 32
    groups = by_depth(model, torch.rand(2, 3, size, size, device="meta"), num_classes=10)
    assert groups[-1] == [model.get_submodule(head) for head in heads]
    placed = [id(module) for group in groups for module in group]
    assert sorted(placed) == sorted(id(module) for module in model.modules())
    depth = {id(module): place for place, group in enumerate(groups) for module in group}
    order = [depth[id(block)] for block in model.get_submodule(blocks).children()]
    assert order == sorted(order)


def test_a_shared_layer_learns_as_soon_as_one_of_its_places_does() -> None:
    first, head = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    head.weight = first.weight
    unfreezing = Unfreezing([[first], [head]], alone=[-1])
    unfreezing.setup(None, None, "fit")  # type: ignore[arg-type]
    assert first.weight.requires_grad


def test_without_a_length_nobody_knows_the_half(tmp_path: Path) -> None:
    learner = network()
    module = DistillationModule(copy.deepcopy(learner), num_classes=3)
    endless = trainer(tmp_path, max_epochs=-1, callbacks=[Unfreezing(by_depth(learner, IMAGES[:2]), alone=None)])
    with pytest.raises(UserError, match=r"trainer.max_epochs=-1: .*finetune=gradual"):
        endless.fit(module, loader(IMAGES, TARGETS))


def test_a_network_without_one_layer_for_its_logits_has_no_head() -> None:
    with pytest.raises(UserError, match=r"^network=Sequential: .* linear layer"):
        by_depth(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 64))), IMAGES[:2])
