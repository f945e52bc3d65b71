"""DistillationModule: sources that give signals, some of which learn, and the objective of each that does."""

import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from kd_lightning.batch import INPUT, Batch, Constants, Input, as_batch, as_streams, main_stream, size_of
from kd_lightning.callbacks.nonfinite import FiniteNumbers, OnNonFinite
from kd_lightning.callbacks.passes import preceding
from kd_lightning.callbacks.sharpness import second_passes
from kd_lightning.conversions import stored_beside
from kd_lightning.curricula.curriculum import Curriculum
from kd_lightning.curricula.following import FollowedCurriculum
from kd_lightning.curricula.route import followed_routes
from kd_lightning.errors import UserError
from kd_lightning.learners.following.losses import following_losses
from kd_lightning.learners.following.schedules import followed_validations
from kd_lightning.learners.measures import MeasuresOfAll
from kd_lightning.learners.names import Networks, of_each, one_or_all
from kd_lightning.learners.objectives import (
    begin_equal,
    example_for,
    introduce_peers,
    objectives_of,
    shown,
    synchronized_buffers,
    total_of,
)
from kd_lightning.learners.optimizer import MakesOptimizer, Schedule, configured, made, optimizers_in
from kd_lightning.learners.random_state import OwnStreams
from kd_lightning.learners.sources import (
    Taps,
    check_identities,
    follow_step,
    identities,
    sources_of,
    trained_parameters,
)
from kd_lightning.learners.views import View, taken_by_all
from kd_lightning.objective import Objective, ObjectiveValue, Term
from kd_lightning.ranks import mean_of_ranks
from kd_lightning.schedules.length import TimedModule, begin_next_epoch, is_unlimited
from kd_lightning.schedules.progress import Progress
from kd_lightning.signals import TRAINING_SET
from kd_lightning.sources import FrozenNetwork, Learner, Source
from kd_lightning.sources.sharing import check_all_apart, check_apart
from kd_lightning.sources.signals import OfStreams, StepSignals, before_transfer
from kd_lightning.taps import dry_run
from kd_lightning.tasks import Classification, Task
from kd_lightning.tasks.task import Stage


