"""Numbers that go wrong in a training: seen on the device in each step, asked for now and then, and the end of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from kd_lightning.batch import main_batch
from kd_lightning.errors import NonFinite, UserError
from kd_lightning.finite import is_wrong, listed, nan_if, nan_if_any_nonfinite, nonfinite_names
from kd_lightning.learners.names import of_learner
from kd_lightning.learners.optimizer import optimizers_in
from kd_lightning.objective import ObjectiveValue
from kd_lightning.ranks import first_of_ranks, on_any_rank

OnNonFinite = Literal["stop", "skip"]
SKIPPED_IN_A_ROW = 10  # steps, after which `skip` ends the training as well
SMALLEST_SCALE = 2.0**-20  # of a float16 scaler: a gradient that overflows even so is not finite
SHOWN = 128  # indices
GRADIENT = "the gradient"


@dataclass(frozen=True)
class TrainingBatch:
    """A batch of a training, and the optimizer step that it went into."""

    step: int
    epoch: int
    batch: int
    index: Tensor | None


@dataclass(frozen=True)
class PendingCheck:
    """What must be finite, by name, (N,) on the device, and what it was measured on."""

    names: list[str]
    values: Tensor
    batches: list[TrainingBatch]
    learner: str = ""  # whose, where there are several


class FiniteNumbers(Callback):
    """Ends a training whose loss, gradient or weights are not finite; `DistillationModule` brings its own.

    Losses and gradients stay on the device until they are asked for: in the steps that are logged, before a validation,
    at an epoch's end and before a checkpoint is written, so that none holds anything after the first bad step. With
    `skip` each step waits for the device. One that is not finite changes nothing: no weight, no optimizer state, no
    buffer of the student or of a term. `SKIPPED_IN_A_ROW` of them end the training, too. All ranks do the same. In
    float16 a gradient that overflows is the scaler's business, who leaves out the step itself.

    Of several learners each leaves out its own bad steps, and the others learn on, as each would alone; but in float16
    the scaler, which is one for all, leaves out the step of all.

    Raises NonFinite: the step, the terms or the gradient, and the batch.
    """

    def __init__(self, on_nonfinite: OnNonFinite = "stop") -> None:
        if on_nonfinite not in ("stop", "skip"):
            raise UserError(f"on_nonfinite={on_nonfinite}: must be stop or skip")
        self.skips = on_nonfinite == "skip"
        self.skipped_of: dict[str, int] = {}  # steps by learner, so far
        self.left_out: set[str] = set()  # the learners whose latest step was skipped
        self._in_a_row: dict[str, int] = {}
        self._reset()

    @property
    def skipped(self) -> int:
        """How many steps were skipped so far; of several learners, of all together."""
        return sum(self.skipped_of.values())

    def _reset(self) -> None:
        self._pending: list[PendingCheck] = []  # on the device, not looked at yet
        self._batches: list[TrainingBatch] = []  # of the current optimizer step
        self._buffers_before: dict[str, list[Tensor]] = {}  # by learner, the buffers as they were before it
        self._unusual: set[str] = set()  # buffers that were not finite from the beginning, such as masks
        self._wrong_rows: list[tuple[Tensor, Tensor | None]] = []
        self._notes_outputs = False
        self._fault: str | None = None  # after which nothing may be saved

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reset()
        floating = {name: buffer for name, buffer in pl_module.named_buffers() if buffer.is_floating_point()}
        buffers = {name: buffer for name, buffer in floating.items() if not bool(buffer.isnan().any())}
        self._unusual = set(nonfinite_names(buffers))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self._batches and self.skips:
            each = {learner: changing_buffers(pl_module, learner) for learner in pl_module.learners}
            self._buffers_before = {learner: [one.clone() for one in buffers] for learner, buffers in each.items()}
        index = main_batch(batch).get("index")
        self._batches.append(TrainingBatch(trainer.global_step, trainer.current_epoch, batch_idx, index))

    def losses(self, learners: Mapping[str, ObjectiveValue]) -> None:
        """Note the terms of the current batch by learner; nothing outside a training by Lightning's trainer."""
        for learner, value in learners.items() if self._batches else ():
            values = torch.stack([*value.weighted.values(), value.total]).detach()
            of = learner if len(learners) > 1 else ""
            self._pending.append(PendingCheck([*value.weighted, "the loss"], values, self._batches[-1:], of))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = getattr(scaler, "_scale", None)
        each = optimizers_in(optimizer)
        for of, one in each.items():
            gradients = gradients_of(one)
            if gradients:
                wrong = nan_if_any_nonfinite(gradients) if scale is None else nan_if(scale < SMALLEST_SCALE)
                self._pending.append(PendingCheck([GRADIENT], wrong, self._batches, of))
        if self.skips:
            pending, self._pending = self._pending, []
            for of, one in each.items():
                self._pending = [check for check in pending if check.learner == of]
                learner = of or pl_module.learner
                fault = self._take()
                self._in_a_row[learner] = self._in_a_row.get(learner, 0) + 1 if fault else 0
                if fault:
                    self.skipped_of[learner] = self.skipped_of.get(learner, 0) + 1
                    if self._in_a_row[learner] == SKIPPED_IN_A_ROW:
                        raise NonFinite(f"{fault}; the {SKIPPED_IN_A_ROW}th step in a row that was skipped")
                    self._undo(pl_module, learner, one, is_unscaled_by_optimizer(scaler, optimizer))
                    self.left_out.add(learner)
        self._batches = []

    def _undo(self, module: Any, learner: str, optimizer: Optimizer, unscales: bool) -> None:
        """Leave everything of a learner as it was before the step."""
        for gradient in gradients_of(optimizer) if unscales else []:
            gradient.fill_(math.inf)  # which the scaler sees, and so takes no step
        if not unscales:
            optimizer.zero_grad(set_to_none=True)  # without a gradient an optimizer leaves a weight alone
        for buffer, before in zip(changing_buffers(module, learner), self._buffers_before[learner], strict=True):
            buffer.copy_(before)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not trainer._logger_connector.should_update_logs:
            return
        self.check()
        for learner in pl_module.learners if self.skips else ():
            name = "train/skipped_steps"
            name = of_learner(name, learner) if len(pl_module.learners) > 1 else name
            count = torch.tensor(float(self.skipped_of.get(learner, 0)))
            pl_module.log(name, count, on_step=True, on_epoch=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.before_save(pl_module.state_dict(), trainer.global_step)

    def check(self) -> None:
        """Raise NonFinite if anything that was noted since the last time is not finite."""
        if not self.skips:
            self._fault = self._fault or self._take()
        if self._fault:
            raise NonFinite(self._fault)

    def before_save(self, state: Mapping[str, Any], step: int) -> None:
        """Raise NonFinite rather than let weights be written that are not finite, or that a bad step made."""
        self.check()
        state = {name: value for name, value in state.items() if name not in self._unusual}
        names = nonfinite_names(state)
        if on_any_rank(bool(names)):
            names = first_of_ranks([names] if names else [])
            raise NonFinite(f"after step {step - 1}: {listed(names)} {'are' if len(names) > 1 else 'is'} not finite")

    def _take(self) -> str | None:
        """What is wrong first, on any rank, among what is pending, which it ends."""
        pending, self._pending = self._pending, []
        if not pending:
            return None
        values = torch.cat([one.values.flatten() for one in pending])
        if not on_any_rank(~values.isfinite().all()):
            return None
        wrong = [one for one in pending if not bool(one.values.isfinite().all())]
        found = [(one.batches[0].step, one.names == [GRADIENT], described(one)) for one in wrong[:1]]
        fault: str = first_of_ranks(found)[-1]
        return fault

    def outputs(self, logits: Tensor, index: Tensor | None) -> Tensor:
        """Note logits (B, C) of a validation or a test, and the indices of their inputs; which have no softmax: (B,)"""
        wrong = is_wrong(logits)
        if self._notes_outputs:
            self._wrong_rows.append((wrong, index))
        return wrong

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._wrong_rows, self._notes_outputs = [], True

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._wrong_rows, self._notes_outputs = [], True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._warn_of_wrong_rows("validation")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._warn_of_wrong_rows("test")

    def _warn_of_wrong_rows(self, stage: str) -> None:
        noted, self._wrong_rows, self._notes_outputs = self._wrong_rows, [], False
        if not noted or not bool(torch.cat([rows for rows, _ in noted]).any()):
            return
        count = sum(int(rows.sum()) for rows, _ in noted)
        where = [index[rows] for rows, index in noted if index is not None]
        of = f", of images {numbers(where)}" if where else ""
        rank_zero_warn(f"{stage}: the logits of {count} inputs are not finite and count as wrong{of}")

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped_of, "in_a_row": self._in_a_row} if self.skipped else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped_of, self._in_a_row = dict(state_dict["skipped"]), dict(state_dict["in_a_row"])


