"""What a run needs to know of its teacher, whatever it is."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import nn
from typing_extensions import Self

from kd_lightning.batch import Input
from kd_lightning.data import DataModule
from kd_lightning.networks import Network
from kd_lightning.sources import Source
from kd_lightning.training.context import Context, Terms
from kd_lightning.training.measuring import TestedNetwork
from kd_lightning.training.steps import Learner, Training


class Teacher:
    """What a run learns from, as its config says; nothing of it is built, read or trained before it is asked for.

    This one is none: ordinary supervised training.
    """

    exists: bool = False

    name: str = ""
    """What tables and summaries call it."""

    learns: bool = False
    """Whether it learns beside the student, in one training; no step of a plan gives it then."""

    changes_by: str | None = None
    """What in the config has the student's training change it, which most plans do not let it; None: nothing has."""

    role: str = "teacher"
    """What a plan calls it, and terms the beginning of its signals' names."""

    key: str = "teacher"
    """Where in the config an error comes from that its code raises."""

    measured: Mapping[str, tuple[str, TestedNetwork]] = MappingProxyType({})
    """What was measured of the networks that teach together, and their models, by their names in a comparison."""

    weighs_terms: bool = False
    """Whether its members weigh in each term by themselves."""

    def names(self) -> list[str]:
        """All names that it has in a comparison."""
        return [self.role]

    def networks(self) -> Mapping[str, Network]:
        """The networks that are built by name, each with what is in front of its signals' names."""
        return {}

    def trainings(self, context: Context) -> Sequence[Training]:
        """The trainings of those of its networks that are trained first."""
        return []

    def tells_signals(self) -> bool:
        """Whether the networks alone tell what it gives, before it is built."""
        return True

    def check(self) -> None:
        """Raise `UserError` for what can be told to be wrong by its values alone."""

    def over(self, terms: Terms) -> Terms:
        """The terms as they take it: of an ensemble whose members weigh in them, over these."""
        return terms

    def check_with(self, context: Context, taken: set[str]) -> None:
        """Raise `UserError` where it does not go with the run, whose terms take these of its signals."""

    def like(self, data: DataModule, example: Input) -> nn.Module | None:
        """One network without its weights, for a student that is rebuilt around it; None where it is no single one."""
        return None

    def learner(self, context: Context) -> Learner:
        """How it learns, where it does so beside the student."""
        raise NotImplementedError

    def taught_on(self, data: DataModule) -> DataModule:
        """The data of its student's training, which may need more of them than the student."""
        return data

    def obtain(self, context: Context) -> TestedNetwork | None:
        """Trained first, once, or built, and measured unless it changes with the student."""
        return None

    def build(self, context: Context, there: Mapping[str, nn.Module] = MappingProxyType({})) -> nn.Module | None:
        """Built anew: random where it is to be trained first. `there` are networks of it by their models' keys."""
        return None

    def find(self, context: Context) -> nn.Module | None:
        """As an earlier run left it; None, and a line that says so, where it is not on this machine."""
        return None

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> Source:
        """What `obtain`, `build` or `find` gave, as a source of the signals that terms take by these names."""
        raise NotImplementedError

    def logits_tap(self) -> dict[str, str] | str:
        """The tap that it needs to be tested, where it is one network whose logits the config names."""
        return "auto"

    def callbacks(self) -> Sequence[Callback]:
        """What stands beside the training of its student."""
        return []

    def asked_as_the_training_goes(self) -> Self:
        """The same without answers that are asked for beforehand."""
        return self

    def uncached(self) -> Self:
        """The same without answers that are kept."""
        return self

    def in_key(self) -> Mapping[str, Any]:
        """What decides what is learned from it, besides what its source tells, as plain values."""
        return {}
