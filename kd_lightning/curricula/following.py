"""How a training follows its curriculum: what it draws is kept, what it sees is shown to it, on all ranks alike."""

import copy
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from kd_lightning.batch import moved_to
from kd_lightning.curricula.accounts import Accounts
from kd_lightning.curricula.answers import AnswersToAll, Keep, answered
from kd_lightning.curricula.assessing import ConceptAssessment
from kd_lightning.curricula.curriculum import Curriculum, has_state
from kd_lightning.curricula.loaders import Order, only_loader, order_of, samples_of
from kd_lightning.data.derived.peek import seeded
from kd_lightning.errors import UserError
from kd_lightning.learners.following.schedules import validated
from kd_lightning.learners.optimizer import rate_of
from kd_lightning.ranks import gathered, on_any_rank
from kd_lightning.schedules.length import TimedModule, accumulation, batches_over
from kd_lightning.schedules.progress import Assessment
from kd_lightning.schedules.torch_schedule import NEVER, bring_to, steps_by_progress
from kd_lightning.signals import PEERS, check_signal, read
from kd_lightning.store.hashing import fold
from kd_lightning.tasks import Task
from kd_lightning.terminal import say, warn

LOGGED = "curriculum/"
BEGINNING = -1  # the epoch before the first one


class LeavesOut(Protocol):
    """What tells whose step was left out, as its loss or gradient was not finite."""

    left_out: set[str]


