"""A network that is trained."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kd_lightning.batch import INPUT, with_input
from kd_lightning.errors import UserError
from kd_lightning.models.heads import train_heads_apart
from kd_lightning.sources.network import TappedNetwork
from kd_lightning.sources.source import Source


class Learner(TappedNetwork, Source):
    """One network with its taps, in whatever mode its training has it.

    Args:
        network: any module; takes one of the batch's inputs, gives logits (B, C).
        taps: names and addresses, as `kd_lightning.taps.find_taps` gives them; `logits` is the output where absent.
        num_classes: tells the logits among several outputs.

    Examples:
        >>> import torch
        >>> from kd_lightning.sources import Learner
        >>> learner = Learner(torch.nn.Linear(16, 10))
        >>> learner({"input": torch.rand(2, 16)})["logits"].requires_grad
        True
    """

    trained = True

    def __init__(
        self,
        network: nn.Module,
        taps: Mapping[str, str] | None = None,
        *,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.has_two_heads = False
        self.read_by(taps, num_classes)

    def request(self, taps: Mapping[str, set[str]]) -> None:
        super().request(taps)
        self.has_two_heads = "logits_distilled" in set().union(*taps.values())
        self.train_heads_apart()

    def train_heads_apart(self) -> None:
        """Have a model of two heads train them as the terms take them; another training of the same may have set it."""
        train_heads_apart(self.network, self.has_two_heads)

    def forward(self, batch: Mapping[str, Any], input: str = INPUT, training: bool = False) -> dict[str, Tensor]:
        return self.reader(with_input(batch, input)[INPUT])

    def identity(self) -> dict[str, Any]:
        return {"model": type(self.network).__name__}


def learner_named(of: str | None, sources: Mapping[str, Source], key: str, asked: str) -> str:
    """The name of the learner that a source goes with, which may be left out where there is one alone.

    Raises UserError, with the key of the name and what is asked for, where there is none of it, or several.
    """
    learners = [name for name, one in sources.items() if isinstance(one, Learner)]
    name = learners[0] if of is None and len(learners) == 1 else of
    if name not in learners:
        raise UserError(f"{key}={of}: {asked}; there are {', '.join(learners) or 'none'}")
    assert name is not None
    return name
