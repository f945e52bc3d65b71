"""DistillationModule in anybody's project: a plain trainer, plain batches, no Hydra, none of this package's data."""

import copy
import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import AttentionTransfer, CrossEntropy, FitNet, SoftTarget
from kd_lightning.models.projectors import Regressor
from kd_lightning.schedules.learning_rate import Cosine
from kd_lightning.schedules.length import Length


def network(width: int) -> nn.Sequential:
    """Two stages, 8×8 and 4×4, batch normalisation and dropout: whatever differs between train and eval mode."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(2 * width, 3),
    )


IMAGES = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.arange(24) % 3
EXAMPLE = IMAGES[:2]
TAPS = {"logits": "", "hint": "1"}
KD = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.1),
    "kd": Term(SoftTarget(temperature=4), ["student.logits", "teacher.logits"], 0.9),
}


def loader(*tensors: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*tensors), batch_size=8)


def trainer(folder: Path, **options: Any) -> lightning.Trainer:
    defaults = {"accelerator": "cpu", "max_epochs": 2, "logger": False, "default_root_dir": folder}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return lightning.Trainer(**{**defaults, **quiet, "enable_checkpointing": False, **options})


def feature_terms() -> dict[str, Term]:
    return {
        "ce": Term(CrossEntropy(), ["student.logits", "target"]),
        "fitnet": Term(FitNet(), ["student.hint", "teacher.hint"], 100.0, partial(Regressor)),
        "attention": Term(AttentionTransfer(), ["student.stages", "teacher.stages"], 1000.0),
    }


def feature_module() -> DistillationModule:
    return DistillationModule(
        network(2), network(4), feature_terms(), student_taps=TAPS, teacher_taps=TAPS, example_input=EXAMPLE
    )


def test_the_example_trains(tmp_path: Path) -> None:
    module = DistillationModule(
        student=network(2), teacher=network(4), terms=KD, optimizer=partial(torch.optim.SGD, lr=0.05)
    )
    run = trainer(tmp_path, max_epochs=3)
    run.fit(module, loader(IMAGES, TARGETS))
    assert {"train/loss", "train/ce", "train/kd", "train/kd_weighted"} <= set(run.callback_metrics)
    expected = run.callback_metrics["train/ce_weighted"] + run.callback_metrics["train/kd_weighted"]
    torch.testing.assert_close(run.callback_metrics["train/loss"], expected)


def test_gradients_reach_the_student_and_the_terms_alone() -> None:
    module = feature_module()
    module.train()
    signals = module.signals({"input": IMAGES, "target": TARGETS})
    module.objective(signals).total.backward()
    assert all(p.grad is not None for part in (module.student, module.objective) for p in part.parameters())
    assert module.teacher is not None
    assert all(p.grad is None for p in module.teacher.parameters())
    assert not any(value.requires_grad for name, value in signals.items() if name.startswith("teacher."))


def test_the_optimizer_gets_the_student_and_the_terms_alone() -> None:
    module = feature_module()
    optimizer = module.configure_optimizers()
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for part in (module.student, module.objective) for p in part.parameters()}
    assert len(list(module.objective.parameters())) > 0


def test_training_leaves_the_teacher_exactly_as_it_was(tmp_path: Path) -> None:
    module = feature_module()
    assert module.teacher is not None
    before = {name: value.clone() for name, value in nn.Module.state_dict(module.teacher.network).items()}
    student = {name: value.clone() for name, value in module.student.state_dict().items()}
    trainer(tmp_path).fit(module.train(), loader(IMAGES, TARGETS))
    after = nn.Module.state_dict(module.teacher.network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(torch.equal(student[name], module.student.state_dict()[name]) for name in student)
    assert not any(part.training for part in module.teacher.modules())


def test_a_checkpoint_holds_the_student_and_the_teachers_identity_alone(tmp_path: Path) -> None:
    module = feature_module()
    run = trainer(tmp_path)
    run.fit(module, loader(IMAGES, TARGETS))
    run.save_checkpoint(tmp_path / "run.ckpt")
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert {name.partition(".")[0] for name in checkpoint["state_dict"]} == {"student", "objective"}
    assert module.teacher is not None
    assert checkpoint["sources"] == {"teacher": module.teacher.identity()}
    assert checkpoint["sources"]["teacher"]["model"] == "Sequential"
    assert len(checkpoint["sources"]["teacher"]["sha256"]) == 64


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    def fit(epochs: int, resume: Path | None = None) -> DistillationModule:
        torch.manual_seed(3)
        module = feature_module()
        module.student[4] = nn.Identity()  # dropout would draw other numbers after the restart
        run = trainer(tmp_path, max_epochs=epochs)
        run.fit(module, loader(IMAGES, TARGETS), ckpt_path=resume, weights_only=True)
        run.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module

    whole = fit(4)
    fit(2)
    resumed = fit(4, tmp_path / "2.ckpt")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_resuming_with_another_teacher_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.fit(feature_module(), loader(IMAGES, TARGETS))
    run.save_checkpoint(tmp_path / "run.ckpt")
    torch.manual_seed(99)
    with pytest.raises(UserError, match="another teacher"):
        trainer(tmp_path, max_epochs=3).fit(
            feature_module(), loader(IMAGES, TARGETS), ckpt_path=tmp_path / "run.ckpt", weights_only=True
        )


def test_without_a_teacher_it_is_ordinary_training(tmp_path: Path) -> None:
    module = DistillationModule(network(2), num_classes=3)
    run = trainer(tmp_path)
    run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
    assert set(run.callback_metrics) >= {"train/ce", "val/top1", "val/top5", "val/nll"}
    results = run.test(module, loader(IMAGES, TARGETS), verbose=False)[0]
    assert "test/agreement" not in results
    assert {"test/precision", "test/recall", "test/f1", "test/ece"} <= set(results)


@pytest.mark.parametrize("batch", [IMAGES, (IMAGES,), [IMAGES], {"input": IMAGES, "target": None}])
def test_without_a_target_only_terms_that_need_none_contribute(batch: Any) -> None:
    module = DistillationModule(network(2).eval(), network(4), KD)
    module.length = Length(max_epochs=1, max_steps=math.inf, steps_from={0: 1})
    module.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    total = module.training_step(batch, 0)
    expected = 0.9 * SoftTarget(4)(module(IMAGES), module.teacher({"input": IMAGES})["logits"])  # type: ignore[misc]
    torch.testing.assert_close(total, expected)
    total.backward()


def test_mixed_precision_computes_losses_in_full(tmp_path: Path) -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
            seen.extend([student.dtype, teacher.dtype, (student @ student.T).dtype])
            return (student - teacher).pow(2).mean()

    module = DistillationModule(network(2), network(4), {"spy": Term(Spy(), ["student.logits", "teacher.logits"])})
    trainer(tmp_path, precision="bf16-mixed", max_epochs=1).fit(module, loader(IMAGES, TARGETS))
    assert seen
    assert set(seen) == {torch.float32}


def test_agreement_counts_equal_predictions(tmp_path: Path) -> None:
    student, teacher = network(2), network(4)
    module = DistillationModule(student, teacher, KD, num_classes=3)
    results = trainer(tmp_path).test(module, loader(IMAGES, TARGETS), verbose=False)[0]
    with torch.no_grad():
        same = (student.eval()(IMAGES).argmax(1) == teacher.eval()(IMAGES).argmax(1)).float().mean().item()
    assert results["test/agreement"] == pytest.approx(same)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"student_taps": {"hint": "1"}, "terms": {"f": Term(FitNet(), ["student.hynt", "teacher.logits"])}}, "hint"),
        ({"teacher": None}, "needs a teacher"),
        ({"terms": {"f": Term(FitNet(), ["student.stage1", "teacher.stage1"])}}, "example_input"),
        ({"terms": {"f": Term(FitNet(), ["student.logits", "teacher.logits"], 1.0, Regressor)}}, "example_input"),
        ({"terms": {}}, "nothing to minimise"),
    ],
)
def test_a_term_that_cannot_work_is_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DistillationModule(**{"student": network(2), "teacher": network(4), "terms": KD, **options})


def test_it_can_be_tested_without_knowing_the_classes(tmp_path: Path) -> None:
    results = trainer(tmp_path).test(DistillationModule(network(2), network(4), KD), loader(IMAGES, TARGETS))[0]
    assert set(results) == {"test/nll"}


def test_a_second_training_has_a_length_of_its_own(tmp_path: Path) -> None:
    module = DistillationModule(network(2), scheduler=Cosine(interval="step"))
    for epochs in (1, 4):
        trainer(tmp_path, max_epochs=epochs).fit(module, loader(IMAGES, TARGETS))
        assert module.progress().epoch == pytest.approx(epochs)
        assert module.progress().fraction == pytest.approx(1.0)


def test_terms_can_serve_two_modules() -> None:
    terms = {"attention": Term(AttentionTransfer(), ["student.stages", "teacher.stages"])}
    deep = nn.Sequential(*network(2)[:2], nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU()), *network(2)[2:])
    for student, stages in ((network(2), 2), (deep, 3)):
        teacher = copy.deepcopy(student)
        module = DistillationModule(student, teacher, terms, example_input=EXAMPLE)
        assert len(module.signals({"input": IMAGES})) == 2 * (stages + 1)
    assert terms["attention"].signals == ["student.stages", "teacher.stages"]


def test_a_part_of_the_teacher_cannot_be_put_in_train_mode() -> None:
    module = feature_module()
    assert module.teacher is not None
    before = copy.deepcopy(module.teacher.network.state_dict())
    module.teacher.network[0][1].train()
    module.signals({"input": IMAGES})
    assert all(torch.equal(before[name], value) for name, value in module.teacher.network.state_dict().items())


@pytest.mark.parametrize("frozen_part", [False, True])
def test_modules_in_eval_mode_are_mentioned_if_they_are_the_students(tmp_path: Path, frozen_part: bool) -> None:
    student = network(2)
    student[0][1].train(not frozen_part)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, max_epochs=1).fit(DistillationModule(student, network(4), KD), loader(IMAGES, TARGETS))
    assert any("in eval mode" in str(warning.message) for warning in caught) == frozen_part
