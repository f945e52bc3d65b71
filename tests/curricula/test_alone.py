"""A curriculum of the student alone: ordinary data unless scratch.curriculum says otherwise, and what is refused."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command

SMALL = (
    *("trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.accelerator=cpu"),
    *("callbacks.progress_bar=null", "teacher.model=digits_cnn_4", "data.val_fraction=0"),
)
OWN = "scratch.curriculum={_target_: kd_lightning.curricula.Paced, difficulty: {_target_: "
OWN += "kd_lightning.curricula.StudentLoss}, order: {_target_: kd_lightning.curricula.HardFirst}, pace: {_target_: "
OWN += "kd_lightning.curricula.Linear}}"


def test_the_student_alone_has_the_one_that_its_key_says(command: Command, tmp_path: Path) -> None:
    runs = {"none": ("curriculum=paced",), "same": ("curriculum=paced", "scratch.curriculum=true"), "own": (OWN,)}
    found = {}
    for name, arguments in runs.items():
        outcome = command(
            "kd-train", *SMALL, *arguments, f"paths.cache_dir={tmp_path / 'store'}", f"hydra.run.dir={name}"
        )
        assert outcome.code == 0, outcome.errors
        found[name] = json.loads((tmp_path / name / "summary.json").read_text())
        assert "student alone  digits_cnn_4, training" in outcome.output
    data = {name: summary["data"] for name, summary in found.items()}
    assert "scratch_curriculum" not in data["none"]
    assert data["same"]["scratch_curriculum"] == data["same"]["curriculum"] == data["none"]["curriculum"]
    assert data["own"]["scratch_curriculum"]["name"] == "Paced"
    assert "curriculum" not in data["own"]
    assert len({summary["scratch"]["nll"] for summary in found.values()}) == 3
    assert found["none"]["student"]["nll"] == found["same"]["student"]["nll"] != found["own"]["student"]["nll"]
    again = command("kd-train", *SMALL, *runs["same"], f"paths.cache_dir={tmp_path / 'store'}", "hydra.run.dir=again")
    assert "training (" not in again.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scratch.curriculum=true",), ("scratch.curriculum=true", "the run has none")),
        (("scratch.curriculum=paced",), ("scratch.curriculum=paced", "must be true")),
        (("scratch.curriculum={_target_: torch.nn.Linear, in_features: 1, out_features: 1}",), ("scratch.curriculum",)),
        ((OWN.replace("StudentLoss", "TeacherLoss"),), ("scratch.curriculum=Paced", "teacher.logits", "no teacher")),
        (
            ("curriculum=paced", "curriculum/difficulty=disagreement", "scratch.curriculum=true"),
            ("scratch.curriculum=Paced", "teacher.logits", "student_loss"),
        ),
        (("teacher=none", "teacher.model=null", "loss=[ce]", OWN), ("scratch.curriculum", "not trained alone")),
        (("teacher.curriculum=true",), ("teacher.curriculum",)),
    ],
)
def test_what_cannot_be_is_told_in_a_line(command: Command, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    outcome = command("kd-train", *SMALL, *arguments, "hydra.run.dir=run")
    assert outcome.code == 2, outcome.output
    [line] = outcome.error_lines
    assert all(word in line for word in words), line
    assert not (outcome.folder / "run" / "checkpoints").exists()
