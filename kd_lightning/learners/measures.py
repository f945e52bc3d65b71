"""What validation and test measure of a learner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from kd_lightning.batch import Batch
from kd_lightning.learners.names import of_learner
from kd_lightning.objective import naming
from kd_lightning.tasks import Task
from kd_lightning.tasks.by_loader import ByLoader, of_loader
from kd_lightning.tasks.task import AGREEMENT, Stage

STAGES: tuple[Stage, ...] = ("val", "test")
WrongRows = Callable[[Tensor, Tensor | None], Tensor]
Metrics = MetricCollection | dict[str, Metric]


class Measures(nn.Module):
    """A task's metrics of one learner, for each loader of validation and test, by the names that they are logged by.

    Args:
        task: what measures.
        others: the names of the sources that learn nothing, with whom the learner's agreement is measured.
        learner: its name in what is logged, where there are several.
    """

    def __init__(self, task: Task, others: Sequence[str], learner: str | None = None) -> None:
        super().__init__()
        self.task = task
        self.learner = learner
        self.stages = nn.ModuleDict({stage: ByLoader(self._named(stage)) for stage in STAGES})
        found = {name: task.agreement() for name in others}
        self.agreement = nn.ModuleDict({name: ByLoader(one) for name, one in found.items() if one is not None})
        self.predictions = task.predictions()

    def _named(self, stage: Stage) -> MetricCollection:
        found = self.task.metrics(stage)
        found.prefix = self._name(f"{stage}/")
        return found

    def _name(self, name: str) -> str:
        return name if self.learner is None else of_learner(name, self.learner)

    def update(self, stage: Stage, outputs: Tensor, target: Tensor, loader: int) -> MetricCollection:
        """The metrics of a loader, updated by what has a label.

        The first loader's go by their names alone, for monitors; the others' as Lightning has it.
        """
        by_loader = self.stages[stage]
        assert isinstance(by_loader, ByLoader)
        found: MetricCollection = by_loader.of(loader)
        with naming("target"):
            found.update(outputs, target)
        return found

    def agreements(self, outputs: Tensor, others: Mapping[str, Tensor], loader: int) -> Iterator[dict[str, Metric]]:
        """The agreement with each of the others, updated, by the name that it is logged by."""
        for name, theirs in others.items():
            if name not in self.agreement:
                continue
            self.task.check_step(name, theirs, None, training=False)
            by_loader = self.agreement[name]
            assert isinstance(by_loader, ByLoader)
            agreement: Metric = by_loader.of(loader)
            agreement.update(outputs, theirs)
            with_whom = f"_{name}" if len(self.agreement) > 1 else ""
            yield {self._name(f"test/{AGREEMENT}{with_whom}{of_loader(loader)}"): agreement}


class MeasuresOfAll(nn.Module):
    """The measures of each learner.

    Args:
        task: what measures.
        learners: their names.
        others: the names of the sources that learn nothing.
        seen_by: is shown the first learner's outputs and targets of the first loader of a validation, and the index of
            each where the batch has it.
    """

    def __init__(
        self,
        task: Task,
        learners: Sequence[str],
        others: Sequence[str],
        seen_by: Callable[[Tensor, Tensor, Tensor | None], None] | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.first, self.seen_by = learners[0], seen_by
        several = len(learners) > 1
        self.of = nn.ModuleDict({name: Measures(task, others, name if several else None) for name in learners})

    def items(self) -> Iterator[tuple[str, Measures]]:
        for name, measures in self.of.items():
            assert isinstance(measures, Measures)
            yield name, measures

    def update(
        self, stage: Stage, given: Mapping[str, Tensor], batch: Batch, loader: int, wrong: WrongRows
    ) -> list[tuple[Metrics, int]]:
        """A loader's metrics of the learners, updated by the sources' outputs, and of how many rows each is.

        `wrong` takes outputs and the samples' indices, and tells whose have no softmax.
        """
        rows, batch = self.task.rows({f"{name}.logits": outputs for name, outputs in given.items()}, batch)
        outputs = {name: rows[f"{name}.logits"] for name in given}
        others = {name: theirs for name, theirs in outputs.items() if name not in self.of}
        found: list[tuple[Metrics, int]] = []
        for name, measures in self.items():
            own = outputs[name]
            if "target" in batch:
                self.task.check_step(name, own, batch["target"], training=False)
                with naming("target"):
                    counted = self.task.counted(own, batch["target"], wrong(own, batch.get("index")))
                if measures.predictions is not None and stage == "test" and not loader:
                    measures.predictions.update(counted, batch["target"])
                labelled, target = self.task.labelled(counted, batch["target"])
                if len(target):
                    found.append((measures.update(stage, labelled, target, loader), len(labelled)))
                    if self.seen_by is not None and name == self.first and stage == "val" and not loader:
                        self.seen_by(labelled, target, self._labelled_index(batch))
            found += [(agreement, len(own)) for agreement in measures.agreements(own, others, loader)]
        return found

    def _labelled_index(self, batch: Batch) -> Tensor | None:
        """The index of each of a batch's rows that have a label; None where it has none, or not one for each."""
        index = batch.get("index")
        if index is None or len(index) != len(batch["target"]):
            return None
        return self.task.labelled(index[:, None], batch["target"])[0][:, 0]

    def reset(self) -> None:
        """Forget the predictions of the test before."""
        for _, measures in self.items():
            if measures.predictions is not None:
                measures.predictions.reset()

    def predicted(self) -> dict[str, dict[str, Any]]:
        """What the predictions of the test give, by learner, as far as there are any."""
        each = {name: measures.predictions for name, measures in self.items()}
        return {name: one.compute() for name, one in each.items() if one is not None and one.update_called}