class DistillationModule(TimedModule):
    """Trains a student with an objective over its own signals, the teacher's and the batch's.

    Args:
        student: the network to train; takes the batch's input, returns logits (B, C). Or several by name, see below.
        teacher: a network, which is frozen, or any `Source`; None is ordinary supervised training. Several by name give
            their signals by it, `{"big": net}` gives `big.logits`.
        terms: the objective by name, of all learners or by learner; the task's supervised loss alone where None.
        optimizer: makes the optimizer from the parameters, of each learner or by learner; stochastic gradient descent
            where None. `kd_lightning.optimizers` has what changes one.
        scheduler: a `LearningRateSchedule`, or what makes a scheduler of torch from the optimizer; see `TorchSchedule`
            for when that one steps, and for one that watches a metric, which is its learner's. Also by learner.
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
        random_states: of several learners the states of torch's generator from which each one's terms are built.
        config: the run's resolved configuration as plain values, kept in checkpoints.

    A batch is `(input, target)`, an input alone, or a mapping with `input` and, where there are, `target`, `index`,
    `view`, `input_strong`; whatever else it holds is a signal by its name. A target of -1 or -100 is no label. Loaders
    by name are several streams, each with batches of its own, `{labelled: loader, unlabelled: loader}`: a term says of
    which it is (`Term.stream`). Raises `UserError` for a term that takes a signal which nobody gives, and for networks
    that share anything.

    A mapping of networks for `student` are several learners in one fit, each as it would be alone: with random numbers,
    statistics, clipping, an optimizer and a schedule of its own. In a learner's terms `student.*` is itself, `peers.*`
    each of the others, over which the term's value is the mean, or of a loss that says `all_at_once` all of them, and
    `NAME.*` the one of this name, without gradient. Logged are `train/NAME/loss`, `val/NAME/top1` and so on, and
    `train/loss`, their sum; `for_learners` has callbacks watch them. `forward`, `predict` and an export are the first
    one's.

    Examples:
        >>> import lightning, torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from kd_lightning import DistillationModule, Term
        >>> from kd_lightning.losses import SoftTarget
        >>> terms = {"kd": Term(SoftTarget(temperature=4), ["student.logits", "teacher.logits"])}
        >>> module = DistillationModule(student=torch.nn.Linear(16, 3), teacher=torch.nn.Linear(16, 3), terms=terms)
        >>> my_loader = DataLoader(TensorDataset(torch.rand(64, 16), torch.arange(64) % 3), batch_size=32)
        >>> quiet = {"fast_dev_run": True, "enable_progress_bar": False, "enable_model_summary": False}
        >>> lightning.Trainer(**quiet).fit(module, my_loader)

        Two students that teach each other (deep mutual learning, Zhang et al. 2018, arXiv:1706.00384):

        >>> from kd_lightning.losses import CrossEntropy
        >>> terms = {
        ...     "ce": Term(CrossEntropy(), ["student.logits", "target"]),
        ...     "mutual": Term(SoftTarget(temperature=1), ["student.logits", "peers.logits"]),
        ... }
        >>> module = DistillationModule({"one": torch.nn.Linear(16, 3), "two": torch.nn.Linear(16, 3)}, terms=terms)
        >>> trainer = lightning.Trainer(**quiet)
        >>> trainer.fit(module, my_loader)
        >>> sorted(name for name in trainer.callback_metrics if name.startswith("train/one/"))
        ['train/one/ce', 'train/one/ce_weighted', 'train/one/loss', 'train/one/mutual', 'train/one/mutual_weighted']
    """

    student: nn.Module
    """The network that learns; of several learners a `ModuleDict` of their networks."""

    objective: Objective
    """What is minimised; of several learners a `ModuleDict` of what `objectives` has in any case."""

    teacher: Source | None
    """What was given as such; where several were, they are in `sources` by their names."""

    def __init__(
        self,
        student: nn.Module | Mapping[str, nn.Module],
        teacher: nn.Module | Mapping[str, nn.Module] | None = None,
        terms: Mapping[str, Term] | Mapping[str, Mapping[str, Term]] | None = None,
        optimizer: MakesOptimizer | Mapping[str, MakesOptimizer] | None = None,
        scheduler: Schedule | Mapping[str, Schedule | None] | None = None,
        *,
        student_taps: Taps | Mapping[str, Taps] = "auto",
        teacher_taps: Taps | Mapping[str, Taps] = "auto",
        example_input: Input | Batch | Mapping[str, Batch] | None = None,
        task: Task | None = None,
        num_classes: int | None = None,
        training_set: Mapping[str, Tensor] | None = None,
        curriculum: Curriculum | None = None,
        on_nonfinite: OnNonFinite = "stop",
        random_states: Mapping[str, Tensor] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"config": dict(config)} if config else {}, logger=False)
        self.optimizer = optimizer or partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
        self.scheduler = scheduler
        learners, others = Networks.of("student", student), Networks.of("teacher", teacher)
        others.check_beside(learners)
        check_all_apart(learners.by_key(), others.by_key())
        self.learners = list(learners.given)
        self.learner = self.learners[0]
        for key, given in (("optimizer", self.optimizer), ("scheduler", scheduler)):
            of_each(key, given, self.learners)
        self.finite = FiniteNumbers(on_nonfinite)
        if task is not None and num_classes is not None:
            raise UserError(f"num_classes={num_classes}: the short form of a task; leave it out beside task")
        self.task = Classification(num_classes) if task is None else task
        terms = {self.task.supervised: Term(self.task.loss(), ["student.logits", "target"])} if terms is None else terms
        self.objectives = objectives_of(terms, learners, others)
        self.objective = cast(Objective, one_or_all(self.objectives))
        for objective in self.objectives.values():
            self.task.check_losses({f"{objective.key}.{name}": term.loss for name, term in objective.items()})
        self.views = {name: View(name, learners.key, self.learners) for name in self.learners}
        self._observer = of = learners.key if learners.key in self.views else self.learner  # who observes
        self.followed = None if curriculum is None else FollowedCurriculum(curriculum, self.task, self.finite, of)
        self.random = OwnStreams(self.learners)
        self._examples = {} if example_input is None else as_streams(example_input)
        self._example_input = self._examples[main_stream(self._examples)][INPUT] if self._examples else None
        seen = (self._names(), self._example_input, self.task.width)
        known = sources_of(others, teacher_taps, FrozenNetwork, *seen)
        self.sources: dict[str, Source] = {**sources_of(learners, student_taps, Learner, *seen), **known}
        self.student = one_or_all({name: self.network_of(name) for name in self.learners})
        self.teacher = None if others.are_named else known.get("teacher")
        if others.are_named:
            self.teachers = nn.ModuleDict(known)
        self.training_set = Constants(training_set or {})
        self.routes = followed_routes(self, self.task)
        self.validations = followed_validations(self.objectives, self.views, self.sources, self.task)
        absent = {} if others.given or "teacher" in learners.given else {"teacher": None}
        taps_keys = {name: one.key_of(name, "_taps") for one in (learners, others) for name in one.given}
        self._connect(absent, taps_keys, random_states or {})
        # What is equal on all ranks by itself is not sent anew before every step.
        self._ddp_params_and_buffers_to_ignore = [
            *(f"training_set.{name}" for name in self.training_set.names()),
            *(f"objective.{name}" for name in synchronized_buffers(self.objectives)),
        ]
        seen_by = None if self.followed is None else self.followed.measure
        self.measures = MeasuresOfAll(self.task, self.learners, list(known), seen_by)
        self._loaders: set[tuple[Stage, int]] = set()
        self.tested: dict[str, Any] = {}  # what the task's predictions gave in the latest test; of several by learner

    def network_of(self, learner: str) -> nn.Module:
        """The network of a learner."""
        source = self.sources[learner]
        assert isinstance(source, Learner)
        return source.network

    def _names(self, streams: Iterable[str | None] | None = None) -> list[str]:
        """All signals that terms take, of all streams or of these, by the names of their sources."""
        return taken_by_all(self.objectives, self.views, streams)

    def _connect(self, absent: Mapping[str, None], taps_keys: Mapping[str, str], states: Mapping[str, Tensor]) -> None:
        """Have the sources give what terms take, and build terms from one dry run; `absent` sources are not there."""
        self.begin_sources()
        signals = {name: source.signals for name, source in self.sources.items()}
        for name, objective in self.objectives.items():
            objective.see_labels(getattr(self.training_set, "target", None), self.task.width)
            given = {**absent, **self.views[name].given(signals)}
            objective.connect(given, self.training_set.names(), self.views[name].called(taps_keys))
        own = self.views[self._observer]
        observed = [] if self.followed is None else own.taken(self.followed.signals(own.called(signals)))
        switch = self.random.switch if len(self.learners) > 1 else None
        self._signals = StepSignals(self.sources, [*self._names(), *observed], self._names, self.task, switch)
        for name, objective in self.objectives.items():
            if self._examples:
                objective.check_streams(self._examples)
            if objective.is_built_from_examples:
                with dry_run(self.student, example_for(self._example_input)):  # which leaves the generator as it was
                    torch.set_rng_state(states.get(name, torch.get_rng_state()))
                    objective.build(*self.views[name].of_streams(self.example_signals(self._examples)))
                for source in self.learners:
                    check_apart(objective.key, objective, source, self.network_of(source))
        introduce_peers(self.objectives, self.views)
        self.following = following_losses(self.objectives, self.views, self.sources, self.task)

    def example_signals(self, streams: Mapping[str, Batch]) -> OfStreams:
        """The signals of examples, as of a step's streams; targets and indices are 0 where they have none."""
        return self._with_training_set(*self._signals.of_examples(streams, self.device, self.training))

    def forward(self, x: Input) -> Tensor:
        """The student's logits (B, C); of several learners the first one's."""
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
        for objective in self.objectives.values() if is_unlimited(self.trainer) else ():
            objective.refuse_without_length()
        self.ask_sources()
        if all(part.training for part in self.student.modules()):  # only the teacher is in eval mode
            warnings.filterwarnings("ignore", message=r"Found .* module\(s\) in eval mode")
        begin_equal(self.objectives)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        trainer = self._trainer  # an export has none
        if trainer is None or trainer.predicting:
            return batch
        return before_transfer(batch, self.task, self.sources.values() if trainer.training else ())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        streams = as_streams(batch)
        batch = streams[main_stream(streams)]
        progress = self.progress()
        for objective in self.objectives.values() if batch_idx == 0 else ():
            objective.check_streams(streams)
        with self.random.step(self.device):
            signals = self._with_training_set(*self._signals.of_streams(streams, self.training))
            for name in self.learners:
                if (logits := signals[0].get(f"{name}.logits")) is not None:
                    self.task.check_step(name, logits, signals[0].get("target"), training=True)
            values = self.losses(signals, progress)
        self.finite.losses(values)
        if self.followed is not None:
            self.followed.see(self.views[self._observer].of(signals[0]))
        if self.validations is not None:
            self.validations.see(signals[0])
        if self._is_shown():
            self._show(values, progress, size_of(batch))
        return total_of(values)

    def losses(self, signals: OfStreams, progress: Progress | None = None) -> dict[str, ObjectiveValue]:
        """What each learner minimises of a step's signals, as `example_signals` has them."""
        found = {}
        for name, objective in self.objectives.items():
            self.random.switch(name)
            main, named = self.views[name].of_streams(signals)
            found[name] = objective(main, self.views[name].progress(progress), named)
        return found

    def _is_shown(self) -> bool:
        """Whether somebody sees what this step logs: each `trainer.log_every_n_steps`, and at the beginning."""
        return self.global_step == 0 or self.trainer._logger_connector.should_update_logs

    def _show(self, values: Mapping[str, ObjectiveValue], progress: Progress, batch_size: int) -> None:
        """Log the terms, of several ranks their mean, which is what these minimise together."""
        found = shown(values, self.objectives, {name: view.progress(progress) for name, view in self.views.items()})
        means = mean_of_ranks({name: entry.detach() for name, entry in found.values.items()}, found.names)
        for name, entry in {**means, **found.changing}.items():
            self.log(f"train/{name}", entry, prog_bar=name in found.bar, batch_size=batch_size)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor] | None:
        """The logits of each learner by its name; None of a batch without targets."""
        batch = as_batch(batch)
        given = {name: self.sources[name](batch)["logits"] for name in self.learners} if "target" in batch else None
        if given is not None:
            self._measure("val", given, batch, dataloader_idx)
        return given

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        batch = as_batch(batch)
        given = {name: source(batch)["logits"] for name, source in self.sources.items() if "logits" in source.signals}
        self._measure("test", given, batch, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The student's logits (B, C); of several learners the first one's."""
        return self(as_batch(batch)["input"])

    def on_test_epoch_start(self) -> None:
        self.measures.reset()

    def on_test_epoch_end(self) -> None:
        if predicted := self.measures.predicted():
            self.tested = predicted if len(self.learners) > 1 else predicted[self.learner]

    def _measure(self, stage: Stage, given: Mapping[str, Tensor], batch: Batch, loader: int) -> None:
        """Update and log a loader's metrics of the learners, from the outputs of sources."""
        found = self.measures.update(stage, given, batch, loader, self.finite.outputs)
        if (stage, loader) not in self._loaders:
            self._loaders.add((stage, loader))
            self._metric_attributes = None  # Lightning looks for new metrics no second time
        for metrics, size in found:
            is_main = isinstance(metrics, MetricCollection)
            self.log_dict(metrics, prog_bar=is_main, batch_size=size, add_dataloader_idx=False)

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

    def configure_callbacks(self) -> list[Callback]:
        passes = [*preceding(self.sources), *second_passes(self.optimizer, self.learners)]
        own = [self.finite, self.followed, self.validations, self.following, *self.routes, *passes]
        return [one for one in own if one is not None and one not in self.trainer.callbacks]  # type: ignore[attr-defined]

    def teardown(self, stage: str) -> None:
        for source in self.sources.values():
            source.close()

    def configure_optimizers(self) -> Any:
        makers = of_each("optimizer", self.optimizer, self.learners)
        names = {name: view.taken(self.objectives[name].names()) for name, view in self.views.items()}
        trained = trained_parameters(self.sources, self.objectives, names)
        optimizers = {name: made(make, trained[name], self.network_of(name)) for name, make in makers.items()}
        return configured(optimizers, of_each("scheduler", self.scheduler, self.learners), lambda: self.length)

    def configure_gradient_clipping(self, optimizer: Optimizer, *clipping: Any, **options: Any) -> None:
        """Clip the gradient of each learner by itself."""
        for one in optimizers_in(optimizer).values():
            self.clip_gradients(one, *clipping, **options)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.finite.left_out = set()
        super().optimizer_step(*args, **kwargs)
        follow_step(self.sources, self.learners, self.finite.left_out, self.progress)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.finite.before_save(checkpoint["state_dict"], checkpoint["global_step"])
        checkpoint["sources"] = identities(self.sources)
        checkpoint.update(stored_beside(self.student))
        if len(self.learners) > 1:
            checkpoint["learners"] = {name: stored_beside(self.network_of(name)) for name in self.learners}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_identities(self.sources, checkpoint.get("sources", {}))
        if self._trainer is not None and "loops" in checkpoint:
            begin_next_epoch(self.trainer, checkpoint["loops"])