class FollowedCurriculum(Callback):
    """Has a training take its samples from a curriculum; `DistillationModule` brings its own.

    An epoch's draw is made once, as the epoch begins, and stands in checkpoints with the curriculum's state: a training
    that is taken up within an epoch goes on with it. The curriculum observes each batch after its step, and each
    validation at its end. It stands first among the callbacks, so that whatever saves or shows sees what it did.
    What the curriculum tells of an epoch is kept in `accounts`, and its values are logged as `curriculum/NAME`.

    Raises UserError for training data whose order is not to be given, for a draw that is none, and for a state that no
    checkpoint can hold.
    """

    def __init__(self, curriculum: Curriculum, task: Task, finite: LeavesOut, learner: str) -> None:
        self.curriculum, self.task, self.finite = curriculum, task, finite
        self.name = type(curriculum).__name__
        self.assessment: Assessment | None = None  # the latest
        self.observes = type(curriculum).observe is not Curriculum.observe
        self.names = tuple(curriculum.observes) if self.observes else ()
        self.learner = learner  # who observes; its step, and those of learners that it names, are what is seen
        self.seen_of = {learner, *(signal.source for signal in map(read, self.names) if signal is not None)}
        self.keep: Keep | None = None  # finds answers to all samples that were asked for before
        self.rehearses = False  # nothing is asked about more than a batch
        self.steps: dict[int, int] = {}  # of each epoch that was drawn
        self.drawn: tuple[int, Tensor] | None = None  # the epoch, and its positions, int64 (N,)
        self.accounts = Accounts(self.name)
        self._by_class = task.by_class()
        self._by_concept = ConceptAssessment(self.name, task)
        self._falling = [column.name for column in task.columns if not column.higher_is_better]
        self._stored: Mapping[str, Any] | None = None
        self._order: Order | None = None
        self._seen: list[dict[str, Tensor]] = []  # of each batch of the current step
        self._epoch_steps = 0  # of an epoch of all samples
        self._count = self._samples = self._over = 0
        self._schedulers: list[LRScheduler] = []  # which follow the training's progress
        self._most = math.inf  # batches of an epoch that the trainer takes

    def signals(self, given: Mapping[str, list[str]]) -> list[str]:
        """Those that it observes or asks for, of what each source gives. Raises UserError for one that nobody gives."""
        asks = tuple(self.curriculum.asks)
        for how, name in [*(("observes", one) for one in self.names), *(("asks", one) for one in asks)]:
            signal = read(name)
            if signal is not None and signal.source == PEERS:
                raise UserError(f"curriculum.{how}={name}: is known to a learner's terms alone; name a learner")
            check_signal(f"curriculum.{how}={name}", name, given)
        return [*self.names, *asks]

    def see(self, signals: Mapping[str, Tensor]) -> None:
        """Keep what is observed once the step is over. Raises UserError for a signal that the batch lacks."""
        if not self.observes:
            return
        seen = {}
        for name in self.names:
            if name not in signals:
                raise UserError(f"curriculum.observes={name}: the batch has no such signal; it gives {listed(signals)}")
            value = signals[name].detach()
            seen[name] = value.float() if value.is_floating_point() else value
        self._seen.append(seen)

    def measure(self, outputs: Tensor, target: Tensor, index: Tensor | None) -> None:
        """Count validated outputs (N, C), and of images their index, for what is measured by class and by concept."""
        if self._by_class is not None:
            self._by_class.to(outputs.device).update(outputs, target)
        self._by_concept.update(outputs, target, index)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        others = [one for one in trainer.callbacks if one is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [self, *others]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = []
        if self._stored is None:  # a training of its own, perhaps after another one of the same module
            self.steps, self.drawn = {}, None
            self.accounts.begin()
            self.assessment = timed(pl_module).assessment = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaders = trainer.fit_loop._combined_loader
        assert loaders is not None
        overfits = trainer.overfit_batches > 0  # type: ignore[attr-defined]
        loader = only_loader(loaders, self.name, overfits)
        order_of(loaders, self.name, trainer.world_size, trainer.global_rank)
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        validation = first_of(trainer.fit_loop.epoch_loop.val_loop._combined_loader)
        samples = samples_of(loader, self.task.outputs == "classes", pl_module.device, datamodule, validation)
        sources: Any = pl_module.sources
        answers = AnswersToAll(trainer, loader, sources, self.keep, rehearses=self.rehearses)
        samples = answered(samples, answers, validation)
        batches = int(trainer.num_training_batches)
        self._count, self._most, self._epoch_steps = len(samples.index), math.inf, steps_of(trainer, batches, 0)
        if is_limited(trainer):
            size = loaders.flattened[0].sampler.batch_size
            self._count, self._most = min(self._count, batches * size * trainer.world_size), batches
        with self._called("begin", BEGINNING):
            self.curriculum.begin(samples)
            self._by_concept.begin(self.curriculum.concepts_to_assess(), trainer)
        self._samples = len(samples.index)
        if self._stored is not None:
            with self._called("load_state_dict", BEGINNING):
                self.curriculum.load_state_dict(moved_to(self._stored, pl_module.device))
            self._stored, timed(pl_module).assessment = None, self.assessment
            trainer.should_stop |= self._finished(trainer) is not None
        else:
            with self._called("graph", BEGINNING):
                self.accounts.see_graph(self.curriculum.graph())
        self._schedulers = list(steps_by_progress(trainer))
        self._follow(trainer, pl_module, trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        self._check_state()
        assert self._order is not None
        self._order.over, self._over = self._over, 0
        iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type] # Lightning began the first epoch already

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow(trainer, pl_module, trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Before the step: a scheduler has moved on by its end.
        self.curriculum.learning_rate = rate_of(self.learner, trainer.optimizers[0])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for scheduler in self._schedulers:
            bring_to(scheduler, timed(pl_module).progress().fraction)
        if not self.observes:
            return
        assert self._order is not None
        if trainer.fit_loop._should_accumulate():
            return
        batches, self._seen = self._seen, []
        first = batch_idx + 1 - len(batches)
        for number, seen in enumerate([] if self.finite.left_out & self.seen_of else batches):
            positions = self._order.given[first + number].to(pl_module.device, non_blocking=True)
            of_all = gathered({"positions": positions, **seen})
            with torch.no_grad():
                self.curriculum.observe(of_all.pop("positions"), of_all)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch
        with self._called("account", epoch):
            self.accounts.measured(epoch, self.curriculum.account())
        for name, value in self.accounts.epochs[epoch].values.items():
            pl_module.log(f"{LOGGED}{name}", value, on_step=False, on_epoch=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._by_concept.reset()
        if self._by_class is not None:
            self._by_class.reset()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        by_class = {}
        if self._by_class is not None and on_any_rank(self._by_class.update_called):
            by_class = {name: values.tolist() for name, values in self._by_class.compute().items()}
        self.assessment = timed(pl_module).assessment = Assessment(
            trainer.current_epoch,
            validated(trainer),
            by_class,
            self._by_concept.by_concept(pl_module.device),
            self._falling,
        ).seen_by(self.learner)
        with self._called("assess", trainer.current_epoch):
            self.curriculum.assess(self.assessment)
        if reason := self._finished(trainer):
            trainer.should_stop = True
            self._decided(trainer.current_epoch, f"the training ends: {reason}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.curriculum.awaits is not None and self._finished(trainer) is None:
            where = "is stopped" if trainer.should_stop else "ends at its limit"
            self._decided(max(self.steps), f"the training {where}, before {self.curriculum.awaits} holds")

    def _finished(self, trainer: Trainer) -> str | None:
        """Why the training may end, which the curriculum knows."""
        with self._called("finished", trainer.current_epoch):
            return self.curriculum.finished()

    def _decided(self, epoch: int, sentence: str) -> None:
        """Say what was decided, and keep it with what was as the epoch began."""
        self.accounts.add(epoch, sentence)
        say("curriculum", sentence)

    def state_dict(self) -> dict[str, Any]:
        if self.drawn is None:
            return {}
        epoch, positions = self.drawn
        assessed = None if self.assessment is None else self.assessment._asdict()
        return {
            "name": self.name,
            "state": self.curriculum.state_dict(),
            "epoch": epoch,
            "drawn": positions,
            "steps": dict(self.steps),
            "assessment": assessed,
            "accounts": self.accounts.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises UserError where another curriculum was followed."""
        if state_dict["name"] != self.name:
            raise UserError(f"curriculum={self.name}: the checkpoint is of a training with {state_dict['name']}")
        self._stored = state_dict["state"]
        self.drawn = state_dict["epoch"], state_dict["drawn"].cpu()
        self.steps = state_dict["steps"]
        assessed = state_dict["assessment"]
        self.assessment = None if assessed is None else Assessment(**assessed)
        self.accounts.load_state_dict(state_dict["accounts"])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.state_key not in checkpoint.get("callbacks", {}):
            raise UserError(f"curriculum={self.name}: the checkpoint is of a training without a curriculum")
        self._over = batches_over(checkpoint["loops"]["fit_loop"])

    def _follow(self, trainer: Trainer, module: LightningModule, epoch: int) -> None:
        """Have an epoch hold what is drawn for it, once."""
        if self.drawn is None or self.drawn[0] != epoch:
            self.curriculum.progress = timed(module).progress()
            ahead = trainer.global_step + self._epoch_steps, epoch + 1
            self.curriculum.next_progress = timed(module).length.progress(*ahead, self.assessment)
            with self._called("draw", epoch):
                drawn = self.curriculum.draw(epoch, self._count)
            self.drawn = epoch, trainer.strategy.broadcast(self._checked(drawn, epoch))
            with self._called("account", epoch):
                self.accounts.tell(epoch, self.curriculum.account())
            for sentence in self.accounts.epochs[epoch].decisions:
                say("curriculum", sentence)
        loaders = trainer.fit_loop._combined_loader
        assert loaders is not None
        self._order = order_of(loaders, self.name, trainer.world_size, trainer.global_rank)
        self._take(self._order, self.drawn[1], epoch)
        batches = int(min(len(loaders.flattened[0]), self._most))
        if batches == 0:
            raise UserError(f"curriculum={self.name}: {len(self.drawn[1])} samples of epoch {epoch} leave no batch")
        loaders.limits = [batches]
        trainer.fit_loop.max_batches = batches
        if isinstance(trainer.val_check_interval, float) and math.isfinite(trainer.val_check_batch or math.inf):
            trainer.val_check_batch = max(1, int(batches * trainer.val_check_interval))
        self._count_steps(trainer, module, epoch, steps_of(trainer, batches, epoch))

    def ahead(self, trainer: Trainer, module: LightningModule, epochs: Iterable[int]) -> dict[int, Tensor]:
        """What the current epoch and those to come hold, int64 (M,) each, of a curriculum that learns nothing."""
        assert self.drawn is not None
        found, curriculum, order = dict([self.drawn]), self.curriculum, copy.copy(self._order)
        assert order is not None
        now = curriculum.progress, curriculum.next_progress, copy.deepcopy(curriculum.state_dict())
        steps, length = dict(self.steps), timed(module).length
        for epoch in sorted({*epochs} - {self.drawn[0]}):
            before = sum(steps.values())
            curriculum.progress = length.progress(before, epoch)
            curriculum.next_progress = length.progress(before + self._epoch_steps, epoch + 1)
            with self._called("draw", epoch):
                found[epoch] = self._checked(curriculum.draw(epoch, self._count), epoch)
            self._take(order, found[epoch], epoch)
            steps[epoch] = steps_of(trainer, int(min(len(order), self._most)), epoch)
            length = length.with_epochs({**steps, epoch + 1: self._epoch_steps})
        curriculum.progress, curriculum.next_progress, state = now
        curriculum.load_state_dict(state)
        return found

    def _take(self, order: Order, drawn: Tensor, epoch: int) -> None:
        try:
            order.take(drawn)
        except UserError as error:
            raise UserError(f"curriculum={self.name}: draws {len(drawn)} samples for epoch {epoch}; {error}") from error

    def _count_steps(self, trainer: Trainer, module: LightningModule, epoch: int, steps: int) -> None:
        """Have the training's progress count an epoch by the steps that it has."""
        is_other = steps != self._epoch_steps and not {*self.steps.values()} - {self._epoch_steps}
        self.steps[epoch] = steps
        length = timed(module).length.with_epochs({**self.steps, epoch + 1: self._epoch_steps})
        timed(module).length = length
        counts = any(one.interval == "step" and one.frequency != NEVER for one in trainer.lr_scheduler_configs)
        if is_other and trainer.max_steps == -1 and counts:
            warn(
                f"curriculum={self.name}: epoch {epoch} has {steps} steps, not {self._epoch_steps}, and a scheduler of "
                "torch counts them; TorchSchedule with interval=epoch, or trainer.max_steps, brings it to its end"
            )

    def _checked(self, drawn: object, epoch: int) -> Tensor:
        """A draw, int64 (M,) on the CPU. Raises UserError for what is none."""
        wrong = None
        if not isinstance(drawn, Tensor) or drawn.dtype != torch.int64 or drawn.ndim != 1:
            kind = type(drawn).__name__ if not isinstance(drawn, Tensor) else f"{drawn.dtype} {tuple(drawn.shape)}"
            wrong = f"is {kind}"
        elif not len(drawn):
            wrong = "is empty"
        elif int(drawn.min()) < 0 or int(drawn.max()) >= self._samples:
            wrong = f"holds {int(drawn.min() if int(drawn.min()) < 0 else drawn.max())}"
        if wrong is not None:
            raise UserError(
                f"curriculum={self.name}: draw of epoch {epoch} {wrong}; give positions int64 (M,) from 0 to "
                f"{self._samples - 1}"
            )
        assert isinstance(drawn, Tensor)
        return drawn.detach().cpu()

    def _check_state(self) -> None:
        """Raise UserError for a state that is not there, or that `torch.load` does not read with `weights_only`."""
        if self.curriculum.learns and not has_state(self.curriculum):
            raise UserError(
                f"curriculum={self.name}: learns from what it sees, and has no state_dict, so that no training could "
                "be taken up; give it state_dict and load_state_dict"
            )
        written = io.BytesIO()
        try:
            torch.save(self.curriculum.state_dict(), written)
            written.seek(0)
            torch.load(written, weights_only=True)
        except Exception as error:  # whatever pickle, or a class of the user's own, raises
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"curriculum={self.name}: its state_dict cannot be kept ({reason}); give tensors and plain values"
            ) from error

    @contextmanager
    def _called(self, method: str, *numbers: int) -> Iterator[None]:
        """With random numbers of the run's seed and these, of whose end the training knows nothing."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        with torch.no_grad(), seeded(fold(seed, *(number & 0xFFFFFFFF for number in numbers), len(method))):
            yield


def timed(module: LightningModule) -> TimedModule:
    assert isinstance(module, TimedModule)
    return module


def first_of(loaders: Any) -> Any:
    """The first of a validation's loaders; None without any."""
    return None if loaders is None or not loaders.flattened else loaders.flattened[0]


def listed(signals: Mapping[str, Any]) -> str:
    return ", ".join(signals)


def is_limited(trainer: Trainer) -> bool:
    """Whether a trainer may take fewer batches than an epoch has."""
    return isinstance(trainer.limit_train_batches, int) or trainer.limit_train_batches < 1


def steps_of(trainer: Trainer, batches: int, epoch: int) -> int:
    """The optimizer steps of an epoch's batches."""
    accumulated = accumulation(trainer)
    return max(1, math.ceil(batches / accumulated[max(first for first in accumulated if first <= epoch)]))
