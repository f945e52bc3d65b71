"""A `_target_` on a command line replaces what was there: no key of the class before reaches it."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from kd_lightning.config.conf import plain
from tests.cli.test_configs import composed
from tests.conftest import Command


def part(key: str, *overrides: str) -> Any:
    return plain(OmegaConf.select(composed(*overrides), key))


@pytest.mark.parametrize(
    ("key", "overrides", "expected"),
    [
        ("optimizer", ["optimizer._target_=torch.optim.Adam"], {"_target_": "torch.optim.Adam", "_partial_": True}),
        (
            "optimizer",
            ["optimizer._target_=torch.optim.Adam", "optimizer.lr=0.001", "+optimizer.betas=[0.9,0.99]"],
            {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001, "betas": [0.9, 0.99]},
        ),
        (
            "optimizer",
            ["recipe=cifar100", "optimizer={_target_: torch.optim.Adam, lr: 0.001}"],
            {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001},
        ),
        (
            "optimizer",
            ["optimizer=adamw", "optimizer._target_=torch.optim.Adam", "optimizer.lr=0.001"],
            {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001},
        ),
        ("task", ["task=regression", "task._target_=mine.Task"], {"_target_": "mine.Task"}),
        ("teacher", ["teacher={_target_: mine.T, files: [a, b]}"], {"_target_": "mine.T", "files": ["a", "b"]}),
        ("teacher", ["teacher._target_=mine.T", "teacher.width=4"], {"_target_": "mine.T", "width": 4}),
        (
            "teacher",
            ["method=ofd", "teacher={_target_: mine.T, inner: {_target_: mine.U, x: 1}}", "teacher.inner.y=2"],
            {"_target_": "mine.T", "batch_statistics": True, "inner": {"_target_": "mine.U", "x": 1, "y": 2}},
        ),
        ("data.augment", ["data.augment={_target_: mine.A}"], {"_target_": "mine.A"}),
        ("loss.kd.loss", ["loss.kd.loss._target_=mine.L"], {"_target_": "mine.L"}),
        ("student.model", ["student.model={_target_: mine.N, width: 8}"], {"_target_": "mine.N", "width": 8}),
        (
            "teacher.model",
            ["teacher.model={_target_: mine.N, width: 8}", "teacher=none"],
            {"_target_": "mine.N", "width": 8},
        ),
        ("callbacks.progress_bar", ["callbacks.progress_bar._target_=mine.Bar"], {"_target_": "mine.Bar"}),
        ("loss.kd.weight", ["loss.kd.weight={_target_: mine.W}"], {"_target_": "mine.W"}),
    ],
)
def test_it_stands_for_itself(key: str, overrides: list[str], expected: dict[str, Any]) -> None:
    assert part(key, *overrides) == expected


def test_what_is_beside_it_stays() -> None:
    usual, changed = composed(), composed("optimizer._target_=torch.optim.Adam")
    usual.optimizer = changed.optimizer = None
    assert changed == usual
    assert part("loss.kd", "loss.kd.loss._target_=mine.L") | {"loss": None} == part("loss.kd") | {"loss": None}


def test_what_is_no_name_of_a_class_is_told_as_such(command: Command) -> None:
    (line,) = command("kd-train", "optimizer._target_=true").error_lines
    assert line.startswith("error: optimizer._target_=true")


def test_a_sweep_over_classes_gives_each_its_own_keys(command: Command) -> None:
    outcome = command(
        *("kd-train", "-m", "optimizer._target_=torch.optim.SGD,torch.optim.Adam", "optimizer.lr=0.01", "teacher=none"),
        *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "hydra.sweep.dir=sweep", "scratch=false"),
    )
    assert outcome.code == 0, outcome.errors
    for number, name in enumerate(("SGD", "Adam")):
        stored = OmegaConf.load(f"sweep/{number}/.hydra/config.yaml")
        assert OmegaConf.select(stored, "optimizer") == {
            "_target_": f"torch.optim.{name}",
            "_partial_": True,
            "lr": 0.01,
        }
        assert f"optimizer._target_=torch.optim.{name}" in OmegaConf.load(f"sweep/{number}/.hydra/overrides.yaml")
