"""Two processes that carry out a plan come to what one does on the same images."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.plans.digits_by_hand import ONE_BATCH, kept
from tests.runs.run_process import finish

TAPS = "{stage1: stage1, stage2: stage2, logits: head}"


class Plain(nn.Module):
    """Two stages and a head without statistics of a batch, which ranks have of their own share."""

    def __init__(self, width: int, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stage2(self.stage1(x)).mean(dim=(2, 3)))


class Channels(nn.Conv2d):
    """From the channels of one stage to those of another."""

    def __init__(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
        super().__init__(student[0], teacher[0], 1)


BETWEEN = f"projector={{_target_: {__name__}.Channels, _partial_: true}}"
PLANS = {  # with what each has besides, and how many networks it keeps: the teacher, and those before the last training
    "stages": ([f"plan.term.{BETWEEN}"], 3),
    "blocks": ([f"plan.term.{BETWEEN}", f"plan.{BETWEEN}"], 2),
    "assistants": ([f"plan.assistants=[{{_target_: {__name__}.Plain, width: 4}}]", "plan.dense=true"], 2),
    "born_again": (["plan.generations=2"], 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_two_ranks_end_where_one_process_does(plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Student and teacher of different widths, so that what lies between them learns on both ranks, too."""
    own, count = PLANS[plan]
    given = [f"plan={plan}", *own, "trainer.max_epochs=2", "loss=[ce,kd]", "scheduler=constant", "scratch=false"]
    given += ONE_BATCH
    for network, width in (("student", 3), ("teacher", 4)):
        given += [f"{network}.model={{_target_: {__name__}.Plain, width: {width}}}", f"{network}.taps={TAPS}"]
    for ranks in (1, 2):
        monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / f"cache{ranks}"))
        trainer = "default" if ranks == 1 else "ddp"
        finish(tmp_path / str(ranks), *given, f"trainer={trainer}", f"data.batch_size={64 // ranks}")
    alone, together = (kept(tmp_path / f"cache{ranks}") for ranks in (1, 2))
    assert alone.keys() == together.keys()
    assert len(alone) == count
    students = [load_file(tmp_path / str(ranks) / "student.safetensors") for ranks in (1, 2)]
    for one, two in [*((alone[name], together[name]) for name in alone), students]:
        torch.testing.assert_close(two, one)
    logs = [(tmp_path / f"{ranks}.log").read_text() for ranks in (1, 2)]
    assert "sync_dist" not in logs[1]
    assert logs[0].count(", training (") == logs[1].count(", training (") == len(alone)


@pytest.mark.slow
def test_a_teacher_that_learns_beside_its_student_does_so_on_two_ranks(tmp_path: Path) -> None:
    given = ["teacher.trained=true", "teacher.weight=0.5", "trainer.max_epochs=3", "scheduler=constant"]
    given += ["scratch=false", "teacher.optimizer.lr=0.1", *ONE_BATCH]
    for network, width in (("student", 3), ("teacher", 4)):
        given += [f"{network}.model={{_target_: {__name__}.Plain, width: {width}}}", f"{network}.taps={{logits: head}}"]
    for ranks in (1, 2):
        trainer = "default" if ranks == 1 else "ddp"
        finish(tmp_path / str(ranks), *given, f"trainer={trainer}", f"data.batch_size={64 // ranks}")
    for network in ("student", "teacher"):
        one, two = (load_file(tmp_path / ranks / f"{network}.safetensors") for ranks in ("1", "2"))
        torch.testing.assert_close(two, one)
