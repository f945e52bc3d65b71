"""Loaders of the user's own, taken up within an epoch: what they give is what they would have given."""

import random
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from kd_lightning.callbacks import MidEpoch, SeededBatches, SeededEpochs


class Noisy(Dataset[Tensor]):
    """Numbers with noise of three kinds."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([index, torch.rand(()).item(), np.random.rand(), random.random()])


class Iterable:
    """Batches without a length, in an order of chance."""

    def __iter__(self) -> Any:
        yield from (Noisy()[int(index)][None] for index in torch.randperm(5))


def loaders(kind: str) -> Any:
    generator = torch.Generator().manual_seed(3)
    return {
        "shuffled": lambda: DataLoader(Noisy(), 3, shuffle=True),
        "workers": lambda: DataLoader(Noisy(), 3, shuffle=True, num_workers=2, persistent_workers=True),
        "generator": lambda: DataLoader(Noisy(), 3, shuffle=True, generator=generator),
        "sampler": lambda: DataLoader(Noisy(), 3, sampler=WeightedRandomSampler([1.0] * 12, 12, generator=generator)),
        "no length": Iterable,
        "streams": lambda: {"a": DataLoader(Noisy(), 3, shuffle=True), "b": DataLoader(Noisy(), 5, shuffle=True)},
        "shortest": lambda: CombinedLoader([DataLoader(Noisy(), 2, shuffle=True), Iterable()], "min_size"),
    }[kind]()


class Data(lightning.LightningDataModule):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.given = loaders(kind)

    def train_dataloader(self) -> Any:
        return self.given


class Seen(lightning.LightningModule):
    """Notes the batches of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, int, Any]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append((self.current_epoch, batch_idx, torch.utils._pytree.tree_map(Tensor.tolist, batch)))
        return self.weight.sum() * torch.rand(())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Stop(Callback):
    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == 5:
            raise KeyboardInterrupt


def train(kind: str, folder: Path, *more: Callback, ckpt: str | None = None) -> list[Any]:
    """What the steps of a training saw; each of them leaves a checkpoint."""
    torch.manual_seed(hash((kind, ckpt)) % 1000)  # whatever was drawn before
    save = ModelCheckpoint(folder, filename="last", every_n_train_steps=1, enable_version_counter=False)
    callbacks = [SeededBatches(0), SeededEpochs(0), MidEpoch(), *more, save]
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, enable_progress_bar=False, callbacks=callbacks
    )
    module = Seen()
    try:
        trainer.fit(module, datamodule=Data(kind), ckpt_path=ckpt, weights_only=True)
    except SystemExit:
        assert more
    return module.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["shuffled", "workers", "generator", "sampler", "no length", "streams", "shortest"])
def test_a_training_that_is_taken_up_sees_what_it_would_have_seen(kind: str, tmp_path: Path) -> None:
    whole = train(kind, tmp_path / "whole")
    before = train(kind, tmp_path / "cut", Stop())
    assert before == whole[: len(before)]
    assert before[-1][:2] != whole[-1][:2]
    after = train(kind, tmp_path / "cut", ckpt=str(tmp_path / "cut" / "last.ckpt"))
    assert after, "nothing was left to do"
    assert after == whole[len(whole) - len(after) :]
    assert len(before) + len(after) in (len(whole), len(whole) + 1)
    epochs = [[batch for epoch, _, batch in whole if epoch == number] for number in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
