"""A frozen network."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kd_lightning.models.weights.weights import state_sha256
from kd_lightning.sources.network import TappedNetwork
from kd_lightning.sources.source import FrozenSource


class FrozenNetwork(TappedNetwork, FrozenSource):
    """One network with its taps, which stays as it is: the plain teacher.

    Args:
        network: any module; it is put in eval mode and its parameters stop requiring gradients.
        taps: names and addresses, as `kd_lightning.taps.find_taps` gives them; `logits` is the output where absent.
        name: what to call it in checkpoints and summaries; its class's name where None.
        batch_statistics: whether, while the student learns, batch normalisations take each batch's own statistics, as
            the authors of OFD have it (Heo et al. 2019, arXiv:1904.01866). Nothing else is in train mode, dropout
            neither; the running statistics stay as they are, and serve in tests and for a batch of one.
        num_classes: tells the logits among several outputs.

    Examples:
        >>> import torch
        >>> from kd_lightning.sources import FrozenNetwork
        >>> network = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Linear(8, 10))
        >>> teacher = FrozenNetwork(network, taps={"stage1": "0"})
        >>> teacher.request({"input": {"stage1"}})
        >>> {name: tuple(value.shape) for name, value in teacher({"input": torch.rand(2, 16)}).items()}
        {'logits': (2, 10), 'stage1': (2, 8)}
        >>> list(teacher.state_dict())  # never in a checkpoint
        []
    """

    def __init__(
        self,
        network: nn.Module,
        taps: Mapping[str, str] | None = None,
        name: str | None = None,
        *,
        batch_statistics: bool = False,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.batch_statistics = batch_statistics
        self.network = network
        self.name = name or type(network).__name__
        self._sha256 = state_sha256(network)
        self.read_by(taps, num_classes)
        self.freeze()

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.reader(batch["input"])

    def identity(self) -> dict[str, Any]:
        return {"model": self.name, "sha256": self._sha256}
