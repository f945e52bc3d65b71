"""Configs of a user's own, in --config-dir or hydra.searchpath, count before packaged ones of the same name."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kd_lightning.config.conf import conf_dir
from tests.conftest import Command
from tests.sweeps.test_sweep import FOLDER, SMALL

LR = "_target_: torch.optim.SGD\n_partial_: true\nlr: 0.777\n"


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def composed(command: Command, *arguments: str) -> Any:
    outcome = command("kd-train", *arguments, "--cfg", "job")
    assert outcome.code == 0, outcome.errors
    return OmegaConf.create(outcome.output)


@pytest.mark.parametrize(
    "given", [["--config-dir", "my"], ["--config-dir=my"], ["-cd", "./my/"], ["hydra.searchpath=[my]"]]
)
def test_they_count_before_packaged_ones(command: Command, given: list[str]) -> None:
    write("my/optimizer/sgd.yaml", LR)
    write("my/train.yaml", (conf_dir() / "train.yaml").read_text().replace("seed: 0", "seed: 7"))
    config = composed(command, *given)
    assert config.optimizer == {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.777}
    assert config.seed == 7


def test_they_count_in_sweeps_and_other_commands(command: Command) -> None:
    write("my/optimizer/sgd.yaml", LR)
    options = (*SMALL, "teacher.weights=null", "scratch=false", "--config-dir", "my")
    assert command("kd-train", "-m", "seed=0", *options, FOLDER).code == 0
    assert OmegaConf.load("sweep/0/.hydra/config.yaml").optimizer.lr == 0.777  # type: ignore[union-attr]
    write("my/inspect.yaml", (conf_dir() / "inspect.yaml").read_text().replace("100", "17"))
    shown = command("kd-inspect", "student.model=resnet8", "--config-dir", "my")
    assert " 17 " in shown.output, shown.errors


@pytest.mark.parametrize(
    ("file", "text", "missing"),
    [
        ("student/default", "model: digits_cnn_4\nweights: null\n", "taps, normalization"),
        ("trainer/default", "max_epochs: 1\n", "_target_"),
        ("train", "defaults: [_self_, data: digits, hydra: train]\nseed: 0\n", "student, loss, teacher, optimizer"),
    ],
)
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_one_that_leaves_out_what_is_needed_is_named(
    command: Command, file: str, text: str, missing: str, sweep: list[str]
) -> None:
    write(f"my/{file}.yaml", text)
    outcome = command("kd-train", *sweep, "--config-dir", "my")
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert f"my/{file}.yaml: takes the place of the packaged {file}.yaml and leaves out " in line
    assert all(key in line for key in missing.split(", "))
    assert [path.name for path in outcome.folder.iterdir()] == ["my"]


def test_one_that_adds_to_a_packaged_one_by_another_name(command: Command) -> None:
    write("my/student/small.yaml", "defaults: [default, _self_]\nmodel: digits_cnn_8\n")
    assert composed(command, "--config-dir", "my", "student=small").student.model == "digits_cnn_8"
