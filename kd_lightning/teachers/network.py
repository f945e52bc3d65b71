"""A teacher that is one network."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import nn
from typing_extensions import Self

from kd_lightning.batch import Input
from kd_lightning.callbacks import Prefill
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.networks import Network
from kd_lightning.runs.summary import Role
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.teachers.classes import unmeasured
from kd_lightning.teachers.learning import check_learning, weighted
from kd_lightning.teachers.member import Member
from kd_lightning.teachers.teacher import Teacher
from kd_lightning.terminal import say
from kd_lightning.training.answers.of_views import KeptAnswers
from kd_lightning.training.context import Context
from kd_lightning.training.measurements import measure_cached, measurement_key
from kd_lightning.training.measuring import TestedNetwork
from kd_lightning.training.steps import Learner, Training

ELSEWHERE = "not on this machine: agreement is left out"


class FrozenTeacher(Teacher):
    """One or several networks by name, which stay as they are while the student learns; what their keys share."""

    exists = True

    def __init__(self, batch_statistics: bool, cache: Any, cache_bits: Any, cache_top_k: Any) -> None:
        self.batch_statistics = batch_statistics
        self.answers = KeptAnswers(cache, cache_bits, cache_top_k)

    def members(self) -> Mapping[str, Member]:
        """The networks, each with what is in front of its signals' names."""
        raise NotImplementedError

    def networks(self) -> Mapping[str, Network]:
        return self.members()

    def answering(self, context: Context) -> Sequence[Member]:
        """The networks whose answers may be kept."""
        return [*self.members().values()]

    def trainings(self, context: Context) -> Sequence[Training]:
        return [member.training(context) for member in self.members().values() if member.is_trained_first]

    def check(self) -> None:
        for network in self.members().values():
            network.check()

    def check_with(self, context: Context, taken: set[str]) -> None:
        for network in self.members().values():
            if self.answers.is_on and network.other_classes(context.data) is not None:
                raise UserError(
                    f"teacher.cache={self.answers.cache}: keeps what gives logits of the data's classes, and "
                    f"{network.name} knows others; use teacher.cache=off"
                )
        self.answers.check(context.data, context.recipe, batch_statistics=self.batch_statistics)
        for prefix in self.members():
            own = {tap.removeprefix(prefix) for tap in taken if tap.startswith(prefix)}
            self.answers.check_taken(own, prefix)

    def callbacks(self) -> Sequence[Callback]:
        return [Prefill()] if self.answers.is_beforehand else []

    def asked_as_the_training_goes(self) -> Self:
        return self.keeping(replace(self.answers, cache="logits")) if self.answers.is_beforehand else self

    def uncached(self) -> Self:
        return self.keeping(replace(self.answers, cache="off")) if self.answers.is_on else self

    def in_key(self) -> Mapping[str, Any]:
        taps = {f"{prefix}{tap}": at for prefix, one in self.members().items() for tap, at in one.given_taps().items()}
        return {
            **({"batch_statistics": True} if self.batch_statistics else {}),
            **({"answers": self.answers.in_key()} if self.answers.is_on else {}),
            **({"taps": taps} if taps else {}),
        }

    def keeping(self, answers: KeptAnswers) -> Self:
        """The same with other answers kept."""
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__, answers=answers)
        return changed


class NetworkTeacher(FrozenTeacher):
    """A network by name; see conf/teacher/default.yaml for what its arguments are. Without a model it is none."""

    key = "teacher.model"

    def __init__(
        self,
        model: Any = None,
        weights: Any = "train",
        weights_key: Any = None,
        taps: Any = "auto",
        normalization: Any = "auto",
        batch_statistics: bool = False,
        cache: Any = "off",
        cache_bits: Any = 16,
        cache_top_k: Any = None,
        optimizer: Any = None,  # this and what follows lies over the run's recipe; see `recipe`
        scheduler: Any = None,
        trainer: Any = None,
        data: Any = None,
        loss: Any = None,
        trusted: Any = None,
        stem: Any = None,
        image_size: Any = None,
        finetune: Any = None,
        weights_map: Any = None,
        trained: Any = False,
        weight: Any = 1.0,
    ) -> None:
        super().__init__(batch_statistics, cache, cache_bits, cache_top_k)
        self.learns, self.weight = trained, weight
        self.changes_by = "teacher.trained=true" if trained is True else None
        self.of_another_training = {"trainer": trainer, "data": data, "finetune": finetune}
        own = {"finetune": finetune, "weights_map": weights_map, "is_learner": trained is True}
        self.network = Member(model, weights, weights_key, taps, normalization, trusted, stem, image_size, **own)

    @property
    def exists(self) -> bool:  # type: ignore[override]
        return self.network.model is not None

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.network.name

    def members(self) -> Mapping[str, Member]:
        return {"": self.network}

    def check(self) -> None:
        check_learning(self)
        super().check()

    def learner(self, context: Context) -> Learner:
        alone = context.alone[self.network.alone]
        terms = partial(weighted, alone.terms, self.weight)
        return Learner(self.network, terms, "teacher", Role.TEACHER, alone.recipe, is_rebuilt=False)

    def like(self, data: DataModule, example: Input) -> nn.Module | None:
        return self.network.like(data, example)

    def obtain(self, context: Context) -> TestedNetwork:
        if self.network.is_trained_first:
            return self.network.obtained(context)
        self.network.tell(context.data)
        network = self.network.built(context)
        if self.network.other_classes(context.data) is not None:
            return TestedNetwork(network, unmeasured(context.task))
        key = measurement_key(self.network, network, context)
        return measure_cached(network, key, self.network.logits_tap(), context, self.network.owner)

    def build(self, context: Context, there: Mapping[str, nn.Module] = MappingProxyType({})) -> nn.Module:
        return self.network.among(there, context)

    def find(self, context: Context) -> nn.Module | None:
        network = self.network.found(context)
        if network is None:
            say("teacher", ELSEWHERE)
        return network

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> FrozenNetwork | CachedSource:
        return self.network.source(built, names, self.answers, context, batch_statistics=self.batch_statistics)

    def logits_tap(self) -> dict[str, str] | str:
        return self.network.logits_tap()


class NoTeacher(NetworkTeacher):
    """None, whatever network is named: for a student that learns from labels, or teaches itself, in any experiment."""

    exists = False
