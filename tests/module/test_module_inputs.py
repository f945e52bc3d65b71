"""What DistillationModule takes from a loader: labels or none, pairs, mappings, lone inputs; and what it refuses."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.sources import FrozenNetwork
from kd_lightning.tasks import Classification
from kd_lightning.tasks.predictions import Predictions

INPUTS = torch.randn(12, 6, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(12) % 3
SOME = torch.where(torch.arange(12) % 4 == 0, torch.tensor([-1, -100]).repeat(6), LABELS)
KD = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.5),
    "kd": Term(SoftTarget(), ["student.logits", "teacher.logits"], 0.5),
}


def loader(*tensors: Tensor, size: int = 4) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*tensors), batch_size=size)


def mappings(**values: Tensor) -> DataLoader[Any]:
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return DataLoader(rows, batch_size=4)  # type: ignore[arg-type]


def trainer(folder: Path, **options: Any) -> lightning.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    defaults = {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": folder, "enable_checkpointing": False}
    return lightning.Trainer(**{**quiet, **defaults, **options})


def test_samples_without_a_label_leave_the_metrics(tmp_path: Path) -> None:
    module, labelled = DistillationModule(nn.Linear(6, 3), nn.Linear(6, 3), KD, num_classes=3), SOME >= 0
    (some,) = trainer(tmp_path).test(module, loader(INPUTS, SOME), verbose=False)
    confusions = module.tested["confusions"]
    (alone,) = trainer(tmp_path).test(module, loader(INPUTS[labelled], SOME[labelled]), verbose=False)
    assert {name: some[name] for name in alone if name != "test/agreement"} == pytest.approx(
        {name: alone[name] for name in alone if name != "test/agreement"}, abs=1e-6
    )
    assert confusions[:, 2].sum() == labelled.sum()
    (whole,) = trainer(tmp_path).test(module, loader(INPUTS, LABELS), verbose=False)
    assert some["test/agreement"] == pytest.approx(whole["test/agreement"])


@pytest.mark.parametrize("num_classes", [None, 3])
def test_batches_without_any_label_change_no_metric(tmp_path: Path, num_classes: int | None) -> None:
    module = DistillationModule(nn.Linear(6, 3), nn.Linear(6, 3), KD, num_classes=num_classes)
    none = torch.where(torch.arange(12) < 4, -1, LABELS)
    (measured,) = trainer(tmp_path).validate(module, loader(INPUTS, none), verbose=False)
    (alone,) = trainer(tmp_path).validate(module, loader(INPUTS[4:], LABELS[4:]), verbose=False)
    assert measured == pytest.approx(alone)
    assert trainer(tmp_path).validate(module, loader(INPUTS, torch.full((12,), -100)), verbose=False) == [{}]


def test_predictions_count_the_labelled_alone() -> None:
    logits = torch.randn(12, 3)
    both = Predictions(3), Predictions(3)
    both[0].update(logits, SOME)
    both[1].update(logits[SOME >= 0], SOME[SOME >= 0])
    for name, value in both[0].compute().items():
        torch.testing.assert_close(value, both[1].compute()[name])


def test_training_without_labels_teaches_what_the_teacher_knows(tmp_path: Path) -> None:
    student = nn.Linear(6, 3)
    before = student.weight.detach().clone()
    run = trainer(tmp_path)
    run.fit(DistillationModule(student, nn.Linear(6, 3), KD, num_classes=3), loader(INPUTS, torch.full((12,), -1)))
    assert run.callback_metrics["train/ce"] == 0
    assert run.callback_metrics["train/kd"] > 0
    assert student.weight.isfinite().all()
    assert not torch.equal(before, student.weight)


@pytest.mark.parametrize("label", [3, 255, -2, -99])
@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_label_that_is_no_class_is_refused(tmp_path: Path, label: int, stage: str, num_classes: int | None) -> None:
    labels = LABELS.clone()
    labels[1] = label
    module = DistillationModule(nn.Linear(6, 3), num_classes=num_classes)
    with pytest.raises(UserError, match=rf"[tT]arget.*[ =]{label}\b"):
        getattr(trainer(tmp_path), stage)(module, loader(INPUTS, labels))


FLOATS = torch.rand(12)
COLUMN = torch.rand(12, 1)
MSE = {"mse": Term(nn.MSELoss(), ["student.logits", "target"])}


@pytest.mark.parametrize("num_classes", [None, 1])
def test_numbers_as_targets_are_refused_before_any_step(tmp_path: Path, num_classes: int | None) -> None:
    student = nn.Linear(6, 1)
    before = student.weight.detach().clone()
    module = DistillationModule(student, None, MSE, num_classes=num_classes)
    with pytest.raises(UserError, match=r"^target=float32 \(4, 1\): a classifier is measured by class indices \(4,\)"):
        trainer(tmp_path).fit(module, loader(INPUTS, COLUMN), loader(INPUTS, COLUMN))
    assert torch.equal(before, student.weight)


@pytest.mark.parametrize("targets", [FLOATS, torch.rand(12, 2), LABELS[:, None]], ids=["floats", "rows", "a column"])
def test_a_classifier_refuses_them_in_its_first_step(tmp_path: Path, targets: Tensor) -> None:
    with pytest.raises(UserError, match="class indices"):
        trainer(tmp_path).fit(DistillationModule(nn.Linear(6, 3), num_classes=3), loader(INPUTS, targets))


def test_mixed_labels_train_and_are_not_measured(tmp_path: Path) -> None:
    mixed = torch.rand(12, 3).softmax(1)
    module = DistillationModule(nn.Linear(6, 3), num_classes=3)
    trainer(tmp_path).fit(module, loader(INPUTS, mixed), loader(INPUTS, LABELS))
    with pytest.raises(UserError, match=r"^target=float32"):
        trainer(tmp_path).test(module, loader(INPUTS, mixed), verbose=False)


def test_numbers_train_where_nothing_measures_them(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.fit(DistillationModule(nn.Linear(6, 1), None, MSE), loader(INPUTS, COLUMN))
    assert run.callback_metrics["train/mse"] > 0


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_dense_logits_are_refused_at_the_start(tmp_path: Path, stage: str, num_classes: int | None) -> None:
    pixels, images = torch.zeros(12, 5, 5, dtype=torch.long), torch.randn(12, 2, 5, 5)
    dense = DistillationModule(nn.Conv2d(2, 3, 1), num_classes=num_classes)
    with pytest.raises(UserError, match=r"\(4, 3, 5, 5\).*\(N, C\)"):
        getattr(trainer(tmp_path), stage)(dense, loader(images, pixels))


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_another_number_of_classes_is_refused(tmp_path: Path, stage: str) -> None:
    with pytest.raises(UserError, match=r"^num_classes=10: the student gives 3 logits"):
        getattr(trainer(tmp_path), stage)(DistillationModule(nn.Linear(6, 3), num_classes=10), loader(INPUTS, LABELS))


@pytest.mark.parametrize("signal", ["teachr.logits", "studnt.logits", "assistant.logits", "Teacher.logits", "a.b.c"])
def test_an_unknown_role_is_refused_at_once(signal: str) -> None:
    terms = {"kd": Term(SoftTarget(), ["student.logits", signal])}
    with pytest.raises(UserError, match=rf"^terms\.kd\.signals={signal}: nobody gives this signal") as error:
        DistillationModule(nn.Linear(6, 3), nn.Linear(6, 3), terms)
    assert ("did you mean teacher.logits?" in str(error.value)) == (
        signal.lower() in ("teachr.logits", "teacher.logits")
    )


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ("progress.epok", "did you mean progress.epoch"),
        ("train.indx", "training_set"),
        ("student", "the student has no such tap"),
        ("target.hard", "nobody gives this signal"),
        ("input", "nobody gives this signal"),
    ],
)
def test_so_is_what_a_known_one_does_not_give(signal: str, words: str) -> None:
    terms = {"own": Term(SoftTarget(), ["student.logits", signal])}
    with pytest.raises(UserError, match=words):
        DistillationModule(nn.Linear(6, 3), None, terms)


class Weighted(nn.Module):
    def forward(self, logits: Tensor, weight: Tensor) -> Tensor:
        return (logits.square().mean(1) * weight).mean()


def test_what_a_users_batch_holds_besides_is_a_signal(tmp_path: Path) -> None:
    batches = mappings(input=INPUTS, weight=torch.rand(12))
    module = DistillationModule(nn.Linear(6, 3), None, {"own": Term(Weighted(), ["student.logits", "weight"])})
    trainer(tmp_path).fit(module, batches)
    typo = DistillationModule(nn.Linear(6, 3), None, {"own": Term(Weighted(), ["student.logits", "wieght"])})
    with pytest.raises(UserError, match=r"terms\.own: signals=wieght: nobody gives .* did you mean weight\?"):
        trainer(tmp_path).fit(typo, batches)


@pytest.mark.parametrize(
    "batches",
    [loader(INPUTS, LABELS), loader(INPUTS), DataLoader(INPUTS, 4), mappings(input=INPUTS, target=LABELS)],
    ids=["pairs", "lone tuples", "lone inputs", "mappings"],
)
def test_predictions_are_the_students_logits(tmp_path: Path, batches: Any) -> None:
    module = DistillationModule(nn.Linear(6, 3), nn.Linear(6, 3), KD, num_classes=3)
    answers = trainer(tmp_path).predict(module, batches)
    assert answers is not None
    torch.testing.assert_close(torch.cat(list(answers)), module.student(INPUTS))


@pytest.mark.parametrize("num_classes", [None, 3])
def test_each_loader_has_metrics_of_its_own(tmp_path: Path, num_classes: int | None) -> None:
    module = DistillationModule(nn.Linear(6, 3), nn.Linear(6, 3), KD, num_classes=num_classes)
    clean, corrupt = loader(INPUTS, LABELS), loader(INPUTS + 3, LABELS)
    alone = [trainer(tmp_path).test(module, one, verbose=False)[0] for one in (clean, corrupt)]
    both = trainer(tmp_path).test(module, [clean, corrupt], verbose=False)
    assert both[0] == pytest.approx(alone[0])
    assert both[1] == pytest.approx({f"{name}/dataloader_idx_1": value for name, value in alone[1].items()})
    assert trainer(tmp_path).test(module, [clean, corrupt, clean], verbose=False)[2].keys() == {
        f"{name}/dataloader_idx_2" for name in alone[0]
    }
    if num_classes:
        _, again = trainer(tmp_path).test(module, clean, verbose=False), module.tested["confusions"]
        trainer(tmp_path).test(module, [clean, corrupt], verbose=False)
        assert torch.equal(module.tested["confusions"], again)


def test_monitors_see_the_first_loader_by_its_name(tmp_path: Path) -> None:
    module = DistillationModule(nn.Linear(6, 3), num_classes=3)
    best = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, monitor="val/top1", mode="max")
    other = lightning.pytorch.callbacks.EarlyStopping(monitor="val/nll/dataloader_idx_1", patience=9)
    run = trainer(tmp_path, max_epochs=2, callbacks=[best, other], enable_checkpointing=True)
    run.fit(module, loader(INPUTS, LABELS), {"clean": loader(INPUTS, LABELS), "other": loader(-INPUTS, LABELS)})
    assert best.best_model_score is not None
    assert run.callback_metrics["val/top1"] != run.callback_metrics["val/top1/dataloader_idx_1"]


def test_it_is_exported_without_a_trainer(tmp_path: Path) -> None:
    student = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    module = DistillationModule(student, nn.Linear(6, 3), KD, num_classes=3)
    traced = module.to_torchscript(tmp_path / "student.pt", method="trace", example_inputs=INPUTS)
    stored = torch.jit.load(tmp_path / "student.pt")
    module.eval()
    for one in (traced, stored):
        torch.testing.assert_close(one(INPUTS[:5]), module(INPUTS[:5]))
    own = DistillationModule(student, nn.Linear(6, 3), KD, student_taps={"hidden": "0"}, example_input=INPUTS)
    torch.testing.assert_close(own.eval().to_torchscript()(INPUTS), module(INPUTS))
    exported = torch.export.export(module.eval(), (INPUTS,))
    torch.testing.assert_close(exported.module()(INPUTS), module(INPUTS))


@pytest.mark.parametrize("options", [{}, {"method": "script"}])
def test_an_export_that_cannot_be_says_what_to_give(options: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"give some|use method='trace'"):
        DistillationModule(nn.Linear(6, 3)).to_torchscript(**options)


def test_so_it_is_to_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module = DistillationModule(nn.Linear(6, 3), nn.Linear(6, 3), KD)
    module.to_onnx(tmp_path / "student.onnx", INPUTS)
    session = onnx.InferenceSession(tmp_path / "student.onnx")
    (answer,) = session.run(None, {session.get_inputs()[0].name: INPUTS.numpy()})
    torch.testing.assert_close(torch.from_numpy(answer), module(INPUTS).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("taps", "words"),
    [
        ({"hint": "layr"}, r"^student_taps\.hint=layr: Sequential has no module 'layr'"),
        ({"hint": "0:nchw"}, r"^student_taps\.hint=0:nchw: write path"),
        ({"hint": 3}, r"^student_taps\.hint=3: an address is a text"),
        ("all", r"^student_taps=all: give auto, or a mapping"),
        (None, r"^student_taps=None: give auto, or a mapping"),
    ],
)
def test_a_bad_tap_is_named_also_where_no_term_takes_it(taps: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        DistillationModule(nn.Sequential(nn.Linear(6, 3)), student_taps=taps)
    with pytest.raises(UserError, match=words.replace("student", "teacher")):
        DistillationModule(nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 3)), KD, teacher_taps=taps)


def test_taps_of_a_teacher_that_has_its_own_are_refused() -> None:
    with pytest.raises(UserError, match=r"^teacher_taps={'hint': '0'}: a FrozenNetwork has its own signals"):
        DistillationModule(nn.Linear(6, 3), FrozenNetwork(nn.Linear(6, 3)), KD, teacher_taps={"hint": "0"})


def test_metrics_take_what_is_labelled_in_any_integer_type() -> None:
    logits = torch.randn(12, 3)
    metrics = Classification(3).metrics("val")
    metrics.update(logits, LABELS.int())
    assert metrics["top1"].compute() == (logits.argmax(1) == LABELS).float().mean()
