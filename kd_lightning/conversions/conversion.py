"""What a conversion does: look at a trained network once, and change any network of its kind in the same way."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from kd_lightning.batch import Batch


@runtime_checkable
class Conversion(Protocol):
    """A change of a network that is no training: a new head, pruning, quantisation.

    It is kept as plain values, never as a pickled module: its class by the dotted name, its arguments, which are its
    attributes of the same names, and the record of what it found. So a network is made again from its code: built, then
    converted by the record, then given its weights.

    Examples:
        >>> from dataclasses import dataclass
        >>> import torch
        >>> from kd_lightning.conversions import Conversion, converted
        >>> @dataclass
        ... class Widest:  # keeps the hidden units of the largest weights
        ...     units: int
        ...     def fit(self, network, batches, sources):
        ...         sizes = network[0].weight.norm(dim=1)
        ...         return {"kept": sorted(sizes.topk(self.units).indices.tolist())}
        ...     def apply(self, network, record):
        ...         kept = record["kept"]
        ...         for name, rows in (("0", (kept,)), ("1", (slice(None), kept))):
        ...             layer = network.get_submodule(name)
        ...             layer.weight = torch.nn.Parameter(layer.weight.detach()[rows].clone())
        ...         return network
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.Linear(8, 3, bias=False))
        >>> pruned, entry = converted(network, Widest(units=2), [], {})
        >>> pruned[1].weight.shape
        torch.Size([3, 2])
    """

    def fit(self, network: nn.Module, batches: Iterable[Batch], sources: Mapping[str, nn.Module]) -> dict[str, Any]:
        """The record of what to change, as plain values: what JSON has. The network stays as it is.

        `batches` are training batches, `sources` what else the training knew, such as its teacher.
        """
        ...

    def apply(self, network: nn.Module, record: Mapping[str, Any]) -> nn.Module:
        """The network changed as the record says: this one, or another around its parts.

        It is given the trained network, whose weights it keeps as far as they remain, and later fresh ones of the same
        kind, which get their weights afterwards: then shapes and names alone count.
        """
        ...
