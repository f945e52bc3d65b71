"""A metric for each loader of a stage."""

from typing import Any, cast

from torch import nn
from torchmetrics import MetricCollection


class ByLoader(nn.Module):
    """A metric or a collection for each loader of a stage, all alike, each with its own counts."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.each = nn.ModuleList([first])

    def of(self, loader: int) -> Any:
        """That of a loader, made when it is first asked for."""
        while len(self.each) <= loader:
            fresh = cast(Any, self.each[0]).clone()
            fresh.reset()
            if isinstance(fresh, MetricCollection):
                fresh.postfix = of_loader(len(self.each))
            self.each.append(fresh)
        return self.each[loader]


def of_loader(loader: int) -> str:
    """What a name ends in for another loader than the first, as Lightning has it."""
    return f"/dataloader_idx_{loader}" if loader else ""
