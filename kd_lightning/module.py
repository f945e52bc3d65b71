"""DistillationModule: sources that give signals, one of which learns, and the objective between them."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection

from kd_lightning.batch import INPUT, Batch, Constants, Input, as_batch, as_streams, main_stream, size_of
from kd_lightning.callbacks.nonfinite import FiniteNumbers, OnNonFinite
from kd_lightning.curricula.curriculum import Curriculum
from kd_lightning.curricula.following import FollowedCurriculum
from kd_lightning.errors import UserError
from kd_lightning.models.normalization import stored_normalization
from kd_lightning.objective import Objective, ObjectiveValue, Term, naming
from kd_lightning.ranks import mean_of_ranks, processes
from kd_lightning.schedules.learning_rate import LearningRateSchedule
from kd_lightning.schedules.length import TimedModule, begin_next_epoch, is_unlimited
from kd_lightning.schedules.progress import Progress
from kd_lightning.schedules.torch_schedule import TorchSchedule, scheduled
from kd_lightning.signals import TRAINING_SET
from kd_lightning.sources import FrozenNetwork, Learner, Source
from kd_lightning.sources.sharing import check_apart, check_terms_apart
from kd_lightning.sources.signals import OfStreams, StepSignals
from kd_lightning.taps import dry_run
from kd_lightning.taps.resolving import resolve_taps
from kd_lightning.tasks import Classification, Task
from kd_lightning.tasks.by_loader import ByLoader, of_loader
from kd_lightning.tasks.task import AGREEMENT, Stage

STAGES: tuple[Stage, ...] = ("val", "test")


class DistillationModule(TimedModule):
    """Trains a student with an objective over its own signals, the teacher's and the batch's.

    Args:
        student: the network to train; takes the batch's input, returns logits (B, C).
        teacher: a network, which is frozen, or any `Source`; None is ordinary supervised training.
        terms: the objective by name; the task's supervised loss alone where None.
        optimizer: makes the optimizer from the parameters; stochastic gradient descent where None.
        scheduler: a `LearningRateSchedule`, or what makes a scheduler of torch from the optimizer; see `TorchSchedule`
            for when that one steps, and for one that watches a metric.
        student_taps: names and addresses of taps, beside or instead of those that `auto` finds.
        teacher_taps: the same of the teacher.
        example_input: a batch of inputs, a whole batch, or one of each stream by name; needed where a term takes taps
            to be found, or has parts to be built.
        task: what validation and test measure; cross-entropy alone where it and `num_classes` are None.
        num_classes: the short form of `task=Classification(num_classes)`.
        training_set: `index` and `target`, both (N,), of all training images, for losses with a memory of them.
        curriculum: which samples an epoch holds, see `Curriculum`; all of them in a random order where None.
        on_nonfinite: `stop` ends a training whose loss or gradient is NaN or infinite with `NonFinite`; `skip` leaves
            such steps out, see `FiniteNumbers`.
        config: the run's resolved configuration as plain values, kept in checkpoints.

    A batch is `(input, target)`, an input alone, or a mapping with `input` and, where there are, `target`, `index`,
    `view`, `input_strong`; whatever else it holds is a signal by its name. A target of -1 or -100 is no label. Loaders
    by name are several streams, each with batches of its own, `{labelled: loader, unlabelled: loader}`: a term says of
    which it is (`Term.stream`). Raises `UserError` for a term that takes a signal which nobody gives, and for networks
    that share anything.

    Examples:
        >>> import lightning, torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from kd_lightning import DistillationModule, Term
        >>> from kd_lightning.losses import SoftTarget
        >>> terms = {"kd": Term(SoftTarget(temperature=4), ["student.logits", "teacher.logits"])}
        >>> module = DistillationModule(student=torch.nn.Linear(16, 3), teacher=torch.nn.Linear(16, 3), terms=terms)
        >>> my_loader = DataLoader(TensorDataset(torch.rand(64, 16), torch.arange(64) % 3), batch_size=32)
        >>> trainer = lightning.Trainer(fast_dev_run=True, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer.fit(module, my_loader)
    """

    student: nn.Module
    """The network that learns."""

    teacher: Source | None

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        terms: Mapping[str, Term] | None = None,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: LearningRateSchedule | TorchSchedule | Callable[[Optimizer], LRScheduler] | None = None,
        *,
        student_taps: Mapping[str, str] | str = "auto",
        teacher_taps: Mapping[str, str] | str = "auto",
        example_input: Input | Batch | Mapping[str, Batch] | None = None,
        task: Task | None = None,
        num_classes: int | None = None,
        training_set: Mapping[str, Tensor] | None = None,
        curriculum: Curriculum | None = None,
        on_nonfinite: OnNonFinite = "stop",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"config": dict(config)} if config else {}, logger=False)
        self.optimizer = optimizer or partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
        self.scheduler = scheduler
        if teacher is not None:
            check_apart("teacher", teacher, "student", student)
        check_terms_apart(terms or {}, {"student": student}, {} if teacher is None else {"teacher": teacher})
        self.finite = FiniteNumbers(on_nonfinite)
        if task is not None and num_classes is not None:
            raise UserError(f"num_classes={num_classes}: the short form of a task; leave it out beside task")
        self.task = Classification(num_classes) if task is None else task
        if terms is None:
            terms = {self.task.supervised: Term(self.task.loss(), ["student.logits", "target"])}
        self.objective = Objective(terms)
        self.followed = None if curriculum is None else FollowedCurriculum(curriculum, self.task)
        self.task.check_losses({f"terms.{name}": term.loss for name, term in self.objective.items()})
        self._examples = {} if example_input is None else as_streams(example_input)
        self._example_input = self._examples[main_stream(self._examples)][INPUT] if self._examples else None
        self.sources: dict[str, Source] = {}
        if teacher is not None:
            self.sources["teacher"] = self._source("teacher", teacher, teacher_taps, FrozenNetwork)
        learner = self._source("student", student, student_taps, Learner)
        assert isinstance(learner, Learner)
        self.learner = "student"
        self.sources = {self.learner: learner, **self.sources}
        self.student, self.teacher = learner.network, self.sources.get("teacher")
        self.training_set = Constants(training_set or {})
        self._connect({"student": None, "teacher": None})
        # What is equal on all ranks by itself is not sent anew before every step.
        self._ddp_params_and_buffers_to_ignore = [
            *(f"training_set.{name}" for name in self.training_set.names()),
            *(f"objective.{name}" for name in self.objective.synchronized_buffers()),
        ]
        self.stage_metrics = nn.ModuleDict({stage: ByLoader(self._metrics(stage)) for stage in STAGES})
        agreement = self.task.agreement()
        self.test_agreement = None if agreement is None else ByLoader(agreement)
        self.test_predictions = self.task.predictions()
        self.tested: dict[str, Tensor] = {}  # what `test_predictions` computed in the latest test, of its first loader

    def _metrics(self, stage: Stage) -> MetricCollection:
        """The task's, by the names that they are logged by."""
        found = self.task.metrics(stage)
        found.prefix = f"{stage}/"
        return found

    def _source(
        self, name: str, given: nn.Module, taps: Mapping[str, str] | str, kind: Callable[..., Source]
    ) -> Source:
        """A source as it is given, or one of this kind around a network, with the taps that terms take."""
        if isinstance(given, Source):
            if taps != "auto":
                raise UserError(f"{name}_taps={taps}: a {type(given).__name__} has its own signals; leave them out")
            return given
        found = resolve_taps(name, given, taps, self.objective.names(), self._example_input, self.task.width)
        return kind(given, found, num_classes=self.task.width)

    def _connect(self, known: Mapping[str, None]) -> None:
        """Have the sources give what the terms take, and build the parts of terms from the signals of one dry run.

        `known` are the sources that terms may name, whether they are there or not.
        """
        self.begin_sources()
        signals = {name: source.signals for name, source in self.sources.items()}
        self.objective.connect({**known, **signals}, self.training_set.names())
        names = self.objective.names() + ([] if self.followed is None else self.followed.signals(signals))
        self._signals = StepSignals(self.sources, names, self.objective.names_of, self.task)
        if self._examples:
            self.objective.check_streams(self._examples)
        if self.objective.is_built_from_examples:
            example = self._example_input
            if example is None:
                raise UserError(
                    "example_input=None: a term has a projector, or a loss to be built; give a batch of inputs to see "
                    "the shapes"
                )
            with dry_run(self.student, example):
                self.objective.build(*self.example_signals(self._examples))
            check_apart("terms", self.objective, self.learner, self.student)

    def example_signals(self, streams: Mapping[str, Batch]) -> OfStreams:
        """The signals of examples, as of a step's streams; targets and indices are 0 where they have none."""
        return self._with_training_set(*self._signals.of_examples(streams, self.device, self.training))

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes some 45 times a step which hook runs; nn.Module would search its parameters for it each time.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, x: Input) -> Tensor:
        """The student's logits (B, C)."""
        return self.sources[self.learner]({"input": x})["logits"]

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """All signals of one step in one flat dict: the batch's own, those of the sources, and `train.*`."""
        return self._with_training_set(self._signals.of(batch, self.training), {})[0]

    def _with_training_set(self, main: dict[str, Tensor], named: Mapping[str, dict[str, Tensor]]) -> OfStreams:
        """The signals of the main stream, and of all streams by name, with those of the training set."""
        of_all = {f"{TRAINING_SET}.{name}": value for name, value in self.training_set.items()}
        return main | of_all, {name: signals | of_all for name, signals in named.items()}

    def begin_sources(self) -> None:
        """Have the sources see one another as they are now, as a moving average does that begins as its learner."""
        for name, source in self.sources.items():
            source.role = name
            source.begin(self.sources)

    def ask_sources(self) -> None:
        """Have the sources give what the terms take; another module that shares one may have asked for less."""
        self._signals.ask_sources()

    def on_fit_start(self) -> None:
        if is_unlimited(self.trainer):
            self.objective.refuse_without_length()
        self.ask_sources()
        if all(part.training for part in self.student.modules()):  # only the teacher is in eval mode
            warnings.filterwarnings("ignore", message=r"Found .* module\(s\) in eval mode")
        if processes() > 1:
            for buffer in self.objective.synchronized_buffers().values():
                torch.distributed.broadcast(buffer, src=0)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        trainer = self._trainer  # an export has none
        if trainer is None or trainer.predicting:
            return batch
        streams = as_streams(batch)
        for one in streams.values():
            self.task.check_batch(one)
        if type(self.task).before_transfer is not Task.before_transfer:
            streams = {name: self.task.before_transfer(one) for name, one in streams.items()}
            batch = streams.get("", streams)
        for source in self.sources.values():
            if trainer.training and type(source).before_transfer is not Source.before_transfer:
                streams = {name: source.before_transfer(one) for name, one in streams.items()}
                batch = streams.get("", streams)
        return batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        streams = as_streams(batch)
        batch = streams[main_stream(streams)]
        progress = self.progress()
        if batch_idx == 0:
            self.objective.check_streams(streams)
        signals, named = self._with_training_set(*self._signals.of_streams(streams, self.training))
        logits = signals.get(f"{self.learner}.logits")
        if logits is not None:
            self.task.check_step(self.learner, logits, signals.get("target"), training=True)
        value = self.objective(signals, progress, named)
        self.finite.losses(value)
        if self.followed is not None:
            self.followed.see(signals)
        if self._is_shown():
            self._show(value, progress, size_of(batch))
        return value.total

    def _is_shown(self) -> bool:
        """Whether somebody sees what this step logs: each `trainer.log_every_n_steps`, and at the beginning."""
        return self.global_step == 0 or self.trainer._logger_connector.should_update_logs

    def _show(self, value: ObjectiveValue, progress: Progress, batch_size: int) -> None:
        """Log the terms, of several ranks their mean, which is what these minimise together."""
        terms = [name for name, _ in self.objective.items()]
        values = {"loss": value.total, **value.raw, **{f"{name}_weighted": it for name, it in value.weighted.items()}}
        shown = ["loss", *terms]
        names = [*shown, *(f"{name}_weighted" for name in terms)]
        means = mean_of_ranks({name: entry.detach() for name, entry in values.items()}, names)
        for name, entry in {**means, **self.objective.changing(progress)}.items():
            self.log(f"train/{name}", entry, prog_bar=name in shown, batch_size=batch_size)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        batch = as_batch(batch)
        if "target" in batch:
            outputs, batch = self._measured({self.learner: self(batch["input"])}, batch)
            self._measure("val", self._counted(outputs[self.learner], batch), batch["target"], dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        batch = as_batch(batch)
        given = {name: source(batch)["logits"] for name, source in self.sources.items() if "logits" in source.signals}
        given, batch = self._measured(given, batch)
        logits = given[self.learner]
        if "target" in batch:
            counted = self._counted(logits, batch)
            self._measure("test", counted, batch["target"], dataloader_idx)
            if self.test_predictions is not None and dataloader_idx == 0:
                self.test_predictions.update(counted, batch["target"])
        for name, others in given.items():
            if name == self.learner or self.test_agreement is None:
                continue
            self.task.check_step(name, others, None, training=False)
            agreement = self._of_loader(self.test_agreement, dataloader_idx)
            agreement.update(logits, others)
            logged = f"test/{AGREEMENT}{of_loader(dataloader_idx)}"
            self.log(logged, agreement, batch_size=len(logits), add_dataloader_idx=False)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The student's logits (B, C)."""
        return self(as_batch(batch)["input"])

    def on_test_epoch_start(self) -> None:
        if self.test_predictions is not None:
            self.test_predictions.reset()

    def on_test_epoch_end(self) -> None:
        if self.test_predictions is not None and self.test_predictions.update_called:
            self.tested = self.test_predictions.compute()

    def _measured(self, given: Mapping[str, Tensor], batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """The sources' outputs and the batch as rows, where the task has them."""
        rows, batch = self.task.rows({f"{name}.logits": outputs for name, outputs in given.items()}, batch)
        return {name: rows[f"{name}.logits"] for name in given}, batch

    def _counted(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs as they are measured, also where they are not finite."""
        self.task.check_step(self.learner, outputs, batch["target"], training=False)
        with naming("target"):
            return self.task.counted(outputs, batch["target"], self.finite.outputs(outputs, batch.get("index")))

    def to_torchscript(
        self, file_path: Any = None, method: str | None = "trace", example_inputs: Any = None, **options: Any
    ) -> Any:
        """The student as TorchScript, by tracing: hooks, which read taps, cannot be scripted.

        `example_inputs` are the module's `example_input` where they are not given. Raises UserError without any.
        """
        if method != "trace":
            raise UserError(f"method={method}: taps are read by hooks, which cannot be scripted; use method='trace'")
        example = self._example_input if example_inputs is None else example_inputs
        if example is None:
            raise UserError("example_inputs=None: a trace follows one batch of inputs through the student; give some")
        return super().to_torchscript(file_path, method, example, **options)

    def _measure(self, stage: Stage, outputs: Tensor, target: Tensor, loader: int) -> None:
        """Update and log a loader's metrics.

        The first loader's go by their names alone, for monitors; the others' as Lightning has it.
        """
        outputs, target = self.task.labelled(outputs, target)
        if not len(target):
            return
        collection = self._of_loader(self.stage_metrics[stage], loader)
        with naming("target"):
            collection.update(outputs, target)
        if self.followed is not None and stage == "val" and not loader:
            self.followed.measure(outputs, target)
        self.log_dict(collection, prog_bar=True, batch_size=len(outputs), add_dataloader_idx=False)

    def _of_loader(self, each: Any, loader: int) -> Any:
        if loader >= len(each.each):
            self._metric_attributes = None  # Lightning looks for new metrics no second time
        return each.of(loader)

    def configure_callbacks(self) -> list[Callback]:
        own = [self.finite, *([] if self.followed is None else [self.followed])]
        return [one for one in own if one not in self.trainer.callbacks]  # type: ignore[attr-defined]

    def teardown(self, stage: str) -> None:
        for source in self.sources.values():
            source.close()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self._trained())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": scheduled(self.scheduler, optimizer, self.length)}

    def _trained(self) -> list[nn.Parameter]:
        """What is trained: the student, unless no term asks it, and what losses and projectors have of their own."""
        learners = [source for name, source in self.sources.items() if source.trained and self._signals.requested[name]]
        return [p for part in (*learners, self.objective) for p in part.parameters() if p.requires_grad]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        skipped = self.finite.skipped
        super().optimizer_step(*args, **kwargs)
        if self.finite.skipped == skipped:
            for source in self.sources.values():
                if type(source).after_step is not Source.after_step:
                    source.after_step(self.sources, self.progress())

    def _identities(self) -> dict[str, Any]:
        """What the sources are that no gradient changes."""
        return {name: source.identity() for name, source in self.sources.items() if not source.trained}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.finite.before_save(checkpoint["state_dict"], checkpoint["global_step"])
        checkpoint["sources"] = self._identities()
        checkpoint.update(stored_normalization(self.student))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        stored = checkpoint.get("sources", {})
        for name, own in self._identities().items():
            if stored.get(name, own) != own:
                raise UserError(f"{name}={own}: the checkpoint was trained with another {name}, {stored[name]}")
        if self._trainer is not None and "loops" in checkpoint:
            begin_next_epoch(self.trainer, checkpoint["loops"])
