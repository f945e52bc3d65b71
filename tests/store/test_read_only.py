"""A cache that cannot be written serves what it has, and what it lacks is told before anything is trained."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from kd_lightning.data import SmallFolderDataModule
from kd_lightning.errors import UserError
from kd_lightning.store import Answers, Whole
from tests.conftest import Command
from tests.data.test_folder import tree

QUICK = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "data.train_samples=64", "teacher.model=digits_cnn_4")


@pytest.fixture(autouse=True)
def cache(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder takes no writes: by its permissions, and for root, whom they do not bind, by a read-only mount."""
    if os.geteuid() == 0:
        if shutil.which("mount") is None or subprocess.run(["mount", "--bind", folder, folder]).returncode:
            pytest.skip("this root may not mount")
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    modes = [place.stat().st_mode for place in places]
    try:
        for place in places:
            place.chmod(0o555)
        yield
    finally:
        for place, mode in zip(places, modes, strict=True):
            place.chmod(mode)


def test_what_is_there_serves_every_run(command: Command, cache: Path) -> None:
    first = command("kd-train", *QUICK, "teacher.cache=logits", "hydra.run.dir=first")
    assert first.code == 0, first.errors
    weights = (f"teacher.weights={first.folder / 'first' / 'student.safetensors'}", "scratch=false")
    assert command("kd-train", *QUICK, *weights).code == 0
    before = sorted(cache.rglob("*"))
    for lock in cache.rglob("*.lock"):
        lock.unlink()
    with read_only(cache):
        again = command("kd-train", *QUICK, "teacher.cache=logits", "temperature=2", "hydra.run.dir=again")
        assert again.code == 0, again.errors
        assert again.output.count("digits_cnn_4, found (") == 2
        assert "warning" not in again.errors
        assert "takes no more" not in again.errors
        measured = command("kd-train", *QUICK, *weights, "temperature=2")
        assert "teacher        measured before" in measured.output
        assert command("kd-cache", "ls").code == 0
        assert command("kd-cache", "verify").code == 0
        refused = command("kd-cache", "rm", "--all")
        assert refused.code == 2
        assert "cannot be removed" in refused.error_lines[0]
    assert {path for path in before if path.suffix != ".lock"} == set(cache.rglob("*"))


def test_what_is_not_there_is_named_before_anything_is_trained(command: Command, cache: Path) -> None:
    assert command("kd-train", *QUICK, "scratch=false", "hydra.run.dir=first").code == 0
    with read_only(cache):
        for lacking, options in (
            ("digits_cnn_4 trained as the teacher (networks/", ("seed=1",)),
            ("digits_cnn_8 trained as the student alone (networks/", ("student.model=digits_cnn_8",)),
        ):
            outcome = command("kd-train", *QUICK, *options)
            assert outcome.code == 2
            assert len(outcome.error_lines) == 1
            assert outcome.error_lines[0].startswith(f"error: paths.cache_dir={cache}: cannot be written (")
            assert lacking in outcome.error_lines[0]
            assert "KD_LIGHTNING_CACHE" in outcome.error_lines[0]
            assert not (outcome.folder / "outputs").exists()
            assert ", training (" not in outcome.output
        for name, way in (("prefilled", "prefill"), ("asked", "logits")):
            without = command("kd-train", *QUICK, "scratch=false", f"teacher.cache={way}", f"hydra.run.dir={name}")
            assert without.code == 0
            assert "nothing is kept" in without.errors
    kept = command("kd-train", *QUICK, "scratch=false", "teacher.cache=logits", "hydra.run.dir=kept")
    assert kept.code == 0
    assert "nothing is kept" not in kept.errors
    weights = {name: Path(name, "student.safetensors").read_bytes() for name in ("prefilled", "asked", "kept")}
    assert weights["prefilled"] == weights["asked"] == weights["kept"]


def test_answers_are_read_and_what_is_missing_is_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    index, view, values = torch.arange(10), torch.zeros(10, dtype=torch.int64), torch.ones(10, 3)
    Answers(folder / "a", 20, 1, Whole(3)).write(index, view, values)
    with read_only(folder):
        if os.geteuid():
            (folder / "a").chmod(0o444)
        answers = Answers(folder / "a", 20, 1, Whole(3))
        assert torch.equal(answers.read(index, view)[0], values)
        with pytest.warns(UserWarning, match=r"takes no more \((Read-only file system|Permission denied)\)"):
            assert torch.equal(answers.write(index + 10, view, values), values)
        assert len(answers.read(index + 10, view)[1]) == 10
        for name, rows in (("a", 21), ("b", 20)):  # of another size, and not there
            with pytest.raises(OSError, match=r"Read-only|Permission"):
                Answers(folder / name, rows, 1, Whole(3))


def test_decoded_images_are_read(cache: Path, tmp_path: Path) -> None:
    def images(size: int) -> torch.Tensor:
        data = SmallFolderDataModule(root=tmp_path / "pets", image_size=size, resize_size=20)
        data.setup()
        return data.train_set.images.images  # type: ignore[attr-defined]

    tree(tmp_path / "pets", "train", "val")
    before = images(16)
    with read_only(cache):
        assert torch.equal(images(16), before)
        with pytest.raises(UserError, match=rf"^data.cache={cache}: cannot keep 0 MB of decoded images there"):
            images(12)
