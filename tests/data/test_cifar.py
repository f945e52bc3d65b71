"""CIFAR on disk and by download: what is accepted, what is refused, and that nothing in a file is ever run."""

import os
import pickle
import shutil
import tarfile
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.data import CIFAR10DataModule, CIFAR100DataModule, cifar
from kd_lightning.data.pickles import load_arrays
from kd_lightning.errors import UserError

COUNTS = {"train": 200, "test": 100}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some hundred images, so that tests can write them."""
    monkeypatch.setattr(CIFAR100DataModule, "images_per_file", dict(COUNTS))
    monkeypatch.setattr(CIFAR10DataModule, "images_per_file", dict.fromkeys(CIFAR10DataModule.images_per_file, 20))


def records(kind=CIFAR100DataModule) -> dict[str, dict]:
    """The content of each file, of random pixels; every class as often."""
    rng = np.random.default_rng(0)
    classes = len(kind().class_names)
    out = {}
    for name, count in kind.images_per_file.items():
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        out[name] = {"data": pixels, kind.labels_key: [i % classes for i in range(count)], "batch_label": name}
    out[kind.names_file] = {kind.names_key: kind().class_names}
    return out


def write(root: Path, kind=CIFAR100DataModule, protocol: int = 2, **changes: dict) -> Path:
    folder = root / kind.archive.base_folder
    folder.mkdir()
    for name, record in records(kind).items():
        (folder / name).write_bytes(pickle.dumps({**record, **changes.get(name, {})}, protocol=protocol))
    return root


def message(action) -> str:
    with pytest.raises(UserError) as error:
        action()
    assert "\n" not in str(error.value)
    assert "data.root=" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("kind", [CIFAR10DataModule, CIFAR100DataModule])
def test_files_in_the_original_layout_are_read(kind, protocol, tmp_path):
    data = kind(root=write(tmp_path, kind, protocol))
    data.prepare_data()
    data.setup()
    expected = records(kind)
    train = np.concatenate([expected[name]["data"] for name in kind.train_files])
    assert np.array_equal(data.train_set.images.images.numpy().reshape(len(train), -1), train)
    assert data.test_set.targets.tolist() == expected[kind.test_files[0]][kind.labels_key]
    assert data.input_shape == (3, 32, 32)
    assert data.train_set.images.images.is_contiguous()


def test_the_jobs_of_a_process_read_the_files_once_unless_they_change(tmp_path, monkeypatch):
    def images() -> torch.Tensor:
        data = CIFAR100DataModule(root=tmp_path)
        data.setup()
        return data.train_set.images.images

    read = []
    monkeypatch.setattr(cifar, "load_arrays", lambda path, key: read.append(path.name) or load_arrays(path, key))
    write(tmp_path)
    first = images().clone()
    assert torch.equal(images(), first)
    assert sorted(read) == ["meta", "test", "train"]
    darker = np.full((COUNTS["train"], 3072), 7, dtype=np.uint8)
    shutil.rmtree(tmp_path / "cifar-100-python")
    write(tmp_path, train={"data": darker})
    assert images().unique().tolist() == [7]


def test_what_one_job_makes_of_the_images_is_nothing_to_the_next(tmp_path):
    class NoisyLabels(CIFAR100DataModule):
        def read(self):
            sources = super().read()
            sources.train.targets[: self.seed] = 0
            sources.train.images[: self.seed] = 0
            return sources

    write(tmp_path)
    fingerprints = [NoisyLabels(root=tmp_path, seed=changed).fingerprint()["content"] for changed in (0, 50, 0)]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_keys_of_bytes_and_labels_of_numpy_will_do(tmp_path):
    changes = {name: {"fine_labels": np.arange(count) % 100} for name, count in COUNTS.items()}
    folder = write(tmp_path, **changes) / "cifar-100-python"
    as_bytes = {key.encode(): value for key, value in pickle.loads((folder / "test").read_bytes()).items()}
    (folder / "test").write_bytes(pickle.dumps(as_bytes, protocol=4))
    data = CIFAR100DataModule(root=tmp_path)
    data.setup()
    assert len(data.test_set) == 100


class Attack:
    def __reduce__(self):
        return os.mkdir, (str(Attack.trace),)

    trace = Path()


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    Attack.trace = tmp_path / "ran"
    data = CIFAR100DataModule(root=write(tmp_path, train={"batch_label": Attack()}))
    text = message(data.setup)
    assert "mkdir" in text
    assert "refused" in text
    assert not Attack.trace.exists()


@pytest.mark.parametrize("call", [b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nload\n(S'x'\ntR.", b"c_codecs\ndecode\n."])
def test_only_what_the_original_needs_can_be_named(call, tmp_path):
    folder = write(tmp_path) / "cifar-100-python"
    (folder / "test").write_bytes(call)
    assert "refused" in message(CIFAR100DataModule(root=tmp_path).setup)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train": {"fine_labels": [100] * 200}}, "train: fine_labels run from 100 to 100, not within 0..99"),
        ({"test": {"fine_labels": [-1] * 100}}, "test: fine_labels run from -1 to -1"),
        ({"train": {"fine_labels": [1, 2]}}, "train: fine_labels are not 200 whole numbers"),
        ({"train": {"fine_labels": None}}, "train: fine_labels are not 200 whole numbers"),
        ({"train": {"fine_labels": [[1], [1, 2]]}}, "train: fine_labels are not 200 whole numbers"),
        ({"train": {"data": np.zeros((199, 3072), np.uint8)}}, "train: data is not uint8 of shape (200, 3072)"),
        ({"train": {"data": np.zeros((200, 3072))}}, "train: data is not uint8"),
        ({"train": {"data": "pixels"}}, "train: data is not uint8"),
        ({"meta": {"fine_label_names": ["a", "b"]}}, "meta names other classes"),
    ],
)
def test_files_of_another_structure_are_refused(changes, expected, tmp_path):
    assert expected in message(CIFAR100DataModule(root=write(tmp_path, **changes)).setup)


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q", b"no pickle", pickle.dumps([1, 2])])
def test_damaged_files_are_named(content, tmp_path):
    folder = write(tmp_path) / "cifar-100-python"
    (folder / "train").write_bytes(content)
    assert "train" in message(CIFAR100DataModule(root=tmp_path).setup)


def test_a_truncated_file_is_named(tmp_path):
    file = write(tmp_path) / "cifar-100-python" / "test"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "test is damaged" in message(CIFAR100DataModule(root=tmp_path).setup)


def test_missing_folders_and_files_are_named(tmp_path):
    kind = CIFAR100DataModule
    assert "data.root=null" in message(kind().check)
    assert "no such folder" in message(kind(root=tmp_path / "nowhere", download=False).check)
    assert "no cifar-100-python/" in message(kind(root=tmp_path, download=False).check)
    kind(root=tmp_path / "nowhere").check()
    write(tmp_path)
    (tmp_path / "cifar-100-python" / "meta").unlink()
    assert "lacks meta" in message(kind(root=tmp_path).check)


def test_a_download_is_torchvisions_and_leaves_only_the_folder(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    write(source)
    asked = []

    def download(url, folder, filename, md5):
        asked.append((url, md5))
        shutil.copytree(source / "cifar-100-python", Path(folder) / "cifar-100-python")
        (Path(folder) / filename).write_bytes(b"archive")

    monkeypatch.setattr(cifar, "download_and_extract_archive", download)
    data = CIFAR100DataModule(root=tmp_path / "new" / "data")
    data.check()
    data.prepare_data()
    data.prepare_data()
    data.setup()
    assert asked == [(data.archive.url, data.archive.tgz_md5)]
    assert [entry.name for entry in (tmp_path / "new" / "data").iterdir()] == ["cifar-100-python"]


@pytest.mark.parametrize("error", [RuntimeError("File not found or corrupted."), OSError("no route\nto host")])
def test_a_download_that_fails_is_one_line_and_leaves_nothing(error, tmp_path, monkeypatch):
    def download(*_, **__):
        raise error

    monkeypatch.setattr(cifar, "download_and_extract_archive", download)
    assert "download failed" in message(CIFAR10DataModule(root=tmp_path).prepare_data)
    assert not list(tmp_path.iterdir())


def test_real_images_survive(shared, tmp_path):
    """A few hundred real images, two of each class in either split."""
    for split, archive in (("train", "cifar100-train-0.zip"), ("test", "cifar100-test.zip")):
        with ZipFile(shared / "data" / archive) as zipped:
            names = sorted(zipped.namelist())[:: 400 if split == "train" else 100][: COUNTS[split]]
            pixels = [np.asarray(Image.open(BytesIO(zipped.read(name))).convert("RGB")) for name in names]
        label = {name: i for i, name in enumerate(CIFAR100DataModule().class_names)}
        record = {
            "data": np.stack(pixels).transpose(0, 3, 1, 2).reshape(len(pixels), -1),
            "fine_labels": [label[name.split("/")[0]] for name in names],
        }
        CIFAR100DataModule.images_per_file[split] = len(names)
        folder = tmp_path / "cifar-100-python"
        folder.mkdir(exist_ok=True)
        (folder / split).write_bytes(pickle.dumps(record, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": CIFAR100DataModule().class_names}, protocol=2))
    data = CIFAR100DataModule(root=tmp_path, batch_size=16, val_fraction=0)
    data.setup()
    assert torch.equal(data.test_set.images.images[-1], torch.from_numpy(pixels[-1].copy()).permute(2, 0, 1))
    unit = data.train_set.images.images.float() / 255
    assert torch.allclose(unit.mean((0, 2, 3)), torch.tensor(data.mean), atol=0.06)
    assert torch.allclose(unit.std((0, 2, 3)), torch.tensor(data.std), atol=0.06)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("kind", [CIFAR10DataModule, CIFAR100DataModule])
def test_the_root_may_be_the_original_folder_itself(kind, download, tmp_path):
    folder = write(tmp_path, kind) / kind.archive.base_folder
    for root in (folder, folder.rename(tmp_path / "renamed")):
        if root == folder:
            folder = shutil.copytree(tmp_path / "renamed", folder)
        before = sorted(tmp_path.rglob("*"))
        data = kind(root=root, download=download)
        data.check()
        data.prepare_data()
        data.setup()
        assert len(data.test_set) == sum(kind.images_per_file[name] for name in kind.test_files)
        assert sorted(tmp_path.rglob("*")) == before
    (folder / kind.names_file).unlink()
    assert f"lacks {kind.names_file}" in message(kind(root=folder, download=download).check)


def packed(tmp_path: Path, kind=CIFAR100DataModule) -> Path:
    """A folder that holds nothing but the original archive, which is returned."""
    base = kind.archive.base_folder
    source = tmp_path / "source"
    source.mkdir()
    archive = tmp_path / "data" / kind.archive.filename
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(write(source, kind) / base, base)
    return archive


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("kind", [CIFAR10DataModule, CIFAR100DataModule])
def test_the_archive_alone_is_read_as_it_is(kind, download, tmp_path):
    archive = packed(tmp_path, kind)
    expected = kind(root=tmp_path / "source")
    expected.setup()
    for root in (archive.parent, archive, archive.parent / kind.archive.base_folder):
        data = kind(root=root, download=download)
        data.prepare_data()
        data.setup()
        assert torch.equal(data.train_set.images.images, expected.train_set.images.images)
        assert data.fingerprint() == expected.fingerprint()
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.parametrize("how", ["cut", "changed", "empty", "other"])
def test_a_damaged_archive_is_named(how, tmp_path):
    archive = packed(tmp_path)
    content = bytearray(archive.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "changed":
        content[len(content) // 2 :][:100] = bytes(100)
        content[1000:1100] = bytes(100)
    archive.write_bytes(b"" if how == "empty" else b"no archive" if how == "other" else bytes(content))
    text = message(CIFAR100DataModule(root=archive.parent).setup)
    assert archive.name in text
    assert "damaged" in text


def test_an_archive_of_something_else_is_named(tmp_path):
    archive = packed(tmp_path)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "source" / "cifar-100-python" / "meta", "cifar-100-python/meta")
    assert "cifar-100-python.tar.gz lacks test, train" in message(CIFAR100DataModule(root=archive).setup)
    Attack.trace = tmp_path / "ran"
    (tmp_path / "train").write_bytes(pickle.dumps(Attack()))
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "train", "cifar-100-python/train")
    assert "refused" in message(CIFAR100DataModule(root=archive).setup)
    assert not Attack.trace.exists()


def test_what_a_killed_download_left_is_removed_a_day_later(tmp_path):
    for name, age in (("old", 2 * cifar.DAY), ("new", 60)):
        folder = tmp_path / f".cifar10-download-{name}"
        folder.mkdir()
        (folder / "part").write_bytes(b"1")
        then = folder.stat().st_mtime - age
        os.utime(folder, (then, then))
    (tmp_path / "cifar10-mine").mkdir()
    cifar.remove_abandoned(tmp_path, ".cifar10-download-")
    assert sorted(os.listdir(tmp_path)) == [".cifar10-download-new", "cifar10-mine"]
