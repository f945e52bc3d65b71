"""kd-predict: what a run's student says of files of the user's own."""

import csv
import json
import shutil
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import load_student
from kd_lightning.data import EvaluationTransform
from kd_lightning.errors import UserError
from kd_lightning.inference.files import files_of
from kd_lightning.inference.predictions import rows
from kd_lightning.inference.predictor import Predictor
from tests.conftest import Command
from tests.inference.test_student import SHORT, digits


@pytest.fixture
def photos(tmp_path: Path) -> torch.Tensor:
    """The first six test images as files in two folders, and these images."""
    images, _ = digits()
    for number, image in enumerate(images[:6]):
        place = tmp_path / "photos" / ("deep/er" if number > 3 else "") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).round().to(torch.uint8).numpy()).save(place)
    return images[:6]


def told_by(run: str, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return load_student(run).network(images).softmax(1)


def test_csv_of_a_folder_holds_what_the_student_says(command: Command, run_folder: Path, photos: torch.Tensor) -> None:
    done = command("kd-predict", "run=run", "input=photos", "output=out/classes.csv", "batch_size=4")
    assert done.code == 0, done.errors
    assert done.output == ""
    rows = list(csv.DictReader(Path("out/classes.csv").read_text().splitlines()))
    assert list(rows[0]) == ["file", "class", "probability", "class_2", "probability_2", "class_3", "probability_3"]
    expected = told_by("run", photos)
    by_file = {Path(row["file"]).stem: row for row in rows}
    assert {*by_file} == {*"012345"}
    for number, own in enumerate(expected):
        values, places = own.topk(3)
        row = by_file[str(number)]
        assert [row["class"], row["class_2"], row["class_3"]] == [str(place) for place in places.tolist()]
        given = [float(row[name]) for name in ("probability", "probability_2", "probability_3")]
        assert given == pytest.approx(values.tolist(), rel=1e-5)


def test_unreadable_files_are_listed_at_the_end(command: Command, run_folder: Path, photos: torch.Tensor) -> None:
    Path("photos/a.jpg").write_bytes(b"no image")
    Path("photos/b.png").touch()
    done = command("kd-predict", "run=run", "input=photos/**/*", "format=jsonl", "top=1")
    assert done.code == 1
    assert "Traceback" not in done.errors
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert len(rows) == 6
    assert all(row["top"] == [{"class": row["class"], "probability": row["probability"]}] for row in rows)
    told = [line for line in done.errors.splitlines() if line.startswith("unreadable: ")]
    assert [line.split()[1] for line in told] == ["photos/a.jpg", "photos/b.png"]


def test_an_export_says_the_same(command: Command, run_folder: Path, photos: torch.Tensor, tmp_path: Path) -> None:
    asked = ("input=photos/*.png", "format=jsonl")
    assert command("kd-export", "run=run", "format=onnx,torch_export", "softmax=true").code == 0
    expected = command("kd-predict", "run=run", *asked).output
    for name in ("student.onnx", "student.pt2"):
        given = command("kd-predict", f"run=run/export/{name}", *asked)
        assert given.code == 0, given.errors
        for line, other in zip(given.output.splitlines(), expected.splitlines(), strict=True):
            one, two = json.loads(line), json.loads(other)
            assert (one["file"], one["class"]) == (two["file"], two["class"])
            assert one["probability"] == pytest.approx(two["probability"], rel=1e-4)


def test_an_archive_of_others_is_not_loaded(
    command: Command, run_folder: Path, photos: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("kd-export", "run=run", "format=torch_export").code == 0
    monkeypatch.setenv("KD_LIGHTNING_CACHE", "nothing")
    asked = ("kd-predict", "run=run/export/student.pt2", "input=photos")
    refused = command(*asked)
    assert refused.code == 2
    assert "may run any code as it is loaded; give trust=true" in refused.error_lines[0]
    assert command(*asked, "trust=true").code == 0
    Path("run/export/student.pt2").write_bytes(b"nothing")
    damaged = command(*asked, "trust=true")
    assert damaged.code == 2
    assert "torch.export.load does not load it" in damaged.error_lines[0]


def test_a_table_of_several_inputs(command: Command, run_folder: Path, photos: torch.Tensor) -> None:
    done = command("kd-predict", "run=run/student.safetensors", "input=[photos/0.png,photos/deep]", "top=2")
    assert done.code == 0, done.errors
    lines = done.output.splitlines()
    assert any(line.split() == ["file", "class", "probability", "class_2", "probability_2"] for line in lines)
    assert sum(".png" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["input=nothing"], "input=nothing: no such file or folder"),
        (["input=photos/*.jpg"], "input=photos/*.jpg: matches no file"),
        (["input=empty"], "input=empty: holds no image file"),
        (["input=photos", "format=cvs"], "format=cvs: no such format; did you mean csv? there are csv, jsonl, table"),
        (["input=photos", "output=a.xlsx"], "output=a.xlsx: of its ending no format is known; give format=csv or"),
        (["input=photos", "output=empty"], "output=empty: is a folder"),
        (["input=photos", "top=0"], "top=0: must be a whole number"),
        (["input=photos", "device=mars"], "device=mars: "),
        (["input=photos", "batch=2"], "nothing reads this key"),
        ([], "input"),
    ],
)
def test_bad_input_is_one_line(
    command: Command, run_folder: Path, photos: torch.Tensor, arguments: list[str], told: str
) -> None:
    Path("empty").mkdir()
    before = sorted(Path().rglob("*"))
    refused = command("kd-predict", "run=run", *arguments)
    assert refused.code == 2
    assert len(refused.error_lines) == 1
    assert told in refused.error_lines[0]
    assert sorted(Path().rglob("*")) == before


