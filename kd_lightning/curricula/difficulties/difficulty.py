"""How hard each training sample is: what a difficulty does."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import Progress


class Difficulty:
    """How hard each sample is, larger for harder ones, known from the start. One of your own is a subclass.

    Where `observes` names signals it learns from each batch, in train mode and through augmentation, as the training
    has them; `state_dict` then tells what it learned. Where `asks` names signals it may have them of all samples as
    they are, in `begin` by `samples.answers`.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Difficulty, Samples
        >>> class ByClass(Difficulty):
        ...     def begin(self, samples):
        ...         self.values = samples.target.float()
        >>> easy = ByClass()
        >>> easy.begin(Samples(torch.arange(3), torch.tensor([2, 0, 1])))
        >>> easy.values.argsort().tolist()
        [1, 2, 0]
    """

    observes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    values: Tensor  # (N,)

    learning_rate: float | Tensor = 0.0
    """That of the step whose batch `observe` sees."""

    def begin(self, samples: Samples) -> None:
        """Forget everything: a training of these samples begins, about which nothing is known."""
        self.values = torch.zeros(len(samples.index), device=samples.index.device)

    def observe(self, positions: Tensor, signals: Mapping[str, Tensor]) -> None:
        """See a batch after its step: positions int64 (B,), and the signals that `observes` names."""

    def ranked_by(self, progress: Progress) -> Tensor:
        """What an order ranks by, asked once as an epoch is drawn, (N,): the values, or one that also explores."""
        return self.values

    def known(self) -> Tensor | None:
        """Of which samples it knows the difficulty so far, bool (N,); None: of all."""
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, after `begin`."""


def check_values(values: Tensor, samples: Samples, key: str) -> None:
    """UserError, naming the key, for what is not one finite number for each sample."""
    if values.shape != samples.index.shape:
        raise UserError(
            f"{key}: its values have shape {tuple(values.shape)}; give one finite number for each sample, "
            f"{tuple(samples.index.shape)}"
        )
    wrong = (~values.isfinite()).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise UserError(f"{key}: sample {first} is {float(values[first])}; give one finite number for each sample")
