"""A curriculum along a chain of classes, one more in each epoch, that tells what it does."""

from typing import Any

import torch
from torch import Tensor

from kd_lightning.curricula import Account, Assessment, Curriculum, Samples


class Walking(Curriculum):
    """Teaches the classes one after another; what it taught before comes again with each."""

    def begin(self, samples: Samples) -> None:
        assert samples.concepts is not None
        self.concepts = samples.concepts.cpu()
        self.names = [f"class {one}" for one in self.concepts.unique().tolist()]
        self.accuracy: dict[str, float] = {}
        self.told = Account()

    def draw(self, epoch: int, count: int) -> Tensor:
        last = min(epoch, len(self.names) - 1)
        drawn = (self.concepts <= last).nonzero()[:, 0]
        because = "it is the first" if last == 0 else f"{self.names[last - 1]} was taught for an epoch"
        decisions = [f"{self.names[last]} is opened, for {because}"] if epoch == last else []
        values = {"share": len(drawn) / len(self.concepts)}
        self.told = Account(values, teaches=self.names[: last + 1], decisions=decisions)
        return drawn[torch.randperm(len(drawn))]

    def assess(self, results: Assessment) -> None:
        self.accuracy = dict(zip(self.names, results.by_class["top1"], strict=True))

    def account(self) -> Account:
        return self.told._replace(concepts=self.accuracy)

    def graph(self) -> dict[str, Any]:
        edges = [
            {"source": before, "target": after, "cost": 1.0}
            for before, after in zip(self.names, self.names[1:], strict=False)
        ]
        return {"directed": True, "nodes": [{"id": name} for name in self.names], "edges": edges}

    def state_dict(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.accuracy = state["accuracy"]
