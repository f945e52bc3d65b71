"""Another image of each image's class, as a pure function of seed, epoch and index."""

from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from kd_lightning.data.views import view_of

SAME_CLASS_EPOCHS = 3 * 2**32  # added to an epoch's number, so that partners are drawn apart from views
MOST_IMAGES = 2**31  # of a class


class Partners(NamedTuple):
    """Draws for each of N samples another one with its label, each of them equally likely.

    `by_class` (N,) has the samples' positions class by class; `begins`, `size` and `place` (N,) tell of each sample
    where its class begins there, how many samples that has, and which of them it is.

    Examples:
        >>> import torch
        >>> from kd_lightning.data.labels.same_class import Partners
        >>> partners, index = Partners.among(torch.tensor([0, 1, 0, 1])), torch.arange(4)
        >>> partners.drawn(seed=0, epoch=0, positions=index, index=index)
        tensor([2, 3, 0, 1])
    """

    by_class: Tensor
    begins: Tensor
    size: Tensor
    place: Tensor

    @classmethod
    def among(cls, labels: Tensor) -> Self:
        """Of samples with these labels, int64 (N,); those without one are a class of their own."""
        by_class = torch.argsort(labels, stable=True)
        _, counts = labels[by_class].unique_consecutive(return_counts=True)
        begins = (counts.cumsum(0) - counts).repeat_interleave(counts)
        of_each = torch.empty_like(by_class).scatter_(0, by_class, torch.arange(len(labels)))
        return cls(by_class, begins[of_each], counts.repeat_interleave(counts)[of_each], of_each - begins[of_each])

    def drawn(self, seed: int, epoch: int, positions: Tensor, index: Tensor, repeats: Tensor | None = None) -> Tensor:
        """The partners' positions: `positions` and `index` of samples, int64 (B,) both -> int64 (B,)

        `repeats` (B,) says how often each was drawn before in the epoch: it meets another one each time. One that is
        alone in its class is its own partner. The same for any batch that a sample stands in.
        """
        others = (self.size[positions] - 1).clamp(min=1)
        chance = view_of(seed, epoch + SAME_CLASS_EPOCHS, index, MOST_IMAGES)
        step = 1 + (chance if repeats is None else chance + repeats) % others
        return self.by_class[self.begins[positions] + (self.place[positions] + step) % self.size[positions]]
