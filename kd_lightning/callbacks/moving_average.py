"""A moving average of the weights that are trained, which is what is validated, tested and kept."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.sources.moving_average import check_decay, decay_after

Weights = dict[str, Tensor]
TRAINED = "trained_weights"  # in a checkpoint: what the optimizer goes on with, by learner


class EMA(Callback):
    """Averages the weights of each learner over its steps: a ← d·a + (1 - d)·w after each, batch statistics too.

    The average is in the networks while they are validated and once the training has ended, and is what checkpoints
    hold as their state; they keep the trained weights beside it, so that a training goes on exactly. Whole numbers,
    such as counts of batches, are those of the trained weights. Steps that were skipped count not. Polyak, Juditsky
    1992, doi:10.1137/0330046.

    Args:
        decay: d, above 0 and below 1.
        warmup: whether d begins lower, as min(decay, (1 + t) / (10 + t)) after t steps, so that the average of a short
            training is not that of its beginning.

    Raises UserError for another decay.

    Examples:
        >>> import lightning, torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.callbacks import EMA
        >>> module = DistillationModule(student=torch.nn.Linear(16, 3), num_classes=3)
        >>> loader = DataLoader(TensorDataset(torch.rand(64, 16), torch.arange(64) % 3), batch_size=32)
        >>> quiet = {"fast_dev_run": True, "enable_progress_bar": False, "enable_model_summary": False}
        >>> lightning.Trainer(callbacks=[EMA(decay=0.99)], **quiet).fit(module, loader)
    """

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        check_decay(decay)
        self.decay = decay
        self.warmup = warmup
        self.updates: dict[str, int] = {}  # by learner
        self._step = 0
        self._other: dict[str, Weights] = {}  # by learner: the average, or what is trained while that is in its place
        self._is_in_place = False
        self._trained: Mapping[str, Weights] | None = None  # of a checkpoint

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            self.updates, self._trained, self._is_in_place = {}, None, False

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin as the learners, or as a checkpoint says. Raises UserError for checkpoints that cannot hold both."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.save_weights_only:
                raise UserError(
                    "save_weights_only=True: of the moving average and the trained weights such a checkpoint holds the "
                    "wrong ones; leave it False beside callbacks=ema"
                )
        self._step = trainer.global_step
        networks = networks_of(pl_module)
        self._other = {name: copied(state_of(network)) for name, network in networks.items()}
        trained, self._trained = self._trained or {}, None
        for name, weights in trained.items():
            networks[name].load_state_dict(weights)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        stepped = {name: one for name, one in networks_of(pl_module).items() if name not in pl_module.finite.left_out}
        for name, network in stepped.items():
            updates = self.updates.get(name, 0)
            move(self._other[name], state_of(network), decay_after(updates, self.decay, self.warmup))
            self.updates[name] = updates + 1

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._exchange(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._exchange(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave the average in the networks; a training that was over already comes here without a step."""
        self._exchange(pl_module)

    @torch.no_grad()
    def _exchange(self, module: Any) -> None:
        """Put the average in the place of what is trained, or the other way round."""
        for name, network in networks_of(module).items():
            here = state_of(network)
            before = copied(here)
            for entry, value in self._other[name].items():
                here[entry].copy_(value)
            self._other[name] = before
        self._is_in_place = not self._is_in_place

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if not self._other:  # nothing was trained
            return
        networks = networks_of(pl_module)
        if self._is_in_place:
            checkpoint[TRAINED] = self._other
            return
        checkpoint[TRAINED] = {name: state_of(network) for name, network in networks.items()}
        for name, average in self._other.items():
            place = next(path for path, part in pl_module.named_modules() if part is networks[name])
            checkpoint["state_dict"].update({f"{place}.{entry}": value for entry, value in average.items()})

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._trained = checkpoint.get(TRAINED)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = dict(state_dict["updates"])


def networks_of(module: Any) -> dict[str, nn.Module]:
    return {name: module.network_of(name) for name in module.learners}


def state_of(network: nn.Module) -> Weights:
    """A network's tensors as they are, by name."""
    return {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}


def copied(weights: Weights) -> Weights:
    return {name: value.clone() for name, value in weights.items()}


def move(average: Weights, weights: Weights, decay: float) -> None:
    """One step of an average, in place."""
    floating = [name for name, value in weights.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in floating], [weights[name] for name in floating], 1 - decay)
    for name in weights.keys() - floating:
        average[name].copy_(weights[name])
