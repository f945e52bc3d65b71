"""How a training follows the anchors of a route: from one to the next as its epochs begin."""

import math
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from kd_lightning.curricula.following import timed
from kd_lightning.errors import UserError
from kd_lightning.learners.following.schedules import validated
from kd_lightning.sources import Route
from kd_lightning.tasks import Task
from kd_lightning.terminal import say

ANCHOR = "train/anchor"  # which one an epoch learned from, counted from 1, as it is logged


class FollowedRoute(Callback):
    """Has each epoch of a training learn from one anchor of a route; `DistillationModule` brings its own.

    Which one is decided as an epoch begins, and stands in checkpoints: a training that is taken up within an epoch goes
    on with it. `moves` tells the decisions.

    Raises UserError for a training of fewer epochs than there are anchors, or of none that is known.
    """

    def __init__(self, route: Route, task: Task) -> None:
        self.route, self.task = route, task
        self.moves: list[dict[str, Any]] = []
        self._starts: list[int] = []  # the epochs in which the anchors take over at the latest
        self._place, self._epoch = 0, -1  # the anchor of the epoch that began last
        self._opened: str | None = None  # why the gate opened since
        self._is_stored = False

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}({self.route.role})"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._is_stored:  # a training of its own, perhaps after another one of the same module
            self.moves, self._place, self._epoch, self._opened = [], 0, -1, None
        self._is_stored = False
        self._starts = starts_of(self.route, timed(pl_module).length.epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.route.go_to(self._place)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch == self._epoch:  # taken up within it
            return
        place = max(self._place, sum(start <= epoch for start in self._starts) - 1)
        reason = "as planned"
        if place == self._place and self._opened is not None:
            place, reason = place + 1, self._opened
        if place != self._place or self._epoch == -1:
            title = self.route.anchors[place].title
            self.moves.append({"epoch": epoch, "anchor": title, "reason": reason})
            say(self.route.role or "route", f"anchor {title}, from epoch {epoch + 1} on, {reason}")
        self._place, self._epoch, self._opened = place, epoch, None
        self.route.go_to(place)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        gate, place = self.route.gate, self._place
        if gate is None or place == self.route.last or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        reached = validated(trainer)
        selects, anchor = self.task.selects_on, self.route.anchors[place]
        measured = reached if anchor.file is None else anchor.measured
        if gate(reached, measured, selects):
            own, other = reached.get(selects.name, math.nan), measured.get(selects.name)
            of_anchor = "" if other is None else f" beside {selects.text(other)} of the anchor"
            self._opened = f"{selects.label} of {selects.text(own)}{of_anchor}"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log(ANCHOR, float(self._place + 1), sync_dist=True)  # equal on all ranks

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.route.go_to(self.route.last)

    def told(self) -> dict[str, Any]:
        """What a summary tells: each anchor with what it reached, and in which epoch which one took over, and why."""
        return {"anchors": [{"title": one.title, **one.measured} for one in self.route.anchors], "moves": self.moves}

    def state_dict(self) -> dict[str, Any]:
        return {"place": self._place, "epoch": self._epoch, "opened": self._opened, "moves": list(self.moves)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._place, self._epoch = state_dict["place"], state_dict["epoch"]
        self._opened, self.moves = state_dict["opened"], list(state_dict["moves"])
        self._is_stored = True


def followed_routes(module: nn.Module, task: Task) -> list[FollowedRoute]:
    """What has a training follow each route among the parts of its module."""
    return [FollowedRoute(part, task) for part in module.modules() if isinstance(part, Route)]


def starts_of(route: Route, epochs: float) -> list[int]:
    """The student's epochs in which the anchors of a route take over at the latest. Raises UserError."""
    count = len(route.anchors)
    if route.moves is not None:
        if route.moves and route.moves[-1] >= epochs:
            raise UserError(
                f"moves={[*route.moves]}: the training has {epochs:g} epochs, and never comes to the last anchor; give "
                "earlier ones"
            )
        return [0, *route.moves]
    if not math.isfinite(epochs):
        raise UserError(
            "moves=null: the training's length is not known, and its anchors have equal shares of it; give moves, or "
            "trainer.max_epochs"
        )
    if epochs < count:
        raise UserError(
            f"anchors={count}: the training has {epochs:g} epochs, and learns from one anchor in each; give at most "
            f"{epochs:g} anchors"
        )
    return [place * int(epochs) // count for place in range(count)]