class Bright(lightning.LightningDataModule):
    """Digits with two numbers each: how bright the left and the right half are."""

    evaluation_transform = EvaluationTransform(channels=1, size=8, resize=8)

    def part(self, start: int, *, shuffle: bool = False) -> DataLoader[tuple[torch.Tensor, ...]]:
        images = digits()[0][start::3]
        halves = torch.stack([images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))], 1)
        return DataLoader(TensorDataset(images, halves), 64, shuffle=shuffle)

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return self.part(0, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return self.part(1)

    def test_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return self.part(2)


class Halves(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.slow
def test_numbers_are_told_by_their_place(command: Command, photos: torch.Tensor) -> None:
    here = "tests.inference.test_predict"
    own = (f"student.model={{_target_: {here}.Halves}}", f"data={{_target_: {here}.Bright}}")
    regression = ("task=regression", "loss=mse", "teacher=none", *own)
    trained = command("kd-train", *SHORT, *regression)
    assert trained.code == 0, trained.errors
    done = command("kd-predict", "run=run", "input=photos", "format=csv")
    assert done.code == 0, done.errors
    lines = done.output.splitlines()
    assert lines[0] == "file,output_0,output_1"
    assert len(lines) == 7


def test_labels_have_probabilities_of_their_own_and_maps_are_refused(photos: torch.Tensor, tmp_path: Path) -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]]).repeat(6, 1)
    transform = EvaluationTransform(channels=1, size=8, resize=8)
    student = Predictor(lambda images: logits[: len(images)], transform, ["a", "b", "c"], "labels", False)
    files = files_of(str(tmp_path / "photos"), "input")
    found = [*rows(student, files, size=6, top=2, unreadable=[])]
    assert [row.file for row in found] == files
    for row in found:
        assert [name for name, _ in row.said] == ["a", "c"]
        assert [value for _, value in row.said] == pytest.approx(torch.tensor([2.0, 0.5]).sigmoid().tolist())
    maps = Predictor(lambda images: torch.zeros(len(images), 3, 4, 4), transform, None, "classes", False)
    with pytest.raises(UserError, match="gives 3x4x4 for an image"):
        [*rows(maps, files, size=6, top=2, unreadable=[])]


def test_patterns_and_folders_are_read_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "deep/c.webp", "note.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [file.relative_to(tmp_path).as_posix() for file in files_of(str(tmp_path), "input")]
    assert names == ["a.png", "b.jpg", "deep/c.webp"]
    assert [file.name for file in files_of(f"{tmp_path}/*.*", "input")] == ["a.png", "b.jpg", "note.txt"]
    assert [file.name for file in files_of(f"{tmp_path}/note.txt", "input")] == ["note.txt"]


def test_a_folder_of_photographs_is_told_as_the_run_measured_them(command: Command, photographs: Path) -> None:
    sizes = ("data.image_size=32", "data.resize_size=36", "data.batch_size=4")
    data = ("data=small_folder", f"data.root={photographs}", *sizes)
    models = ("student.model=resnet8", "teacher=none", "loss=ce", "data.val_fraction=0", "trainer.accelerator=cpu")
    trained = command("kd-train", *SHORT, *data, *models)
    assert trained.code == 0, trained.errors
    done = command("kd-predict", "run=run", f"input={photographs}/val", "format=jsonl")
    assert done.code == 0, done.errors
    rows = [json.loads(line) for line in done.output.splitlines()]
    right = np.mean([row["class"] == Path(row["file"]).parent.name for row in rows])
    assert right == pytest.approx(json.loads(Path("run/summary.json").read_text())["student"]["top1"])
    shutil.rmtree(photographs / "train")
    assert command("kd-predict", "run=run", f"input={photographs}/val").code == 0, "the data of the run may be gone"
    refused = command("kd-export", "run=run", "format=torch_export")
    assert refused.code == 2
    assert refused.error_lines[0].startswith(f"error: data.root={photographs}: ")
    assert refused.error_lines[0].endswith("; images=FOLDER compares on other images")
