"""A run that goes on with another number of devices keeps the images of its steps."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.errors import UserError
from kd_lightning.training.ranks.shares import Shares
from tests.conftest import SHORT, Command

LAST = Path("run/checkpoints/last.ckpt")
OPTIONS = (SHORT[1], "teacher=none", "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "hydra.run.dir=run")


@pytest.mark.parametrize(
    ("began", "ranks", "size", "now"),
    [
        (Shares(2, 64, 1), 1, 64, 128),
        (Shares(2, 64, 1), 1, 128, 128),
        (Shares(1, 64, 1), 2, 64, 32),
        (Shares(1, 64, 1), 2, 32, 32),
        (Shares(8, 32, 2), 2, 32, 128),
        (Shares(3, 10, 4), 2, 10, 15),
    ],
)
def test_batches_grow_or_shrink_with_the_devices(began: Shares, ranks: int, size: int, now: int) -> None:
    shares = began.on(ranks, size)
    assert (shares.ranks, shares.size, shares.total) == (ranks, now, began.total)


@pytest.mark.parametrize(
    ("began", "ranks", "size", "said"),
    [
        (
            Shares(2, 64, 1),
            3,
            64,
            "trainer.devices=3: the run began with 128 images a batch, 64 on each of 2, which 3 ",
        ),
        (Shares(1, 5, 2), 2, 5, "trainer.devices=2: .* share evenly"),
        (Shares(2, 64, 1), 1, 100, "data.batch_size=100: .* with trainer.devices=1 give 128"),
    ],
)
def test_where_they_cannot_is_one_line(began: Shares, ranks: int, size: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        began.on(ranks, size)


def test_a_run_of_two_devices_goes_on_with_one(command: Command) -> None:
    """As its checkpoint would say, of an epoch's end."""
    crash = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *OPTIONS, crash)
    checkpoint: dict[str, Any] = torch.load(LAST, weights_only=True)
    assert checkpoint["shares"] == {"ranks": 1, "size": 64, "accumulated": 1}
    checkpoint["shares"]["ranks"] = 2
    checkpoint["hyper_parameters"]["config"]["trainer"] |= {"devices": 2, "strategy": "ddp"}
    torch.save(checkpoint, LAST)

    refused = command("kd-train", *OPTIONS, "data.batch_size=100")
    assert refused.code == 2
    assert ["with trainer.devices=1 give 128" in line for line in refused.error_lines] == [True]
    assert command("kd-train", *OPTIONS, "optimizer.lr=0.01").code == 2, "nothing else may change"

    outcome = command("kd-train", *OPTIONS)
    assert outcome.code == 0, outcome.errors
    assert "128 images, as before: 128 on 1\n" in outcome.output
    after: dict[str, Any] = torch.load(LAST, weights_only=True)
    assert after["global_step"] == 7 + 2 * 3
    assert after["shares"] == checkpoint["shares"]
    assert after["hyper_parameters"]["config"]["trainer"]["devices"] == 2
