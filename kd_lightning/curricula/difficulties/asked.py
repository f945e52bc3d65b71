"""Difficulties that a teacher tells, asked once about each sample as it is."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.difficulties.difficulty import Difficulty, check_values
from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import check_logits, check_target, has_label


class Asked(Difficulty):
    """A value of each sample by a frozen source's answer to it, found as the training begins, and then fixed.

    Each sample is shown as validation shows it: not augmented, to a network in eval mode. A data set that augments by
    itself has `data` beside it, the same samples in the same order as they are. One of your own is a subclass with
    `asks` and `value`. Raises UserError where there is nobody to ask, and for a value that is not finite.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Asked, Samples
        >>> class SecondBest(Asked):  # how sure the teacher is of its second choice
        ...     asks = ("teacher.logits",)
        ...     def value(self, signals):
        ...         return signals["teacher.logits"].softmax(dim=1).topk(2).values[:, 1]
        >>> answers = {"teacher.logits": torch.tensor([[9.0, 0.0], [0.0, 0.0]])}
        >>> second = SecondBest()
        >>> second.begin(Samples(torch.arange(2), answers=lambda question: question.value(answers)))
        >>> second.values.argsort().tolist()
        [0, 1]
    """

    def __init__(self, *, data: Dataset[Any] | None = None) -> None:
        self.data = data

    def begin(self, samples: Samples) -> None:
        if samples.answers is None:
            raise UserError(
                f"curriculum.difficulty={type(self).__name__}: nobody answers {' and '.join(self.asks)}; follow it in "
                "a DistillationModule, or choose another difficulty"
            )
        values = samples.answers(self).float()
        check_values(values, samples, f"curriculum.difficulty={type(self).__name__}")
        self.values = values

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        """Of a batch's samples, (B,)."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.values = state["values"]


class TeacherDifficulty(Asked):
    """By the logits (B, C) of a teacher, and the target; of a sample without a label the teacher's own class is it."""

    def __init__(
        self, logits: str = "teacher.logits", target: str = "target", *, data: Dataset[Any] | None = None
    ) -> None:
        super().__init__(data=data)
        self.logits, self.target = logits, target
        self.asks = logits, target

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        logits = signals[self.logits].float()
        try:
            check_logits(logits)
        except ValueError as error:
            raise UserError(f"curriculum.difficulty={type(self).__name__}: {self.logits}: {error}") from error
        return self.of(F.log_softmax(logits, dim=1), signals)

    def of(self, log_p: Tensor, signals: Mapping[str, Tensor]) -> Tensor:
        """Of log probabilities (B, C), (B,)."""
        raise NotImplementedError

    def classes(self, log_p: Tensor, signals: Mapping[str, Tensor]) -> Tensor:
        """The target as classes (B,). Raises UserError for none."""
        target = signals[self.target]
        try:
            check_target(log_p, target)
            if target.ndim != 1:
                raise ValueError(f"{self.target} holds probabilities")
        except ValueError as error:
            raise UserError(
                f"curriculum.difficulty={type(self).__name__}: {error}; choose teacher_entropy, which needs no class"
            ) from error
        return torch.where(has_label(target), target.long(), log_p.argmax(dim=1))


class TeacherLoss(TeacherDifficulty):
    """The teacher's cross-entropy, -log p_y: what the teacher gets wrong, or knows badly, is hard.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import TeacherLoss
        >>> answers = {"teacher.logits": torch.zeros(1, 2), "target": torch.tensor([0])}
        >>> TeacherLoss().value(answers)  # log 2
        tensor([0.6931])
    """

    def of(self, log_p: Tensor, signals: Mapping[str, Tensor]) -> Tensor:
        return -log_p.gather(1, self.classes(log_p, signals)[:, None])[:, 0]


class TeacherConfidence(TeacherDifficulty):
    """What the teacher's largest probability lacks to 1, 1 - max p, whatever the label.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import TeacherConfidence
        >>> TeacherConfidence().value({"teacher.logits": torch.zeros(1, 4)})
        tensor([0.7500])
    """

    def __init__(self, logits: str = "teacher.logits", *, data: Dataset[Any] | None = None) -> None:
        super().__init__(logits, data=data)
        self.asks = (logits,)

    def of(self, log_p: Tensor, signals: Mapping[str, Tensor]) -> Tensor:
        return 1 - log_p.amax(dim=1).exp()


class TeacherEntropy(TeacherDifficulty):
    """The entropy of the teacher's probabilities in nats, -Σ p·log p, whatever the label.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import TeacherEntropy
        >>> TeacherEntropy().value({"teacher.logits": torch.zeros(1, 4)})  # log 4
        tensor([1.3863])
    """

    def __init__(self, logits: str = "teacher.logits", *, data: Dataset[Any] | None = None) -> None:
        super().__init__(logits, data=data)
        self.asks = (logits,)

    def of(self, log_p: Tensor, signals: Mapping[str, Tensor]) -> Tensor:
        return torch.special.entr(log_p.exp()).sum(dim=1)


class TeacherMargin(TeacherDifficulty):
    """By how much the teacher's best other class is ahead of the label, max_{c≠y} p_c - p_y, from -1 to 1.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import TeacherMargin
        >>> answers = {"teacher.logits": torch.tensor([[0.6, 0.3, 0.1]]).log(), "target": torch.tensor([1])}
        >>> TeacherMargin().value(answers)
        tensor([0.3000])
    """

    def of(self, log_p: Tensor, signals: Mapping[str, Tensor]) -> Tensor:
        classes = self.classes(log_p, signals)[:, None]
        p = log_p.exp()
        return p.scatter(1, classes, -1.0).amax(dim=1) - p.gather(1, classes)[:, 0]
