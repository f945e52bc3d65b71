"""A teacher that learns from how its student does in a quiz."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from kd_lightning.data import DataModule, ImageDataModule
from kd_lightning.data.split import QUIZ, with_quiz
from kd_lightning.data.values import is_number
from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.schedules import Schedule
from kd_lightning.schedules.length import unlimited
from kd_lightning.schedules.progress import asks_for_assessment, extremes, needs_length
from kd_lightning.sources import MetaNetwork
from kd_lightning.tasks import Task
from kd_lightning.teachers.learning import check_changing
from kd_lightning.teachers.network import NetworkTeacher
from kd_lightning.training.context import Context

KEY = "teacher.meta"


@dataclass(frozen=True)
class Meta:
    """How a teacher learns from a quiz, as of `MetaNetwork`; `quiz` is its share of the training images."""

    lr: Any = 0.05
    momentum: Any = 0.9
    weight_decay: Any = 5e-4
    pilot_lr: Any = None
    quiz: Any = 0.1

    def check(self) -> None:
        """Raise UserError for numbers that cannot be."""
        check_number("lr", self.lr, lambda value: value >= 0, "a number, 0 or more, or a schedule")
        if self.pilot_lr is not None:
            check_number("pilot_lr", self.pilot_lr, lambda value: value > 0, "a number above 0, or a schedule, or null")
        for name, most in (("momentum", 1), ("weight_decay", float("inf"))):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value < most):
                raise UserError(
                    f"{KEY}.{name}={value}: must be a number, 0 or more{' and below 1' if most == 1 else ''}"
                )
        if not (is_number(self.quiz) and 0 < self.quiz < 1):
            raise UserError(
                f"{KEY}.quiz={self.quiz}: the share of the training images that the quiz has, above 0 and below 1"
            )


class MetaTeacher(NetworkTeacher):
    """A network that learns to teach: MetaDistil (Zhou, Xu, McAuley 2022, arXiv:2106.04570), see `MetaNetwork`.

    Args:
        meta: how it learns in the student's training, by the names of `Meta`.
        network: as of `NetworkTeacher`: what it is before.
    """

    def __init__(self, meta: Mapping[str, Any] | None = None, **network: Any) -> None:
        super().__init__(**network)
        self.given = dict(meta or {})
        self.changes_by = KEY

    @property
    def meta(self) -> Meta:
        return Meta(**self.given)

    def check(self) -> None:
        names = [one.name for one in fields(Meta)]
        for name, value in self.given.items():
            if name not in names:
                raise UserError(
                    f"{KEY}.{name}={value}: nothing reads this key; {did_you_mean(str(name), names)}there are "
                    f"{', '.join(names)}"
                )
        self.meta.check()
        if self.learns is not False:
            raise UserError(
                f"teacher.trained={self.learns}: has a teacher learn on its own loss beside the student, and with "
                f"{KEY} it learns from a quiz; use teacher.trained=false"
            )
        check_changing(
            self,
            "a teacher that learns from a quiz (MetaDistil) gives others after each step",
            "that learns from a quiz normalises by the statistics of its training",
        )
        super().check()

    def check_with(self, context: Context, taken: set[str]) -> None:
        super().check_with(context, taken)
        data, recipe = context.data, context.recipe
        if not isinstance(data, ImageDataModule) and QUIZ not in data.streams:
            raise UserError(
                f"{KEY}.quiz={self.meta.quiz}: data={data.name} give no stream of the name {QUIZ}; have its "
                f"train_dataloader give one beside the others, {{taught: …, {QUIZ}: …}}"
            )
        if type(context.task).rows is not Task.rows:
            raise UserError(f"{KEY}: its quiz asks for one output for each sample; use a task such as classification")
        if recipe.compile:
            raise UserError(
                f"compile={recipe.compile}: a compiled network has no derivative of second order, which the teacher "
                "learns by; use compile=false"
            )
        if recipe.trainer.settings.get("max_epochs") == -1 and recipe.trainer.settings.get("max_steps", -1) == -1:
            for name in ("lr", "pilot_lr"):
                if isinstance(schedule := getattr(self.meta, name), Schedule) and needs_length(schedule):
                    raise UserError(unlimited(f"{KEY}.{name} changes over the whole of it"))
        if str(recipe.trainer.settings.get("precision")).startswith("16"):
            raise UserError(
                f"trainer.precision={recipe.trainer.settings['precision']}: scales what the student minimises, and not "
                "what the teacher learns from; use bf16-mixed or 32-true"
            )

    def taught_on(self, data: DataModule) -> DataModule:
        try:
            return with_quiz(data, self.meta.quiz) if isinstance(data, ImageDataModule) else data
        except UserError as error:
            raise UserError(f"{KEY}.{error}") from None

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> MetaNetwork:  # type: ignore[override]
        frozen = self.network.frozen(built, self.role, names, context.data, context.task.width)
        frozen.reader.remove()  # it has its own
        own = {name: getattr(self.meta, name) for name in ("lr", "momentum", "weight_decay", "pilot_lr")}
        loss = context.task.loss()
        return MetaNetwork(built, frozen.taps, self.network.name, loss=loss, num_classes=frozen.num_classes, **own)


def check_number(name: str, value: Any, allowed: Any, meaning: str) -> None:
    """Raise UserError for what is neither an allowed number nor a schedule of such, of the progress alone."""
    if isinstance(value, Schedule) and asks_for_assessment(value):
        raise UserError(
            f"{KEY}.{name}={value}: follows what validation measures, as a term's numbers may; give a schedule of the "
            "progress alone, such as Steps"
        )
    is_known = is_number(value) or isinstance(value, Schedule)
    if not is_known or not all(is_number(one) and allowed(one) for one in extremes(value)):
        raise UserError(f"{KEY}.{name}={value}: must be {meaning}")
