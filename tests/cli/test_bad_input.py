"""Bad input: one line that names the key, the value and the remedy, exit code 2, nothing left behind."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.errors import UserError
from kd_lightning.models import create_model, save_weights
from tests.conftest import Command, Outcome


@pytest.fixture(autouse=True)
def _own_cache(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))


def assert_refused(outcome: Outcome, *words: str) -> None:
    """One line with these words, exit code 2, no traceback and no run's folder."""
    assert outcome.code == 2, outcome
    assert len(outcome.error_lines) == 1, outcome.errors
    assert "Traceback" not in outcome.errors
    assert all(word in outcome.error_lines[0] for word in words), outcome.error_lines[0]
    assert not (outcome.folder / "outputs").exists()
    assert not list((outcome.folder / "cache").rglob("*.unfinished"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["temperature=0"], ["temperature=0", "above 0"]),
        (["callbacks.checkpoint_timed.every_minutes=inf"], ["checkpoint_timed.every_minutes=inf", "longer"]),
        (["temperature=hot"], ["temperature=hot"]),
        (["alpha=1.5"], ["alpha=1.5", "0 to 1"]),
        (["alpha=-0.1"], ["alpha=-0.1"]),
        (["seed=-1"], ["seed=-1"]),
        (["seed=5000000000"], ["seed=5000000000"]),
        (["student.model=???"], ["error: student.model: is missing; give it a value"]),
        (["student.weights=${nowhere}"], ["error: student.weights: ", "'nowhere' not found; set that key"]),
        (["seed=true"], ["error: seed=true: must be a whole number"]),
        (["optimizer.lr=nan"], ["optimizer.lr=nan: must be a finite number"]),
        (["optimizer=adamw", "optimizer.betas=[0.9,inf]"], ["optimizer.betas.1=inf"]),
        (["scheduler=step", "scheduler.milestones=[nan]"], ["scheduler.milestones.0=nan"]),
        (["student.optimizer={_target_: torch.optim.SGD, _partial_: true, lr: inf}"], ["student.optimizer.lr=inf"]),
        (["trainer.gradient_clip_val=nan"], ["trainer.gradient_clip_val=nan"]),
        (["trainer.gradient_clip_val=-1"], ["trainer.gradient_clip_val=-1", "above 0"]),
        (["loss.kd.loss.temperature=0"], ["loss.kd.loss.temperature=0"]),
        (["loss.kd.loss=null"], ["loss.kd.loss=null"]),
        (["experiment=cifar100/nothing"], ["experiment/cifar100=nothing", "resnet32x4_resnet8x4"]),
        (["student.normalization={mean: [nan], std: [1]}"], ["student.normalization", "finite"]),
        (["student.normalization={mean: [0], std: [inf]}"], ["student.normalization", "finite"]),
        (["student.normalization=none"], ["student.normalization=none"]),
        (["student.normalization={mean: [0], std: [0]}"], ["student.normalization", "above 0"]),
        (["teacher.normalization={mean: [1, 2], std: [1, 2]}"], ["teacher.normalization"]),
        (["+logger.own={_target_: no.such.Logger}"], ["no.such.Logger"]),
        (["data.val_fraction=0", "callbacks=early_stopping"], ["data.val_fraction=0", "early_stopping"]),
        (["trainer.precision=bf16-true"], ["trainer.precision=bf16-true", "bf16-mixed"]),
        (["~data", "+data={_target_: lightning.LightningDataModule}"], ["data._target_", "train_dataloader"]),
        (["loss=[]"], ["loss=[]", "loss=[ce,kd]"]),
        (["loss=[ce,nothing]"], ["loss=nothing", "attention"]),
        (["loss.kd.weight=-1"], ["loss.kd.weight=-1"]),
        (["loss.kd.weight=null"], ["loss.kd.weight=null", "0 or more"]),
        (["loss.kd.weight=abc"], ["loss.kd.weight=abc", "_target_"]),
        (
            ["loss.kd.weight={_target_: kd_lightning.schedules.Linear, start: 0, end: abc}"],
            ["loss.kd.weight.end=abc"],
        ),
        (["loss.ce=3"], ["loss.ce=3", "mapping"]),
        (["loss.kd.signals=null"], ["loss.kd.signals=null", "list of names"]),
        (["loss.kd.signals=[student.logits]"], ["loss.kd.signals=1", "SoftTarget takes (student, teacher)"]),
        (["loss.kd.signals=[studnt.logits,teacher.logits]"], ["loss.kd.signals=studnt.logits", "student, teacher"]),
        (
            ["+loss.own={_target_: kd_lightning.Term, loss: {_target_: fractions.Fraction}, signals: [target]}"],
            ["loss.own.loss=Fraction", "torch.nn.Module"],
        ),
        (["loss=[ce,mlkd]"], ["data.strong=null", "method=mlkd"]),
        (["method=ab", "initialization.epochs=-1"], ["initialization.epochs=-1", "1 or more"]),
        (["method=ab", "initialization.lr=-1"], ["initialization.lr=-1"]),
        (["method=ab", "initialization.loss=null"], ["initialization.loss=[]"]),
        (["method=ab", "initialization.loss.ab.weight=-1"], ["initialization.loss.ab.weight=-1"]),
        (["+initialization.epochs=1"], ["initialization.lr=null"]),
        (["trainer.precision=64-true"], ["trainer.precision=64-true", "bf16-mixed"]),
        (["temprature=3"], ["temprature"]),
        (["data=cifar"], ["data=cifar", "cifar100"]),
        (["student.model=resnet8x5"], ["student.model=resnet8x5", "resnet8x4"]),
        (["teacher.model=timm/resnet19"], ["teacher.model=timm/resnet19", "timm/resnet18"]),
        (["student.model=null"], ["student.model=null"]),
        (["student.model={width: 3}"], ["student.model", "_target_"]),
        (["student.model={_target_: no.such.Model}"], ["student.model", "no.such.Model"]),
        (["student.model={_target_: torch.nn.Linear, in_features: 8, out_features: 7}"], ["student.model", "Linear"]),
        (["student.weights=train"], ["student.weights=train"]),
        (["teacher.weights=pretrained"], ["teacher.weights=pretrained", "teacher.weights=train"]),
        (["teacher.weights=missing.pth"], ["teacher.weights=missing.pth", "no such file"]),
        (["teacher=none", "loss=[ce,kd]"], ["loss=kd", "teacher"]),
        (["loss=[ce,fitnet]", "loss.fitnet.signals=[student.stage7,teacher.stage2]"], ["student.stage7", "stage3"]),
        (["loss=[ce,fitnet]", "student.taps={stage2: layer9}"], ["student.taps.stage2=layer9", "layer2"]),
        (["student.normalization={mean: [1, 2], std: [1, 2]}"], ["student.normalization", "the data have 1"]),
        (["trainer=gpu"], ["trainer.accelerator=gpu", "trainer=cpu"]),
        (["trainer=ddp", "trainer.devices=4096"], ["trainer.devices=4096", "at most"]),
        (["trainer.devices=0"], ["trainer.devices=0"]),
        (["trainer.max_epochs=0"], ["max_epochs=0"]),
        (["trainer.precision=half"], ["trainer", "half"]),
        (["scheduler.warmup=2"], ["scheduler", "warmup=2"]),
        (["optimizer.lr=-1"], ["optimizer", "-1"]),
        (["data=imagenet"], ["data.root=null", "data.root=/path"]),
        (["data=imagenet", "data.root=nowhere"], ["data.root=", "nowhere"]),
        (["data=cifar100", "data.download=false", "data.root=nowhere"], ["data.root=nowhere"]),
        (["data.val_fraction=1.5"], ["data.val_fraction=1.5"]),
        (["data.batch_size=0"], ["data.batch_size=0"]),
        (["data.train_samples=100000"], ["data.train_samples=100000"]),
        (["data.strong=1000"], ["data.strong=1000", "_target_"]),
        (["data.batch_size=2.5"], ["data.batch_size=2.5"]),
        (["data.augment.padding=9"], ["data.augment.padding=9", "8 pixels"]),
        (["data=folder", f"data.root={'x' * 300}"], ["data.root", "File name too long"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_a_bad_config_is_refused(command: Command, overrides: list[str], words: list[str]) -> None:
    if any("gpu" in override for override in overrides) and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert_refused(command("kd-train", "trainer.max_epochs=1", "callbacks.progress_bar=null", *overrides), *words)


def test_a_teacher_of_other_classes_is_refused(command: Command, shared: Path) -> None:
    outcome = command(
        "kd-train",
        "data=cifar100",
        "teacher.model=timm/resnet18",
        "teacher.weights=pretrained",
        "student.model=resnet8",
    )
    assert_refused(outcome, "loss.kd", "timm/resnet18", "1000 other classes", "100", "teacher.finetune=whole")


class Bomb:
    """A pickle that runs code when it is loaded by plain pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def weights_of_another_architecture(path: Path) -> None:
    torch.save(create_model("digits_cnn_16", 10, 1).state_dict(), path)


def truncated_weights(path: Path) -> None:
    torch.save(create_model("digits_cnn_32", 10, 1).state_dict(), path)
    path.write_bytes(path.read_bytes()[:3000])


def truncated_safetensors(path: Path) -> None:
    save_weights(create_model("digits_cnn_32", 10, 1), path)
    path.write_bytes(path.read_bytes()[:3000])


def pickle_that_runs_code(path: Path) -> None:
    torch.save({"state_dict": Bomb()}, path)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (weights_of_another_architecture, "w.pth"),
        (truncated_weights, "w.pth"),
        (truncated_safetensors, "w.safetensors"),
        (pickle_that_runs_code, "w.pth"),
    ],
)
def test_bad_weights_are_refused(command: Command, tmp_path: Path, make, name: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / name)
    for role in ("teacher", "student"):
        options = (f"{role}.model=digits_cnn_32", f"{role}.weights={name}")
        assert_refused(command("kd-train", *options), f"{role}.weights={name}")
    assert not (tmp_path / "exploded").exists()


def image_folder(root: Path) -> None:
    """Two classes of small pictures, in the layout of ImageNet."""
    pixels = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(pixels.integers(0, 255, (40, 50, 3), dtype=np.uint8))
                image.save(root / split / label / f"{i}.jpg")


FOLDER = ("data=folder", "data.root=images", "data.image_size=32", "data.resize_size=36", "data.val_fraction=0")
SMALL = ("student.model=resnet8", "teacher=none", "trainer.max_epochs=1", "callbacks.progress_bar=null")


def test_grey_and_cmyk_images_are_converted(command: Command, tmp_path: Path) -> None:
    image_folder(tmp_path / "images")
    for mode, name in (("L", "0.jpg"), ("CMYK", "1.jpg")):
        Image.open(tmp_path / "images/train/cat" / name).convert(mode).save(tmp_path / "images/train/cat" / name)
    outcome = command("kd-train", *FOLDER, *SMALL)
    assert outcome.code == 0, outcome.errors


def test_an_empty_class_folder_is_named(command: Command, tmp_path: Path) -> None:
    image_folder(tmp_path / "images")
    (tmp_path / "images/train/emu").mkdir()
    (tmp_path / "images/val/emu").mkdir()
    assert_refused(command("kd-train", *FOLDER, *SMALL), "data.root", "emu")


def only_cats(root: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(root / split / "dog")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "one class": (only_cats, "one class (cat)"),
    "a link to nothing": (lambda root: (root / "train/cat/x.jpg").symlink_to("/nowhere/x.jpg"), "train/cat/x.jpg"),
    "an empty file": (lambda root: (root / "train/cat/1.jpg").write_bytes(b""), "train/cat/1.jpg"),
    "a link to another class": (lambda root: (root / "train/cat/x").symlink_to("../dog"), "train/cat/x leads to"),
    "a class of its own": (lambda root: (root / "val/dog").rename(root / "val/emu"), "class dog stands in train/"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_folder_is_one_line(command: Command, tmp_path: Path, fault: str) -> None:
    image_folder(tmp_path / "images")
    make, words = FAULTS[fault]
    make(tmp_path / "images")
    key = "data.unreadable=fail" if fault == "an empty file" else "data.root"
    assert_refused(command("kd-train", *FOLDER, *SMALL, "data.num_workers=0"), key, words)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_jpeg_is_named(command: Command, tmp_path: Path, workers: int) -> None:
    image_folder(tmp_path / "images")
    broken = tmp_path / "images/train/dog/3.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    outcome = command("kd-train", *FOLDER, *SMALL, f"data.num_workers={workers}")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert "dog/3.jpg" in outcome.error_lines[0]
    assert not (tmp_path / "outputs").exists()


def test_labels_out_of_range_are_refused(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = [f"class{i:03d}" for i in range(100)]
    for split, count in (("train", 50_000), ("test", 10_000)):
        labels = [i % 100 for i in range(count)]
        labels[7] = 100
        data = np.zeros((count, 3072), dtype=np.uint8)
        record = {"data": data, "fine_labels": labels, "coarse_labels": labels, "filenames": [], "batch_label": ""}
        (folder / split).write_bytes(pickle.dumps(record, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": []}, protocol=2))
    outcome = command("kd-train", "data=cifar100", "data.root=.", "data.download=false", *SMALL)
    assert_refused(outcome, "data.root", "100")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["run=nowhere"], ["run=nowhere", "kd-train"]),
        ([], ["run"]),
    ],
)
def test_kd_eval_refuses_what_is_no_run(command: Command, overrides: list[str], words: list[str]) -> None:
    assert_refused(command("kd-eval", *overrides), *words)


@pytest.mark.parametrize(
    ("library", "command_line"),
    [
        ("terms.kd.signals=teachr.logits: nobody", "loss.kd.signals=teachr.logits: nobody"),
        ("student_taps.stage2=layer9: no module", "student.taps.stage2=layer9: no module"),
        ("it has logits (add more with teacher_taps)", "it has logits (add more with teacher.taps)"),
        ("data.root=/home/terms.d/student_taps: no such", "data.root=/home/terms.d/student_taps: no such"),
        ("student.weights=terms.pt: no such file", "student.weights=terms.pt: no such file"),
    ],
)
def test_commands_name_keys_where_the_library_names_arguments(library: str, command_line: str) -> None:
    assert one_line(UserError(library)) == command_line
