"""Finding a learning rate before a training begins."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from kd_lightning.callbacks.nonfinite import changing_buffers
from kd_lightning.callbacks.passes import losses_of
from kd_lightning.data.derived.peek import unmoved
from kd_lightning.errors import UserError
from kd_lightning.learners.objectives import total_of
from kd_lightning.learners.optimizer import optimizers_in
from kd_lightning.schedules.length import accumulation
from kd_lightning.schedules.torch_schedule import parts
from kd_lightning.terminal import say, warn

SMOOTH = 0.98  # of what the loss was so far
DIVERGED = 4.0  # times the lowest loss


class LRFinder(Callback):
    """Finds the learning rate of each learner before its first step, in a short training of which nothing is left.

    The rate rises exponentially from step to step, as in the range test of Smith 2017, arXiv:1506.01186, until the
    smoothed loss is four times its lowest; taken is the one where it falls fastest over the logarithm of the rate. It
    takes the place of the optimizer's, in whose proportion groups of parameters and schedules stay. Weights,
    statistics, optimizers, loaders and random numbers are afterwards as they were; a training that is taken up again
    keeps its rate.

    Args:
        lowest: the first rate.
        highest: the last one.
        steps: how many.

    Raises UserError for a range that does not rise, or of less than 20 steps.

    Examples:
        >>> import lightning
        >>> from kd_lightning.callbacks import LRFinder
        >>> trainer = lightning.Trainer(callbacks=[LRFinder(highest=0.5)], accelerator="cpu", logger=False)
    """

    def __init__(self, lowest: float = 1e-5, highest: float = 1.0, steps: int = 100) -> None:
        if not 0 < lowest < highest < math.inf:
            raise UserError(f"lowest={lowest}: must be above 0 and below highest={highest}")
        if steps < 20:
            raise UserError(f"steps={steps}: too few to see where the loss falls; give 20 or more, such as 100")
        self.lowest, self.highest, self.steps = lowest, highest, steps
        self.found: dict[str, float] = {}  # by learner

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.found = {}

    def check(self, trainer: Trainer) -> None:
        """Raise UserError for a trainer that cannot search so."""
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            raise UserError(
                "LRFinder: with trainer.precision=16-mixed gradients are scaled; take bf16-mixed or 32-true, or no "
                "finder"
            )
        if trainer.world_size > 1:
            raise UserError(
                f"LRFinder: searches on one device, and there are {trainer.world_size}; use trainer.devices=1, or give "
                "the rate that it found there"
            )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.found or trainer.global_step:
            return
        self.check(trainer)
        if pl_module.followed is not None:
            raise UserError("LRFinder: a curriculum decides what the first batches are; take one of the two")
        with isolate_rng():
            curves = self._search(trainer, pl_module)
        for name, optimizer in optimizers_in(trainer.optimizers[0]).items():
            learner = name or pl_module.learner
            rates, losses = curves[learner]
            rate = steepest(rates, losses)
            of = f" of {learner}" if len(curves) > 1 else ""
            if rate is None:
                warn(f"learning rate{of}: the loss falls nowhere from {self.lowest:g} to {rates[-1]:g}; it stays")
                continue
            self.found[learner] = rate
            say("learning rate", f"{rate:.3g}{of}, found in {len(losses)} steps up to {rates[-1]:.3g}")
            rescale(trainer, optimizer, rate / base_rate(optimizer))

    def _search(self, trainer: Trainer, module: Any) -> dict[str, tuple[list[float], list[float]]]:
        """The rates and losses of each learner, after which all is as it was."""
        optimizers = {
            name or module.learner: one
            for name, one in optimizers_in(_optimizer(module.configure_optimizers())).items()
        }
        weights = [weight for one in optimizers.values() for group in one.param_groups for weight in group["params"]]

        def changing() -> list[Tensor]:
            return [*weights, *(one for learner in module.learners for one in changing_buffers(module, learner))]

        before = [value.detach().clone() for value in changing()]
        loader = CombinedLoader(trainer.train_dataloader, "max_size_cycle")
        try:
            with unmoved(loader):
                return self._curves(trainer, module, optimizers, _endless(loader))
        finally:
            with torch.no_grad():
                for value, earlier in zip(changing(), before, strict=True):
                    value.copy_(earlier)
            for one in optimizers.values():
                one.zero_grad(set_to_none=True)

    def _curves(
        self, trainer: Trainer, module: Any, optimizers: dict[str, Optimizer], batches: Iterator[Any]
    ) -> dict[str, tuple[list[float], list[float]]]:
        curves: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in optimizers}
        shares = {name: shares_of(one) for name, one in optimizers.items()}
        count = next(iter(accumulation(trainer).values()))
        growth = (self.highest / self.lowest) ** (1 / (self.steps - 1))
        searching = list(optimizers)
        for step in range(self.steps):
            for one in optimizers.values():
                one.zero_grad(set_to_none=True)
            losses = dict.fromkeys(optimizers, 0.0)
            for _ in range(count):
                values = losses_of(trainer, module, _moved(trainer, module, next(batches)))
                (total_of(values) / count).backward()
                losses = {name: losses[name] + float(value.total.detach()) / count for name, value in values.items()}
            for name in list(searching):
                one, (rates, seen) = optimizers[name], curves[name]
                rates.append(self.lowest * growth**step)
                seen.append(losses[name])
                if has_diverged(seen):
                    searching.remove(name)
                    continue
                for group, share in zip(one.param_groups, shares[name], strict=True):
                    group["lr"] = rates[-1] * share
                if trainer.gradient_clip_val:
                    module.clip_gradients(one, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
                one.step()
            if not searching:
                break
        return curves

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found = dict(state_dict["found"])


def smoothed(losses: Sequence[float]) -> list[float]:
    """The running mean of losses, without the weight of its beginning."""
    found, mean = [], 0.0
    for count, loss in enumerate(losses, start=1):
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        found.append(mean / (1 - SMOOTH**count))
    return found


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the latest loss is not finite, or the smoothed one far above its lowest."""
    curve = smoothed(losses)
    return not math.isfinite(losses[-1]) or curve[-1] > DIVERGED * min(curve)


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest over its logarithm, before its lowest; None for nowhere.

    The first tenth is too noisy to count.

    Examples:
        >>> from kd_lightning.callbacks.rate_finder import steepest
        >>> rates = [10 ** (0.05 * n - 4) for n in range(80)]
        >>> steepest(rates, [1.0] * 80) is None
        True
    """
    curve = [loss for loss in smoothed(losses) if math.isfinite(loss)]
    first, last = len(curve) // 10, int(np.argmin(curve)) if curve else 0
    if last - first < 2:
        return None
    slopes = np.gradient(np.asarray(curve), np.log(np.asarray(rates[: len(curve)])))[first : last + 1]
    place = int(np.argmin(slopes))
    return float(rates[first + place]) if slopes[place] < 0 else None


def given_rates(optimizer: Optimizer) -> list[float]:
    """The rate of each group as it was given, before a schedule."""
    return [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]


def base_rate(optimizer: Optimizer) -> float:
    """The largest of them: that of the last layer, where rates differ."""
    return max(given_rates(optimizer))


def shares_of(optimizer: Optimizer) -> list[float]:
    return [rate / base_rate(optimizer) for rate in given_rates(optimizer)]


def rescale(trainer: Trainer, optimizer: Optimizer, ratio: float) -> None:
    """Multiply an optimizer's rates, and those that its schedules go by. Raises UserError for one that has its own."""
    for config in trainer.lr_scheduler_configs:
        for part in parts(config.scheduler):
            if part.optimizer is not optimizer:
                continue
            if isinstance(part, (OneCycleLR, CyclicLR)):
                raise UserError(
                    f"LRFinder: scheduler={type(part).__name__} has rates of its own; take another schedule, or no "
                    "finder"
                )
            for name in ("base_lrs", "_last_lr"):
                if hasattr(part, name):
                    setattr(part, name, [rate * ratio for rate in getattr(part, name)])
    for group in optimizer.param_groups:
        for name in ("lr", "initial_lr"):
            if name in group:
                group[name] = group[name] * ratio


def _optimizer(configured: Any) -> Optimizer:
    """The optimizer in what `configure_optimizers` gives."""
    if isinstance(configured, Optimizer):
        return configured
    found: Optimizer = configured["optimizer"] if isinstance(configured, dict) else configured[0][0]
    return found


def _endless(loader: CombinedLoader) -> Iterator[Any]:
    """Batches, from the first one on again after the last."""
    while True:
        count = 0
        for batch, _, _ in iter(loader):
            count += 1
            yield batch
        if not count:
            raise UserError("LRFinder: the training data give no batch")


def _moved(trainer: Trainer, module: Any, batch: Any) -> Any:
    """A batch on the device, as a training step gets it."""
    batch = module._on_before_batch_transfer(trainer.precision_plugin.convert_input(batch), dataloader_idx=0)
    moved: Tensor = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
    return moved
