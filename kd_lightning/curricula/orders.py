"""Orders: which samples come first, by their difficulty or against it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.paces import checked, episode_at
from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import without_label_as
from kd_lightning.schedules.progress import BEGIN, Progress


class SampleOrder(ABC):
    """Ranks samples, and gives their positions from first to last. One of your own is a subclass with `rank`.

    `stratified` takes the first ones of each class in turn, so that a share of the data has all classes in their
    proportions; samples without a label count as a class of their own. Raises UserError where the data tell no classes.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import SampleOrder, Samples
        >>> class MiddleFirst(SampleOrder):
        ...     def rank(self, difficulty):
        ...         return (difficulty - difficulty.median()).abs()
        >>> MiddleFirst()(torch.tensor([0.1, 0.9, 0.4]), Samples(torch.arange(3))).tolist()
        [2, 0, 1]
    """

    by_difficulty: bool = True
    """Whether the difficulty decides anything."""

    progress: Progress = BEGIN
    """How far the training is as an epoch is drawn."""

    def __init__(self, stratified: bool = False) -> None:
        self.stratified = stratified

    def __call__(self, difficulty: Tensor, samples: Samples) -> Tensor:
        """difficulty (N,) -> positions int64 (N,), those that come first in front."""
        rank = self.rank(difficulty)
        if not self.stratified:
            return rank.argsort(stable=True)
        if samples.target is None or samples.target.ndim != 1 or samples.target.is_floating_point():
            raise UserError("stratified=true: the data tell no classes; give stratified=false")
        _, classes = without_label_as(-1, samples.target).unique(return_inverse=True)
        return place_within(rank, classes).argsort(stable=True)

    @abstractmethod
    def rank(self, difficulty: Tensor) -> Tensor:
        """difficulty (N,) -> (N,), where the smallest come first."""


class EasyFirst(SampleOrder):
    """The least difficult samples first.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import EasyFirst, Samples
        >>> EasyFirst()(torch.tensor([0.5, 0.1, 0.9]), Samples(torch.arange(3))).tolist()
        [1, 0, 2]
        >>> EasyFirst(stratified=True)(torch.tensor([1.0, 2.0, 3.0]), Samples(torch.arange(3), torch.tensor([0, 0, 1])))
        tensor([0, 2, 1])
    """

    def rank(self, difficulty: Tensor) -> Tensor:
        return difficulty


class HardFirst(SampleOrder):
    """The most difficult samples first: what an order from easy to hard is to be compared with.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import HardFirst, Samples
        >>> HardFirst()(torch.tensor([0.5, 0.1, 0.9]), Samples(torch.arange(3))).tolist()
        [2, 0, 1]
    """

    def rank(self, difficulty: Tensor) -> Tensor:
        return -difficulty


class RandomOrder(SampleOrder):
    """A fixed random order, of which the difficulty decides nothing: the control at the same pace.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import RandomOrder, Samples
        >>> order, samples = RandomOrder(seed=1), Samples(torch.arange(4))
        >>> torch.equal(order(torch.rand(4), samples), order(torch.rand(4), samples))
        True
    """

    by_difficulty = False

    def __init__(self, stratified: bool = False, seed: int = 0) -> None:
        super().__init__(stratified)
        self.seed = seed

    def rank(self, difficulty: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(difficulty), generator=generator).to(difficulty.device)


class SampledHard(SampleOrder):
    """Drawn anew for each epoch, the difficult ones more likely in front: without replacement, p_i ∝ exp(s·r_i / r̄).

    r̄ is the mean difficulty, or 1 where `relative` is false. s is `sharpness` in the first episode, and falls by
    `factor` from one to the next, to `least` (DIHCL, Zhou, Wang, Bilmes 2020, NeurIPS, as in its code). `episodes` are
    where the second one begins, the third, …, as fractions of the training; None: the authors'. Raises UserError for
    values that cannot be.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples, SampledHard
        >>> order = SampledHard(sharpness=1000.0)
        >>> order(torch.tensor([0.2, 0.4, 0.3]), Samples(torch.arange(3))).tolist()
        [1, 2, 0]
    """

    def __init__(
        self,
        sharpness: float = 20.0,
        factor: float = 0.8,
        least: float = 1.0,
        episodes: Sequence[float] | None = None,
        stratified: bool = False,
        relative: bool = True,
    ) -> None:
        super().__init__(stratified)
        for name, value in {"sharpness": sharpness, "factor": factor, "least": least}.items():
            if not value > 0:
                raise UserError(f"{name}={value}: must be a number above 0")
        self.sharpness, self.factor, self.least, self.episodes = sharpness, factor, least, checked(episodes)
        self.relative = relative

    def rank(self, difficulty: Tensor) -> Tensor:
        sharpness = max(self.least, self.sharpness * self.factor ** episode_at(self.progress.fraction, self.episodes))
        mean = difficulty.mean() if self.relative else torch.ones_like(difficulty.mean())
        utility = torch.where(mean > 0, difficulty / mean, torch.zeros_like(difficulty))
        # The k largest of independent Gumbel variables are k draws without replacement.
        gumbel = -torch.empty_like(utility).exponential_().log()
        return -(sharpness * utility + gumbel)


def place_within(rank: Tensor, classes: Tensor) -> Tensor:
    """Each sample's place among those of its class, 0 or more, as a share: (k + 1/2) / n for the k-th of n, (N,)."""
    order = rank.argsort(stable=True)
    of_class = order[classes[order].argsort(stable=True)]  # class by class, in order within each
    counts = torch.bincount(classes)
    first = counts.cumsum(0) - counts
    sizes = counts[classes[of_class]]
    places = torch.arange(len(rank), device=rank.device) - first[classes[of_class]]
    return torch.empty(len(rank), device=rank.device).scatter_(0, of_class, (places + 0.5) / sizes)
