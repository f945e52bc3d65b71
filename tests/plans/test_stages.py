"""plan=stages: the student learns stage by stage, each alone, and at last as a whole."""

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import SGD

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import EMA
from kd_lightning.losses import AttentionTransfer, FitNet
from kd_lightning.models.projectors import Connector
from kd_lightning.part import Part
from kd_lightning.plans.stages import of_stages
from kd_lightning.training.context import Recipe
from tests.conftest import Command
from tests.plans.digits_by_hand import ONE_BATCH, PLATEAU, images, kept, layer

SMALL = (
    *("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu", "scheduler=constant"),
    *("callbacks.progress_bar=null", "teacher.model=digits_cnn_4", "scratch=false"),
)
STAGES = ("plan=stages", *SMALL)


@pytest.fixture(autouse=True)
def store(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """The layers of which something is different."""
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def rows(logged: Path) -> list[dict[str, str]]:
    """What was logged, but for the time that it took."""
    with logged.open(newline="") as file:
        found = [*csv.DictReader(file)]
    return [{name: value for name, value in row.items() if not name.endswith("per_s")} for row in found]


def check_step_of_second(kept: Mapping[str, Mapping[str, Tensor]]) -> None:
    """W - lr·(∂/∂W mean((s₂ - t₂)²) + decay·W), the student's first stage as its own training left it."""
    weights = {name: {k: v.double() for k, v in one.items()} for name, one in kept.items()}
    x, before, teacher = images(), weights["student.stage1"], weights["teacher"]
    target = layer(layer(x, teacher, 1), teacher, 2)
    learned = {name: before[f"layer2.{name}"].clone().requires_grad_() for name in ("0.weight", "1.weight", "1.bias")}
    own = {**before, **{f"layer2.{name}": value for name, value in learned.items()}}
    loss = (layer(layer(x, before, 1), own, 2, learns=True) - target).square().mean()
    for name, gradient in zip(learned, torch.autograd.grad(loss, [*learned.values()]), strict=True):
        was = before[f"layer2.{name}"]
        expected = was - 0.05 * (gradient + 5e-4 * was)
        torch.testing.assert_close(weights["student.stage2"][f"layer2.{name}"].float(), expected.float())


def test_each_stage_learns_alone_and_then_the_whole_student(command: Command, store: Path) -> None:
    outcome = command("kd-train", *STAGES, *ONE_BATCH, "trainer.log_every_n_steps=1", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    weights = kept(store)
    assert {*weights} == {"teacher", "student.stage1", "student.stage2", "student.stage3"}
    first, second, third = (weights[f"student.stage{number}"] for number in (1, 2, 3))
    assert moved(first, second) == {"layer2"}, "no weight, and no statistics of the others"
    assert moved(second, third) == {"layer3"}
    run = outcome.folder / "run"
    assert {"layer1", "layer2", "layer3", "fc"} <= moved(third, load_file(run / "student.safetensors"))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["plan"]["name"] == "stages"
    assert [*summary["plan"]["networks"]] == ["teacher", "student"], "what is half trained is not compared"
    logged = rows(run / "stage1" / "metrics.csv")
    assert {name.split("/")[0] for name in logged[0]} == {"epoch", "lr-SGD", "step", "train"}, "it is not tested"
    (loss,) = [float(row["train/loss"]) for row in logged if row["train/loss"]]
    page = (run / "report.html").read_text()
    section = page[page.index("Stage by stage</h2>") :]
    assert f"{loss:.4g}" in section[:5000]

    tested = command("kd-eval", "run=run")
    assert tested.code == 0, tested.errors
    assert f"{100 * summary['student']['agreement']:.2f}" in tested.output
    again = command("kd-train", *STAGES, *ONE_BATCH, "temperature=2", "hydra.run.dir=again")
    assert again.output.count("found (") == 4, "teacher and stages, whatever the logits are learned by"
    check_step_of_second(kept(store))


HINT = ("loss=[ce,kd,fitnet]",)


def test_a_hint_in_the_middle_trains_all_before_it(command: Command, store: Path) -> None:
    """FitNets: what nothing trained before learns with the stage that has a term; the rest waits for the end."""
    command("kd-train", *STAGES, "loss=[ce,kd,fitnet]", "optimizer.lr=0", "hydra.run.dir=still")
    still = kept(store)["student.stage2"]
    shutil.rmtree(store)
    outcome = command("kd-train", *STAGES, "loss=[ce,kd,fitnet]", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert moved(still, kept(store)["student.stage2"]) == {"layer1", "layer2"}


def signals(*taps: str) -> list[list[str]]:
    return [[f"{network}.{tap}" for tap in taps] for network in ("student", "teacher")]


def test_a_term_is_taken_apart_by_its_stages() -> None:
    attention = of_stages(Term(AttentionTransfer(), signals("stage1", "stage2", "stage3")))
    assert {stage: one.signals for stage, one in attention.items()} == {n: signals(f"stage{n}") for n in (1, 2, 3)}
    crossed = Term(AttentionTransfer(), [["student.stage1", "student.stage2"], ["teacher.stage2", "teacher.stage3"]])
    assert of_stages(crossed)[2].signals == [["student.stage2"], ["teacher.stage3"]], "pairs stay pairs"
    assert [*of_stages(Term(FitNet(), ["student.stage2", "teacher.stage2"]))] == [2]
    assert not of_stages(Term(FitNet(), ["student.logits", "teacher.logits"]))


def test_the_loss_of_each_stage_learns_by_itself() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
            return sum((self.scale * (s - t)).square().mean() for s, t in zip(student, teacher, strict=True))

    of_three = Term(Learned(), signals("stage1", "stage2", "stage3"), projector=Connector)
    parts = [[*one.parameters()] for one in of_stages(of_three).values()]
    assert [len(each) for each in parts] == [1, 1, 1]
    assert len({id(scale) for each in parts for scale in each} | {id(of_three.loss.scale)}) == 4
    first, second, _ = of_stages(of_three).values()
    assert first.projections is not second.projections


def test_a_stage_keeps_all_callbacks_but_those_that_watch_its_validation(tmp_path: Path) -> None:
    watching = {"best": EarlyStopping("val/top1", mode="max"), "own": OwnStopping()}
    kept = {"ema": EMA(), "mine": Callback(), "by_loss": EarlyStopping("train/loss")}
    told = {
        **dict.fromkeys(("ema", "mine", "own")),
        "best": {"monitor": "val/top1"},
        "by_loss": {"monitor": "train/loss"},
    }
    trainer = Part(lambda callbacks, loggers, **given: given, {})
    recipe = Recipe(
        Part(SGD, {}), None, trainer, Part(lambda folder: {**watching, **kept}, told), Part(lambda folder: [], {})
    )
    stage = recipe.unvalidated()
    assert stage.callbacks(tmp_path) == kept
    assert stage.callbacks.settings.keys() == {"ema", "mine", "own", "by_loss"}
    assert stage.trainer([], [])["limit_val_batches"] == 0


class OwnStopping(EarlyStopping):
    """Watches a validation without being told."""

    def __init__(self) -> None:
        super().__init__("val/nll")


def test_a_methods_own_terms_are_what_the_stages_learn_on(command: Command, store: Path) -> None:
    outcome = command("kd-train", *STAGES, "method=attention", "plan.alone=false", "plan.end=head", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    weights = {name: one for name, one in kept(store).items() if name != "teacher"}
    run = outcome.folder / "run"
    assert [*json.loads((run / "summary.json").read_text())["objective"]] == ["ce"]
    first, second, third = (weights[name] for name in sorted(weights))
    assert {"layer1", "layer2"} <= moved(first, second), "those before a stage go on learning"
    assert moved(third, load_file(run / "student.safetensors")) == {"fc"}


@pytest.mark.slow
@pytest.mark.parametrize("during", ["student.stage2", "teacher.logits"])
def test_a_run_is_taken_up_exactly(
    command: Command, during: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in the middle of the second epoch of a stage's training, or of the last one."""

    def power_cut(module: DistillationModule, *_: Any) -> None:
        signals = {name for _, term in module.objective.items() for name in term.names()}
        if during in signals and module.current_epoch == 1:
            raise OSError("no power")

    given = (*STAGES, "teacher.model=digits_cnn_8", "trainer.max_epochs=2", "trainer.limit_train_batches=2")
    given = (*given, "trainer.log_every_n_steps=1")
    whole = command("kd-train", *given, "hydra.run.dir=whole").folder / "whole"
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "other"))
    with monkeypatch.context() as patch:
        patch.setattr(DistillationModule, "on_train_batch_end", power_cut)
        with pytest.raises(OSError, match="no power"):
            command("kd-train", *given, "hydra.run.dir=cut")
    resumed = command("kd-train", *given, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    assert "resuming" in resumed.output
    cut = whole.parent / "cut"
    assert (whole / "student.safetensors").read_bytes() == (cut / "student.safetensors").read_bytes()
    for name in ("metrics.csv", "stage2/metrics.csv", "stage3/metrics.csv"):
        assert rows(whole / name) == rows(cut / name), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["plan.epochs=0"], "plan.epochs=0: must be a whole number, 1 or more; or null"),
        (["plan.alone=2"], "plan.alone=2: must be true or false"),
        (["plan.end=tail"], "plan.end=tail: must be one of whole, head"),
        (
            ["teacher.model=null", "loss=ce"],
            "plan=stages: learns from the stages of a network, and the teacher is none; give",
        ),
        (["method=ab"], "plan=stages: each of its networks would need the training before its training"),
        (["loss=attention"], "loss=[attention]: all of it is of stages, and plan=stages ends with the logits; add ce"),
        (
            [f"scheduler={PLATEAU}"],
            "scheduler.monitor=val/nll: plan=stages validates the last training alone; watch train/loss",
        ),
        (
            ["teacher.model=resnet8x4", "student.model=timm/resnet18"],
            "plan.term: takes a stage of each network, and they",
        ),
        (
            [*HINT, "student.taps={block7: layer1.0}", "loss.fitnet.signals=[student.block7,teacher.stage1]"],
            "loss.fitnet: takes student.block7, whose number would be that of a stage, and the student has 3; take",
        ),
        (
            [*HINT, "student.taps={block2: layer1.0}", "loss.fitnet.signals=[student.block2,teacher.stage1]"],
            "loss.fitnet: takes student.block2, whose number would be that of a stage, and the student has 3; take",
        ),
        (
            ["plan.term.signals=[student.pooled,teacher.pooled]"],
            "plan.term: takes student.pooled, teacher.pooled, which",
        ),
    ],
)
def test_what_does_not_go_with_stages_is_refused(options: list[str], words: str, command: Command) -> None:
    outcome = command("kd-train", *STAGES, *options, "hydra.run.dir=run")
    assert outcome.code == 2
    (line,) = outcome.error_lines
    assert line.startswith(f"error: {words}"), line
    assert not (outcome.folder / "run").exists()
