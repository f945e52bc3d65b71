"""Which parts of a network learn while it is fine-tuned."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim import Optimizer

from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.module import DistillationModule
from kd_lightning.optimizers import SAM
from kd_lightning.schedules.length import is_unlimited, unlimited
from kd_lightning.schedules.progress import ROUNDING
from kd_lightning.taps import by_depth
from kd_lightning.training.steps import Training

WHOLE, HEAD, GRADUAL = MODES = ("whole", "head", "gradual")
ALL_BY = 0.5  # of the training: from there on all of it learns


class Unfreezing(Callback):
    """Lets some groups of modules alone learn, or from the head down one stage after the other.

    What does not learn gets no gradient, is in eval mode, and so keeps the statistics of its batch normalisations. If
    gradual (Howard, Ruder 2018, arXiv:1801.06146) and with S stages the head learns from the beginning, and after each
    1/(2S) of the training one stage more, so that all of it does in the second half. It is a function of the progress
    alone, so an interrupted training goes on with it.

    Args:
        groups: the network's modules by depth, its head last, as `by_depth` gives them.
        alone: which of them learn, counted from 0, or -1 for the head; None for gradually more.

    Raises UserError in a training without a length, of which nobody knows the half.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Module]], alone: Sequence[int] | None) -> None:
        self.groups, self.alone = [list(group) for group in groups], alone
        self.learning: list[int] = []  # the groups that do

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.alone is not None:  # so that no rank waits for the others' gradients, and no optimizer has them
            chosen = [module for place in self.alone for module in self.groups[place]]
            learning = {id(parameter) for parameter in parameters(chosen)}
            for parameter in parameters(module for group in self.groups for module in group):
                parameter.requires_grad_(id(parameter) in learning)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        warnings.filterwarnings("ignore", message=r"Found .* module\(s\) in eval mode")
        if self.alone is None and is_unlimited(trainer):
            raise UserError(unlimited(f"finetune={GRADUAL} unfreezes a network by it"))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.follow(pl_module, anew=True)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.follow(pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        learning = {id(parameter) for parameter in parameters(self.of_those(learning=True))}
        for parameter in parameters(self.of_those(learning=False)):
            if id(parameter) not in learning:  # one that is shared learns as soon as one of its modules does
                parameter.grad = None
        begin_momentum(optimizer)

    def follow(self, pl_module: LightningModule, anew: bool = False) -> None:
        """Have those learn that do at this moment of the training."""
        assert isinstance(pl_module, DistillationModule)
        groups = range(len(self.groups))
        if self.alone is None:
            share = math.floor(pl_module.progress().fraction / ALL_BY * (len(groups) - 1) + ROUNDING)
            learning = [*groups[max(0, len(groups) - 1 - share) :]]
        else:
            learning = [groups[place] for place in self.alone]
        if anew or learning != self.learning:
            self.learning = learning
            for mode in (True, False):
                for module in self.of_those(learning=mode):
                    module.training = mode

    def of_those(self, learning: bool) -> Iterable[nn.Module]:
        """The modules that learn now, or those that do not."""
        chosen = [group for place, group in enumerate(self.groups) if (place in self.learning) == learning]
        return [module for group in chosen for module in group]


def begin_momentum(optimizer: Optimizer) -> None:
    """Give those that learn from now on the momentum 0, as which it begins: torch's fused SGD wants all or none."""
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        if group["fused"] and group["momentum"]:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                if parameter.grad is not None and state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)


def parameters(modules: Iterable[nn.Module]) -> Iterable[nn.Parameter]:
    """The parameters that modules have by themselves, without those of the modules inside."""
    return (parameter for module in modules for parameter in module.parameters(recurse=False))


def unfreezing(training: Training, module: DistillationModule) -> list[Callback]:
    """What stands beside the fit of a training, in which not all of a network learns all the time.

    Raises UserError for a network of which nothing tells the head, and where an optimizer looks nearby with all of it.
    """
    mode, owner = training.finetune, training.first.network.owner
    if mode in (None, WHOLE):
        return []
    if mode == GRADUAL and isinstance(training.recipe.optimizer.make, SAM):
        raise UserError(
            f"{owner}.finetune={mode}: optimizer.sam looks nearby with all weights, also those that do not learn yet; "
            f"use {owner}.finetune={WHOLE}, or give sam in the optimizer of the others alone"
        )
    learner, given = module.network_of(module.learner), training.first.network.given_taps()
    logits = given.get("logits", "")
    try:
        groups = by_depth(learner, example_input(training.data), logits, module.task.width, given)
    except UserError as error:
        given_by = (f"{owner}.finetune={mode}", f"{owner}.finetune={WHOLE}")
        if training.sources:
            given_by = ("plan.end=head", "plan.end=whole") if mode == HEAD else ("plan.alone=true", "plan.alone=false")
        raise UserError(f"{given_by[0]}: {error}; use {given_by[1]}") from error
    if mode == GRADUAL:
        return [Unfreezing(groups, alone=None)]
    return [Unfreezing(groups, alone=[-1] if isinstance(mode, str) else mode)]
