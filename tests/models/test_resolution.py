"""Networks that see images at sizes of their own, of the same crop."""

import copy
import json
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import load_student
from kd_lightning.conversions import ReplaceHead, converted, stored_beside
from kd_lightning.data import DigitsDataModule
from kd_lightning.data.derived.module import as_data_module
from kd_lightning.errors import UserError
from kd_lightning.models import create_model, image_size_of, normalize_inputs, resize_inputs
from kd_lightning.models.profile import profile_models
from kd_lightning.networks import Student
from kd_lightning.taps import find_taps
from kd_lightning.teachers.member import Member
from tests.conftest import Command

IMAGES = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(0))


class Seen(nn.Module):
    """Keeps what it is given."""

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return images


def flops_of(size: int | None, data: DigitsDataModule, model: str = "digits_cnn_4") -> int:
    return Student(model, image_size=size).seen(data, 10, {"logits"}).cost.flops


@pytest.mark.parametrize("size", [16, 64])
def test_images_are_resized_before_they_are_normalised(size: int) -> None:
    """In whichever order the two are asked for, by a copy too, and once."""
    by_hand = F.interpolate(IMAGES, (size * 3 // 2, size), mode="bilinear", antialias=True)
    expected = (by_hand - 0.5) / 0.25
    one = normalize_inputs(resize_inputs(Seen(), size), [0.5] * 3, [0.25] * 3)
    other = resize_inputs(normalize_inputs(Seen(), [0.5] * 3, [0.25] * 3), 8)
    for network in (one, resize_inputs(other, size), copy.deepcopy(one)):
        network(IMAGES)
        torch.testing.assert_close(network.images, expected, rtol=0, atol=0)
        assert image_size_of(network) == size
    already = resize_inputs(Seen(), size)
    already(by_hand)
    assert torch.equal(already.images, by_hand)


def test_it_follows_a_conversion_and_is_noted_with_the_weights() -> None:
    network = resize_inputs(create_model("digits_cnn_4", num_classes=10, in_channels=1), 12)
    changed = converted(network, ReplaceHead(3), [{"input": torch.rand(2, 1, 8, 8)}], {})[0]
    assert stored_beside(changed)["image_size"] == "12"
    assert "image_size" not in stored_beside(create_model("digits_cnn_4", num_classes=10))


def test_taps_and_cost_are_those_of_its_size() -> None:
    small, large = (create_model("resnet8x4", num_classes=10) for _ in range(2))
    resize_inputs(large, 64)
    example = torch.rand(2, 3, 32, 32)
    assert find_taps(small, example) == find_taps(large, example)
    costs = profile_models({"small": small, "large": large}, example, repeats=1)
    assert costs["large"].flops == pytest.approx(4 * costs["small"].flops, rel=1e-3)
    data = DigitsDataModule()
    flops = [flops_of(size, data) for size in (None, 8, 16)]
    assert flops[0] == flops[1]
    assert flops[2] == pytest.approx(4 * flops[0], rel=0.02)


def test_a_model_of_a_size_of_its_own_runs_on_other_images() -> None:
    """Whose tokens make a grid, which is larger than the data's images."""
    network = create_model("timm/vit_tiny_patch16_224", num_classes=10)
    with pytest.raises(AssertionError, match="doesn't match"):
        network(torch.rand(1, 3, 8, 8))
    taps = find_taps(resize_inputs(network, 224), torch.rand(1, 3, 8, 8))
    assert taps["stage1"].endswith(":tokens")


@pytest.mark.parametrize("owner", ["student", "teacher"])
@pytest.mark.parametrize("size", [0, -3, 2.5, "large", True, 10**6])
def test_what_is_no_size_is_refused(owner: str, size: Any) -> None:
    network = (Student if owner == "student" else Member)("digits_cnn_4", image_size=size)
    with pytest.raises(UserError, match=rf"{owner}\.image_size={size}: the pixels of the short side"):
        network.check()


class Table(lightning.LightningDataModule):
    """Eight rows of four numbers, of two classes."""

    num_classes = 2

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.rand(8, 4), torch.arange(8) % 2), batch_size=4)

    test_dataloader = val_dataloader = train_dataloader


def test_data_without_images_are_refused() -> None:
    data = as_data_module(Table())
    network = Student({"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 2}, image_size=8)
    with pytest.raises(
        UserError, match=r"student\.image_size=8: resizes images \(C, H, W\), and the data Table give input 4"
    ):
        network.build(data)


def test_teacher_and_student_see_the_same_crop_at_their_sizes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their answers are kept by size, they are measured as they were trained, and a loaded student sees the same."""
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    arguments = (
        *("trainer.max_epochs=1", "teacher.model=digits_cnn_8", "teacher.cache=prefill", "loss=[ce,kd]"),
        *("student.image_size=6", "scratch=false", "hydra.run.dir=run"),
    )
    made = command("kd-train", *arguments, "teacher.image_size=16")
    assert made.code == 0, made.errors
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    data = DigitsDataModule()
    assert summary["student"]["flops"] == flops_of(6, data)
    assert summary["teacher"]["flops"] == flops_of(16, data, "digits_cnn_8")
    with safe_open(tmp_path / "run" / "student.safetensors", "pt") as weights:
        assert weights.metadata()["image_size"] == "6"
    assert command("kd-cache", "verify").code == 0
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    exported = command("kd-export", "run=run", "format=torch_export")  # of images as the data have them
    assert exported.code == 0, exported.errors
    network, _, _ = load_student(tmp_path / "run", trust=True)
    data.setup("test")
    test = torch.cat(
        [network(data.on_after_batch_transfer(batch)["input"]).argmax(1) for batch in data.test_dataloader()]
    )
    accuracy = (test == data.test_set.targets).double().mean()
    assert float(accuracy) == pytest.approx(summary["student"]["top1"], abs=1e-6)
    folders = set((tmp_path / "cache" / "answers").iterdir())
    other = command("kd-train", *arguments[:-1], "teacher.image_size=8", "hydra.run.dir=other")
    assert other.code == 0, other.errors
    kept = {path for path in (tmp_path / "cache" / "answers").iterdir() if path.is_dir()} - folders
    assert len(kept) == 1  # by another key
