"""10,000 classes are measured and drawn in memory and files that grow with the classes, not with the pairs of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchmetrics import MetricCollection

from kd_lightning import losses
from kd_lightning.config.parts.objects import recipe_from
from kd_lightning.data import DigitsDataModule
from kd_lightning.errors import UserError
from kd_lightning.reporting.pages.content import Content, Table
from kd_lightning.reporting.pages.run_page import run_page
from kd_lightning.runs.arrays import write_evaluation
from kd_lightning.runs.collections.reading import read
from kd_lightning.store.records import RecordFile
from kd_lightning.tasks import Classification
from kd_lightning.tasks.metrics import Agreement, ExpectedCalibrationError
from kd_lightning.tasks.predictions import Predictions
from kd_lightning.tracking.confusions import Confusions
from kd_lightning.tracking.tensorboard.figures import confusion_figure
from kd_lightning.tracking.wandb.results import confusion_chart
from kd_lightning.training.answers.of_views import KeptAnswers
from tests.cli.test_configs import composed
from tests.tasks.test_metrics import oracle, softmax

CLASSES = 10_000
NAMES = [f"class {label}" for label in range(CLASSES)]
MOST = CLASSES**2 // 4  # bytes: a quarter of what one byte for each pair of classes takes


class Largest(TorchDispatchMode):
    """Notes how many bytes the largest tensor takes that is made within."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.bytes = max([self.bytes, *(leaf.nbytes for leaf in tree_leaves(made) if isinstance(leaf, Tensor))])
        return made


