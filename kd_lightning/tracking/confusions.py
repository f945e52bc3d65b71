"""Which classes a network takes for which, as evaluation.npz holds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Confusions:
    """`rows` (K, 3) are true class, predicted class and number of images; no pair of classes stands twice."""

    rows: np.ndarray
    num_classes: int

    @cached_property
    def images(self) -> np.ndarray:
        """The number of images of each true class (C,)."""
        found = np.zeros(self.num_classes, dtype=np.int64)
        np.add.at(found, self.rows[:, 0], self.rows[:, 2])
        return found

    @cached_property
    def recall(self) -> np.ndarray:
        """The share of each true class (C,) that is predicted as such; 0 for one without images."""
        right = np.zeros(self.num_classes, dtype=np.int64)
        hits = self.rows[self.rows[:, 0] == self.rows[:, 1]]
        right[hits[:, 0]] = hits[:, 2]
        shares: np.ndarray = right / self.images.clip(min=1)
        return shares

    @cached_property
    def wrong(self) -> np.ndarray:
        """The rows of which the prediction is wrong, the commonest first."""
        wrong = self.rows[self.rows[:, 0] != self.rows[:, 1]]
        return wrong[np.argsort(-wrong[:, 2], kind="stable")]

    def worst(self, most: int) -> list[int]:
        """The classes of lowest recall, lowest first."""
        found: list[int] = np.argsort(self.recall, kind="stable")[:most].tolist()
        return found

    def confused(self, most: int) -> list[int]:
        """The classes of the commonest confusions, commonest first; where these are few, the worst ones too."""
        pairs = self.wrong[:most, :2].flatten().tolist()
        return [*dict.fromkeys([*pairs, *self.worst(most)])][:most]

    def counts(self, classes: Sequence[int]) -> np.ndarray:
        """The matrix (n, n) of some classes: rows the true ones, columns the predicted ones."""
        place = np.full(self.num_classes, -1)
        place[list(classes)] = np.arange(len(classes))
        true, predicted = place[self.rows[:, 0]], place[self.rows[:, 1]]
        inside = (true >= 0) & (predicted >= 0)
        matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
        matrix[true[inside], predicted[inside]] = self.rows[inside, 2]
        return matrix
