"""Which files count as images of which class: what lies beside them, and where links lead."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kd_lightning.data import ImageFolderDataModule
from kd_lightning.data.folders.listing import image_files, lies_in, meets_another
from tests.data.test_folder import message, picture, tree


def module(root: Path) -> ImageFolderDataModule:
    return ImageFolderDataModule(root=root, image_size=16, resize_size=20, val_fraction=0)


def counts(root: Path) -> list[int]:
    """The training images of each class."""
    data = module(root)
    data.setup()
    return data.train_set.targets.bincount().tolist()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images of each of two classes, in either split."""
    return tree(tmp_path / "pets", "train", "val")


@pytest.mark.parametrize(
    "place",
    [
        ".ipynb_checkpoints/0-checkpoint.png",
        ".thumbnails/0.png",
        "more/.thumbnails/large/0.png",
        "@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
        "__MACOSX/0.png",
        "#recycle/0.png",
        "$RECYCLE.BIN/0.png",
        "lost+found/0.png",
        "._0.png",
        ".@__thumb/0.png",
        "Thumbs.db",
        "notes.txt",
        "0.png.part",
    ],
)
def test_what_systems_leave_beside_pictures_is_none(place: str, root: Path) -> None:
    beside = root / "train" / "ant" / place
    beside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "train" / "ant" / "0.png", beside)
    assert counts(root) == [4, 4]


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", ".git", "System Volume Information"])
def test_nor_are_they_classes(name: str, root: Path) -> None:
    picture(root / "train" / name / "0.png")
    assert module(root).class_names == ["ant", "bee"]
    assert counts(root) == [4, 4]


@pytest.mark.parametrize("name", ["more", "@home", "#1", "0.png.d"])
def test_other_folders_below_a_class_belong_to_it(name: str, root: Path) -> None:
    picture(root / "train" / "ant" / name / "deeper" / "0.JPEG")
    assert counts(root) == [5, 4]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/", "../ant", "more", "self"])
@pytest.mark.parametrize("place", ["train/ant/self", "train/ant/more/self"])
def test_a_link_that_leads_back_adds_nothing(place: str, target: str, root: Path) -> None:
    picture(root / "train" / "ant" / "more" / "0.png")
    link = root / place
    if target == "more":
        target = str(root / "train" / "ant" / "more")
    link.symlink_to("/no/such" if target == "self" else target)
    if target == "self":  # a circle of one
        link.unlink()
        link.symlink_to(link)
        assert str(link) in message(module(root).setup)
    elif place == "train/ant/more/self" and target == "../ant":
        assert str(link) in message(module(root).setup)  # there is no such folder
    else:
        assert counts(root) == [5, 4]


def test_a_folder_counts_once_however_many_links_lead_to_it(root: Path, tmp_path: Path) -> None:
    picture(tmp_path / "pool" / "0.png")
    picture(tmp_path / "pool" / "deeper" / "1.png")
    (tmp_path / "pool" / "back").symlink_to("..")
    for name in ("a", "b", "0"):
        (root / "train" / "ant" / name).symlink_to(tmp_path / "pool")
    (root / "train" / "ant" / "part").symlink_to(tmp_path / "pool" / "deeper")
    assert counts(root) == [6, 4]


def test_links_to_classes_and_images_elsewhere_are_followed(root: Path, tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        shutil.move(root / "train" / name, tmp_path / f"{name}s")
        (root / "train" / name).symlink_to(tmp_path / f"{name}s")
    picture(tmp_path / "pool" / "x.png")
    (root / "train" / "bee" / "4.png").symlink_to(tmp_path / "pool" / "x.png")
    (root / "train" / "bee" / "back").symlink_to(root / "train")
    assert counts(root) == [4, 5]


def test_a_split_may_be_a_link_and_what_it_shares_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "val")
    (root / "val").symlink_to("train")
    assert counts(root) == [4, 4]
    warning = f"warning: data.root={root}: in val/ 8 of 8 images are training images too, such as ant/0.png; "
    assert capsys.readouterr().err.startswith(warning)


@pytest.mark.parametrize("target", ["../bee", "../../val", "../../val/ant", "../../val/bee"])
def test_a_link_to_where_other_images_lie_is_refused(target: str, root: Path) -> None:
    (root / "train" / "ant" / "more").symlink_to(target)
    text = message(module(root).setup)
    assert f"{root}/train/ant/more leads to" in text
    assert "another class or split" in text


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_of_two_classes_is_told(link, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link(root / "train" / "bee" / "1.png", root / "train" / "ant" / "also.png")
    link(root / "train" / "ant" / "2.png", root / "train" / "ant" / "twice.png")
    assert counts(root) == [6, 4]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert f"data.root={root}: in train/ 2 names stand for images of two classes" in warnings[0]
    assert "ant/also.png and bee/1.png" in warnings[0]


@pytest.mark.parametrize("place", ["train/ant/5.png", "train/ant/more", "train/ant/more/x.jpg", "val/bee/x.tif"])
def test_a_link_to_nothing_is_named(place: str, root: Path) -> None:
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).symlink_to("/nowhere/5.png")
    text = message(module(root).setup)
    assert f"{root / place} cannot be read as an image (a link to /nowhere/5.png, which is not there)" in text


def test_a_class_that_is_a_link_to_nothing_is_named(root: Path) -> None:
    for split in ("train", "val"):
        (root / split / "cat").symlink_to("/nowhere")
    assert f"{root}/train/cat leads to /nowhere" in message(module(root).check)


def test_what_is_no_file_is_named(root: Path) -> None:
    os.mkfifo(root / "train" / "ant" / "5.png")
    assert "5.png cannot be read as an image (no regular file)" in message(module(root).setup)


def test_names_in_another_encoding_are_read_and_classes_with_them_refused(root: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(root / "train" / "ant" / "0.png", root / "train" / "ant" / odd)
    assert counts(root) == [5, 4]
    assert odd in [name for name, _ in image_files(root / "train" / "ant")]
    for split in ("train", "val"):
        (root / split / "bee").rename(root / split / os.fsdecode(b"b\xe9e"))
    assert "rename it in UTF-8" in message(module(root).check)


def test_a_path_that_is_too_deep_is_told(root: Path) -> None:
    here, place = os.open(root / "train" / "ant", os.O_RDONLY), root / "train" / "ant"
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    text = message(module(root).setup)
    assert str(place) in text
    assert "File name too long" in text


def test_links_are_compared_with_all_classes_at_once() -> None:
    """Whether a link meets another class: as by looking at each of them, which many classes would not allow."""
    random = np.random.default_rng(0)
    folders = ["/" + "/".join(random.choice(["a", "ab", "b", "a-b", "a.b"], size)) for size in (1, 2, 3, 4) * 12]
    found = 0
    for _ in range(200):
        places = sorted(set(random.choice(folders, 6)))
        home, real = (str(random.choice(folders)) for _ in range(2))
        if lies_in(home, real):
            continue
        expected = any(lies_in(real, other) or lies_in(other, real) for other in places if other != home)
        assert meets_another(real, home, places) == expected, (real, home, places)
        found += expected
    assert 20 < found < 180
