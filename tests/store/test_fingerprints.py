"""Whatever changes what is kept gives it another place: no run is shown what another one's code or data made."""

from pathlib import Path

import pytest

from kd_lightning.data import ImageFolderDataModule
from kd_lightning.data.folders import image_files
from kd_lightning.experiment.checks.config import check
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.data.test_folder import tree
from tests.experiment.steps import trainings

QUICK = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "data.train_samples=64", "scratch=false")
OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, activation: str = "ReLU") -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 10), getattr(nn, activation)())
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def answers(cache: Path) -> int:
    return len([*cache.glob("answers/*/answers.bin")])


def test_a_network_of_ones_own_is_trained_anew_once_its_code_has_changed(command: Command, tmp_path: Path) -> None:
    file, teacher = tmp_path / "own_network.py", "teacher.model={_target_: own_network.Net}"
    file.write_text(OWN)
    assert "Net, training" in command("kd-train", *QUICK, teacher, "temperature=1").output
    assert "Net, found" in command("kd-train", *QUICK, teacher, "temperature=2").output
    file.write_text(OWN.replace("nn.Flatten(), ", "nn.Flatten(), nn.Identity(), "))
    assert "Net, training" in command("kd-train", *QUICK, teacher, "temperature=3").output
    file.write_text(OWN)
    (tmp_path / "own_helper.py").write_text("")
    assert "Net, found" in command("kd-train", *QUICK, teacher, "temperature=4").output
    file.write_text(f"import own_helper\n{OWN}")
    for line in ("# as it was", "# changed"):
        (tmp_path / "own_helper.py").write_text(line)
        assert "Net, training" in command("kd-train", *QUICK, teacher, "temperature=5").output, line


def test_a_teacher_built_with_other_arguments_has_answers_of_its_own(
    command: Command, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "own_teacher.py").write_text(OWN)
    for activation in ("ReLU", "Tanh"):
        teacher = f"teacher.model={{_target_: own_teacher.Net, activation: {activation}}}"
        outcome = command("kd-train", *QUICK, teacher, "teacher.weights=null", "teacher.cache=logits")
        assert outcome.code == 0, outcome.errors
    assert answers(cache) == 2


def test_another_way_to_decode_has_answers_of_its_own(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "images", "train", "val")
    config = composed(
        *("data=folder", f"data.root={tmp_path / 'images'}", "data.image_size=32", "data.resize_size=32"),
        *("student.model=resnet8", "teacher.model=resnet8", "teacher.weights=null", "teacher.cache=logits"),
        *("data.views=3", "data.val_fraction=0"),
    )
    for decoding in (1, 2):
        monkeypatch.setattr(image_files, "DECODING", decoding)
        experiment = check(config)
        trainings(experiment)
    assert answers(cache) == 2


def test_images_of_one_size_that_were_replaced_are_other_images(tmp_path: Path) -> None:
    image = tree(tmp_path, "train", "val") / "train" / "ant" / "0.png"
    data = [ImageFolderDataModule(root=tmp_path) for _ in range(2)]
    before = data[0].fingerprint()["content"]["train"]
    content = image.read_bytes()
    image.write_bytes(content[:-1] + b"?")
    assert data[1].fingerprint()["content"]["train"] != before


def test_a_cache_that_cannot_be_written_is_one_line(command: Command, cache: Path) -> None:
    cache.write_text("no folder")
    outcome = command("kd-train", *QUICK)
    assert outcome.code == 2
    assert outcome.error_lines[0].startswith(f"error: paths.cache_dir={cache}: cannot be written (")


def test_without_room_for_answers_the_training_goes_on(command: Command, cache: Path) -> None:
    cache.mkdir()
    (cache / "answers").write_text("no folder")
    outcome = command("kd-train", *QUICK, "teacher.model=digits_cnn_4", "teacher.cache=logits")
    assert outcome.code == 0, outcome.errors
    assert "warning: teacher.cache=logits: " in outcome.errors
    assert "nothing is kept" in outcome.errors
