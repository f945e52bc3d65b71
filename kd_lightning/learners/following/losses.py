"""Losses over all learners at once that see what these make of validation data."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from kd_lightning.batch import as_batch
from kd_lightning.errors import UserError
from kd_lightning.learners.views import View
from kd_lightning.objective import Objective, Term, naming
from kd_lightning.ranks import processes
from kd_lightning.signals import read
from kd_lightning.sources import Source
from kd_lightning.tasks import Task


@runtime_checkable
class SeesValidation(Protocol):
    """A loss that is shown each validation of a training, if `needs_validation`."""

    needs_validation: bool

    def errors(self, *signals: Any) -> Tensor:
        """What it takes from a batch, of the signals of its term; of a validation the sum, over all ranks, counts."""
        ...

    def end_validation(self, summed: Tensor) -> None: ...


class Following(NamedTuple):
    """The term of such a loss, its key, and what its learner sees."""

    key: str
    term: Term
    view: View


class FollowingLosses(Callback):
    """Shows losses the first loader of each validation; `DistillationModule` brings its own where losses ask for it.

    Raises UserError for other signals than logits of the images, and where there are no validation data.
    """

    def __init__(
        self, found: Sequence[Following], asked: Sequence[str], sources: Mapping[str, Source], task: Task
    ) -> None:
        self.found, self.asked, self.sources, self.task = found, asked, sources, task
        self.sums: dict[int, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for one in () if trainer.enable_validation else self.found:
            raise UserError(
                f"{one.key}: its loss weighs the networks by what they make of validation data, and there are none; "
                "give some, or another loss.collaboration, such as minlogit"
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sums = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx or trainer.state.fn != "fit" or outputs is None:
            return
        given = as_batch(batch)
        with trainer.precision_plugin.forward_context():
            others = {name: self.sources[name](given)["logits"] for name in self.asked if name not in outputs}
        rows, given = self.task.rows({f"{name}.logits": one for name, one in {**outputs, **others}.items()}, given)
        for place, (key, term, view) in enumerate(self.found):
            seen = view.of({**rows, "target": given["target"]})
            taken = [seen[one] if isinstance(one, str) else [seen[name] for name in one] for one in term.signals]
            with naming(key), torch.no_grad():
                found = of(term).errors(*taken)
            self.sums[place] = found + self.sums[place] if place in self.sums else found

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        for place, summed in self.sums.items():
            if processes() > 1:
                torch.distributed.all_reduce(summed)
            of(self.found[place].term).end_validation(summed)


def of(term: Term) -> SeesValidation:
    assert isinstance(term.loss, SeesValidation)
    return term.loss


def following_losses(
    objectives: Mapping[str, Objective], views: Mapping[str, View], sources: Mapping[str, Source], task: Task
) -> FollowingLosses | None:
    """What shows validations to the losses of objectives; None where none asks for it. Raises UserError likewise."""
    found: list[Following] = []
    asked: list[str] = []
    for learner, objective in objectives.items():
        for name, term in objective.items():
            if getattr(term.loss, "needs_validation", False):
                found.append(Following(f"{objective.key}.{name}", term, views[learner]))
                for signal in map(read, views[learner].taken(term.names())):
                    if signal is not None and str(signal) != f"{signal.source}.logits":
                        raise UserError(
                            f"{objective.key}.{name}.signals={signal}: is not known of validation data; take logits, "
                            "of the images as they are"
                        )
                    asked += [] if signal is None else [signal.source]
    return FollowingLosses(found, list(dict.fromkeys(asked)), sources, task) if found else None
