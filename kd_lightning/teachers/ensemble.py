"""A teacher that is several networks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import nn

from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.learners.over_members import over_members
from kd_lightning.models import stored_normalization
from kd_lightning.models.resolution import stored_image_size
from kd_lightning.models.weights.weights import state_sha256
from kd_lightning.networks.settings import given_taps
from kd_lightning.signals import read
from kd_lightning.sources import Ensemble, FrozenNetwork
from kd_lightning.sources.ensemble import OF_TERMS, check_combination, combined_by
from kd_lightning.teachers.member import Member
from kd_lightning.teachers.network import ELSEWHERE, FrozenTeacher
from kd_lightning.terminal import say
from kd_lightning.training.context import Context, Terms
from kd_lightning.training.measurements import key_of_mean, measure_cached, measurement_key
from kd_lightning.training.measuring import TestedNetwork

# What a network in `models` may have of its own; what it leaves out is that of all.
OF_A_MEMBER = (
    *("model", "weights", "weights_key", "weights_map", "stem", "image_size", "trusted", "taps", "normalization"),
    "finetune",
)


class EnsembleTeacher(FrozenTeacher):
    """Several networks, combined; see conf/teacher/ensemble.yaml for what its arguments are."""

    key = "teacher.models"

    def __init__(
        self,
        models: Any = None,
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
        combine: Any = "mean_logits",
        tolerance: Any = 0.6,
    ) -> None:
        super().__init__(batch_statistics, cache, cache_bits, cache_top_k)
        self.models, self.weights, self.weights_key = models, weights, weights_key
        self.combine, self.tolerance = combine, tolerance
        self.taps, self.normalization, self.trusted = taps, normalization, trusted
        self.stem, self.image_size, self.finetune, self.weights_map = stem, image_size, finetune, weights_map

    @property
    def name(self) -> str:  # type: ignore[override]
        return " + ".join(member.name for member in self.members().values())

    def members(self) -> Mapping[str, Member]:
        """The networks by the beginning of their signals' names, `0.`, `1.`, …"""
        ways = self.weights if isinstance(self.weights, list) else [self.weights] * len(self.models)
        made: list[Member] = []
        for place, (given, weights) in enumerate(zip(self.models, ways, strict=True)):
            own = given if isinstance(given, Mapping) else {"model": given}
            shared = {name: getattr(self, name) for name in OF_A_MEMBER if name not in ("model", "weights", "taps")}
            values = {**shared, "weights": weights, "taps": self.taps_of(place), **own}
            member = Member(**values, place=place, own=frozenset(own if isinstance(given, Mapping) else ()))
            before = sum(member.is_like(other) for other in made)
            is_seeded = member.weights in ("train", None) or member.finetune is not None
            made.append(replace(member, seeds_on=before if is_seeded else 0))
        return {f"{member.place}.": member for member in made}

    def taps_of(self, place: int) -> Any:
        """Those that the config names of one network, `0.stage3`, by their names in it."""
        taps = given_taps("teacher.taps", self.taps)
        prefix = f"{place}."
        return {tap.removeprefix(prefix): where for tap, where in taps.items() if tap.startswith(prefix)} or "auto"

    def check(self) -> None:
        models, weights = self.models, self.weights
        if not isinstance(models, list) or not models:
            raise UserError(f"teacher.models={models}: give a list of models, such as [resnet56,resnet32x4]")
        if isinstance(weights, list) and len(weights) != len(models):
            raise UserError(
                f"teacher.weights={weights}: there are {len(models)} models; give a list of as many, or one way for "
                "all, such as train"
            )
        for place, given in enumerate(models):
            check_keys(given, f"teacher.models.{place}")
        try:
            check_combination(self.combine, self.tolerance, len(models))
        except UserError as error:
            raise UserError(f"teacher.{error}") from None
        super().check()
        members = list(self.members().values())
        sharing = [] if isinstance(weights, list) else [one for one in members if "weights" not in one.own]
        if len(sharing) > 1 and sharing[0].file is not None and self.finetune is None:
            raise UserError(f"teacher.weights={weights}: give a list with a file for each of the {len(models)} models")
        for tap in given_taps("teacher.taps", self.taps):
            if not tap.startswith(tuple(self.members())):
                raise UserError(f"teacher.taps.{tap}: name the network in front, such as 0.{tap}, the first one's")
        for place, member in enumerate(members):
            for other in members[:place]:
                if member.is_like(other) and not member.seeds_on:
                    raise UserError(
                        f"{member.model_key}={member.name}: is the same network as {other.model_key}, with the same "
                        "weights; name another one, or teacher.weights=train, which seeds them apart"
                    )

    @property
    def weighs_terms(self) -> bool:  # type: ignore[override]
        return self.combine in OF_TERMS

    def over(self, terms: Terms) -> Terms:
        members = [prefix.rstrip(".") for prefix in self.members()]
        return over_members(terms, self.role, members, combine=self.combine, tolerance=self.tolerance)

    def check_with(self, context: Context, taken: set[str]) -> None:
        outputs = context.task.outputs
        if self.combine in ("mean_probabilities", "entropy", "confidence") and outputs not in (None, "classes"):
            raise UserError(
                f"teacher.combine={self.combine}: is of probabilities of classes, and the task {context.task.name} has "
                "none; take mean_logits, gradient or fixed weights"
            )
        super().check_with(context, taken)

    def obtain(self, context: Context) -> TestedNetwork:
        tested = {member.called: (member.name, self.obtained(member, context)) for member in self.members().values()}
        self.measured = tested
        networks = [one.network for _, one in tested.values()]
        own = combined_by(self.combine, self.tolerance) if self.combine not in OF_TERMS else {}
        key = key_of_mean(list(self.members().values()), networks, context, own)
        return measure_cached(self.around(networks, context), key, "auto", context, Member.owner)

    def obtained(self, member: Member, context: Context) -> TestedNetwork:
        if member.is_trained_first:
            return member.obtained(context)
        member.tell(context.data)
        network = member.built(context)
        key = measurement_key(member, network, context)
        return measure_cached(network, key, member.logits_tap(), context, member.owner)

    def names(self) -> list[str]:
        return [*(member.called for member in self.members().values()), self.role]

    def build(self, context: Context, there: Mapping[str, nn.Module] = MappingProxyType({})) -> nn.Module:
        return self.around([member.among(there, context) for member in self.members().values()], context)

    def find(self, context: Context) -> nn.Module | None:
        found = [member.found(context) for member in self.members().values()]
        there = [network for network in found if network is not None]
        if len(there) == len(found):
            return self.around(there, context)
        say("teacher", ELSEWHERE)
        return None

    def around(self, networks: Sequence[nn.Module], context: Context) -> Ensemble:
        """The mean of built networks, as it is measured. Raises UserError where two of them are one."""
        states = [
            (state_sha256(one), repr(stored_normalization(one)), repr(stored_image_size(one))) for one in networks
        ]
        for place, state in enumerate(states):
            if state in states[:place]:
                raise UserError(
                    f"teacher.weights: {' and '.join(f'models.{n}' for n in (states.index(state), place))} have the "
                    "same weights; give each its own"
                )
        width = context.task.width
        members = zip(networks, self.members().values(), strict=True)
        return Ensemble(
            [
                FrozenNetwork(network, logits_alone(member), member.name, num_classes=width)
                for network, member in members
            ],
            self.combine,
            self.tolerance,
        )

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> Ensemble:
        assert isinstance(built, Ensemble)
        sources = []
        for (prefix, member), frozen in zip(self.members().items(), built.sources().values(), strict=True):
            assert isinstance(frozen, FrozenNetwork)
            own = {alone for name in names if (alone := without(prefix, name)) is not None}
            statistics = self.batch_statistics
            sources.append(member.source(frozen.network, own, self.answers, context, batch_statistics=statistics))
        return Ensemble(sources, self.combine, self.tolerance)


def check_keys(given: Any, place: str) -> None:
    """Raise `UserError` unless one of several models is a model, or a network with keys of its own."""
    if not isinstance(given, Mapping):
        return
    for name in given:
        if name not in OF_A_MEMBER:
            hint = did_you_mean(str(name), OF_A_MEMBER)
            raise UserError(
                f"{place}.{name}={given[name]}: no key of one of several; {hint}there are {', '.join(OF_A_MEMBER)}"
            )
    if "model" not in given:
        raise UserError(f"{place}={given}: names no model; give {{model: resnet56, …}}")


def logits_alone(member: Member) -> dict[str, str]:
    tap = member.logits_tap()
    return {} if isinstance(tap, str) else tap


def without(prefix: str, name: str) -> str | None:
    """A signal's name as a network has it; None for one of another network. One without a number is of each."""
    signal = read(name)
    if signal is None or signal.source != "teacher" or not ("." not in signal.tap or signal.tap.startswith(prefix)):
        return None
    return str(signal._replace(tap=signal.tap.removeprefix(prefix)))
