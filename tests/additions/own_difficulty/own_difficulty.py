"""A difficulty of one's own, asked of the teacher once: how near its second choice comes to its first."""

from collections.abc import Mapping

from torch import Tensor

from kd_lightning.curricula import Asked


class NearTie(Asked):
    """The ratio of the teacher's second largest probability to its largest, from 0 to 1."""

    asks = ("teacher.logits",)

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        first, second = signals["teacher.logits"].softmax(dim=1).topk(2).values.unbind(dim=1)
        return second / first
