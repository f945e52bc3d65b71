"""A curriculum of a difficulty, an order and a pace."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd_lightning.curricula.curriculum import Account, Curriculum, Samples
from kd_lightning.curricula.difficulties import Difficulty
from kd_lightning.curricula.orders import SampleOrder
from kd_lightning.curricula.paces import Pace


class Paced(Curriculum):
    """Each epoch holds the first samples of an order by difficulty, as many as the pace has in use by then.

    An epoch is as long as without a curriculum, so that trainings compare at equal steps: the share in use is gone
    through in random order again and again, and a sample that comes again in an epoch has another view. The share is
    that at the epoch's beginning. A difficulty that learns is asked from the second epoch on; the first holds as many
    samples, chosen at random. A sample that was not seen yet counts as hard as one that was, by chance.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import EasyFirst, FromData, Linear, Paced, Samples
        >>> curriculum = Paced(FromData(), EasyFirst(), Linear(start=0.5))
        >>> curriculum.begin(Samples(torch.arange(4), difficulty=torch.tensor([3.0, 1.0, 2.0, 0.0])))
        >>> sorted(curriculum.draw(epoch=0, count=4).tolist())
        [1, 1, 3, 3]
    """

    def __init__(self, difficulty: Difficulty, order: SampleOrder, pace: Pace) -> None:
        self.difficulty, self.order, self.pace = difficulty, order, pace
        self.observes, self.asks = difficulty.observes, difficulty.asks

    @property
    def learns(self) -> bool:
        return bool(self.observes) and self.order.by_difficulty

    def begin(self, samples: Samples) -> None:
        self.samples = samples._replace(answers=None, validation=None)  # which hold on to the training
        self.is_known = not self.learns  # else there is nothing to order by before an epoch was seen
        self.difficulty.begin(samples)
        self.told = Account()

    def draw(self, epoch: int, count: int) -> Tensor:
        total = len(self.samples.index)
        in_use = max(1, round(self.pace(self.progress.fraction) * total))
        self.order.progress = self.progress
        order = self.order(self._difficulties(), self.samples) if self.is_known else torch.randperm(total)
        self.told = Account(self.values_of(order[:in_use]))
        first, self.is_known = order[:in_use].cpu(), True
        rounds = -(-count // in_use)
        return torch.cat([first[torch.randperm(in_use)] for _ in range(rounds)])[:count]

    def _difficulties(self) -> Tensor:
        """Those of all samples, (N,): one that was never seen takes that of a sample that was, by chance."""
        values, seen = self.difficulty.ranked_by(self.progress), self.difficulty.known()
        known = values if seen is None else values[seen]
        if seen is None or not len(known):
            return values
        return torch.where(seen, values, known[torch.randint(len(known), values.shape, device=values.device)])

    def values_of(self, in_use: Tensor) -> dict[str, float]:
        """The share of the samples that is in use, and as far as it is known their mean difficulty."""
        values, seen = self.difficulty.values, self.difficulty.known()
        positions = in_use.to(values.device)
        known = positions if seen is None else positions[seen[positions]]
        difficulty = {"difficulty": float(values[known].mean())} if len(known) else {}
        return {"share": len(in_use) / len(self.samples.index), **difficulty}

    def account(self) -> Account:
        return self.told

    def observe(self, positions: Tensor, signals: Mapping[str, Tensor]) -> None:
        self.difficulty.learning_rate = self.learning_rate
        self.difficulty.observe(positions, signals)

    def state_dict(self) -> dict[str, Any]:
        told = dict(self.told.values)
        return {"is_known": self.is_known, "told": told, "difficulty": self.difficulty.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.is_known, self.told = state["is_known"], Account(state["told"])
        self.difficulty.load_state_dict(state["difficulty"])
