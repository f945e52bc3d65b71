"""A teacher of other classes than the data's that stays as it is: its features teach, its logits do not."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning.models import create_model
from tests.conftest import SHORT, Command
from tests.experiment.test_finetuning import OfHundred, photos, published
from tests.experiment.test_train import summary

FEATURES = "loss=[ce,attention,rkd]"
OPTIONS = (*SHORT, "trainer.max_epochs=1", "scratch=false", "hydra.run.dir=run")


@pytest.fixture
def elsewhere(tmp_path: Path) -> nn.Module:
    torch.manual_seed(1)
    network = create_model("digits_cnn_8", num_classes=100, in_channels=1)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    torch.save({n: v for n, v in network.state_dict().items() if not n.startswith("fc.")}, tmp_path / "headless.pth")
    torch.save(OfHundred().state_dict(), tmp_path / "own.pth")
    return network


@pytest.mark.parametrize(
    ("teacher", "terms", "told"),
    [
        (["teacher.weights=w.pth"], FEATURES, "digits_cnn_8, weights: w.pth, of 100 other classes"),
        (["teacher.weights=headless.pth"], FEATURES, "digits_cnn_8, weights: headless.pth, without a head"),
        (
            ["teacher.model={_target_: tests.experiment.test_finetuning.OfHundred}", "teacher.weights=own.pth"],
            "loss=[ce,rkd]",
            "OfHundred, weights: own.pth, of 100 other classes",
        ),
    ],
)
def test_its_features_teach(command: Command, elsewhere: nn.Module, teacher: list[str], terms: str, told: str) -> None:
    outcome = command("kd-train", *OPTIONS, *teacher, terms)
    assert outcome.code == 0, outcome.errors
    assert f"teacher        {told}" in outcome.output
    records = summary(Path("run"))
    assert records["teacher"]["params"] > 0
    assert {records["teacher"][name] for name in ("top1", "nll", "top1_validation")} == {None}
    assert records["student"]["top1"] > 0
    assert records["student"].get("agreement") is None
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    assert "agreement" not in again.output
    assert command("kd-report", "run", "--output", "table.html").code == 0


def test_it_keeps_its_own_head(command: Command, elsewhere: nn.Module) -> None:
    command("kd-train", *OPTIONS, "teacher.weights=w.pth", FEATURES)
    assert summary(Path("run"))["teacher"]["params"] == sum(value.numel() for value in elsewhere.parameters())


REMEDY = "digits_cnn_8 knows 100 other classes, and the data have 10; teacher.finetune=whole, head or gradual gives it"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], ["loss.kd: takes teacher.logits; ", REMEDY]),
        (["method=srrl"], ["loss.srrl: takes teacher.classifier_", REMEDY]),
        (["method=simkd"], ["gives 100 logits", REMEDY]),
        (["loss=[ce,attention]", "teacher.cache=pooled"], ["teacher.cache=pooled", "use teacher.cache=off"]),
        (["teacher.weights=headless.pth"], ["digits_cnn_8 has no head", "teacher.finetune=whole"]),
        (
            ["loss.ce.sample_weight={_target_: kd_lightning.losses.sample_weights.Entropy, logits: teacher.logits}"],
            ["loss.ce: takes teacher.logits; ", REMEDY],
        ),
    ],
)
def test_what_is_of_its_classes_is_refused(
    command: Command, elsewhere: nn.Module, options: list[str], told: list[str]
) -> None:
    outcome = command("kd-train", *SHORT, "teacher.weights=w.pth", *options)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert all(one in line for one in told), line
    assert not (outcome.folder / "outputs").exists()


def test_published_weights_of_a_thousand_classes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "photos")
    published("squeezenet1_1", tmp_path, monkeypatch)
    data = ("data=small_folder", "data.root=photos", "data.image_size=32", "data.augment=null")
    teacher = ("teacher.model=torchvision/squeezenet1_1", "teacher.weights=pretrained", "student.model=resnet8")
    refused = command("kd-train", *data, *teacher, *OPTIONS[:2], "scratch=false")
    assert "teacher.finetune=whole, head or gradual" in refused.error_lines[0]
    outcome = command("kd-train", *data, *teacher, "loss=[ce,rkd]", *OPTIONS[:2], *OPTIONS[3:])
    assert outcome.code == 0, outcome.errors
    record = json.loads(Path("run/summary.json").read_text())["teacher"]
    assert record["params"] == 1_235_496, "that of a thousand classes"
