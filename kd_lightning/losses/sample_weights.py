"""What each sample counts in a term: functions of a step's signals, given to `Term` as `sample_weight`.

Each names the signals that it takes in `signals`, calls with the mapping of them, and returns (B,), without gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.arguments import check_positive
from kd_lightning.losses.functional.divergence import cross_entropies


@dataclass(frozen=True)
class Confidence:
    """The largest probability, max softmax(z): sure samples count more (Hendrycks, Gimpel 2017, arXiv:1610.02136).

    Args:
        logits: the signal z (B, C), such as `teacher.logits`.
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
    """

    logits: str = "teacher.logits"
    temperature: float = 4.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)

    @property
    def signals(self) -> list[str]:
        return [self.logits]

    def __call__(self, signals: Mapping[str, Tensor]) -> Tensor:
        log_p = F.log_softmax(signals[self.logits] / self.temperature, dim=1)
        return cross_entropies(log_p, log_p.exp())
