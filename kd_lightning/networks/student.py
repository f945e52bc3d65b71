"""The network that a run is about."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from kd_lightning.batch import Input
from kd_lightning.errors import UserError
from kd_lightning.networks.network import Network, short_name
from kd_lightning.part import Part
from kd_lightning.sources import Source
from kd_lightning.taps.inspection import Adapt

TEACHER = "teacher"


@dataclass(frozen=True)
class Student(Network):
    """A network that is trained, alone and distilled; see conf/student/default.yaml for what its fields are."""

    owner: ClassVar[str] = "student"
    alone: ClassVar[str] = "scratch"

    adapt: Any = None
    optimizer: Any = None  # this and what follows lies over the run's recipe; see `recipe`
    scheduler: Any = None
    trainer: Any = None
    models: Any = None  # several students in its place, of which each is made by itself
    key: str | None = None  # where its model stands in the config; None: with the others of its keys

    @property
    def model_key(self) -> str:
        return self.key or super().model_key

    @property
    def renews_head(self) -> bool:
        return True

    def as_values(self) -> dict[str, Any]:
        own = {} if type(self) is Student else {"_target_": f"{type(self).__module__}.{type(self).__qualname__}"}
        values = super().as_values()
        for name in ("key", "models"):
            values.pop(name, None)
        return {**own, **values}

    def check(self) -> None:
        super().check()
        adapt = self.adapt.settings if isinstance(self.adapt, Part) else self.adapt
        if adapt is not None and not (isinstance(adapt, dict) and isinstance(adapt.get("_target_"), str)):
            raise UserError(f"{self.owner}.adapt={adapt}: must be a mapping with _target_, as in method=simkd, or null")

    def check_training(self) -> None:
        if self.is_trained_first:
            raise UserError(
                f"{self.weights_place}=train: only the teacher is trained first; use null, pretrained or a file"
            )

    def adapted_to(self, teacher: nn.Module | None) -> Adapt | None:
        """How it is rebuilt, around a teacher that is one network; None where it stays as it is."""
        if not self.adapt:
            return None
        network = None if isinstance(teacher, Source) else teacher
        return lambda student, example: self.adapted(student, network, example)

    def adapted(self, student: nn.Module, teacher: nn.Module | None, example: Tensor) -> nn.Module:
        """The student rebuilt. Raises `UserError` with the config's keys for the arguments of what rebuilds it."""
        try:
            rebuilt: nn.Module = self.adapt(student, teacher, example)
        except UserError as error:
            argument, sign, rest = str(error).partition("=")
            if argument == TEACHER and teacher is None:
                message = f"{self.owner}.adapt={short_name(self.adapt)}:{rest.partition(':')[2]}"
            elif argument in (TEACHER, self.owner):
                message = f"{argument}.model={rest}"
            else:
                message = f"{self.owner}.adapt.{argument}{sign}{rest}"
            raise UserError(message) from None
        return rebuilt

    def adapted_to_one_like(self, teacher: Callable[[Input], nn.Module | None]) -> Adapt | None:
        """How it is rebuilt, around a teacher without its weights, which is made for an example."""
        if not self.adapt:
            return None

        def adapt(student: nn.Module, example: Tensor) -> nn.Module:
            rebuild = self.adapted_to(teacher(example))
            assert rebuild is not None
            return rebuild(student, example)

        return adapt
