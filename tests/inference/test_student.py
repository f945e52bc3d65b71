"""A trained student is loaded from its run, from its file of weights alone, and from an artifact's folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kd_lightning import load_student
from kd_lightning.data import DigitsDataModule, EvaluationTransform, ImageFolderDataModule
from kd_lightning.errors import UserError
from kd_lightning.models import save_weights
from tests.conftest import Command
from tests.conversions.test_conversions import PRUNE, pruned  # noqa: F401  # a fixture

SHORT = (
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "callbacks.progress_bar=null",
    "teacher.model=digits_cnn_4",
    "scratch=false",
    "hydra.run.dir=run",
)
OWN = "student.model={_target_: tests.experiment.test_own_classes.OwnNetwork, width: 8}"


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The test images of the digits, float in [0, 1], and their classes."""
    data = DigitsDataModule()
    data.setup()
    return data.test_set.images.read(data.test_set.rows, None).float() / 255, data.test_set.targets


def test_it_answers_as_the_run_measured(finished: Path, tmp_path: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    shutil.copy(finished / "student.safetensors", artifact)
    images, targets = digits()
    given = []
    for path in (finished, finished / "student.safetensors", artifact, str(artifact / "student.safetensors")):
        state = torch.get_rng_state()
        network, transform, classes = load_student(path)
        assert torch.equal(state, torch.get_rng_state())
        assert classes == [str(digit) for digit in range(10)]
        assert transform == EvaluationTransform(1, 8, 8)
        assert not network.training
        with torch.no_grad():
            given.append(network(images))
    assert all(torch.equal(given[0], other) for other in given[1:])
    top1 = (given[0].argmax(1) == targets).double().mean().item()
    assert top1 == pytest.approx(summary["student"]["top1"], abs=1e-6)


def test_an_image_file_becomes_what_evaluation_shows(photographs: Path, tmp_path: Path) -> None:
    data = ImageFolderDataModule(root=photographs, image_size=32, resize_size=40, val_fraction=0)
    data.setup()
    [transform] = {data.evaluation_transform}
    assert transform is not None
    shown = data.test_set.images.read(data.test_set.rows, None)
    files = [photographs / "val" / name.decode() for name in data.test_set.images.names]  # type: ignore[attr-defined]
    assert torch.equal(torch.stack([transform(file) for file in files]), shown.float() / 255)


def test_images_of_data_in_memory_come_back_from_files(tmp_path: Path) -> None:
    images, _ = digits()
    pixels = (images[0, 0] * 255).round().to(torch.uint8).numpy()
    transform = DigitsDataModule().evaluation_transform
    assert transform is not None
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([pixels] * 3, -1)).save(tmp_path / "colour.png")
    for name in ("grey.png", "colour.png"):
        assert torch.equal(transform(tmp_path / name), images[0])
    assert transform(Image.new("RGB", (40, 30))).shape == (1, 8, 8)
    (tmp_path / "none.png").write_text("no image")
    with pytest.raises(UserError, match=r"none\.png cannot be read as an image"):
        transform(tmp_path / "none.png")


def test_a_class_of_ones_own_is_built_where_its_run_began(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert command("kd-train", *SHORT, OWN).code == 0
    network, _, _ = load_student("run")
    assert type(network).__name__ == "OwnNetwork"
    assert network(torch.rand(2, 1, 8, 8))["logits"].shape == (2, 10)
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(
        UserError, match=r"^path=run/student\.safetensors: student\.model\._target_=.*; give trust=true"
    ):
        load_student("run")
    assert type(load_student("run", trust=True).network).__name__ == "OwnNetwork"


def test_a_converted_student_is_converted_again(command: Command, pruned: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    own = (f"student.weights={pruned}", f"student.trusted=[{PRUNE}]", "teacher=none")
    trained = command("kd-train", *(one for one in SHORT if not one.startswith("teacher")), *own)
    assert trained.code == 0, trained.errors
    network, _, _ = load_student("run")
    assert network.get_parameter("fc.weight").shape == (10, 5)
    monkeypatch.setenv("KD_LIGHTNING_CACHE", "nothing")
    with pytest.raises(
        UserError, match=r"student\.trusted\.0=tests\.conversions\.pruning\.PruneChannels: .*trust=true"
    ):
        load_student("run")
    assert load_student("run", trust=True).network.get_parameter("fc.weight").shape == (10, 5)


@pytest.mark.slow
def test_a_student_with_parts_of_its_teacher_needs_its_run(command: Command, tmp_path: Path) -> None:
    assert command("kd-train", *SHORT, "method=simkd", "teacher.model=digits_cnn_8").code == 0
    network, _, _ = load_student("run")
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    shutil.copy("run/student.safetensors", "alone.safetensors")
    with pytest.raises(UserError, match=r"is rebuilt around its teacher \(ReusedClassifier\).*give the run's folder"):
        load_student("alone.safetensors")


def without_description(folder: Path) -> Any:
    save_weights(nn.Linear(2, 2), folder / "plain.safetensors", {"model": "x"})
    return folder / "plain.safetensors", r"plain\.safetensors: does not tell which network its weights are of"


def unfinished(folder: Path) -> Any:
    (folder / "run" / "summary.json").unlink()
    return folder / "run", r"run: has not finished; the same command with hydra\.run\.dir="


def lost(folder: Path) -> Any:
    (folder / "run" / "student.safetensors").unlink()
    return folder / "run", r"its student\.safetensors is not there any more"


def several(folder: Path) -> Any:
    for name in "ab":
        save_weights(nn.Linear(2, 2), folder / "two" / f"{name}.safetensors")
    return folder / "two", r"holds several, a\.safetensors, b\.safetensors; give one of them"


def truncated(folder: Path) -> Any:
    content = (folder / "run" / "student.safetensors").read_bytes()
    (folder / "run" / "student.safetensors").write_bytes(content[:-50])
    return folder / "run", r"^path=.*student\.safetensors cannot be read"


@pytest.mark.parametrize("make", [without_description, unfinished, lost, several, truncated])
def test_what_is_no_student_is_told_in_a_line(make: Any, run_folder: Path) -> None:
    path, told = make(run_folder.parent)
    with pytest.raises(UserError, match=told):
        load_student(path)


def test_paths_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "multirun.yaml").write_text("")
    for name, told in {
        "nowhere": "no such folder or file",
        "note.txt": r"is no \.safetensors file",
        "": "of files of weights it holds none",
        "sweep": "holds the runs of a sweep",
    }.items():
        with pytest.raises(UserError, match=told):
            load_student(tmp_path / name)