def answers(classes: int, images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (N, C) of which the highest are of the target (N,) and of the next class, in any order."""
    torch.manual_seed(seed)
    target = torch.randperm(images) % classes
    logits = torch.randn(images, classes)
    logits.scatter_(1, target[:, None], 13 + 0.7 * torch.randn(images, 1))
    logits.scatter_(1, (target[:, None] + 1) % classes, 13 + 0.7 * torch.randn(images, 1))
    return logits, target


def test_what_is_measured_has_no_number_for_each_pair_of_classes() -> None:
    logits, target = answers(CLASSES, 120)
    with Largest() as largest:
        metrics = Classification(CLASSES).metrics("test")
        agreement, predictions = Agreement(CLASSES), Predictions(CLASSES)
        for z, y in zip(logits.split(50), target.split(50), strict=True):
            metrics.update(z, y)
            agreement.update(z, z.flip(0))
            predictions.update(z, y)
        measured, found = metrics.compute(), predictions.compute()
    assert 4 * 50 * CLASSES <= largest.bytes < MOST
    assert {name: value.item() for name, value in measured.items()} == pytest.approx(oracle(logits, target), abs=1e-5)
    assert found["confusions"][:, 2].sum() == 120
    assert sum(value.numel() for value in found.values()) < 10**5


def test_few_tensors_are_held_of_many_batches() -> None:
    """One for each batch, each made among its logits, would keep the place of these from being used again."""
    logits, target = answers(20, 500)
    whole, parts = (MetricCollection([Predictions(20), ExpectedCalibrationError(20)]) for _ in range(2))
    whole.update(logits, target)
    for z, y in zip(logits.split(1), target.split(1), strict=True):
        parts.update(z, y)
    held = [state for metric in parts.values() for state in metric.metric_state.values() if isinstance(state, list)]
    assert len(held) == 3
    for state in held:
        assert len(state) < 10
        assert sum(map(len, state)) == 500
    for name, value in whole.compute().items():
        torch.testing.assert_close(parts.compute()[name], value)


TARGETED = (losses.DKD, losses.WSLD)
BY_LOGITS = (losses.SoftTarget, losses.HardLabel, losses.MeanSquaredLogits, losses.DIST, losses.MLKD, *TARGETED)


@pytest.mark.parametrize("kind", BY_LOGITS)
def test_no_loss_takes_memory_for_each_pair_of_classes(kind: type[torch.nn.Module]) -> None:
    logits, target = answers(CLASSES, 24)
    views = [part.requires_grad_() for part in logits.split(6)]
    given = [*views[:2], target[:6]] if kind in TARGETED else views if kind is losses.MLKD else views[:2]
    with Largest() as largest:
        kind()(*given).backward()
    assert 0 < largest.bytes < MOST
    assert views[0].grad is not None
    assert views[0].grad.isfinite().all()


class Many(DigitsDataModule):
    @property
    def class_names(self) -> list[str]:
        return list(map(str, range(2**16 + 1)))


def test_of_more_classes_than_16_bits_tell_apart_no_largest_logits_are_kept() -> None:
    data = Many()
    with pytest.raises(UserError, match=r"cache_top_k=10: the data have 65,537 classes"):
        KeptAnswers("logits", 16, 10).check(data, recipe_from(composed()), batch_statistics=False)


def test_answers_are_looked_through_a_part_at_a_time(tmp_path: Path) -> None:
    file, rows = RecordFile(tmp_path / "answers.bin", 1_000, CLASSES), torch.arange(1, 1_000, 2)
    for part in rows.split(50):
        file.write(part, part[:, None].expand(-1, CLASSES).to(torch.int16))
    with Largest() as largest:
        found, held = file.filled(), file.holds(torch.arange(1_000))
    assert torch.equal(found, rows)
    assert torch.equal(held.nonzero().flatten(), rows)
    assert 0 < largest.bytes < MOST


def exact(logits: Tensor, target: Tensor) -> np.ndarray:
    """The mean probability (C,) that the images of each class give to the next one."""
    p, y = softmax(logits.double().numpy()), target.numpy()
    return np.array([p[y == label, (label + 1) % p.shape[1]].mean() for label in range(p.shape[1])])


def check_next_classes(found: Tensor, expected: np.ndarray) -> None:
    true, other, mean = found[: len(expected)].T
    assert torch.equal(other, (true + 1) % len(expected))
    np.testing.assert_allclose(mean, expected[true.long()], rtol=1e-4)
    assert len(set(true.tolist())) == len(expected)


def test_of_more_classes_than_are_held_the_likely_pairs_are_exact() -> None:
    logits, target = answers(1_100, 2_200)
    metric = Predictions(1_100)
    assert metric.mass.shape[1] < 1_100
    for z, y in zip(logits.split(400), target.split(400), strict=True):
        metric.update(z, y)
    check_next_classes(metric.compute()["soft_labels"], exact(logits, target))


def test_ranks_add_up() -> None:
    logits, target = answers(1_100, 1_650)
    whole, first, second = (Predictions(1_100) for _ in range(3))
    whole.update(logits, target)
    first.update(logits[:600], target[:600])
    second.update(logits[600:], target[600:])
    states = (torch.cat(state) if isinstance(state, list) else state for state in second.metric_state.values())
    first.dist_sync_fn, first.distributed_available_fn = lambda state, group: [state, next(states)], lambda: True
    found, expected = first.compute(), whole.compute()
    check_next_classes(found["soft_labels"], exact(logits, target))
    for name in ("confusions", "bins", "entropy"):
        torch.testing.assert_close(found[name], expected[name], msg=name)


def rows_of(confused: int) -> np.ndarray:
    """Each class's two images: of some classes one is taken for the next class."""
    wrong = [[label, label + 1, 1] for label in range(confused)]
    return np.array([[label, label, 2 - (label < confused)] for label in range(CLASSES)] + wrong)


@pytest.fixture
def many(finished: Path, tmp_path: Path) -> Path:
    """A finished run, as if its data had 10,000 classes."""
    run = tmp_path / "many"
    shutil.copytree(finished, run)
    logits, target = answers(CLASSES, 60)
    metric = Predictions(CLASSES)
    metric.update(logits, target)
    arrays = {name: value.numpy() for name, value in metric.compute().items()}
    confused = {"teacher": 30, "scratch": 200, "student": 120}
    roles = {role: {**arrays, "confusions": rows_of(n)} for role, n in confused.items()}
    write_evaluation(run, {"class_names": np.array(NAMES)}, roles)
    return run


def figures_of(page: Content) -> dict[str, list[Any]]:
    return {section.id: section.contents for section in page.sections}


def test_a_page_shows_the_classes_that_matter(many: Path) -> None:
    assert (many / "evaluation.npz").stat().st_size < 10**6
    page = run_page(read([many]).runs[0])
    figures = figures_of(page)
    matrices, table = figures["confusion"]
    for matrix in matrices["data"]:
        assert np.shape(matrix["z"]) == (50, 50)
    assert matrices["data"][2]["x"][:3] == ["class 0", "class 1", "class 2"]
    assert matrices["data"][2]["z"][7][7:9] == [50.0, 50.0]
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[4]] == ["class 4", "class 5", "1", "50.0"]
    assert len(table.rows) <= 50
    (gains,) = figures["gain"][0]["data"]
    assert len(gains["x"]) == 100
    assert gains["y"][:50] == [50.0] * 50
    assert gains["y"][-1] == 0
    (text,) = (section.text for section in page.sections if section.id == "gain")
    assert "10,000 classes" in text
    assert sum(len(json.dumps(one)) for part in figures.values() for one in part if isinstance(one, dict)) < 400_000


