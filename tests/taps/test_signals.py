"""Which signals the terms get: stages expanded, and what is missing named before the training."""

import pytest
import torch
from torch import nn

from kd_lightning import DistillationModule
from kd_lightning.errors import UserError
from kd_lightning.losses import AttentionTransfer, CrossEntropy, FitNet, SoftTarget
from kd_lightning.objective import Objective, Term
from kd_lightning.signals import Signal, read, requested, taps_of_source
from kd_lightning.taps.resolving import resolve_taps

TAPS = ["stage1", "stage2", "pooled", "logits"]


def attention(*signals: str | list[str]) -> Objective:
    return Objective({"attention": Term(AttentionTransfer(), signals or ["student.stages", "teacher.stages"])})


def test_stages_stand_for_all_of_a_network() -> None:
    objective = attention()
    objective.connect({"student": TAPS, "teacher": ["logits", "stage3", "stage4"]})
    ((_, term),) = objective.items()
    assert term.signals == [["student.stage1", "student.stage2"], ["teacher.stage3", "teacher.stage4"]]
    assert taps_of_source("student", objective.names()) == {"stage1", "stage2"}
    assert taps_of_source("teacher", objective.names()) == {"stage3", "stage4"}


def test_a_student_alone_needs_no_teacher() -> None:
    objective = Objective({"ce": Term(CrossEntropy(), ["student.logits", "target"])})
    objective.connect({"student": TAPS, "teacher": None})
    assert {*objective.names()} == {"student.logits", "target"}


@pytest.mark.parametrize(
    ("objective", "teacher", "parts"),
    [
        (
            Objective({"hint": Term(FitNet(), ["student.stage9", "teacher.stage2"])}),
            TAPS,
            ["terms.hint.signals=student.stage9", "the student has no such tap", "did you mean student.stage2"],
        ),
        (
            Objective({"hint": Term(FitNet(), ["student.stage2", "teacher.pooled"])}),
            ["logits", "stage1"],
            [
                "terms.hint.signals=teacher.pooled",
                "the teacher has no such tap",
                "it has logits, stage1",
                "teacher_taps",
            ],
        ),
        (attention(["student.stage1", "student.stage7"], ["teacher.stage1", "teacher.stage2"]), TAPS, ["stage7"]),
        (
            attention(),
            ["logits", "stage1"],
            ["terms.attention.signals=", "[student.stage1, student.stage2]", "[teacher.stage1]", "equal length"],
        ),
        (attention(), ["logits"], ["[student.stage1, student.stage2] and []", "equal length"]),
        (attention(["student.stage1"], ["teacher.stage1", "teacher.stage2"]), TAPS, ["equal length"]),
        (Objective({"kd": Term(SoftTarget(), ["student.logits", "teacher.logits"])}), None, ["terms.kd", "a teacher"]),
        (attention(), None, ["terms.attention", "needs a teacher"]),
    ],
)
def test_what_is_missing_is_named(objective: Objective, teacher: list[str] | None, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        objective.connect({"student": TAPS, "teacher": teacher})
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_taps_are_searched_only_where_a_term_takes_them() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    example, kd = torch.randn(2, 3, 8, 8), Objective({"kd": Term(SoftTarget(), ["student.logits", "teacher.logits"])})
    hint = Objective({"hint": Term(FitNet(), ["student.mine", "teacher.mine"])})
    assert resolve_taps("student", network, "auto", kd.names(), example) == {"logits": ""}
    assert resolve_taps("student", network, {"mine": "0"}, hint.names(), example) == {"logits": "", "mine": "0"}
    assert "stage1" in resolve_taps("student", network, "auto", attention().names(), example)
    with pytest.raises(UserError, match="student_taps=auto: to find stages, give DistillationModule an example_input"):
        resolve_taps("student", network, "auto", attention().names(), None)


def test_a_signal_is_read_as_it_is_written() -> None:
    for name in ("student.stage1", "student@strong.logits", "teacher.2.stage1", "student@audio.pooled.detached"):
        assert str(read(name)) == name
    assert read("student@strong.stage1.detached") == Signal("student", "stage1", "strong", True)
    assert read("target") is None
    names = ["student.stage1", "student@strong.logits", "student.logits.detached", "target", "teacher.logits"]
    assert requested("student", names) == {"input": {"stage1", "logits"}, "strong": {"logits"}}


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ("student.strong.logits", "another view or input is written student@strong.logits"),
        ("peers.logits", "the other learners of a training, and this one has none"),
        ("studnt@strong.logits", "did you mean student.logits"),
        ("student@strong.stage9", "the student has no such tap"),
    ],
)
def test_what_is_no_signal_is_told_with_what_is(signal: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Objective({"kd": Term(SoftTarget(), ["student.logits", signal])}).connect({"student": TAPS, "teacher": TAPS})


def test_stages_of_another_view_are_those_of_that_view() -> None:
    objective = attention("student@strong.stages", "teacher.stages.detached")
    objective.connect({"student": TAPS, "teacher": TAPS})
    ((_, term),) = objective.items()
    assert term.signals == [
        ["student@strong.stage1", "student@strong.stage2"],
        ["teacher.stage1.detached", "teacher.stage2.detached"],
    ]


def test_a_detached_signal_has_no_gradient_and_a_view_is_seen_by_itself() -> None:
    network = nn.Linear(6, 3)
    terms = {"kd": Term(SoftTarget(), ["student@strong.logits", "student.logits.detached"])}
    module = DistillationModule(network, None, terms)
    batch = {"input": torch.randn(4, 6), "input_strong": torch.randn(4, 6)}
    signals = module.signals(batch)
    assert not signals["student.logits.detached"].requires_grad
    torch.testing.assert_close(signals["student@strong.logits"], network(batch["input_strong"]))
    with pytest.raises(UserError, match=r"^input_strong: a term takes signals of this view or input"):
        module.signals({"input": batch["input"]})
