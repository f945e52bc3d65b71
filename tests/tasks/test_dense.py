"""A class for each pixel or token: every loss on logits is what it is on the rows that count; what is measured."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader

from kd_lightning import DistillationModule, Term
from kd_lightning.batch import as_batch, call
from kd_lightning.errors import UserError
from kd_lightning.losses import DIST, DKD, CrossEntropy, LogitStandardization, SoftTarget, functional
from kd_lightning.losses.sample_weights import Confidence
from kd_lightning.schedules import Progress
from kd_lightning.taps.outputs import logits_of
from kd_lightning.tasks import Classification, SemanticSegmentation, Task, TokenClassification

CPU = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
BATCH, CLASSES, TOKENS = 3, 4, 6
BOTH = ["student.logits", "teacher.logits"]
TERMS: dict[str, tuple[nn.Module, list[str]]] = {
    "ce": (CrossEntropy(), ["student.logits", "target"]),
    "kd": (SoftTarget(4.0), BOTH),
    "dkd": (DKD(), [*BOTH, "target"]),
    "dist": (DIST(), BOTH),
    "ls": (LogitStandardization(SoftTarget(2.0)), BOTH),
}


class Tagger(nn.Module):
    """Tokens (B, T) to logits (B, T, C), as Hugging Face's models take and give them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.embed(input_ids))}


class Dense(NamedTuple):
    """A task, a network for it, a batch, and what counts of it: bool, in the shape of the targets."""

    task: Task
    network: Callable[[], nn.Module]
    batch: Any
    counts: Tensor

    def module(self, name: str, **arguments: Any) -> DistillationModule:
        terms = {name: Term(*TERMS[name], **arguments)}
        return DistillationModule(self.network(), self.network(), terms, task=self.task)

    def rows(self, network: nn.Module) -> Tensor:
        """The logits of what counts, (N, C)."""
        logits = logits_of(network, call(network, as_batch(self.batch)["input"]))
        return (logits.movedim(1, -1) if logits.ndim == 4 else logits)[self.counts]

    @property
    def target(self) -> Tensor:
        return as_batch(self.batch)["target"][self.counts]


def tokens() -> Dense:
    """Three sentences of 6, 4 and 1 tokens, of which the first one's last has no label."""
    mask = torch.arange(TOKENS) < torch.tensor([[6], [4], [1]])
    labels = torch.randint(CLASSES, (BATCH, TOKENS))
    labels[0, 5] = -100
    batch = {"input_ids": torch.randint(20, (BATCH, TOKENS)), "attention_mask": mask.long(), "labels": labels}
    return Dense(TokenClassification(CLASSES), Tagger, batch, mask & (labels >= 0))


def pixels() -> Dense:
    """Three images, a row of the first of them without labels, and a column of the second to be ignored."""
    target = torch.randint(CLASSES, (BATCH, 5, 5))
    target[0, 0] = -1
    target[1, :, 2] = 255
    task = SemanticSegmentation(CLASSES, ignore_index=255)
    counts = (target >= 0) & (target != 255)
    return Dense(task, lambda: nn.Conv2d(3, CLASSES, 3, padding=1), (torch.randn(BATCH, 3, 5, 5), target), counts)


each = pytest.mark.parametrize("given", [tokens, pixels])


@each
@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("told_before", [True, False])
def test_a_loss_on_logits_is_what_it_is_on_the_rows_that_count(
    given: Callable[[], Dense], name: str, told_before: bool
) -> None:
    dense = given()
    module = dense.module(name)
    batch = as_batch(dense.batch)
    signals = module.signals(dense.task.before_transfer(batch) if told_before else batch)
    value = module.objective(signals).total
    loss, names = TERMS[name]
    expected = {"target": dense.target, "student.logits": dense.rows(module.student)}
    expected["teacher.logits"] = dense.rows(module.teacher.network)
    torch.testing.assert_close(value, loss(*(expected[signal] for signal in names)))
    value.backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in module.student.parameters()
    )


@each
def test_no_step_needs_a_number_of_the_device(given: Callable[[], Dense]) -> None:
    """What `before_transfer` tells is enough; without it the step would have to ask how many rows count."""
    dense = given()
    module = dense.module("dkd", sample_weight=None)

    def total(batch: dict[str, Any], mode: FakeTensorMode) -> Tensor:
        with mode:
            fake = {name: tree_map_only(Tensor, mode.from_tensor, value) for name, value in batch.items()}
            return module.objective(module.signals(fake)).total

    batch = as_batch(dense.batch)
    total(dense.task.before_transfer(batch), FakeTensorMode(allow_non_fake_inputs=True)).backward()
    with pytest.raises(DynamicOutputShapeException):
        total(batch, FakeTensorMode(allow_non_fake_inputs=True))


@each
def test_a_term_is_the_mean_over_as_many_samples_as_rows_count(given: Callable[[], Dense]) -> None:
    """So that several ranks together have the mean over the rows of all of them."""
    dense = given()
    for name in ("ce", "kd"):
        module = dense.module(name)
        ((_, term),) = module.objective.items()
        counted = term.evaluate(module.signals(as_batch(dense.batch)), Progress(), counts=True).samples
        assert counted is not None
        assert counted.item() == dense.counts.sum()


