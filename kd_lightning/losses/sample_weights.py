"""What each sample counts in a term: ready functions of a step's signals, and how `Term` asks for its `sample_weight`.

A function names the signals that it takes in `signals`, is called with the mapping of them, and returns (B,).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.losses.arguments import as_number, check_positive
from kd_lightning.losses.functional.divergence import cross_entropies
from kd_lightning.schedules.progress import Number
from kd_lightning.signals import has_rows

__all__ = ["Confidence", "Entropy", "EntropyOfBoth", "SelfPaced", "TeacherCorrect"]

Signals = Mapping[str, Tensor]
SampleWeight = str | Callable[[Signals], Tensor]


@dataclass(frozen=True)
class Confidence:
    """The largest probability, max softmax(z): sure samples count more (Hendrycks, Gimpel 2017, arXiv:1610.02136).

    Args:
        logits: the signal z (B, C), such as `teacher.logits`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.sample_weights import Confidence
        >>> Confidence("teacher.logits")({"teacher.logits": torch.zeros(2, 4)})
        tensor([0.2500, 0.2500])
    """

    logits: str = "teacher.logits"

    @property
    def signals(self) -> list[str]:
        return [self.logits]

    def __call__(self, signals: Mapping[str, Tensor]) -> Tensor:
        return F.softmax(signals[self.logits], dim=1).amax(dim=1)


@dataclass(frozen=True)
class Entropy:
    """The entropy -Σ p·log p in nats, p = softmax(z/T): unsure samples count more; at most log C.

    Su et al. 2023, arXiv:2311.13621v1: distillation weighted by the teacher's entropy at T = 4.

    Args:
        logits: the signal z (B, C), such as `teacher.logits`.
        temperature: T.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.sample_weights import Entropy
        >>> sure, unsure = Entropy("teacher.logits")({"teacher.logits": torch.tensor([[9.0, 0.0], [0.0, 0.0]])})
        >>> bool(sure < unsure)
        True
    """

    logits: str = "teacher.logits"
    temperature: Number = 4.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)

    @property
    def signals(self) -> list[str]:
        return [self.logits]

    def __call__(self, signals: Mapping[str, Tensor]) -> Tensor:
        log_p = F.log_softmax(signals[self.logits] / as_number(self.temperature), dim=1)
        return cross_entropies(log_p, log_p.exp())


@dataclass(frozen=True)
class EntropyOfBoth:
    """½·H_T·(1 + H_S/log C): what the teacher, and what the student is unsure of counts more (EA-KD).

    Su et al. 2023, arXiv:2311.13621 (ICCV 2025): H_T and H_S are the entropies in nats of softmax(z/T) of teacher and
    student at T = 3, on ImageNet 2, without gradient. The authors' code for KD and DKD on CIFAR-100 divides H_S by
    100 instead of log 100, to which their numbers of these belong: `divisor=100`. Raises UserError for a number that is
    not positive.

    Args:
        temperature: T.
        divisor: of the student's entropy; None: log C, its largest value.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.sample_weights import EntropyOfBoth
        >>> logits = {"student.logits": torch.zeros(1, 4), "teacher.logits": torch.zeros(1, 4)}
        >>> round(float(EntropyOfBoth()(logits)), 4)  # of both at their largest: log 4
        1.3863
    """

    temperature: Number = 3.0
    divisor: float | None = None
    student: str = "student.logits"
    teacher: str = "teacher.logits"

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        if self.divisor is not None:
            check_positive(divisor=self.divisor)

    @property
    def signals(self) -> list[str]:
        return [self.student, self.teacher]

    def __call__(self, signals: Mapping[str, Tensor]) -> Tensor:
        student, teacher = (Entropy(name, self.temperature)(signals) for name in self.signals)
        largest = math.log(signals[self.student].shape[1]) if self.divisor is None else self.divisor
        return 0.5 * teacher * (1 + student / largest)


@dataclass(frozen=True)
class TeacherCorrect:
    """1 where the teacher's likeliest class is the label, else 0: what it gets wrong is not handed on.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.sample_weights import TeacherCorrect
        >>> logits = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
        >>> TeacherCorrect()({"teacher.logits": logits, "target": torch.tensor([0, 1])})
        tensor([1., 0.])
    """

    logits: str = "teacher.logits"
    target: str = "target"

    @property
    def signals(self) -> list[str]:
        return [self.logits, self.target]

    def __call__(self, signals: Mapping[str, Tensor]) -> Tensor:
        logits = signals[self.logits]
        return (logits.argmax(dim=1) == signals[self.target]).to(logits.dtype)


@dataclass(frozen=True)
class SelfPaced:
    """Samples on which the student's cross-entropy l is below a threshold λ, which a schedule may raise.

    hard: 1 where l < λ, else 0 (Kumar, Packer, Koller 2010, NeurIPS, "Self-Paced Learning for Latent Variable Models");
    linear: max(0, 1 - l/λ) (Jiang et al. 2014, ACM Multimedia, "Easy Samples First: Self-paced Reranking for
    Zero-Example Multimedia Search"). A sample without a label counts 0. Raises UserError for another kind, and for a
    threshold that is not positive.

    Args:
        threshold: λ in nats, a number or a schedule.
        kind: hard or linear.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.sample_weights import SelfPaced
        >>> signals = {"student.logits": torch.tensor([[3.0, 0.0], [0.0, 3.0]]), "target": torch.tensor([0, 0])}
        >>> SelfPaced(threshold=1.0)(signals)
        tensor([1., 0.])
    """

    threshold: Number = 1.0
    kind: str = "hard"
    logits: str = "student.logits"
    target: str = "target"

    def __post_init__(self) -> None:
        check_positive(threshold=self.threshold)
        if self.kind not in ("hard", "linear"):
            raise UserError(f"kind={self.kind}: must be hard or linear")

    @property
    def signals(self) -> list[str]:
        return [self.logits, self.target]

    def __call__(self, signals: Mapping[str, Tensor]) -> Tensor:
        target = signals[self.target]
        losses = F.cross_entropy(signals[self.logits], target.clamp_min(0), reduction="none")
        left = torch.where(target < 0, 0, 1 - losses / as_number(self.threshold))
        return left.clamp_min(0) if self.kind == "linear" else (left > 0).to(losses.dtype)


def unknown(name: str, signals: Signals, key: str) -> UserError:
    """The line about a signal that is not there."""
    close = did_you_mean(str(name), signals)
    return UserError(f"{key}={name}: nobody gives this signal; {close}there are {', '.join(signals)}")


def full_precision(value: Tensor) -> Tensor:
    """A half-precision value as float32; any other as it is."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


class FullPrecision(Mapping[str, Tensor]):
    """Signals by name, in full precision once they are asked for."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def __getitem__(self, name: str) -> Tensor:
        return full_precision(self.signals[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.signals)

    def __len__(self) -> int:
        return len(self.signals)


def named(sample_weight: Any) -> str:
    """Sample weights on a line: the signal, or what makes them."""
    return sample_weight if isinstance(sample_weight, str) else type(sample_weight).__name__


def signals_of(sample_weight: SampleWeight | None) -> list[str]:
    """The names of the signals that sample weights are made from, as far as these tell."""
    found = sample_weight if isinstance(sample_weight, str) else getattr(sample_weight, "signals", [])
    return [found] if isinstance(found, str) else list(found)


def renamed(sample_weight: str, names: Mapping[str, str | list[str]]) -> str:
    """Sample weights' signal by the name that it stands for. Raises `UserError` where it stands for several."""
    found = names.get(sample_weight, sample_weight)
    if isinstance(found, str):
        return found
    raise UserError(f"sample_weight={sample_weight}: is {len(found)} signals; must be one, a weight for each sample")


@torch.no_grad()
def weights_of(sample_weight: SampleWeight, signals: Signals, values: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The weights (B,) of a loss's values (B,), in their precision, without gradient.

    Where the values are those of rows (N,), tokens or pixels, `lengths` (B,) tells how many of them each sample has; a
    sample's weight is then that of each of its rows, and a function of rows gives one for each row.
    Raises `UserError` for a signal that nobody gives, and for weights of another shape.
    """
    try:
        given = FullPrecision(signals)
        weights: Any = given[sample_weight] if isinstance(sample_weight, str) else sample_weight(given)
    except KeyError as missing:
        if missing.args[0] in signals:
            raise
        raise unknown(missing.args[0], signals, "sample_weight") from missing
    of_samples = lengths is not None and not any(map(has_rows, signals_of(sample_weight)))
    if lengths is not None and of_samples and isinstance(weights, Tensor) and weights.shape == lengths.shape:
        weights = weights.repeat_interleave(lengths, output_size=len(values))
    if not isinstance(weights, Tensor) or weights.shape != values.shape:
        found = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise UserError(
            f"sample_weight={named(sample_weight)}: gives {found}; must be a weight for each sample, "
            f"{tuple(values.shape)}"
        )
    return weights.detach().to(values.dtype)