def test_loggers_are_given_what_they_show() -> None:
    found = Confusions(rows_of(300), CLASSES)
    figure = confusion_figure(found, NAMES)
    assert figure.axes[0].images[0].get_array().shape == (50, 50)
    assert "50 classes" in figure.axes[0].get_title()
    assert (np.asarray(figure.axes[0].images[0].get_array()) == 0.5).sum() == 99, "confusions are seen"
    table = confusion_chart(found, NAMES)
    assert len(table.data) == 300, "what is right is left out"
    everything = np.stack([np.arange(CLASSES), np.roll(np.arange(CLASSES), 1), np.arange(CLASSES) + 1], axis=1)
    commonest = confusion_chart(Confusions(np.concatenate([everything, everything[:, [0, 0, 2]]]), CLASSES), NAMES)
    assert len(commonest.data) <= 10_000
    assert commonest.data[0] == ["class 9999", "class 9998", 10_000]


@pytest.mark.parametrize("classes", [10, 200, 201, 1_000, 1_001])
def test_of_fewer_classes_a_figure_shows_all(classes: int) -> None:
    rows = np.stack([np.arange(classes), np.arange(classes)[::-1], np.full(classes, 3)], axis=1)
    found = Confusions(rows, classes)
    assert np.array_equal(found.counts(range(classes)), 3 * np.eye(classes)[::-1])
    shown = confusion_figure(found, NAMES[:classes]).axes[0].images[0].get_array()
    assert len(shown) == (classes if classes <= 1_000 else 50)


def folders(root: Path, classes: int) -> Path:
    """A picture of 8×8 pixels for each of many classes, to train on, and one to test on."""
    random = np.random.default_rng(0)
    for label in range(classes):
        for split in ("train", "val"):
            (root / split / f"n{label:05}").mkdir(parents=True)
            picture = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / split / f"n{label:05}" / "0.png")
    return root


TRAINED = (
    *("data=folder", "data.image_size=8", "data.resize_size=8", "data.num_workers=0", "data.val_fraction=0"),
    *("data.batch_size=100", "data.eval_batch_size=100", "trainer.max_epochs=1", "trainer.limit_train_batches=2"),
    *("student.model=digits_cnn_4", "teacher.model=digits_cnn_8", "trainer.accelerator=cpu", "data.views=1"),
    "teacher.cache=logits",
)


@pytest.mark.slow
def test_a_run_of_10000_classes_takes_no_memory_for_pairs_of_them(tmp_path: Path) -> None:
    """Trained, tested, drawn and read again, each in a process of its own, beside a run of ten classes."""
    peaks = []
    for classes in (10, CLASSES):
        data, run = folders(tmp_path / f"data-{classes}", classes), tmp_path / str(classes)
        process("kd-train", *TRAINED, f"data.root={data}", f"hydra.run.dir={run}", f"paths.cache_dir={tmp_path}/cache")
        summary = json.loads((run / "summary.json").read_text())
        assert summary["data"]["num_classes"] == classes
        peaks.append(summary["memory"]["peak_rss_gib"])
        assert (run / "evaluation.npz").stat().st_size < 2 * 10**6
        assert (run / "report.html").stat().st_size < 6 * 10**6
    assert peaks[1] - peaks[0] < 4 * CLASSES**2 / 2**30, "not a single matrix of pairs in 32 bits"
    assert process("kd-eval", f"run={run}").count("top-1 %") == 1
    (run / "report.html").unlink()
    process("kd-report", str(run))
    assert (run / "report.html").exists()


def process(*command: str) -> str:
    """Run a command whose large tensors go back to the system once they are gone.

    So its peak is what it holds at once; with the holes between small tensors that glibc's heap leaves, which differ
    from run to run, it would be up to twice as far above that of ten classes.
    """
    name, *arguments = command
    as_held = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    program = Path(sys.executable).with_name(name)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=as_held)
    assert done.returncode == 0, done.stderr
    return done.stdout
