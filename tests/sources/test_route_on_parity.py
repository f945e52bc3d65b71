"""Sparse parity: an early checkpoint of a teacher tells what its last one does not (arXiv:2410.05464).

The label is the parity of four of thirty bits. A wide network learns it all of a sudden; while it does, its answers go
with single bits, those that count, which a narrow network learns at once; later they do no more.
"""

from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.losses import SoftTarget
from kd_lightning.models import save_weights
from kd_lightning.sources import FrozenNetwork, Route, Source

BITS, COUNTING, SAMPLES = 30, 4, 8192
EPOCHS, BUDGET, STEPS, BATCH = 20, 12, 32, 64  # of the teacher, of a student; of an epoch
SEEDS = (3, 4)


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    bits = torch.randint(0, 2, (count, BITS), generator=torch.Generator().manual_seed(seed)).float() * 2 - 1
    return bits, (bits[:, :COUNTING].prod(dim=1) > 0).long()


def network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(BITS, width), nn.ReLU(), nn.Linear(width, 2))


class Kept(Callback):
    """The weights after each epoch, and how often they are right."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.right = folder, list[float]()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, DistillationModule)
        save_weights(pl_module.student, self.folder / f"epoch_{len(self.right)}.safetensors")
        self.right.append(accuracy(pl_module.student))


def accuracy(network: nn.Module) -> float:
    bits, target = samples(2000, seed=2)
    with torch.no_grad():
        return float((network(bits).argmax(dim=1) == target).float().mean())


def trained(student: nn.Module, teacher: Source | None, epochs: int, *callbacks: Callback) -> float:
    """How often a network is right after a training of so many epochs."""
    terms = None if teacher is None else {"kd": Term(SoftTarget(temperature=1), ["student.logits", "teacher.logits"])}
    module = DistillationModule(
        student,
        teacher,
        terms,
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4),
        num_classes=2,
    )
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(0)
    seen = TensorDataset(*samples(SAMPLES, seed=1))
    trainer.fit(module, DataLoader(seen, BATCH, sampler=RandomSampler(seen, num_samples=STEPS * BATCH)))
    return accuracy(student)


def test_a_narrow_network_learns_sooner_along_a_route_than_from_its_end(tmp_path: Path) -> None:
    teacher, kept = network(512, seed=0), Kept(tmp_path)
    trained(teacher, None, EPOCHS, kept)
    assert kept.right[-1] > 0.99
    early = next(epoch for epoch, right in enumerate(kept.right) if right > 0.6)
    anchors = [tmp_path / f"epoch_{epoch}.safetensors" for epoch in (early, EPOCHS - 1)]
    from_end = [trained(network(48, seed), FrozenNetwork(teacher), BUDGET) for seed in SEEDS]
    along = [trained(network(48, seed), Route(teacher, anchors, moves=[BUDGET // 3]), BUDGET) for seed in SEEDS]
    assert sum(along) / len(along) > sum(from_end) / len(from_end) + 0.15
