"""The logged size of the gradient."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision

from kd_lightning import DistillationModule
from kd_lightning.callbacks import GradientNorm
from kd_lightning.data import DigitsDataModule
from kd_lightning.models import create_model
from tests.module.test_module import trainer


@pytest.mark.parametrize("fused", [False, True])
def test_it_is_that_of_the_loss_whatever_the_loss_is_scaled_by(tmp_path: Path, fused: bool) -> None:
    norms = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        optimizer = partial(torch.optim.SGD, lr=0.1, fused=fused)
        module = DistillationModule(create_model("digits_cnn_4", 10, 1), optimizer=optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        half = MixedPrecision("16-mixed", "cpu", scaler)
        shown = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 1}
        run = trainer(tmp_path, max_steps=1, callbacks=[GradientNorm()], plugins=[half], limit_val_batches=0, **shown)
        run.fit(module, datamodule=DigitsDataModule(drop_last=True))
        norms.append(float(run.logged_metrics["train/gradient_norm"]))
    assert norms[0] > 0
    assert norms[1] == pytest.approx(norms[0], rel=0.1)  # in half precision, in whichever order a CPU sums
