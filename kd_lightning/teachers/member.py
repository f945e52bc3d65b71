"""A frozen network of a teacher: trained first, once, or with weights from elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from lightning import seed_everything
from torch import nn
from typing_extensions import Self

from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.models import pretrained_num_classes
from kd_lightning.networks import Network
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.taps.inspection import Adapt, Inspection
from kd_lightning.tasks import Task
from kd_lightning.teachers.classes import OF_ITS_CLASSES, classes_of
from kd_lightning.terminal import say
from kd_lightning.training import kept
from kd_lightning.training.answers.of_views import KeptAnswers
from kd_lightning.training.context import Context
from kd_lightning.training.finetuning.unfreezing import MODES
from kd_lightning.training.measuring import TestedNetwork
from kd_lightning.training.steps import Training, by_itself


@dataclass(frozen=True)
class Member(Network):
    """A network to learn from, alone or as one of several.

    `place` is where it stands among several, and `own` are the keys that it has of its own there. `seeds_on` is how far
    its seed is from the run's: of several networks of one model each is another one.
    """

    owner: ClassVar[str] = "teacher"
    alone: ClassVar[str] = "teacher"
    ways: ClassVar[str] = "train, pretrained"
    remedy: ClassVar[str] = "give a file, or teacher.weights=train"

    place: int | None = None
    seeds_on: int = 0
    finetune: Any = None  # how much of it is trained further, first: whole, head, gradual; None: it stays as it is
    own: frozenset[str] = frozenset()
    is_learner: bool = False  # whether it learns beside the student, from its weights or random ones

    @property
    def title(self) -> str:
        tuned = "" if self.finetune is None else f", fine-tuned ({self.finetune})"
        seeded = f", seed +{self.seeds_on}" if self.seeds_on else ""
        return f"{self.name}{tuned}{seeded}"

    @property
    def called(self) -> str:
        """What a comparison, and its training, call it."""
        return self.owner if self.place is None else f"{self.owner}_{self.place}"

    @property
    def model_key(self) -> str:
        whole = f"{self.owner}.models.{self.place}"
        return f"{self.owner}.model" if self.place is None else f"{whole}.model" if self.own else whole

    def key_of(self, name: str) -> str:
        return f"{self.owner}.models.{self.place}.{name}" if name in self.own else super().key_of(name)

    def is_like(self, other: "Member") -> bool:
        """Whether another one would be the same network, from the same seed."""
        return self.decided_by() == other.decided_by()

    def decided_by(self) -> tuple[Any, ...]:
        of_weights = (self.weights, self.weights_key, self.weights_map, self.finetune)
        return (self.settings, *of_weights, self.stem, self.image_size, self.normalization)

    @property
    def is_trained_first(self) -> bool:
        return not self.is_learner and (super().is_trained_first or self.finetune is not None)

    @property
    def renews_head(self) -> bool:
        return self.finetune is not None or self.is_learner

    def as_values(self) -> dict[str, Any]:
        values = super().as_values()
        values.pop("is_learner", None)
        return values

    def at(self, weights: Path) -> Self:
        return replace(super().at(weights), finetune=None)

    def check_training(self) -> None:
        mode, key = self.finetune, self.key_of("finetune")
        if mode is None:
            return
        if mode not in MODES:
            raise UserError(f"{key}={mode}: must be one of {', '.join(MODES)}, or null")
        if not (self.weights == "pretrained" or self.file):
            weights = "null" if self.weights is None else self.weights
            raise UserError(
                f"{key}={mode}: trains weights from elsewhere further, and {self.weights_place}={weights} has none; "
                f"give pretrained or a file, or {key}=null"
            )

    def check_classes(self, data: DataModule) -> None:
        """Raise `UserError` for one of several whose weights know other classes, and which gets no new head."""
        if self.place is None or self.renews_head:
            return
        classes = pretrained_num_classes(self.settings) if self.weights == "pretrained" else None
        if classes is not None and classes != data.num_classes:
            raise UserError(
                f"{self.model_key}={self.name}: its pretrained weights know {classes} classes, the data have "
                f"{data.num_classes}; {self.remedy_of_classes}, or use teacher.weights=train, or files of weights for "
                "these classes"
            )

    @property
    def remedy_of_classes(self) -> str:
        """What makes weights of other classes serve where classes count."""
        return f"{self.key_of('finetune')}=whole, head or gradual gives it a head for them, and trains it first"

    def other_classes(self, data: DataModule) -> int | None:
        if self.place is not None or self.renews_head:
            return None
        known: dict[int, int | None] = self.__dict__.setdefault("_classes", {})  # no file is read twice
        if id(data) not in known:
            known[id(data)] = None  # what it is built with meanwhile
            known[id(data)] = classes_of(self, data)
        return known[id(data)]

    def told_of_classes(self, data: DataModule) -> str | None:
        others = self.other_classes(data)
        if others is None:
            return None
        head = "has no head" if others == 0 else f"knows {others} other classes"
        return f"{self.name} {head}, and the data have {data.num_classes}; {self.remedy_of_classes}"

    def inspect(self, data: DataModule, task: Task, taken: set[str], adapt: Adapt | None = None) -> Inspection:
        others = self.other_classes(data)
        if others is None:
            return super().inspect(data, task, taken, adapt)
        seen = self.seen(data, others or task.width, taken, adapt)
        return replace(seen, taps={tap: where for tap, where in seen.taps.items() if tap not in OF_ITS_CLASSES})

    def frozen(
        self,
        network: nn.Module,
        role: str,
        names: Iterable[str],
        data: DataModule,
        width: int | None,
        *,
        batch_statistics: bool = False,
    ) -> FrozenNetwork:
        """As a source; one of other classes gives no logits."""
        others = self.other_classes(data)
        source = super().frozen(network, role, names, data, others or width, batch_statistics=batch_statistics)
        if others is not None:
            source.signals = [tap for tap in source.signals if tap not in OF_ITS_CLASSES]
        return source

    def training(self, context: Context) -> Training:
        """How it is trained first, with the seed of its random weights and its batches; the data stay the run's."""
        options: dict[str, Any] = {"seeds_on": self.seeds_on, "finetune": self.finetune}
        return by_itself(self.called, self, context, title=self.owner, called=f"as {self.owner}", **options)

    def built(self, context: Context) -> nn.Module:
        """With its weights, or random ones of its seed."""
        seed_everything(context.recipe.seeds_on(self.seeds_on).seed, workers=True, verbose=False)
        return self.build(context.data)

    def among(self, there: Mapping[str, nn.Module], context: Context) -> nn.Module:
        """The one that is there by the key of its model, else built anew."""
        return there[self.model_key] if self.model_key in there else self.build(context.data)

    def obtained(self, context: Context) -> TestedNetwork:
        """Found, or trained now, and measured."""
        tested = kept.obtain(self.training(context), context).tested
        assert tested is not None
        return tested

    def found(self, context: Context) -> nn.Module | None:
        """As an earlier run left it, or None where it is not on this machine."""
        if self.file is not None and not self.file.exists():
            return None
        if self.is_trained_first:
            return kept.find(self.training(context), context)
        return self.built(context)

    def tell(self, data: DataModule) -> None:
        """Say where its weights are from, where these are not trained, and of how many other classes."""
        others = self.other_classes(data)
        of = "" if others is None else ", without a head" if others == 0 else f", of {others} other classes"
        say(self.owner, f"{self.title}, weights: {self.weights or 'random'}{of}")

    def source(
        self,
        network: nn.Module,
        names: Iterable[str],
        answers: KeptAnswers,
        context: Context,
        *,
        batch_statistics: bool = False,
    ) -> FrozenNetwork | CachedSource:
        """The built network as a source of what terms take by these names, behind its answers where they are kept."""
        data, width = context.data, context.task.width
        frozen = self.frozen(network, self.owner, names, data, width, batch_statistics=batch_statistics)
        return answers.in_front_of(frozen, self.settings, context)