@each
def test_a_samples_value_is_the_mean_of_its_rows_and_weighs_them_all(given: Callable[[], Dense]) -> None:
    dense = given()
    module = dense.module("kd", sample_weight="weight")
    weight = torch.tensor([0.5, 2.0, 3.0])
    value = module.objective(module.signals({**as_batch(dense.batch), "weight": weight})).total
    student, teacher = dense.rows(module.student), dense.rows(module.teacher.network)
    lengths = dense.counts.flatten(1).sum(dim=1)
    of_samples = zip(student.split(lengths.tolist()), teacher.split(lengths.tolist()), strict=True)
    values = torch.stack([functional.kd(s, t) for s, t in of_samples])
    torch.testing.assert_close(value, (lengths * weight * values).sum() / lengths.sum())


@each
def test_a_function_of_logits_weighs_each_row(given: Callable[[], Dense]) -> None:
    dense = given()
    module = dense.module("kd", sample_weight=Confidence())
    student, teacher = dense.rows(module.student), dense.rows(module.teacher.network)
    each = teacher.softmax(dim=1).amax(dim=1) * functional.kd(student, teacher, reduction="none")
    torch.testing.assert_close(module.objective(module.signals(as_batch(dense.batch))).total, each.mean())


def test_without_targets_the_mask_tells_what_counts() -> None:
    dense = tokens()
    batch = {name: value for name, value in dense.batch.items() if name != "labels"}
    unlabelled = dense._replace(batch=batch, counts=batch["attention_mask"] == 1)
    module = dense.module("kd")
    expected = functional.kd(unlabelled.rows(module.student), unlabelled.rows(module.teacher.network))
    torch.testing.assert_close(module.objective(module.signals(as_batch(batch))).total, expected)


def test_logits_of_another_size_are_interpolated_to_the_targets() -> None:
    dense = pixels()
    module = DistillationModule(nn.Conv2d(3, CLASSES, 3, stride=2, padding=1), task=dense.task)
    inputs, target = dense.batch
    larger = F.interpolate(module.student(inputs), (5, 5), mode="bilinear")
    expected = functional.cross_entropy(larger.movedim(1, -1)[dense.counts], target[dense.counts])
    torch.testing.assert_close(module.objective(module.signals(as_batch(dense.batch))).total, expected)


@each
def test_a_training_measures_the_rows_that_count(given: Callable[[], Dense]) -> None:
    warnings.simplefilter("ignore")
    dense = given()
    module, loader = dense.module("kd"), DataLoader([dense.batch], batch_size=None)
    trainer = lightning.Trainer(max_epochs=1, **CPU)
    trainer.fit(module, loader, loader)
    (results,) = trainer.test(module, loader, verbose=False)
    student, teacher = dense.rows(module.student).detach(), dense.rows(module.teacher.network).detach()
    predicted, target = student.argmax(dim=1), dense.target
    assert results["test/top1"] == pytest.approx((predicted == target).float().mean().item())
    assert results["test/nll"] == pytest.approx(F.cross_entropy(student, target).item(), rel=1e-5)
    assert results["test/agreement"] == pytest.approx((predicted == teacher.argmax(dim=1)).float().mean().item())
    if "test/miou" in results:
        assert results["test/miou"] == pytest.approx(jaccard_score(target, predicted, average="macro"))
        (figure,) = dense.task.figures({"student": {"iou": module.tested["iou"].numpy()}}).values()
        assert figure["data"][0]["y"] == pytest.approx(100 * jaccard_score(target, predicted, average=None), abs=0.01)
    else:
        assert results["test/f1"] == pytest.approx(f1_score(target, predicted, average="macro"))


@pytest.mark.parametrize(
    ("task", "outputs", "target", "message"),
    [
        (
            TokenClassification(4),
            (2, 4),
            (2,),
            r"student\.logits=\(2, 4\): TokenClassification takes logits \(B, T, C\)",
        ),
        (TokenClassification(4), (2, 3, 4), (2, 5), r"student\.logits=\(2, 3, 4\): there are \(2, 5\) labels"),
        (SemanticSegmentation(4), (2, 4, 3), (2, 3), r"SemanticSegmentation takes logits \(B, C, H, W\)"),
        (SemanticSegmentation(4), (2, 4, 3, 3), (2,), r"there are \(2,\) labels"),
        (SemanticSegmentation(4), (2, 5, 3, 3), (2, 3, 3), r"num_classes=4: the student gives 5 logits"),
        (Classification(4), (2, 3, 4), (2, 3), r"student\.logits=\(2, 3, 4\): a classifier is measured by logits"),
    ],
)
def test_shapes_that_do_not_fit_are_one_line(
    task: Task, outputs: tuple[int, ...], target: tuple[int, ...], message: str
) -> None:
    def measured() -> None:
        batch = {"target": torch.zeros(target, dtype=torch.long)}
        rows, batch = task.rows({"student.logits": torch.zeros(outputs)}, batch)
        task.check_step("student", rows["student.logits"], batch["target"], training=False)

    with pytest.raises(UserError, match=message):
        measured()


@pytest.mark.parametrize(
    "task", [TokenClassification(4), SemanticSegmentation(4), SemanticSegmentation(4, ignore_index=255)]
)
def test_labels_that_are_no_class_are_refused(task: Task) -> None:
    with pytest.raises(UserError, match="target=254: there are 4 classes"):
        task.check_batch({"target": torch.tensor([[0, 254]])})
    task.check_columns()
