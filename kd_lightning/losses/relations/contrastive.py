"""Losses that tell an example's pair from others' pairs, as modules."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_constant, check_one_label, check_positive, check_share
from kd_lightning.losses.functional.samples import Reduction, has_label
from kd_lightning.losses.relations.embedding import Embedding
from kd_lightning.losses.relations.memory_bank import MemoryBank
from kd_lightning.losses.relations.training_images import TrainingImages
from kd_lightning.schedules.progress import Number


class CRD(nn.Module):
    """Contrastive representation distillation; see `functional.contrastive_nce`.

    L = NCE(e_s with the teacher's bank) + NCE(e_t with the student's bank). The embeddings e are linear and of unit
    norm. A bank keeps a moving average of each training image's embedding; the positive is the image's own row, the
    negatives are rows of other classes, drawn anew for each image in each step. Tian, Krishnan, Isola 2020,
    arXiv:1910.10699, as RepDistiller's `exact` mode; but with replacement, whatever the number of negatives.

    Takes features (B, ...), index and target (B,) of a batch, and index and target (M,) of all training images, which
    `build` alone uses. An image that does not train counts in the value, teaches nothing and is not remembered;
    one without a label, -1 or -100, has no negatives and leaves the loss.
    The banks move after a training step's loss, as it stood before; they do not in eval mode or without gradients.
    Under an initialised process group they move by the batches of all processes, which must be of equal size.

    Memory, for E = embedding and K = negatives: banks 2·M·E, in a step as much again and O(B·(M + K)): one product with
    the whole bank is less than gathering B·K·E, up to M = K·E images.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CRD
        >>> index, target = torch.arange(100), torch.arange(100) % 10  # of all training images
        >>> student, teacher = torch.rand(8, 16), torch.rand(8, 64)
        >>> loss = CRD(embedding=32, negatives=64)
        >>> loss.build(student, teacher, index[:8], target[:8], index, target)  # makes the memories, as a `Term` does
        >>> loss(student, teacher, index[:8], target[:8]).shape
        torch.Size([])
    """

    any_memory_format = True

    synchronizes_buffers = True  # several ranks' banks move alike
    key: Tensor  # 0-d, decides the negatives; one more after each training step

    def __init__(
        self, embedding: int = 128, negatives: int = 16384, temperature: Number = 0.07, momentum: Number = 0.5
    ) -> None:
        super().__init__()
        check_constant(embedding=embedding, negatives=negatives)
        check_positive(embedding=embedding, negatives=negatives, temperature=temperature)
        check_share(momentum=momentum)  # the part that a row keeps of itself
        self.width, self.negatives = embedding, negatives
        self.temperature, self.momentum = as_number(temperature), as_number(momentum)

    def build(
        self,
        student: Tensor,
        teacher: Tensor,
        index: Tensor,
        target: Tensor,
        train_index: Tensor | None,
        train_target: Tensor | None,
    ) -> None:
        self.images = TrainingImages(train_index, train_target)
        self.embed_student = Embedding(student, self.width)
        self.embed_teacher = Embedding(teacher, self.width)
        self.student_bank = MemoryBank(len(self.images), self.width)
        self.teacher_bank = MemoryBank(len(self.images), self.width)
        self.register_buffer("key", torch.randint(2**62, ()))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        index: Tensor,
        target: Tensor,
        train_index: Tensor | None = None,
        train_target: Tensor | None = None,
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        check_one_label(target)
        labelled = has_label(target)
        rows = self.images.rows(index)
        negatives = self.images.negatives(index, target, self.negatives, self.key)
        candidates = torch.cat([rows.clamp(min=0)[:, None], negatives], dim=1)
        e_student = _known(F.normalize(self.embed_student(student), dim=1), rows)
        e_teacher = _known(F.normalize(self.embed_teacher(teacher), dim=1), rows)
        loss = self._side(e_student, self.teacher_bank, candidates, labelled, reduction)
        loss = loss + self._side(e_teacher, self.student_bank, candidates, labelled, reduction)
        if self.training and torch.is_grad_enabled():
            self.student_bank.update(rows, e_student, self.momentum)
            self.teacher_bank.update(rows, e_teacher, self.momentum)
            self.key += 1
        return loss

    def counted(self, student: Tensor, teacher: Tensor, index: Tensor, target: Tensor, *_: Tensor) -> Tensor:
        return has_label(target)

    def _side(
        self, embeddings: Tensor, bank: MemoryBank, candidates: Tensor, labelled: Tensor, reduction: Reduction
    ) -> Tensor:
        scores = bank.scores(embeddings, candidates, self.temperature)
        return functional.contrastive_nce(scores, len(self.images), labelled, reduction=reduction)


def _known(embeddings: Tensor, rows: Tensor) -> Tensor:
    """The embeddings, without a gradient where the row is -1."""
    return torch.where(rows[:, None] >= 0, embeddings, embeddings.detach())
