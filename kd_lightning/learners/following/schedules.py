"""What a training's schedules follow: what its validations measure, of sources and of what was taught, too."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchmetrics import MetricCollection

from kd_lightning.batch import Batch, as_batch
from kd_lightning.errors import UserError
from kd_lightning.finite import is_wrong
from kd_lightning.learners.measures import MeasuresOfAll
from kd_lightning.learners.views import View
from kd_lightning.losses.sample_weights import FullPrecision, signals_of
from kd_lightning.objective import Objective, naming
from kd_lightning.ranks import processes
from kd_lightning.schedules.length import TimedModule
from kd_lightning.schedules.progress import Assessment, asks_for_assessment
from kd_lightning.sources import Source
from kd_lightning.tasks import Task

VALIDATION, OTHER_LOADER = "val/", "/dataloader_idx_"


class Followed(NamedTuple):
    """A schedule, the learner whose term has it, and the term's key."""

    key: str
    learner: str
    schedule: Callable[..., float]


class FollowedValidations(Callback):
    """Has schedules see what each validation measured; `DistillationModule` brings its own where it has schedules.

    What they compare with is measured on the first validation loader, of what never changes once. What they observe is
    the mean over the samples taught since the validation before. All of it stands in checkpoints, so that a training
    that is taken up, also within an epoch, goes on with the numbers that it would have had.

    Raises UserError where a schedule compares with a source that there is not, and where it follows validations and
    there are none.
    """

    def __init__(
        self, followed: list[Followed], views: Mapping[str, View], sources: Mapping[str, Source], task: Task
    ) -> None:
        self.followed, self.views, self.task = followed, views, task
        self.asking = next((one.key for one in followed if asks_for_assessment(one.schedule)), None)
        self.compared: dict[str, MeasuresOfAll] = {}
        self.observed: dict[str, tuple[str, Callable[[Mapping[str, Tensor]], Tensor]]] = {}
        for key, learner, schedule in followed:
            for name in getattr(schedule, "compares", ()):
                if name not in sources or "logits" not in sources[name].signals:
                    raise UserError(f"{key}: its schedule compares with {name}, and there is no {name} with logits")
                self.compared[name] = MeasuresOfAll(task, [name], [])
            for name, function in getattr(schedule, "observes", {}).items():
                own = f"{learner}/{name}" if views[learner].peers else name
                self.observed.setdefault(own, (learner, function))
        self._is_stored = False
        self._begin()

    def _begin(self) -> None:
        self.assessment: Assessment | None = None
        self.sums: Tensor | None = None  # (observed, 2): of each the sum, and of how many samples

    def see(self, signals: Mapping[str, Tensor]) -> None:
        """Count what is observed of a step's signals; nothing waits for the device."""
        if not self.observed:
            return
        with torch.no_grad():
            seen = [self._seen(learner, function, signals) for learner, function in self.observed.values()]
            more = torch.stack(seen)
            if processes() > 1:
                torch.distributed.all_reduce(more)
            self.sums = more if self.sums is None else self.sums.to(more.device) + more

    def _seen(
        self, learner: str, function: Callable[[Mapping[str, Tensor]], Tensor], signals: Mapping[str, Tensor]
    ) -> Tensor:
        """Of what is finite the sum and the number, (2,); 0 for a batch that lacks a signal."""
        given = self.views[learner].of(signals)
        if any(name not in given for name in signals_of(function)):
            return next(iter(signals.values())).new_zeros(2, dtype=torch.float32)
        values = function(FullPrecision(given)).float()
        finite = values.isfinite()
        return torch.stack([values.where(finite, 0.0).sum(), finite.sum().float()])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stand in front of whatever saves or shows, behind the curriculum, whose assessments it completes."""
        others = [one for one in trainer.callbacks if one is not self]  # type: ignore[attr-defined]
        place = int(getattr(pl_module, "followed", None) is not None)
        trainer.callbacks = [*others[:place], self, *others[place:]]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._is_stored:  # a training of its own, perhaps after another one of the same module
            self._begin()
            timed(pl_module).assessment = None
        self._is_stored = False
        if self.asking is not None and not trainer.enable_validation:
            raise UserError(
                f"{self.asking}: its schedule follows what validation measures, and there are no validation data; give "
                "some, or a schedule that does without, such as Linear"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        timed(pl_module).assessment = self.assessment

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for measured in self.compared.values():
            metrics_of(measured).reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx or trainer.state.fn != "fit":
            return
        given, sources = as_batch(batch), pl_module.sources
        for name in self._to_measure(sources) if "target" in given else ():  # type: ignore[arg-type]
            with trainer.precision_plugin.forward_context():
                logits = sources[name](given)["logits"]  # type: ignore[operator, index]
            self._measure(name, logits, given)

    def _to_measure(self, sources: Mapping[str, Source]) -> Iterator[str]:
        """The sources that are compared with, but for those that were measured and never change."""
        known = {} if self.assessment is None else self.assessment.by_source
        for name in self.compared:
            if name not in known or sources[name].trained or sources[name].changes:
                yield name

    def _measure(self, name: str, logits: Tensor, batch: Batch) -> None:
        measured = self.compared[name].to(logits.device)
        measured.update("val", {name: logits}, batch, 0, lambda outputs, index: is_wrong(outputs))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        before, module = self.assessment, timed(pl_module)
        metrics, falling = validated(trainer), [one.name for one in self.task.columns if not one.higher_is_better]
        own = Assessment(trainer.current_epoch, metrics, falling=falling)
        is_of_a_curriculum = getattr(pl_module, "followed", None) is not None and module.assessment is not None
        found = module.assessment if is_of_a_curriculum else own
        assert found is not None
        self.assessment = module.assessment = found._replace(
            selects_on=self.task.selects_on.name,
            earlier=[] if before is None else [*before.earlier, before.metrics],
            by_source={**({} if before is None else before.by_source), **self._compared(pl_module.sources)},  # type: ignore[arg-type]
            observed=self._observed({} if before is None else before.observed),
        )
        for key, learner, schedule in self.followed:
            with naming(key):
                schedule(
                    self.views[learner].progress(module.progress())
                )  # finds what it asks for now, not in a later step

    def _compared(self, sources: Mapping[str, Source]) -> dict[str, dict[str, float]]:
        found = {}
        for name in self._to_measure(sources):
            values = metrics_of(self.compared[name]).compute()
            found[name] = {metric.removeprefix(VALIDATION): float(value) for metric, value in values.items()}
        return found

    def _observed(self, before: Mapping[str, float]) -> dict[str, float]:
        """The means since the validation before; what was not seen since stays."""
        rows = [] if self.sums is None else self.sums.tolist()
        self.sums = None
        means = {name: total / count for name, (total, count) in zip(self.observed, rows, strict=False) if count}
        return {**before, **means}

    def state_dict(self) -> dict[str, Any]:
        assessed = None if self.assessment is None else self.assessment._asdict()
        return {"assessment": assessed, "sums": self.sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assessed = state_dict["assessment"]
        self.assessment = None if assessed is None else Assessment(**assessed)
        self.sums, self._is_stored = state_dict["sums"], True


def followed_validations(
    objectives: Mapping[str, Objective], views: Mapping[str, View], sources: Mapping[str, Source], task: Task
) -> FollowedValidations | None:
    """What has the schedules of objectives follow validations; None where they have none."""
    found = [
        Followed(f"{objective.key}.{name}", learner, schedule)
        for learner, objective in objectives.items()
        for name, term in objective.items()
        for schedule in term.schedules()
    ]
    return FollowedValidations(found, views, sources, task) if found else None


def validated(trainer: Trainer) -> dict[str, float]:
    """The metrics of the validation before, of its first loader, by name."""
    logged = {name: value for name, value in trainer.callback_metrics.items() if name.startswith(VALIDATION)}
    return {name.removeprefix(VALIDATION): float(value) for name, value in logged.items() if OTHER_LOADER not in name}


def metrics_of(measured: MeasuresOfAll) -> MetricCollection:
    """The validation's metrics of the first loader."""
    [(_, measures)] = measured.items()
    found: MetricCollection = measures.stages["val"].of(0)  # type: ignore[operator]
    return found


def timed(module: LightningModule) -> TimedModule:
    assert isinstance(module, TimedModule)
    return module
