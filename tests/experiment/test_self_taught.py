"""Students that teach themselves: on real images, and over ranks that are ended in the middle of an epoch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.test_interruption import LAST, sent
from tests.conftest import Command
from tests.experiment.test_methods import falls, totals
from tests.runs.run_process import finish, outcome, start

METHODS = {
    **{name: [f"method={name}"] for name in ("ps_kd", "tf_kd", "tf_kd_reg", "uskd")},
    "moving_average": ["teacher=moving_average"],
}
RANKS = (
    *("method=ps_kd", "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=3", "data.train_samples=192"),
    "data.batch_size=32",
)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_fifty_steps_on_ten_classes_of_cifar100(method: str, command: Command, cifar100: Path) -> None:
    data = ("data=cifar100", "data._target_=benchmarks.ten_classes.TenClasses", "data.val_fraction=0.02")
    outcome = command(
        *("kd-train", *METHODS[method], *data, f"data.root={cifar100}", "data.download=false", "student.model=resnet8"),
        *("trainer.max_steps=50", "trainer.log_every_n_steps=1", "scratch=false", "test=false"),
        *("trainer.limit_test_batches=1", "callbacks.progress_bar=null"),
    )
    assert outcome.code == 0, outcome.errors
    values = totals(outcome.run / "metrics.csv")
    assert len(values) == 50
    assert falls(values), values


def table(folder: Path) -> Any:
    return torch.load(folder / LAST, weights_only=True)["state_dict"]["objective.terms.ps_kd.loss.answers"]


@pytest.mark.slow
def test_two_ranks_that_are_ended_within_an_epoch_go_on_with_the_answers_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(tmp_path / "whole", *RANKS)
    signalled = sent("name: SIGTERM, within: training, batch: 1, rank: 1")
    monkeypatch.setenv("SIGNAL", "1")
    assert start(tmp_path / "run", *RANKS, signalled).wait(200) == 143
    known = table(tmp_path / "run").sum(dim=1)
    torch.testing.assert_close(known, torch.ones(192))  # of both ranks, as each saw the half of the first epoch
    monkeypatch.delenv("SIGNAL")
    finish(tmp_path / "run", *RANKS, signalled)
    assert torch.equal(table(tmp_path / "run"), table(tmp_path / "whole"))
    expected, cut = outcome(tmp_path / "whole"), outcome(tmp_path / "run")
    for part in expected:
        assert cut[part] == expected[part], part
