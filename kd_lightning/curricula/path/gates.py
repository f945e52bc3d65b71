"""Gates: whether what was assessed of a concept opens the next one."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import ROUNDING


class Assessed(NamedTuple):
    """What is known of a concept as an epoch begins.

    Args:
        concept: its name.
        student: the student's accuracy on it at the last assessment; NaN where that measured no sample of it.
        against: that of what it is compared with, on the same samples; None where it is compared with nothing.
        epochs: how many epochs it has been taught since it was opened.

    Examples:
        >>> from kd_lightning.curricula.path import Assessed
        >>> Assessed("cat", student=0.4, against=0.8).ratio
        0.5
    """

    concept: str
    student: float
    against: float | None = None
    epochs: int = 0

    @property
    def ratio(self) -> float:
        """Student over the other; 1 of what the other is never right on, else NaN of what nobody measured."""
        most = 1.0 if self.against is None else self.against
        return 1.0 if most == 0 else self.student / most


class Gate(ABC):
    """Opens the next concept. One of your own is a subclass.

    Examples:
        >>> from kd_lightning.curricula.path import Assessed, Gate
        >>> class Half(Gate):
        ...     def opens(self, assessed):
        ...         return assessed.student >= 0.5
        >>> Half().opens(Assessed("cat", student=0.6))
        True
    """

    @abstractmethod
    def opens(self, assessed: Assessed) -> bool:
        """Whether the concept counts as mastered."""

    def told(self, assessed: Assessed) -> str:
        """What is said of it in the line of a decision."""
        if math.isnan(assessed.student) or math.isnan(assessed.ratio):
            return "not measured"
        if assessed.against is None:
            return f"accuracy {assessed.student:.3f}"
        return f"accuracy {assessed.student:.3f} of {assessed.against:.3f}"


class Mastery(Gate):
    """Opens where student over teacher accuracy reaches `mastery`. Raises UserError for one outside of (0, 1].

    What the teacher itself is never right on counts as mastered; what nobody measured does not.

    Examples:
        >>> from kd_lightning.curricula.path import Assessed, Mastery
        >>> gate = Mastery(0.9)
        >>> gate.opens(Assessed("cat", student=0.8, against=0.8)), gate.opens(Assessed("dog", 0.5, against=0.8))
        (True, False)
    """

    def __init__(self, mastery: float = 0.9) -> None:
        if isinstance(mastery, bool) or not isinstance(mastery, int | float) or not 0 < mastery <= 1:
            raise UserError(f"mastery={mastery}: must be above 0, and 1 at most: student over teacher accuracy")
        self.mastery = mastery

    def opens(self, assessed: Assessed) -> bool:
        return assessed.ratio >= self.mastery - ROUNDING

    def told(self, assessed: Assessed) -> str:
        told = super().told(assessed)
        if math.isnan(assessed.ratio):
            return told
        return f"{told}, {assessed.ratio:.3f} {'≥' if self.opens(assessed) else '<'} {self.mastery:g}"


class AfterEpochs(Gate):
    """Opens after so many epochs, whatever was assessed: the control of `Mastery`. Raises UserError for fewer than 1.

    Examples:
        >>> from kd_lightning.curricula.path import AfterEpochs, Assessed
        >>> AfterEpochs(2).opens(Assessed("cat", student=1.0, epochs=1))
        False
    """

    def __init__(self, epochs: int = 1) -> None:
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise UserError(f"epochs={epochs}: must be a whole number from 1 on")
        self.epochs = epochs

    def opens(self, assessed: Assessed) -> bool:
        return assessed.epochs >= self.epochs

    def told(self, assessed: Assessed) -> str:
        return f"{super().told(assessed)}, epoch {assessed.epochs} of {self.epochs}"
