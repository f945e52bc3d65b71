"""plan=route: the student follows the teacher's own training, anchor by anchor."""

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from kd_lightning.models import create_model, save_weights
from kd_lightning.store.folders import entries
from kd_lightning.tasks import Column
from tests.conftest import Command
from tests.runs.run_process import finish

SMALL = (
    *("trainer.max_epochs=3", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"),
    *("callbacks.progress_bar=null", "teacher.model=digits_cnn_4", "scratch=false"),
)
ROUTE = ("plan=route", "plan.anchors=3", *SMALL)


@pytest.fixture(autouse=True)
def store(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def weights_below(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


def test_a_student_follows_its_teacher_along_a_training_that_gives_the_same_teacher(
    command: Command, store: Path
) -> None:
    first = command("kd-train", *ROUTE, "hydra.run.dir=first")
    assert first.code == 0, first.errors
    assert [file.name for file in weights_below(store / "anchors")] == ["epoch_1.safetensors", "epoch_2.safetensors"]
    (teacher,) = weights_below(store / "networks")
    with (first.folder / "first" / "metrics.csv").open() as file:
        followed = [float(row["train/anchor"]) for row in csv.DictReader(file) if row["train/anchor"]]
    assert followed == [1, 2, 3]
    summary = json.loads((first.folder / "first" / "summary.json").read_text())
    assert [*summary["plan"]["networks"]] == ["teacher", "student"]

    tested = command("kd-eval", "run=first")
    assert tested.code == 0, tested.errors
    assert f"{100 * summary['student']['agreement']:.2f}" in tested.output, "with the trained teacher, not an anchor"

    plain = command("kd-train", *SMALL, "hydra.run.dir=plain")
    assert f"found ({teacher.parent.name})" in plain.output, "a plan without anchors has the same teacher"

    control = command("kd-train", *ROUTE, "plan.anchors=1", "hydra.run.dir=control")
    assert control.code == 0, control.errors
    same_weights(first.folder / "plain" / "student.safetensors", first.folder / "control" / "student.safetensors")

    kept = load_file(teacher)
    teacher.unlink()
    anew = command("kd-train", *SMALL, "hydra.run.dir=anew")
    assert f"training ({teacher.parent.name})" in anew.output
    assert all((value == kept[name]).all() for name, value in load_file(teacher).items())


class Opens:
    """A gate of the user's own, which opens after each validation."""

    def __call__(self, reached: Mapping[str, float], anchor: Mapping[str, float | None], selects: Column) -> bool:
        assert {selects.name} <= reached.keys() & anchor.keys()
        return True


def moves_of(folder: Path) -> list[tuple[int, str]]:
    told = json.loads((folder / "summary.json").read_text())["route"]
    return [(move["epoch"], move["anchor"]) for move in told["moves"]]


def test_a_gate_has_it_go_on_sooner_and_what_it_decided_is_told(command: Command) -> None:
    long = (*ROUTE, "trainer.max_epochs=6", "teacher.trainer.max_epochs=3")
    planned = command("kd-train", *long, "hydra.run.dir=planned")
    assert moves_of(planned.folder / "planned") == [(0, "after 1 epoch"), (2, "after 2 epochs"), (4, "trained")]
    never = command("kd-train", *long, "plan.gate=1000", "hydra.run.dir=never")
    assert moves_of(never.folder / "never") == moves_of(planned.folder / "planned"), "the moves are the latest epochs"
    gate = f"plan.gate={{_target_: {__name__}.Opens}}"
    sooner = command("kd-train", *long, gate, "hydra.run.dir=sooner")
    assert moves_of(sooner.folder / "sooner") == [(0, "after 1 epoch"), (1, "after 2 epochs"), (2, "trained")]
    summary = json.loads((sooner.folder / "sooner" / "summary.json").read_text())
    anchors = {one["title"]: one for one in summary["route"]["anchors"]}
    assert anchors["trained"]["top1"] == summary["teacher"]["top1_validation"]
    with (planned.folder / "planned" / "teacher" / "metrics.csv").open() as file:
        validated = [float(row["val/top1"]) for row in csv.DictReader(file) if row["val/top1"]]
    assert [one["top1"] for one in summary["route"]["anchors"][:2]] == pytest.approx(validated[:2])
    reason = summary["route"]["moves"][1]["reason"]
    assert f"{100 * anchors['after 1 epoch']['top1']:.2f}" in reason
    page = (sooner.folder / "sooner" / "report.html").read_text()
    assert "Route" in page
    assert reason in page


def test_each_anchor_has_its_own_answers(command: Command, store: Path) -> None:
    exact = ("teacher.cache=logits", "teacher.cache_bits=32")
    folder = command("kd-train", *ROUTE, "hydra.run.dir=asked").folder
    for name in ("filling", "filled"):
        outcome = command("kd-train", *ROUTE, *exact, f"hydra.run.dir={name}")
        assert outcome.code == 0, outcome.errors
        assert "2 anchors of digits_cnn_4, found" in outcome.output
        asked, kept = (load_file(folder / run / "student.safetensors") for run in ("asked", name))
        for key, value in asked.items():
            torch.testing.assert_close(kept[key], value)
    anchors = len({str(load_file(file)) for kind in ("anchors", "networks") for file in weights_below(store / kind)})
    assert anchors > 1, "the trained teacher is the one of the best epoch"
    assert len([*(store / "answers").glob("*/answers.bin")]) == anchors
    command("kd-train", *SMALL, *exact, "hydra.run.dir=plain")
    assert len([*(store / "answers").glob("*/answers.bin")]) == anchors, "the last anchor is the teacher of other plans"
    verified = command("kd-cache", "verify")
    assert verified.code == 0, verified.output
    assert verified.output.count(": right") == anchors
    assert "2 anchors of digits_cnn_4 trained on digits" in {one.description() for one in entries(store)}


class PowerCut(Callback):
    """Ends a training in the middle of its second epoch, the teacher's or the student's, as the environment says."""

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        is_student = len(module.sources) > 1
        if os.environ.get("CUT") == ("student" if is_student else "teacher") and trainer.current_epoch == 1:
            raise OSError("no power")


CUT = f"+callbacks.power_cut={{_target_: {__name__}.PowerCut}}"


def same_weights(one: Path, other: Path) -> None:
    for key, value in load_file(one).items():
        torch.testing.assert_close(load_file(other)[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("gate", [pytest.param("null", marks=pytest.mark.slow), f"{{_target_: {__name__}.Opens}}"])
def test_a_run_is_taken_up_exactly(command: Command, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after the first step of the second epoch, in which the second anchor took over."""
    given = (*ROUTE, CUT, f"plan.gate={gate}")
    folder = command("kd-train", *given, "hydra.run.dir=whole").folder
    monkeypatch.setenv("CUT", "student")
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *given, "hydra.run.dir=cut")
    assert (folder / "cut" / "checkpoints" / "last.ckpt").exists()
    monkeypatch.delenv("CUT")
    resumed = command("kd-train", *given, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    same_weights(folder / "whole" / "student.safetensors", folder / "cut" / "student.safetensors")
    assert (folder / "whole" / "metrics.csv").read_bytes() == (folder / "cut" / "metrics.csv").read_bytes()
    whole, cut = (json.loads((folder / name / "summary.json").read_text())["route"] for name in ("whole", "cut"))
    assert whole == cut


@pytest.mark.slow
def test_a_teacher_is_taken_up_with_the_anchors_that_it_has(
    command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("kd-train", *ROUTE, CUT, "hydra.run.dir=whole")
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("CUT", "teacher")
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *ROUTE, CUT, "hydra.run.dir=cut")
    monkeypatch.delenv("CUT")
    resumed = command("kd-train", *ROUTE, CUT, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    assert "after step 2, in epoch 0" in resumed.output, "of the teacher's training"
    for kind, count in (("anchors", 2), ("networks", 1)):
        files = weights_below(store / kind)
        assert len(files) == count
        for file in files:
            same_weights(file, tmp_path / "other" / file.relative_to(store))
    same_weights(tmp_path / "whole" / "student.safetensors", tmp_path / "cut" / "student.safetensors")


@pytest.mark.slow
def test_two_ranks_follow_the_same_anchors(store: Path, tmp_path: Path) -> None:
    ranks = ("trainer=ddp", "trainer.max_epochs=3", "teacher.cache=logits", f"plan.gate={{_target_: {__name__}.Opens}}")
    finish(tmp_path / "run", "plan=route", "plan.anchors=3", *ranks)
    assert moves_of(tmp_path / "run") == [(0, "after 1 epoch"), (1, "after 2 epochs"), (2, "trained")]
    log = (tmp_path / "run.log").read_text()
    assert log.count("training for 2 anchors") == log.count("anchor after 2 epochs, from epoch 2 on") == 1
    assert "sync_dist" not in log


@pytest.mark.slow
def test_a_damaged_anchor_is_trained_anew(command: Command, store: Path) -> None:
    command("kd-train", *ROUTE, "hydra.run.dir=first")
    file = weights_below(store / "anchors")[0]
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    outcome = command("kd-train", *ROUTE, "hydra.run.dir=second")
    assert outcome.code == 0, outcome.errors
    assert "the network is trained anew" in " ".join((outcome.output + outcome.errors).split())
    assert file.read_bytes() == before
    same_weights(outcome.folder / "first" / "student.safetensors", outcome.folder / "second" / "student.safetensors")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("teacher.weights=teacher.safetensors",), "teacher.weights=teacher.safetensors: was not trained here"),
        (("teacher.weights=null",), "teacher.weights=null: was not trained here"),
        (
            ("teacher.model=timm/resnet18", "teacher.weights=pretrained", "teacher.finetune=head"),
            "teacher.weights=pretrained: was not trained here",
        ),
        (("teacher=none", "teacher.model"), "plan=route: follows the training of one network, and the teacher is none"),
        (
            ("teacher=ensemble", "teacher.models=[digits_cnn_4,digits_cnn_8]", "teacher.model"),
            "plan=route: follows the training of one network, and the teacher is digits_cnn_4 + digits_cnn_8",
        ),
        (("plan.anchors=0",), "plan.anchors=0: must be how many, from 1 on, or a list"),
        (("plan.anchors=[2,1]",), "plan.anchors=[2, 1]: must be how many"),
        (("plan.anchors=4",), "plan.anchors=4: the teacher trains 3 epochs; give at most 3"),
        (("plan.anchors=[1,3]",), "plan.anchors=[1, 3]: the teacher trains 3 epochs, and is the last anchor itself"),
        (
            ("teacher.trainer.max_epochs=8", "plan.anchors=4"),
            "plan.anchors=4: the student trains 3 epochs, and learns from one of 4 anchors in each",
        ),
        (("plan.moves=[1,3]",), "plan.moves=[1, 3]: the student trains 3 epochs, and never comes to the last anchor"),
        (("plan.moves=[1]",), "plan.moves=[1]: 3 anchors have 2 moves between them"),
        (("plan.moves=soon",), "plan.moves=soon: must be a list"),
        (("plan.gate=0",), "plan.gate"),
        (("plan.gate=soon",), "plan.gate=soon: must be a share"),
        (("plan.gate=0.9", "data.val_fraction=0"), "plan.gate=0.9: compares student and anchor on validation data"),
        (("teacher.cache=prefill",), "teacher.cache=prefill: is of one network, and plan=route has several anchors"),
        (("trainer.max_epochs=-1", "trainer.max_steps=6"), "plan.anchors=3: are at equal distances"),
        (("method=ab",), "plan=route: follows the teacher in one training, and initialization is another one"),
    ],
)
def test_what_has_no_route_is_refused_before_anything_is_trained(
    arguments: tuple[str, ...], words: str, command: Command
) -> None:
    save_weights(create_model("digits_cnn_4", 10, 1), "teacher.safetensors")
    own = {one.partition("=")[0] for one in arguments}
    given = [one for one in ROUTE if one.partition("=")[0] not in own]
    outcome = command("kd-train", *given, *(one for one in arguments if "=" in one), "hydra.run.dir=run")
    assert outcome.code == 2, outcome.output
    (line,) = outcome.error_lines
    assert line.startswith(f"error: {words}")
    assert not (outcome.folder / "run").exists()
