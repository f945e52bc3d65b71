"""DistillationModule: a frozen teacher, a trainable student, and the objective between them."""

import warnings
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kd_lightning.batch import Batch, Constants, as_batch, example_batch, of_strong_view
from kd_lightning.callbacks.nonfinite import FiniteNumbers, OnNonFinite
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, functional
from kd_lightning.models.heads import train_heads_apart
from kd_lightning.models.normalization import stored_normalization
from kd_lightning.objective import Objective, ObjectiveValue, Term, naming
from kd_lightning.tasks.predictions import Predictions
from kd_lightning.ranks import mean_of_ranks
from kd_lightning.schedules.progress import Progress
from kd_lightning.sources.sharing import check_apart
from kd_lightning.sources.sharing import check_terms_apart
from kd_lightning.signals import taken_from
from kd_lightning.signals import takes_strong_view
from kd_lightning.signals import with_view
from kd_lightning.schedules.learning_rate import LearningRateSchedule
from kd_lightning.schedules.length import Length
from kd_lightning.schedules.length import begin_next_epoch
from kd_lightning.schedules.length import is_unlimited
from kd_lightning.schedules.length import length_of
from kd_lightning.schedules.torch_schedule import TorchSchedule
from kd_lightning.schedules.torch_schedule import scheduled
from kd_lightning.sources import FrozenTeacher
from kd_lightning.sources import Teacher
from kd_lightning.taps import TapReader, dry_run
from kd_lightning.taps.resolving import resolve_taps
from kd_lightning.tasks import metrics
from kd_lightning.tasks.labels import check_labels
from kd_lightning.tasks.metrics import ByLoader, check_classified, of_loader
from kd_lightning.tasks.predictions import Predictions


