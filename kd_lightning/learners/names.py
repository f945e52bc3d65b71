"""The names of learners: which there can be, what is given for each of them, and what is logged of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.signals import PEERS, PROGRESS, TRAINING_SET

RESERVED = (PEERS, PROGRESS, TRAINING_SET, "rows")


@dataclass(frozen=True)
class Networks:
    """Networks or sources by name, as an argument gives them.

    Args:
        key: the argument.
        given: one, whose name is the key; or several by their names.

    Raises UserError for a mapping without any, for a bad name, and for what is no module.

    Examples:
        >>> import torch
        >>> from kd_lightning.learners.names import Networks
        >>> list(Networks.of("student", torch.nn.Linear(4, 3)).given)
        ['student']
        >>> two = {"first": torch.nn.Linear(4, 3), "second": torch.nn.Linear(4, 3)}
        >>> list(Networks.of("student", two).by_key())
        ['student.first', 'student.second']
    """

    key: str
    given: Mapping[str, nn.Module]
    are_named: bool

    @classmethod
    def of(cls, key: str, given: nn.Module | Mapping[str, nn.Module] | None) -> "Networks":
        if given is None or (isinstance(given, nn.Module) and not is_dict_of_networks(given)):
            return cls(key, {} if given is None else {key: given}, are_named=False)
        networks = dict(cast(Mapping[str, nn.Module], given).items())
        if list(networks) == [key] and isinstance(networks[key], nn.Module):  # the same as by itself
            return cls(key, networks, are_named=False)
        if not networks:
            raise UserError(f"{key}={{}}: no network; give one, or several by name")
        for name, network in networks.items():
            is_name = isinstance(name, str) and name.isidentifier() and not hasattr(nn.ModuleDict, name)
            if not is_name or name in RESERVED or name.startswith(f"{PEERS}_"):
                raise UserError(f"{key}.{name}: cannot be a network's name; use letters, digits, _, as {name}_network")
            if not isinstance(network, nn.Module):
                raise UserError(f"{key}.{name}={type(network).__name__}: must be a torch.nn.Module")
        return cls(key, networks, are_named=True)

    def key_of(self, name: str, suffix: str = "") -> str:
        """Where something of a network is given, as `student_taps` or `student_taps.first`."""
        return f"{self.key}{suffix}.{name}" if self.are_named else f"{self.key}{suffix}"

    def by_key(self) -> dict[str, nn.Module]:
        """The networks by where they are given."""
        return {self.key_of(name): network for name, network in self.given.items()}

    def check_beside(self, learners: "Networks") -> None:
        """Raise UserError for a name that a learner has, or that terms call their own by, and for one that learns."""
        for name, network in self.given.items():
            if getattr(network, "trained", False) is True and len(learners.given) > 1:
                raise UserError(
                    f"{self.key_of(name)}={type(network).__name__}: is trained, and whose terms train it is open; give "
                    f"it as one of the learners, {learners.key}.{name}"
                )
            if name in learners.given or name == learners.key:
                raise UserError(f"{self.key_of(name)}: in terms this name is a learner's; give it another")


def is_dict_of_networks(given: nn.Module) -> bool:
    """Whether a module holds networks by name, and is none itself, as a `ModuleDict` with a forward of its own is."""
    return isinstance(given, nn.ModuleDict) and type(given).forward is nn.ModuleDict.forward


def peers_of(learner: str, own: str, learners: Iterable[str]) -> dict[str, str]:
    """The other learners, by what a learner's terms call them: their names, but `own` is what they call itself."""
    return {f"{PEERS}_{name}" if name == own else name: name for name in learners if name != learner}


def one_or_all(networks: Mapping[str, nn.Module]) -> nn.Module:
    """One module itself, several as a `ModuleDict`."""
    return next(iter(networks.values())) if len(networks) == 1 else nn.ModuleDict(networks)


def of_each(key: str, given: Any, learners: Sequence[str]) -> dict[str, Any]:
    """What is given for each learner: the same for all, or by their names.

    Raises UserError for names of others, and where one is left out.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(learners, given)
    for name in given:
        if name not in learners:
            hint = did_you_mean(str(name), learners)
            raise UserError(f"{key}.{name}: no learner of this name; {hint}there are {', '.join(learners)}")
    for name in learners:
        if name not in given:
            raise UserError(f"{key}: has nothing for {name}; give {key}.{name}, or one for all learners")
    return {name: given[name] for name in learners}


def taps_of_each(key: str, given: Any, names: Sequence[str]) -> dict[str, Any]:
    """The taps of each network: the same of all, or by name, where some are a mapping or `auto`; `auto` of the rest.

    Raises UserError for names of others.
    """
    values = list(given.values()) if isinstance(given, Mapping) else []
    is_by_name = any(isinstance(taps, Mapping) or taps == "auto" for taps in values)
    if not is_by_name:
        return dict.fromkeys(names, given)
    return of_each(key, {**dict.fromkeys(names, "auto"), **given}, names)


def of_learner(metric: str, learner: str) -> str:
    """What a logged name is for one of several learners; one that names it already stays.

    Examples:
        >>> from kd_lightning.learners.names import of_learner
        >>> of_learner("val/top1", "first")
        'val/first/top1'
    """
    stage, _, name = metric.partition("/")
    return metric if name.startswith(f"{learner}/") else f"{stage}/{learner}/{name}"
