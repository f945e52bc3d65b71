"""Layer-wise learning rates: timm's groups for its models, blocks for others, and what the optimizer does with them."""

from functools import partial
from typing import Any

import pytest
import timm
import torch
from lightning import Trainer
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, MeanSquaredLogits
from kd_lightning.models import create_model
from kd_lightning.models.projectors import Regressor
from kd_lightning.optimizers import LayerDecay
from kd_lightning.optimizers.layers import layers_of
from tests.conftest import Command

Rates = dict[str, tuple[float, float]]


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, num_classes=10)


def rates(network: nn.Module, groups: list[dict[str, Any]], scale: str) -> Rates:
    """Of each parameter the factor of its rate, and its weight decay."""
    names = {id(weight): name for name, weight in network.named_parameters()}
    return {
        names[id(weight)]: (group[scale], group.get("weight_decay", 0.05))
        for group in groups
        for weight in group["params"]
    }


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "convnext_tiny"]
)
def test_models_of_timm_have_its_groups(name: str) -> None:
    network = on_meta(f"timm/{name}")
    spared = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    expected = param_groups_layer_decay(network, 0.05, no_weight_decay_list=spared, layer_decay=0.75)
    found = LayerDecay(torch.optim.AdamW, 0.75).groups(network.parameters(), network)
    ours, theirs = rates(network, found, "scale"), rates(network, expected, "lr_scale")
    assert ours.keys() == theirs.keys()
    for key, own in theirs.items():
        assert ours[key] == pytest.approx(own, rel=1e-12)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_resnet_elsewhere_has_the_layers_that_timm_sees(name: str) -> None:
    theirs, ours = on_meta(f"timm/{name}"), on_meta(f"torchvision/{name}")
    expected = timm.models.group_parameters(theirs, theirs.group_matcher(), reverse=True)
    assert layers_of(ours) == expected


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("torchvision/vit_b_16", 14, "class_token", "heads.head.weight"),  # patches, 12 blocks, head
        ("torchvision/convnext_tiny", 23, "features.0.0.weight", "classifier.2.weight"),  # stem, 18, 3 between, head
        ("resnet8x4", 5, "conv1.weight", "fc.weight"),
        ("wrn_16_2", 8, "conv1.weight", "fc.weight"),
        ("digits_cnn_4", 4, "layer1.0.weight", "fc.weight"),
    ],
)
def test_layers_of_others_go_from_input_to_output(name: str, count: int, first: str, last: str) -> None:
    network = on_meta(name)
    layers = layers_of(network)
    assert list(layers) == [name for name, _ in network.named_parameters()]
    assert sorted(set(layers.values())) == list(range(count))
    assert (layers[first], layers[last]) == (0, count - 1)


def test_a_training_steps_each_layer_at_its_rate() -> None:
    """One step of gradient descent moves each weight by its own rate; a projector by the whole one."""
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    teacher = nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 3)).double()
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"]),
        "hint": Term(MeanSquaredLogits(), ["student.stage1", "teacher.stage1"], projector=partial(Regressor)),
    }
    images, target = torch.rand(8, 6).double(), torch.arange(8) % 3
    module = DistillationModule(
        student=student,
        teacher=teacher,
        terms=terms,
        student_taps={"stage1": "0"},
        teacher_taps={"stage1": "0"},
        example_input=images[:2],
        num_classes=3,
        optimizer=LayerDecay(partial(torch.optim.SGD, lr=0.1, weight_decay=0.3), decay=0.5),
    ).double()
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    quiet: Any = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=1, enable_checkpointing=False, precision="64-true", **quiet)
    trainer.fit(module, DataLoader(TensorDataset(images, target), batch_size=8))
    scale = {"student.0": 0.25, "student.2": 0.5, "student.4": 1.0}
    for name, weight in module.named_parameters():
        if weight.grad is None:
            continue
        own = next((factor for place, factor in scale.items() if name.startswith(place)), 1.0)
        is_spared = name.startswith("student") and weight.ndim == 1
        step = weight.grad + (0.0 if is_spared else 0.3) * before[name]
        torch.testing.assert_close(weight.detach(), before[name] - 0.1 * own * step, rtol=1e-12, atol=1e-12)
    assert any(name.startswith("objective") for name in before)


@pytest.mark.parametrize("decay", [0, -1, 1.5, "half", True])
def test_bad_values_are_refused(decay: Any) -> None:
    with pytest.raises(UserError, match=f"^layer_decay={decay}: must be above 0"):
        LayerDecay(torch.optim.AdamW, decay)


def test_one_rate_for_all_is_refused_beside_it() -> None:
    module = DistillationModule(
        nn.Linear(4, 3),
        num_classes=3,
        optimizer=LayerDecay(partial(torch.optim.SGD, lr=0.1), 0.5),
        scheduler=partial(OneCycleLR, max_lr=0.1, total_steps=1),
    )
    loader = DataLoader(TensorDataset(torch.rand(8, 4), torch.arange(8) % 3), batch_size=8)
    with pytest.raises(UserError, match=r"^scheduler=OneCycleLR: .*layer_decay"):
        Trainer(max_epochs=1, logger=False, accelerator="cpu", enable_checkpointing=False).fit(module, loader)


SMALL = ("teacher=none", "callbacks.progress_bar=null", "trainer.max_epochs=1", "trainer.limit_train_batches=2")


def test_a_run_trains_with_it(command: Command) -> None:
    done = command("kd-train", *SMALL, "optimizer.layer_decay=0.5", "hydra.run.dir=run", "optimizer=adamw")
    assert done.code == 0, done.errors
    stored = torch.load(done.folder / "run/checkpoints/last.ckpt", weights_only=True)
    found = {group["name"]: group["initial_lr"] for group in stored["optimizer_states"][0]["param_groups"]}
    assert [found[f"layer{layer}"] for layer in range(4)] == [0.125e-3, 0.25e-3, 0.5e-3, 1e-3]
    refused = command("kd-train", *SMALL, "optimizer.layer_decay=2")
    assert refused.code == 2
    assert refused.error_lines == [
        "error: optimizer.layer_decay=2: must be above 0 and at most 1, such as 0.75; or null"
    ]
