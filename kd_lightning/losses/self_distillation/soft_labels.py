"""Losses on logits by which a network learns from soft labels without a teacher, as modules."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import (
    as_number,
    check_labels,
    check_not_negative,
    check_numbers,
    check_one_label,
    check_positive,
    check_same_classes,
    check_share,
)
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import labelled
from kd_lightning.losses.tables import rows_of, write_rows
from kd_lightning.losses.whole_batch import whole_batch
from kd_lightning.schedules.progress import Number


class PSKD(nn.Module):
    """The network's own answers of the epoch before as its soft labels; see `functional.ps_kd`.

    It keeps a table of probabilities (M, C), a row for each of the M training samples, of 4·M·C bytes: it lies where
    the module lies and stands in checkpoints, so that a training which is taken up again ends as one that was not
    interrupted. After a training step's loss the step's answers are written, under an initialised process group those
    of all processes, so that the tables stay equal; not in eval mode or without gradients. A sample that an epoch draws
    again gets the answer of before.

    Takes logits (B, C), target and index (B,) of a batch, and the index (M,) of all training samples, which `build`
    alone uses. A sample that does not train has its label alone, and is not remembered.

    Args:
        share: α, of the own answers in the soft label; as published, a schedule that rises to 0.8 epoch by epoch,
            `Warmup(value=0.8)`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import PSKD
        >>> loss = PSKD(share=0.5)
        >>> logits, target, index = torch.randn(8, 10), torch.arange(8), torch.arange(8)
        >>> loss.build(logits, target, index, torch.arange(100))  # makes the table, as a `Term` does
        >>> first = loss(logits.requires_grad_(), target, index)  # no answer is known: cross-entropy
        >>> torch.allclose(first, torch.nn.functional.cross_entropy(logits, target))
        True
        >>> torch.allclose(loss.answers[:8], logits.softmax(dim=1))
        True
    """

    outputs = "classes"
    teaches_itself = True
    synchronizes_buffers = True  # several ranks' tables are written alike
    index: Tensor  # (M,) ascending; a sample's place is its row
    answers: Tensor  # (M, C), zeros of a sample that has not trained yet

    def __init__(self, share: Number = 0.8) -> None:
        super().__init__()
        check_share(share=share)
        self.share = as_number(share)

    def build(self, logits: Tensor, target: Tensor, index: Tensor, train_index: Tensor | None) -> None:
        check_same_classes(logits)
        if train_index is None or len(train_index) == 0:
            raise UserError("train.index=[]: a table of answers needs the training samples' index; use such data")
        self.register_buffer("index", train_index.long().sort().values)
        self.register_buffer("answers", torch.zeros(len(train_index), logits.shape[1], device=logits.device))

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        index: Tensor,
        train_index: Tensor | None = None,
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        check_labels(logits, target)
        if len(index) != len(logits):
            raise UserError(
                f"index={tuple(index.shape)}: this loss remembers one answer for each sample, and the logits are "
                f"{tuple(logits.shape)}, with a row for each token or pixel; use a loss without a memory"
            )
        rows = rows_of(index, self.index)
        past = torch.where(rows[:, None] >= 0, self.answers[rows.clamp(min=0)], 0.0)
        value = functional.ps_kd(logits, target, past, self.share, reduction=reduction)
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                written, answered = whole_batch(rows, logits.detach().softmax(dim=1).to(self.answers.dtype))
                write_rows(self.answers, written, answered)
        return value

    def counted(self, logits: Tensor, target: Tensor, *_: Tensor) -> Tensor | None:
        return labelled(target)


class VirtualTeacher(nn.Module):
    """A hand-made teacher of every label, Tf-KD_reg; see `functional.virtual_teacher`. Takes logits (B, C) and target.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import VirtualTeacher
        >>> VirtualTeacher(correct=0.99, temperature=20.0)(torch.zeros(1, 10), torch.tensor([3]))
        tensor(0.0001)
    """

    outputs = "classes"
    teaches_itself = True

    def __init__(self, correct: Number = 0.99, temperature: Number = 20.0) -> None:
        super().__init__()
        check_numbers(lambda number: 0 < number <= 1, "above 0 and at most 1", correct=correct)
        check_positive(temperature=temperature)
        self.correct, self.temperature = as_number(correct), as_number(temperature)

    def forward(self, logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_labels(logits, target)
        return functional.virtual_teacher(logits, target, self.correct, self.temperature, reduction=reduction)

    def counted(self, logits: Tensor, target: Tensor) -> Tensor | None:
        return labelled(target)


class USKD(nn.Module):
    """Soft labels by Zipf's law over a network's own ranks; see `functional.uskd`.

    Takes logits (B, C), the stages' features, of which the second to last has a linear classifier of its own, behind
    the mean over places, and target (B,). With one stage that one has it. The classifier learns with the network, and
    is left behind with the loss.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import USKD
        >>> loss, logits, target = USKD(), torch.randn(8, 10), torch.arange(8)
        >>> stages = [torch.rand(8, 16, 8, 8), torch.rand(8, 32, 4, 4)]
        >>> loss.build(logits, stages, target)  # makes the classifier, as a `Term` does
        >>> loss(logits, stages, target).shape
        torch.Size([])
    """

    outputs = "classes"
    teaches_itself = True
    any_memory_format = True

    def __init__(self, alpha: Number = 1.0, beta: Number = 0.1, mu: Number = 0.005) -> None:
        super().__init__()
        check_not_negative(alpha=alpha, beta=beta, mu=mu)
        self.alpha, self.beta, self.mu = as_number(alpha), as_number(beta), as_number(mu)

    def build(self, logits: Tensor, stages: Sequence[Tensor], target: Tensor) -> None:
        check_same_classes(logits)
        self.classifier = nn.Linear(pooled(middle_of(stages)).shape[1], logits.shape[1])

    def forward(
        self, logits: Tensor, stages: Sequence[Tensor], target: Tensor, *, reduction: Reduction = "mean"
    ) -> Tensor:
        check_one_label(target)
        weak = self.classifier(pooled(middle_of(stages)))
        return functional.uskd(logits, weak, target, self.alpha, self.beta, self.mu, reduction=reduction)

    def counted(self, logits: Tensor, stages: Sequence[Tensor], target: Tensor) -> Tensor | None:
        return labelled(target)


def middle_of(stages: Sequence[Tensor]) -> Tensor:
    """The second to last, or the only one."""
    return stages[max(0, len(stages) - 2)]


def pooled(feature: Tensor) -> Tensor:
    """The mean over the places of a map (B, C, H, W), or over tokens (B, N, C); (B, C) stays."""
    if feature.ndim == 3:
        return feature.mean(dim=1)
    return feature.flatten(2).mean(dim=2) if feature.ndim > 3 else feature
