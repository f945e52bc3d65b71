"""Images that cannot be decoded, found in one go; and classes in the order of a teacher from elsewhere."""

import json
from pathlib import Path

import pytest
import torch

from kd_lightning.data import ImageFolderDataModule, SmallFolderDataModule
from kd_lightning.data.folders import readable
from kd_lightning.data.folders.class_order import class_order
from kd_lightning.errors import UserError
from tests.conftest import Command
from tests.data.test_decoding import photograph
from tests.data.test_folder import message, tree

SIZES = {"image_size": 16, "resize_size": 20, "val_fraction": 0.0, "batch_size": 3}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four, of which three files of train/ and one of val/ are no images, each for its own reason."""
    root = tree(tmp_path / "photos", "train", "val")
    photograph(64, 48).save(root / "train" / "ant" / "cut.jpg")
    cut = root / "train" / "ant" / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    (root / "train" / "bee" / "0.png").write_text("a text")
    (root / "train" / "bee" / "1.png").write_bytes(b"")
    (root / "val" / "bee" / "3.png").write_bytes((root / "val" / "bee" / "3.png").read_bytes()[:-40])
    return root


ODD = ("cut.jpg", "bee/0.png", "bee/1.png")


def folder(root: Path, tmp_path: Path, **options: object) -> ImageFolderDataModule:
    return ImageFolderDataModule(root=root, cache=tmp_path / "cache", **{**SIZES, **options})


def test_all_are_named_in_one_line(photos: Path, tmp_path: Path) -> None:
    text = message(folder(photos, tmp_path, unreadable="fail").setup)
    assert text.startswith(f"data.unreadable=fail: 3 images of 9 in {photos}/train cannot be read: ")
    assert all(name in text for name in ODD)
    assert "bee/0.png (it is in no format of images that is known)" in text
    assert "bee/1.png (it is empty)" in text
    assert text.endswith("data.unreadable=skip")


@pytest.mark.parametrize("kind", [ImageFolderDataModule, SmallFolderDataModule])
def test_they_are_left_out_and_the_others_are_as_they_were(
    kind: type[ImageFolderDataModule], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = kind(root=photos, cache=tmp_path / "cache", unreadable="skip", **SIZES)
    data.setup()
    assert data.train_set.targets.tolist() == [0] * 4 + [1] * 2
    assert data.test_set.targets.tolist() == [0] * 4 + [1] * 3
    said = " ".join(capsys.readouterr().err.split())
    assert "3 images of 9" in said
    assert "1 image of 8" in said
    for place in [photos / "train" / "ant" / "cut.jpg", *(photos / "train" / "bee" / f"{i}.png" for i in (0, 1))]:
        place.unlink()
    (photos / "val" / "bee" / "3.png").unlink()
    clean = kind(root=photos, cache=tmp_path / "cache", **SIZES)
    clean.setup()
    rows = torch.arange(6)
    assert torch.equal(clean.train_set.images.read(rows, None), data.train_set.images.read(rows, None))
    assert clean.fingerprint() == data.fingerprint()


def test_they_are_looked_at_once_unless_a_file_changes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    once = readable.decode_once
    monkeypatch.setattr(readable, "decode_once", lambda file: (looked.append(str(file)), once(file))[1])
    folder(photos, tmp_path, unreadable="skip").setup()
    assert len(looked) == 9 + 8
    folder(photos, tmp_path, unreadable="skip").setup()
    assert len(looked) == 9 + 8
    photograph(64, 48).save(photos / "train" / "ant" / "cut.jpg")
    data = folder(photos, tmp_path, unreadable="skip")
    data.setup()
    assert len(looked) == 9 + 8 + 9
    assert len(data.train_set) == 7


def test_a_class_of_none_but_them_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "train", "val", each=1)
    (root / "train" / "bee" / "0.png").write_text("a text")
    text = message(folder(root, tmp_path, unreadable="skip").setup)
    assert text.startswith(f"data.unreadable=skip: no image of bee in {root}/train can be read")


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ({"cat": 1, "dog": 0}, ["dog", "cat"]),
        ({"0": "dog", "1": "cat"}, ["dog", "cat"]),
        ({0: "dog", 1: "cat"}, ["dog", "cat"]),
        (["dog", "cat"], ["dog", "cat"]),
        ({"model_type": "vit", "id2label": {"0": "dog", "1": "cat"}}, ["dog", "cat"]),
        (None, None),
    ],
)
def test_an_order_in_any_form(given: object, order: list[str] | None, tmp_path: Path) -> None:
    assert class_order(given) == order
    if order is None:
        return
    (tmp_path / "order.json").write_text(json.dumps(given))
    assert class_order(tmp_path / "order.json") == order
    (tmp_path / "order.txt").write_text("dog\ncat\n")
    assert class_order(str(tmp_path / "order.txt")) == order
    (tmp_path / "order.yaml").write_text("dog: 0\ncat: 1\n")
    assert class_order(tmp_path / "order.yaml") == order


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cat": 0, "dog": 2}, "must be 0 to 1, each once"),
        ({"cat": "dog"}, "give a mapping"),
        (["cat", "cat"], "names 1 classes in 2 places"),
        (3, "holds int"),
        ("nowhere.json", "no such file"),
        (__file__.replace(".py", ""), "no such file"),
    ],
)
def test_what_is_no_order_is_refused(given: object, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        class_order(given)
    assert str(error.value).startswith("data.class_to_idx")


def test_classes_have_the_numbers_of_the_teacher(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "train", "val", classes=("ant", "bee", "cat"))
    data = folder(root, tmp_path, class_to_idx={"cat": 0, "wolf": 1, "ant": 2, "bee": 3})
    data.check()
    data.setup()
    assert data.class_names == ["cat", "wolf", "ant", "bee"]
    by_name = {data.train_set.images.file(row).parent.name: label for row, label in enumerate(data.train_set.targets)}
    assert {name: int(label) for name, label in by_name.items()} == {"ant": 2, "bee": 3, "cat": 0}
    assert folder(root, tmp_path).fingerprint() != data.fingerprint()
    text = message(folder(root, tmp_path, class_to_idx=["ant", "bee"]).check)
    assert text.startswith(f"data.class_to_idx: lacks 1 of the classes in data.root={root} (cat)")


def test_a_command_lists_them_before_it_trains(command: Command, photos: Path, tmp_path: Path) -> None:
    small = ("data=folder", f"data.root={photos}", "data.image_size=16", "data.resize_size=20", "data.num_workers=0")
    run = ("data.val_fraction=0", "teacher=none", "scratch=false", "student.model=resnet8", "hydra.run.dir=run")
    outcome = command("kd-train", *small, *run, f"paths.cache_dir={tmp_path}/kept")
    assert outcome.code == 2
    assert all(name in outcome.error_lines[0] for name in ODD)
    assert not (outcome.folder / "run" / "checkpoints").exists()
    again = command("kd-cache", "--dir", f"{tmp_path}/kept", "ls")
    assert "3 of 9 images of" in again.output.replace("\n", " ")
    (tmp_path / "order.json").write_text('{"bee": 0, "ant": 1}')
    outcome = command(
        "kd-train", *small, *run, "data.unreadable=skip", "data.class_to_idx=order.json", "trainer.max_epochs=1",
        "data.batch_size=3", "callbacks.progress_bar=null", f"paths.cache_dir={tmp_path}/kept",
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    assert "6 training and 7 test images" in " ".join(outcome.output.split())
