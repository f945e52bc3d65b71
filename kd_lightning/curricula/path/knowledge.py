"""What a teacher knows of the concepts, asked about all validation samples before a training begins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kd_lightning.curricula.concepts import Concepts
from kd_lightning.curricula.curriculum import Samples
from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import has_label


class Known(NamedTuple):
    """A teacher's accuracy on each concept, and its mean soft answer to the samples of each.

    NaN of a concept that has no sample with a label; `answers` are None where nobody asked for them.

    Args:
        accuracy: by the concept's name.
        answers: float32 (K, C), in the order of the names.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula.path import Known
        >>> Known({"cat": 0.9, "dog": 0.8}, torch.tensor([[0.7, 0.3], [0.4, 0.6]])).accuracy["dog"]
        0.8
    """

    accuracy: Mapping[str, float]
    answers: Tensor | None = None


@dataclass(frozen=True)
class IsRight:
    """Whether a source's logits (B, C) are right, (B,)."""

    logits: str
    target: str = "target"

    @property
    def asks(self) -> tuple[str, ...]:
        return self.logits, self.target

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        """1 where they are, 0 where not; NaN where there is no label. Raises UserError for other shapes."""
        logits, target = (signals[name] for name in self.asks)
        if logits.ndim != 2 or target.shape != logits.shape[:1] or target.is_floating_point():
            raise UserError(
                f"{self.logits}={tuple(logits.shape)}: concepts are known by classes, logits (N, C) and target (N,); "
                "take another curriculum"
            )
        return torch.where(has_label(target), (logits.argmax(dim=1) == target).float(), math.nan)


@dataclass(frozen=True)
class SoftAnswer:
    """A source's probabilities at a temperature, (B, C)."""

    logits: str
    temperature: float

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.logits,)

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        return torch.softmax(signals[self.logits] / self.temperature, dim=1)


def known_of(validation: Samples, concepts: Concepts, logits: str, temperature: float | None) -> Known:
    """What the source of these logits knows; soft answers where there is a temperature. Raises UserError for nobody."""
    if validation.answers is None:
        raise UserError(
            f"curriculum.against: nobody answers {logits}; follow the curriculum in a DistillationModule, or give null"
        )
    of_samples = concepts.in_validation(validation.target, validation.index)
    right = validation.answers(IsRight(logits))
    labelled = ~right.isnan() & (of_samples >= 0)
    soft = None if temperature is None else validation.answers(SoftAnswer(logits, temperature))
    masks = [labelled & (of_samples == k) for k in range(len(concepts.names))]
    accuracy = [float(right[mask].cpu().double().mean()) for mask in masks]  # NaN of none
    answers = None if soft is None else torch.stack([soft[mask].mean(dim=0) for mask in masks]).cpu()
    return Known(dict(zip(concepts.names, accuracy, strict=True)), answers)


def surest(names: Sequence[str], known: Known, concepts: Concepts) -> str:
    """Of some concepts that with the highest accuracy, and of equal ones that with the clearest answer."""
    places = {name: place for place, name in enumerate(concepts.names)}
    clear = None if known.answers is None else known.answers.nan_to_num().amax(dim=1).tolist()

    def rank(name: str) -> tuple[float, float]:
        accuracy = known.accuracy[name]
        return -1.0 if math.isnan(accuracy) else accuracy, 0.0 if clear is None else clear[places[name]]

    return max(names, key=rank)