def changing_buffers(module: Any, learner: str) -> list[Tensor]:
    """What a step may change of a learner beside the weights: statistics, memories."""
    changing: list[Any] = [module.network_of(learner), module.objectives[learner]]
    return [buffer for part in changing for buffer in part.buffers()]


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    return [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]


def is_unscaled_by_optimizer(scaler: Any, optimizer: Optimizer) -> bool:
    """Whether the optimizer divides by a float16 scaler's scale itself, as fused ones do."""
    return scaler is not None and bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def described(wrong: PendingCheck) -> str:
    """One line: the step, what is not finite, the batch."""
    first, last = wrong.batches[0], wrong.batches[-1]
    pairs = [(name, value) for name, value in zip(wrong.names, wrong.values.flatten().tolist(), strict=True)]
    bad = [(name, value) for name, value in pairs if not math.isfinite(value)]
    terms = [(name, value) for name, value in bad if name != "the loss"] or bad
    of = f"{wrong.learner}'s " if wrong.learner else ""
    what = of + " and ".join(name if name == GRADIENT else f"{name} ({value})" for name, value in terms)
    which = f"batch {first.batch}" if first is last else f"batches {first.batch} to {last.batch}"
    index = [batch.index for batch in wrong.batches if batch.index is not None]
    images = f", images {numbers(index)}" if index else ""
    verb = "are" if len(terms) > 1 else "is"
    return f"step {first.step}: {what} {verb} not finite; {which} of epoch {first.epoch}{images}"


def numbers(parts: list[Tensor]) -> str:
    """Indices, ascending, on one line."""
    values = sorted(torch.cat([part.flatten() for part in parts]).tolist())
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more