class DistillationModule(LightningModule):
    """Trains a student with an objective over its own signals, the teacher's and the batch's.

    Args:
        student: the network to train; takes the batch's input, returns logits (B, C).
        teacher: a network, which is frozen, or a `Teacher`; None is ordinary supervised training.
        terms: the objective by name; cross-entropy alone where None.
        optimizer: makes the optimizer from the parameters; stochastic gradient descent where None.
        scheduler: a `LearningRateSchedule`, or what makes a scheduler of torch from the optimizer; see `TorchSchedule`
            for when that one steps, and for one that watches a metric.
        student_taps, teacher_taps: names and addresses of taps, beside or instead of those that `auto` finds.
        example_input: a batch of inputs; needed where a term takes taps to be found, or has parts to be built.
        num_classes: turns on the metrics of a classifier in validation and test.
        training_set: `index` and `target`, both (N,), of all training images, for losses with a memory of them.
        on_nonfinite: `stop` ends a training whose loss or gradient is NaN or infinite with `NonFinite`; `skip` leaves
            such steps out, see `FiniteNumbers`.
        config: the run's resolved configuration as plain values, kept in checkpoints.

    A batch is `(input, target)`, an input alone, or a mapping with `input` and, where there are, `target`, `index`,
    `view`, `input_strong`; whatever else it holds is a signal by its name. A target of -1 or -100 is no label. Raises
    `UserError` for a term that takes a signal which nobody gives, and for networks that share anything.
    """

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
        example_input: Tensor | None = None,
        num_classes: int | None = None,
        training_set: Mapping[str, Tensor] | None = None,
        on_nonfinite: OnNonFinite = "stop",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"config": dict(config)} if config else {}, logger=False)
        self.optimizer = optimizer or partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
        self.scheduler = scheduler
        if teacher is not None:
            check_apart("teacher", teacher, "student", student)
        check_terms_apart(terms or {}, student, teacher)
        self.finite = FiniteNumbers(on_nonfinite)
        self.objective = Objective(
            {"ce": Term(CrossEntropy(), ["student.logits", "target"])} if terms is None else terms
        )
        self.student = student
        self.teacher: Teacher | None = None
        if isinstance(teacher, Teacher):
            if teacher_taps != "auto":
                raise UserError(
                    f"teacher_taps={teacher_taps}: a {type(teacher).__name__} has its own signals; leave them out"
                )
            self.teacher = teacher
        elif teacher is not None:
            found = resolve_taps("teacher", teacher, teacher_taps, self.objective.names(), example_input, num_classes)
            self.teacher = FrozenTeacher(teacher, found, num_classes=num_classes)
        self.training_set = Constants(training_set or {})
        self.num_classes = num_classes
        self._example_input = example_input
        found = resolve_taps("student", student, student_taps, self.objective.names(), example_input, num_classes)
        self._connect(found, example_input)
        # What is equal on all ranks by itself is not sent anew before every step.
        self._ddp_params_and_buffers_to_ignore = [
            *(f"training_set.{name}" for name in self.training_set.names()),
            *(f"objective.{name}" for name in self.objective.synchronized_buffers()),
        ]
        self.val_metrics = None if num_classes is None else ByLoader(metrics.selection_metrics(num_classes, "val/"))
        self.test_metrics = None if num_classes is None else ByLoader(metrics.test_metrics(num_classes, "test/"))
        self.test_agreement = None if num_classes is None else ByLoader(metrics.Agreement(num_classes))
        self.test_predictions = None if num_classes is None else Predictions(num_classes)
        self.tested: dict[str, Tensor] = {}  # what `Predictions` computed in the latest test, of its first loader

    def _connect(self, student_taps: Mapping[str, str], example_input: Tensor | None) -> None:
        """Attach the taps that the terms take, and build the parts of terms from the signals of one dry run."""
        teacher_taps = None if self.teacher is None else self.teacher.signals
        self.objective.connect(student_taps, teacher_taps, self.training_set.names())
        names = self.objective.names()
        wanted = taken_from("student", names)
        self._student_has_terms = bool(wanted)
        self._takes_strong_view = takes_strong_view(names)
        self._heads_apart = "logits_distilled" in wanted
        train_heads_apart(self.student, self._heads_apart)
        read = {tap: student_taps[tap] for tap in sorted(wanted | {"logits"})}
        self._read_student = TapReader(self.student, read, "student", self.num_classes)
        if self.teacher is not None:
            self.teacher.request(taken_from("teacher", names))
        if self.objective.is_built_from_examples:
            if example_input is None:
                raise UserError(
                    "example_input=None: a term has a projector, or a loss to be built; give a batch of inputs to see "
                    "the shapes"
                )
            with dry_run(self.student, example_input):
                self.objective.build(self.signals(example_batch(example_input)))
            check_apart("terms", self.objective, "student", self.student)

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes some 45 times a step which hook runs; nn.Module would search its parameters for it each time.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """The student's logits (B, C)."""
        return self._read_student(x)["logits"]

    def signals(self, batch: Batch) -> dict[str, Tensor]:
        """All signals of one step in one flat dict: the batch's own, then `student.*`, `teacher.*` and `train.*`."""
        signals = {name: value for name, value in batch.items() if not name.startswith("input")}
        signals |= self._answers(batch)
        if self._takes_strong_view:
            strong = self._answers(of_strong_view(batch))
            signals |= {with_view(name, "strong"): value for name, value in strong.items()}
        return signals | {f"train.{name}": value for name, value in self.training_set.items()}

    def _answers(self, batch: Batch) -> dict[str, Tensor]:
        """What student and teacher make of the batch's inputs; no student where no term asks it in training."""
        answers: dict[str, Tensor] = {}
        if self._student_has_terms or not self.training:
            answers |= {f"student.{tap}": value for tap, value in self._read_student(batch["input"]).items()}
        if self.teacher is not None:
            given = self.teacher(batch, training=self.training)
            answers |= {f"teacher.{tap}": value for tap, value in given.items()}
        return answers

    def on_fit_start(self) -> None:
        if is_unlimited(self.trainer):
            self.objective.refuse_without_length()
        train_heads_apart(self.student, self._heads_apart)  # another module of the same student may have set it
        only_the_teacher_is_in_eval_mode = all(part.training for part in self.student.modules())
        if only_the_teacher_is_in_eval_mode:
            warnings.filterwarnings("ignore", message=r"Found .* module\(s\) in eval mode")
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for buffer in self.objective.synchronized_buffers().values():
                torch.distributed.broadcast(buffer, src=0)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        trainer = self._trainer  # an export has none
        if trainer is None or trainer.predicting:
            return batch
        if self.num_classes is not None:
            check_labels(as_batch(batch), self.num_classes)
        knows_nothing = self.teacher is None or type(self.teacher).before_transfer is Teacher.before_transfer
        if knows_nothing or not trainer.training:
            return batch
        assert self.teacher is not None
        return self.teacher.before_transfer(as_batch(batch))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = as_batch(batch)
        progress = self.progress()
        signals = self.signals(batch)
        if self.num_classes is not None and "student.logits" in signals:
            check_classified(signals["student.logits"], batch.get("target"), self.num_classes, "student", mixed=True)
        value = self.objective(signals, progress)
        self.finite.losses(value)
        if self._is_shown():
            self._show(value, progress, len(batch["input"]))
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
            logits = self._counted(self(batch["input"]), batch)
            self._measure("val/", self.val_metrics, logits, batch["target"], dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        batch = as_batch(batch)
        signals = self._answers(batch)
        logits = signals["student.logits"]
        if "target" in batch:
            counted = self._counted(logits, batch)
            self._measure("test/", self.test_metrics, counted, batch["target"], dataloader_idx)
            if self.test_predictions is not None and dataloader_idx == 0:
                self.test_predictions.update(counted, batch["target"])
        if self.test_agreement is not None and "teacher.logits" in signals:
            check_classified(signals["teacher.logits"], None, self.num_classes, "teacher")
            agreement = self._of_loader(self.test_agreement, dataloader_idx)
            agreement.update(logits, signals["teacher.logits"])
            name = f"test/agreement{of_loader(dataloader_idx)}"
            self.log(name, agreement, batch_size=len(logits), add_dataloader_idx=False)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The student's logits (B, C)."""
        return self(as_batch(batch)["input"])

    def on_test_epoch_start(self) -> None:
        if self.test_predictions is not None:
            self.test_predictions.reset()

    def on_test_epoch_end(self) -> None:
        if self.test_predictions is not None and self.test_predictions.update_called:
            self.tested = self.test_predictions.compute()

    def _counted(self, logits: Tensor, batch: Batch) -> Tensor:
        """Logits (B, C) as they are measured: those that are not finite count as wrong."""
        target = batch["target"]
        if logits.ndim != 2 or target.ndim != 1 or target.is_floating_point():
            return logits
        with naming("target"):
            return metrics.counted_wrong(logits, target, self.finite.outputs(logits, batch.get("index")))

    def to_torchscript(
        self, file_path: Any = None, method: str | None = "trace", example_inputs: Any = None, **options: Any
    ) -> Any:
        """The student as TorchScript, by tracing: hooks, which read taps, cannot be scripted.

        `example_inputs` are the module's `example_input` where they are not given.
        """
        if method != "trace":
            raise UserError(f"method={method}: taps are read by hooks, which cannot be scripted; use method='trace'")
        example = self._example_input if example_inputs is None else example_inputs
        if example is None:
            raise UserError("example_inputs=None: a trace follows one batch of inputs through the student; give some")
        return super().to_torchscript(file_path, method, example, **options)

    def _measure(self, stage: str, each: ByLoader | None, logits: Tensor, target: Tensor, loader: int) -> None:
        """Update and log a loader's metrics; its cross-entropy alone where the number of classes is not known.

        The first loader's go by their names alone, for monitors; the others' as Lightning has it.
        """
        check_classified(logits, target, self.num_classes, "student")
        logits, target = metrics.labelled(logits, target)
        if not len(target):
            return
        if each is None:
            with naming(f"{stage}nll"):
                value = functional.cross_entropy(logits.float(), target)
            name = f"{stage}nll{of_loader(loader)}"
            self.log(name, value, prog_bar=True, batch_size=len(logits), sync_dist=True, add_dataloader_idx=False)
        else:
            collection = self._of_loader(each, loader)
            collection.update(logits, target)
            self.log_dict(collection, prog_bar=True, batch_size=len(logits), add_dataloader_idx=False)

    def _of_loader(self, each: ByLoader, loader: int) -> Any:
        if loader >= len(each.each):
            self._metric_attributes = None  # Lightning looks for new metrics no second time
        return each.of(loader)

    def setup(self, stage: str) -> None:
        self.__dict__.pop("length", None)  # another training of the same module may have another

    @cached_property
    def length(self) -> Length:
        """How long the current training is."""
        return length_of(self.trainer)

    def progress(self) -> Progress:
        """How far the training is; `fraction` stays 0 where the trainer sets no limit."""
        return self.length.progress(self.global_step, self.current_epoch)

    def configure_callbacks(self) -> list[Callback]:
        return [] if self.finite in self.trainer.callbacks else [self.finite]  # type: ignore[attr-defined]

    def teardown(self, stage: str) -> None:
        if self.teacher is not None:
            self.teacher.close()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self._trained())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": scheduled(self.scheduler, optimizer, self.length)}

    def _trained(self) -> list[nn.Parameter]:
        """What is trained: the student, unless no term asks it, and what losses and projectors have of their own."""
        networks = (self.student, self.objective) if self._student_has_terms else (self.objective,)
        return [p for part in networks for p in part.parameters() if p.requires_grad]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.finite.before_save(checkpoint["state_dict"], checkpoint["global_step"])
        checkpoint["teacher"] = None if self.teacher is None else self.teacher.identity()
        checkpoint.update(stored_normalization(self.student))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        stored, own = checkpoint.get("teacher"), None if self.teacher is None else self.teacher.identity()
        if stored and own and stored != own:
            raise UserError(f"teacher={own}: the checkpoint was trained with another teacher, {stored}")
        if self._trainer is not None and "loops" in checkpoint:
            begin_next_epoch(self.trainer, checkpoint["loops"])
