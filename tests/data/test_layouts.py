"""The same photographs in every layout: a flat folder, a table, tar shards, an arrow data set."""

import gzip
import io
import json
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.data import (
    FlatFolderDataModule,
    HFDatasetDataModule,
    ImageFilesDataModule,
    ImageTableDataModule,
    WebDatasetDataModule,
)
from kd_lightning.data.folders.images import evaluation_image
from kd_lightning.errors import UserError
from tests.conftest import Command
from tests.data.test_folder import message, picture

CLASSES = ("ant", "bee", "cat")
EACH = 10  # of a class
SIZES = {"image_size": 16, "resize_size": 20, "batch_size": 4}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/<class>/<number>.png"""
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(CLASSES):
        for i in range(EACH):
            picture(root / name / f"{i}.png", seed=100 * label + i)
    return root


def files_of(photos: Path, classes: Sequence[str] = CLASSES, each: int = EACH) -> list[tuple[Path, str, int]]:
    """Each file, its class, and its number in that."""
    return [(photos / name / f"{i}.png", name, i) for name in classes for i in range(each)]


def split_of(number: int) -> str:
    return "test" if number >= EACH - 2 else "train"


def as_table(photos: Path, place: Path, delimiter: str = ",") -> ImageTableDataModule:
    rows = [f"{name}/{i}.png{delimiter}{name}{delimiter}{split_of(i)}" for _, name, i in files_of(photos)]
    place.write_text("\n".join([delimiter.join(("filename", "class", "split")), *rows]), encoding="utf-8-sig")
    return ImageTableDataModule(file=place, root=photos, **SIZES)


def as_parquet(photos: Path, place: Path) -> ImageTableDataModule:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = files_of(photos)
    columns = {"path": [f"{name}/{i}.png" for _, name, i in files], "label": [name for _, name, _ in files]}
    for split in ("train", "test"):
        mine = [row for row, (_, _, i) in enumerate(files) if split_of(i) == split]
        some = {name: [column[row] for row in mine] for name, column in columns.items()}
        parquet.write_table(pa.table(some), place.with_name(f"{split}.parquet"))
    tables = {"file": place.with_name("train.parquet"), "test_file": place.with_name("test.parquet")}
    return ImageTableDataModule(root=photos, **tables, **SIZES)


def as_shards(photos: Path, place: Path, classes: Sequence[str] = CLASSES, each: int = EACH) -> WebDatasetDataModule:
    webdataset = pytest.importorskip("webdataset")
    place.mkdir()
    for split in ("train", "test") if each == EACH else ("train",):
        mine = [one for one in files_of(photos, classes, each) if split_of(one[2]) == split]
        for shard, part in enumerate((mine[::2], mine[1::2])):
            with webdataset.TarWriter(str(place / f"{split}-{shard:03}.tar")) as writer:
                for file, name, i in part:
                    writer.write({"__key__": f"{name}_{i}", "png": file.read_bytes(), "cls": classes.index(name)})
    return WebDatasetDataModule(root=place, class_to_idx=[*classes], **SIZES)


def as_arrow(photos: Path, place: Path, classes: Sequence[str] = CLASSES, each: int = EACH) -> HFDatasetDataModule:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=[*classes])})
    parts = {}
    for split in ("train", "test") if each == EACH else ("train",):
        mine = [one for one in files_of(photos, classes, each) if split_of(one[2]) == split]
        rows = {"img": [{"bytes": f.read_bytes(), "path": None} for f, *_ in mine], "label": [n for _, n, _ in mine]}
        parts[split] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(place))
    return HFDatasetDataModule(root=place, **SIZES)


LAYOUTS: dict[str, Callable[[Path, Path], ImageFilesDataModule]] = {
    "labels.csv": as_table,
    "labels.tsv": lambda photos, place: as_table(photos, place, "\t"),
    "german.csv": lambda photos, place: as_table(photos, place, ";"),
    "labels.parquet": as_parquet,
    "shards": as_shards,
    "arrow": as_arrow,
}


def pixels_by_class(images: Any) -> set[tuple[int, bytes]]:
    read = images.images.read(images.rows, None)
    return {(int(label), image.numpy().tobytes()) for label, image in zip(images.targets, read, strict=True)}


def expected(photos: Path, split: str) -> set[tuple[int, bytes]]:
    return {
        (CLASSES.index(name), evaluation_image(Image.open(file), 16, 20).numpy().tobytes())
        for file, name, i in files_of(photos)
        if split_of(i) == split
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_and_labels_are_those_of_the_files(layout: str, photos: Path, tmp_path: Path) -> None:
    data = LAYOUTS[layout](photos, tmp_path / layout)
    data.val_fraction = 0
    data.unreadable, data.cache = "fail", tmp_path / "cache"
    data.check()
    data.setup()
    assert data.class_names == [*CLASSES]
    assert pixels_by_class(data.train_set) == expected(photos, "train")
    assert pixels_by_class(data.test_set) == expected(photos, "test")
    again = LAYOUTS[layout](photos, tmp_path / layout) if "." in layout else data
    again.val_fraction = 0
    kept = data.fingerprint()["content"]
    assert again.fingerprint()["content"] == kept
    assert kept["train"] != kept["test"]


@pytest.mark.parametrize("layout", ["shards", "arrow"])
def test_worker_processes_give_the_same_views(layout: str, photos: Path, tmp_path: Path) -> None:
    data = LAYOUTS[layout](photos, tmp_path / layout)
    data.setup()
    batches = []
    for workers in (0, 2):
        data.num_workers = workers
        batches.append(list(data.train_dataloader()))
    for here, there in zip(*batches, strict=True):
        assert all(torch.equal(here[name], there[name]) for name in ("input", "target", "index", "view"))


def flat(photos: Path, **options: Any) -> FlatFolderDataModule:
    return FlatFolderDataModule(root=photos, **{**SIZES, **options})


def test_a_flat_folder_is_divided_in_proportion_and_in_every_run_alike(photos: Path) -> None:
    first, second = flat(photos, test_fraction=0.3, val_fraction=1 / 7), flat(photos, test_fraction=0.3, seed=7)
    for data in (first, second):
        data.check()
        data.setup()
        assert data.test_set.targets.bincount().tolist() == [3, 3, 3]
    assert first.sizes() == {"train": 18, "val": 3, "test": 9}
    assert pixels_by_class(first.test_set) == pixels_by_class(second.test_set)
    parts = [pixels_by_class(one) for one in (first.train_set, first.val_set, first.test_set)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 30
    assert first.validates_on == "validation"


def test_a_class_of_few_images_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, (name, count) in enumerate({"ant": 12, "bee": 1, "cat": 2}.items()):
        for i in range(count):
            picture(tmp_path / name / f"{i}.png", seed=20 * label + i)
    data = flat(tmp_path, test_fraction=0.2, val_fraction=0)
    data.setup()
    assert {*data.train_set.targets.tolist()} == {0, 1, 2}
    assert 1 not in data.test_set.targets
    assert "too few images of bee, cat to test on any" in " ".join(capsys.readouterr().err.split())
    said = message(flat(tmp_path, test_fraction=0.9, val_fraction=0).setup)
    assert said.startswith("data.test_fraction=0.9: leaves no image of")


@pytest.mark.parametrize(
    ("names", "pattern", "classes"),
    [
        (["cat.0.png", "cat.1.png", "dog.0.png", "dog.12.png"], None, ["cat", "dog"]),
        (
            ["great_pyrenees_1.png", "great_pyrenees_20.png", "pug_3.png", "pug (4).png"],
            None,
            ["great_pyrenees", "pug"],
        ),
        (["0_a.png", "1_a.png", "2_b.png", "3_b.png"], r"\d+_(\w)", ["a", "b"]),
    ],
)
def test_the_class_may_be_in_the_name(
    names: list[str], pattern: str | None, classes: list[str], tmp_path: Path
) -> None:
    for seed, name in enumerate(names):
        picture(tmp_path / name, seed)
    (tmp_path / "notes.txt").write_text("no image")
    data = flat(tmp_path, class_pattern=pattern, test_fraction=0.5, val_fraction=0)
    data.check()
    data.setup()
    assert data.class_names == classes
    assert data.train_set.targets.tolist() == data.test_set.targets.tolist() == [0, 1]


def test_what_is_no_flat_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    picture(tmp_path / "mine" / "cat.png")
    assert "the name cat.png tells no class" in message(flat(tmp_path / "mine").check)
    assert "data.class_pattern=(: is no regular expression" in message(flat(photos, class_pattern="(").check)
    assert "data.class_pattern=a+: has no group" in message(flat(photos, class_pattern="a+").check)
    picture(tmp_path / "split" / "train" / "cat" / "0.png")
    assert "take data=folder" in message(flat(tmp_path / "split").check)
    (tmp_path / "none").mkdir()
    assert "holds no image file" in message(flat(tmp_path / "none").check)
    assert "data.test_fraction=1" in message(flat(photos, test_fraction=1).check)
    assert "data.test_fraction=0.001: takes 0 of 30" in message(flat(photos, test_fraction=0.001).setup)


def table(tmp_path: Path, text: str, **options: Any) -> ImageTableDataModule:
    (tmp_path / "labels.csv").write_text(text)
    return ImageTableDataModule(file=tmp_path / "labels.csv", **{**SIZES, "val_fraction": 0, **options})


def test_a_row_without_a_label_trains_without_one(photos: Path, tmp_path: Path) -> None:
    rows = [f"{photos}/{name}/{i}.png,{'' if i == 0 else name}" for _, name, i in files_of(photos)]
    data = table(tmp_path, "\n".join(["image,label", *rows]), test_fraction=0.5)
    data.check()
    data.setup()
    assert data.class_names == [*CLASSES]
    assert data.train_set.targets.tolist().count(-1) == 3
    assert -1 not in data.test_set.targets


def test_numbers_as_labels_count_by_size_and_may_be_places_in_an_order(photos: Path, tmp_path: Path) -> None:
    text = "\n".join(["file,label", *(f"{photos}/ant/{i}.png,{i % 3 + 9}" for i in range(9))])
    data = table(tmp_path, text, test_fraction=0.4)
    data.setup()
    assert data.class_names == ["9", "10", "11"]
    text = "\n".join(["file,label", *(f"{photos}/ant/{i}.png,{i % 3}" for i in range(9))])
    data = table(tmp_path, text, test_fraction=0.4, class_to_idx=["w", "x", "y", "z"])
    data.setup()
    assert data.class_names == ["w", "x", "y", "z"]
    assert {*data.train_set.targets.tolist()} == {0, 1, 2}


def test_files_that_are_not_there_are_listed_or_left_out(photos: Path, tmp_path: Path) -> None:
    rows = [f"{name}/{i}.png,{name}" for _, name, i in files_of(photos)] + ["nowhere.png,ant", "gone.png,bee"]
    text = "\n".join(["file,label", *rows])
    said = message(table(tmp_path, text, root=photos).setup)
    assert "2 of 32 files are not in" in said
    assert "nowhere.png, gone.png" in said
    data = table(tmp_path, text, root=photos, unreadable="skip", cache=tmp_path / "cache")
    data.setup()
    assert data.sizes() == {"train": 24, "val": 6, "test": 6}


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "has no row"),
        ("file,label\n", {}, "has no row"),
        ("a,b\n1,2\n", {}, "data.image_column=null: "),
        ("file,b\n1,2\n", {}, "data.label_column=null: "),
        ("file,label\n1,2\n", {"image_column": "name"}, "data.image_column=name: no column of"),
        ("file,label,split\n1,2,many\n", {}, "data.split_column=split: "),
        ("file,label\n1,2\n3\n", {}, "row 3 has 1 columns"),
        ("file,label\n,2\n", {}, "a row names no image file"),
        ("file,label,split\n1,2,test\n", {}, "no row is of train"),
    ],
)
def test_what_is_no_table_is_told_in_a_line(text: str, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    said = message(table(tmp_path, text, **options).check)
    assert words in said
    assert said.startswith("data.")


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_shards_by_ranges_with_labels_of_every_kind(photos: Path, tmp_path: Path) -> None:
    for shard in range(3):
        name, files = CLASSES[shard], {}
        for i in range(4):
            files[f"a/{name}{i}.jpg"] = (photos / name / f"{i}.png").read_bytes()
            label = {"json": json.dumps({"label": name, "width": 40}), "txt": f" {name}\n", "cls": name}
            kind = ("json", "txt", "cls")[shard]
            files[f"a/{name}{i}.{kind}"] = label[kind].encode()
            files[f"a/{name}{i}.npy"] = b"features"
        tar_of(tmp_path / f"part-{shard + 8:02}.tar", files)
    data = WebDatasetDataModule(root=tmp_path, train_shards="part-{08..10}.tar", test_fraction=0.25, **SIZES)
    data.check()
    data.setup()
    assert data.class_names == [*CLASSES]
    assert data.test_set.targets.tolist() == [0, 1, 2]
    few = WebDatasetDataModule(root=tmp_path, train_shards="part-{08..09}.tar", test_shards="part-1?.tar", **SIZES)
    assert "is of class cat" in message(few.setup)
    alone = WebDatasetDataModule(root=tmp_path, train_shards="part-2*.tar", **SIZES)
    assert message(alone.check).startswith("data.train_shards=part-2*.tar: no such file")


def test_shards_are_read_once_unless_one_changes(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, cache = tmp_path / "shards", tmp_path / "cache"
    as_shards(photos, place)
    opened: list[str] = []
    once = tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda name, *mode: (opened.append(str(name)), once(name, *mode))[1])

    def found() -> WebDatasetDataModule:
        data = WebDatasetDataModule(root=place, cache=cache, **SIZES)
        data.setup()
        return data

    first, second = found(), found()
    assert len(opened) == 4
    assert pixels_by_class(first.train_set) == pixels_by_class(second.train_set)
    [kept] = [file for file in (cache / "shards").glob("*/index.npz") if b"ant_9" in file.read_bytes()]
    kept.write_bytes(kept.read_bytes()[:100])
    found()
    assert len(opened) == 6  # those of the test, anew
    shard = place / "train-000.tar"
    tar_of(shard, {"a.png": (photos / "ant" / "0.png").read_bytes(), "a.cls": b"0"})
    assert found().sizes()["train"] < first.sizes()["train"]
    assert len(opened) == 9  # it was opened to be written, too


def test_damaged_shards_and_images_are_named(photos: Path, tmp_path: Path) -> None:
    good = {f"{name}{i}.png": file.read_bytes() for file, name, i in files_of(photos)}
    labels = {f"{name}{i}.cls": name.encode() for _, name, i in files_of(photos)}
    files = {name: data for pair in zip(good.items(), labels.items(), strict=True) for name, data in pair}
    shard = tar_of(tmp_path / "whole" / "a.tar", files | {"ant3.png": b"no image"})
    data = WebDatasetDataModule(root=shard.parent, unreadable="fail", cache=tmp_path / "cache", **SIZES)
    assert f"1 image of 30 in {shard} cannot be read: {shard}: ant3" in message(data.setup)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.tar").write_bytes(shard.read_bytes()[:-20_000])
    assert "cannot be read as a tar file" in message(WebDatasetDataModule(root=tmp_path / "cut", **SIZES).check)
    (tmp_path / "zip").mkdir()
    (tmp_path / "zip" / "a.tar").write_bytes(gzip.compress(shard.read_bytes()))
    assert "not compressed" in message(WebDatasetDataModule(root=tmp_path / "zip", **SIZES).check)
    tar_of(tmp_path / "odd" / "a.tar", {"1.png": good["ant0.png"], "1.json": b"{}"})
    assert "1.json tells no label" in message(WebDatasetDataModule(root=tmp_path / "odd", **SIZES).check)


@pytest.mark.parametrize(("package", "make"), [("pyarrow", as_parquet), ("datasets", as_arrow)])
def test_a_missing_package_is_told_with_the_extra(
    package: str, make: Callable[[Path, Path], ImageFilesDataModule], photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = make(photos, tmp_path / "place")
    for name in (package, f"{package}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert message(data.check).endswith('pip install "kd-lightning[data]"')


def test_an_arrow_data_set_with_labels_of_its_own_kind(photos: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"file": [str(file) for file, *_ in files_of(photos)], "kind": [name for _, name, _ in files_of(photos)]}
    datasets.Dataset.from_dict(rows).shuffle(seed=0).save_to_disk(str(tmp_path / "plain"))
    data = HFDatasetDataModule(root=tmp_path / "plain", image_column="file", label_column="kind", **SIZES)
    data.check()
    data.setup()
    assert data.class_names == [*CLASSES]
    whole = set.union(*(pixels_by_class(one) for one in (data.train_set, data.val_set, data.test_set)))
    assert whole == expected(photos, "train") | expected(photos, "test")
    plain = HFDatasetDataModule(root=tmp_path / "plain", **SIZES)
    assert message(plain.check).startswith("data.image_column=null: ")
    assert "give a folder that save_to_disk wrote" in message(HFDatasetDataModule(root=photos, **SIZES).check)


RUN = ("student.model=resnet8", "teacher.model=resnet14", "scratch=false", "trainer.max_epochs=1", "data.batch_size=6")
SMALL = ("data.image_size=16", "data.resize_size=20", "data.num_workers=0", "callbacks.progress_bar=null")


def test_a_run_of_shards_keeps_answers_and_is_measured_again(command: Command, photos: Path, tmp_path: Path) -> None:
    as_shards(photos, tmp_path / "shards")
    data = ("data=webdataset", "data.root=shards", "data.class_to_idx=[ant,bee,cat]", "data.views=2")
    outcome = command("kd-train", *RUN, *SMALL, *data, "teacher.cache=prefill", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert "22 training and 6 test images" in " ".join(outcome.output.split())
    again = command("kd-eval", "run=run", f"data.root={tmp_path}/shards")
    assert again.code == 0, again.errors
    rows = [line.split() for line in again.output.splitlines() if "%" in line or "NLL" in line]
    assert rows
    assert all(row[-1] == row[-2] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("data=flat_folder",), "error: data.root=null: give the folder that holds the images"),
        (("data=table",), "error: data.file=null: give the table"),
        (("data=table", "data.file=nowhere.csv"), "error: data.file=nowhere.csv: no such file"),
        (("data=webdataset",), "error: data.root=null: give the folder that holds the shards"),
        (("data=hf_dataset", "data.root=nowhere"), "error: data.root=nowhere: no dataset_dict.json"),
    ],
)
def test_what_is_missing_is_told_in_a_line(command: Command, arguments: tuple[str, ...], line: str) -> None:
    outcome = command("kd-train", *RUN, *arguments, "hydra.run.dir=run")
    assert outcome.code == 2
    assert outcome.error_lines[0].startswith(line)


def test_the_photographs_differ(photos: Path) -> None:
    """What the comparisons above rest on."""
    assert len({np.asarray(Image.open(file)).tobytes() for file, *_ in files_of(photos)}) == len(CLASSES) * EACH
    with pytest.raises(UserError):
        ImageTableDataModule(file="nowhere.csv").check()
