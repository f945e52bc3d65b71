"""A student that is distilled, loses channels, and is distilled again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from kd_lightning.plans import Convert, Parts, Role, Steps


@dataclass
class Prune:
    """Keeps the channels of the last stage whose weights are largest, and what belongs to them."""

    channels: int

    def fit(self, network: nn.Module, batches: Iterable[Any], sources: Mapping[str, nn.Module]) -> dict[str, Any]:
        sizes = network.get_parameter("layer3.0.weight").detach().flatten(1).norm(dim=1)
        return {"kept": sorted(sizes.topk(self.channels).indices.tolist())}

    def apply(self, network: nn.Module, record: Mapping[str, Any]) -> nn.Module:
        for layer in network.get_submodule("layer3").children():
            for values in (layer._parameters, layer._buffers):
                fewer = {name: v.detach()[record["kept"]] for name, v in values.items() if v is not None and v.ndim}
                values.update({name: type(values[name])(value) for name, value in fewer.items()})
        head: Any = network.get_submodule("fc")
        head.weight = nn.Parameter(head.weight[:, record["kept"]].detach())
        return network


@dataclass
class PrunedStudent:
    channels: int

    def steps(self, parts: Parts) -> Steps:
        teacher = yield parts.teacher
        whole = yield parts.distilled("unpruned", parts.student, teacher, role=Role.BASELINE, is_kept=True)
        pruned = yield Convert("pruned", whole, Prune(self.channels))
        yield parts.distilled("student", parts.student, teacher, starts_from=pruned)
