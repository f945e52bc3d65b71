"""Hardness as the reward of a bandit: what is little known about a sample makes it worth another look."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.difficulties.dynamic import DynamicHardness
from kd_lightning.curricula.paces import checked, episode_at
from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import Progress


class Bandit(DynamicHardness):
    """Hardness that is summed, and by `decay` forgotten as an episode begins; an order ranks by what `explored` gives.

    `episodes` are where the second one begins, the third, …, as fractions of the training; None: the authors'. One of
    your own is a subclass with `forget` and `explored`. Raises UserError for values that cannot be.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Bandit, Samples
        >>> from kd_lightning.schedules import Progress
        >>> class Jittered(Bandit):
        ...     def forget(self, share):
        ...         self.values *= share
        ...     def explored(self, progress):
        ...         return self.values + torch.rand_like(self.values)
        >>> jittered = Jittered(episodes=[0.5])
        >>> jittered.begin(Samples(torch.arange(2)))
        >>> jittered.ranked_by(Progress(fraction=0.5)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        kind: Literal["loss", "change", "flip"] = "loss",
        decay: float = 0.9,
        episodes: Sequence[float] | None = None,
        logits: str = "student.logits",
        target: str = "target",
    ) -> None:
        super().__init__(kind, 0.0, logits, target)
        if not 0 < decay <= 1:
            raise UserError(f"decay={decay}: must be above 0, and 1 at most, which forgets nothing")
        self.kept, self.episodes = decay, checked(episodes)

    def begin(self, samples: Samples) -> None:
        super().begin(samples)
        self.episode = 0

    def ranked_by(self, progress: Progress) -> Tensor:
        now = episode_at(progress.fraction, self.episodes)
        self.forget(self.kept ** (now - self.episode))
        self.episode = now
        return self.explored(progress)

    @abstractmethod
    def forget(self, share: float) -> None:
        """Keep a share of what was summed."""

    @abstractmethod
    def explored(self, progress: Progress) -> Tensor:
        """What an order ranks by, (N,)."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "episode": self.episode}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.episode = state["episode"]


class UpperConfidence(Bandit):
    """The mean hardness of the n_i times that a sample was seen, and an upper bound on it: r_i + c·r̄·√(2·log E / n_i).

    r̄ is the mean over the samples, c the `bonus`, and E the number of epochs (DIHCL-UCB in the code of Zhou, Wang,
    Bilmes 2020, NeurIPS, after UCB1). As there the sums are decayed as an episode begins, and the counts are not.
    Raises UserError for values that cannot be.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples, UpperConfidence
        >>> bound = UpperConfidence("loss", bonus=1.0)
        >>> bound.begin(Samples(torch.arange(2)))
        >>> for sample in (0, 0, 0, 1):  # equally hard, and less is known of the second
        ...     answers = {"student.logits": torch.zeros(1, 2), "target": torch.tensor([0])}
        ...     bound.observe(torch.tensor([sample]), answers)
        >>> bound.values.tolist() == [bound.values[0]] * 2
        True
        >>> from kd_lightning.schedules import Progress
        >>> bound.ranked_by(Progress(epoch=5, fraction=0.01)).argsort(descending=True).tolist()
        [1, 0]
    """

    def __init__(
        self,
        kind: Literal["loss", "change", "flip"] = "loss",
        bonus: float = 1e-3,
        decay: float = 0.9,
        episodes: Sequence[float] | None = None,
        logits: str = "student.logits",
        target: str = "target",
    ) -> None:
        super().__init__(kind, decay, episodes, logits, target)
        if not bonus >= 0:
            raise UserError(f"bonus={bonus}: must be 0 or more")
        self.bonus = bonus

    def begin(self, samples: Samples) -> None:
        super().begin(samples)
        self.sums, self.counts = torch.zeros_like(self.values), torch.zeros_like(self.values)

    def learn(self, positions: Tensor, value: Tensor) -> None:
        self.sums[positions] = self.sums[positions] + self.hardness(positions, value)
        self.counts[positions] = self.counts[positions] + 1
        self.values[positions] = self.sums[positions] / self.counts[positions]
        self.seen[positions] = True

    def forget(self, share: float) -> None:
        self.sums *= share
        self.values = self.sums / self.counts.clamp(min=1)

    def explored(self, progress: Progress) -> Tensor:
        # A training without an end has as many epochs as are over.
        epochs = max(1.0, progress.epoch / progress.fraction if progress.fraction > 0 else progress.epoch)
        width = math.sqrt(2 * math.log(epochs)) * self.counts.clamp(min=1).rsqrt()
        return self.values + self.bonus * self.values.mean() * width

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "sums": self.sums, "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.sums, self.counts = state["sums"], state["counts"]


class BetaFlips(Bandit):
    """How likely the student's being right changes from one time to the next: Thompson sampling, r_i ~ Beta(A_i, B_i).

    A_i counts the changes and B_i the other times, both from `prior` on and decayed as an episode begins (DIHCL-Beta of
    Zhou, Wang, Bilmes 2020, NeurIPS, as in its code). Drawn anew for each epoch; `values` are the means A / (A + B).
    Raises UserError for values that cannot be.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import BetaFlips, Samples
        >>> flips = BetaFlips()
        >>> flips.begin(Samples(torch.arange(2)))
        >>> for logits in ([1.0, 0.0], [0.0, 1.0]):  # right, then wrong
        ...     answers = {"student.logits": torch.tensor([logits]), "target": torch.tensor([0])}
        ...     flips.observe(torch.tensor([1]), answers)
        >>> flips.values  # 2 / 4 and 3 / 5
        tensor([0.5000, 0.6000])
    """

    def __init__(
        self,
        prior: float = 2.0,
        decay: float = 0.9,
        episodes: Sequence[float] | None = None,
        logits: str = "student.logits",
        target: str = "target",
    ) -> None:
        super().__init__("flip", decay, episodes, logits, target)
        if not prior > 0:
            raise UserError(f"prior={prior}: must be a number above 0")
        self.prior = prior

    def begin(self, samples: Samples) -> None:
        super().begin(samples)
        self.flips = torch.full_like(self.values, self.prior)
        self.others = self.flips.clone()
        self.values = self.flips / (self.flips + self.others)

    def known(self) -> Tensor:
        return torch.ones_like(self.seen)  # what was not seen has its prior

    def learn(self, positions: Tensor, value: Tensor) -> None:
        flip, was_seen = self.hardness(positions, value), self.seen[positions].to(value.dtype)
        self.flips[positions] = self.flips[positions] + flip
        self.others[positions] = self.others[positions] + was_seen * (1 - flip)
        self.values[positions] = self.flips[positions] / (self.flips[positions] + self.others[positions])
        self.seen[positions] = True

    def forget(self, share: float) -> None:
        self.flips *= share
        self.others *= share

    def explored(self, progress: Progress) -> Tensor:
        return torch.distributions.Beta(self.flips, self.others, validate_args=False).sample()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "flips": self.flips, "others": self.others}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.flips, self.others = state["flips"], state["others"]
