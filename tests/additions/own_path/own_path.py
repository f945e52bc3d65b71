"""A learning path of one's own: digits by the number of their holes, opened by how fast the student learns them."""

from collections.abc import Sequence
from typing import Any

import networkx
import torch

from kd_lightning.curricula import Concepts, Samples
from kd_lightning.curricula.path import Assessed, ConceptKind, Gate, Graph

HOLES = [1, 0, 0, 0, 1, 0, 1, 0, 2, 1]  # of 0 to 9, as they are printed


class ByHoles(ConceptKind):
    """The digits without a hole, with one, with two."""

    def of(self, samples: Samples) -> Concepts:
        of_classes = torch.tensor(HOLES, device=samples.target.device)
        return Concepts(["none", "one", "two"], of_classes[samples.target], of_classes)


class OneMore(Graph):
    """A hole more is a step, and needs what comes before it."""

    prerequisites = True

    def make(self, names: Sequence[str], samples: Samples, known: Any) -> networkx.DiGraph:
        return networkx.path_graph(names, create_using=networkx.DiGraph)


class Above(Gate):
    """Opens above an accuracy that is lower in each epoch for which a concept was taught."""

    def __init__(self, first: float = 0.9, falls: float = 0.1) -> None:
        self.first, self.falls = first, falls

    def opens(self, assessed: Assessed) -> bool:
        return assessed.student >= self.first - self.falls * assessed.epochs
