"""A toy pruning: the channels of a digits network's last stage whose weights are largest stay."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from kd_lightning.batch import Batch


@dataclass
class PruneChannels:
    """Keeps so many channels of `layer3`, and what belongs to them in its normalisation and the classifier."""

    channels: int

    def fit(self, network: nn.Module, batches: Iterable[Batch], sources: Mapping[str, nn.Module]) -> dict[str, Any]:
        sizes = network.get_parameter("layer3.0.weight").detach().flatten(1).norm(dim=1)
        return {"kept": sorted(sizes.topk(self.channels).indices.tolist())}

    def apply(self, network: nn.Module, record: Mapping[str, Any]) -> nn.Module:
        kept = record["kept"]
        for name, value in [*network.layer3.named_parameters(), *network.layer3.named_buffers()]:  # type: ignore[union-attr]
            if value.ndim:
                replace(
                    network.get_submodule(f"layer3.{name.rpartition('.')[0]}"), name.rpartition(".")[2], value[kept]
                )
        replace(network.get_submodule("fc"), "weight", network.get_parameter("fc.weight")[:, kept])
        return network


def replace(layer: nn.Module, name: str, value: Any) -> None:
    setattr(layer, name, nn.Parameter(value.detach().clone()) if name in layer._parameters else value.clone())


class Wrapped(nn.Module):
    """A network whose logits are divided."""

    def __init__(self, network: nn.Module, by: float) -> None:
        super().__init__()
        self.network, self.by = network, by

    def forward(self, images: Any) -> Any:
        return self.network(images) / self.by


@dataclass
class Divide:
    """Another network around the first."""

    by: float = 2.0

    def fit(self, network: nn.Module, batches: Iterable[Batch], sources: Mapping[str, nn.Module]) -> dict[str, Any]:
        return {"by": self.by}

    def apply(self, network: nn.Module, record: Mapping[str, Any]) -> nn.Module:
        return Wrapped(network, record["by"])
