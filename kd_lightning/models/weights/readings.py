"""Which of a file's tensors are the weights of a model: where they lie, and how far they fit."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from kd_lightning.models.weights.checkpoint_files import WRAPPERS, Group, plain_names

# Where trainings keep the weights that they are about, the likelier first; a whole training's are its student's.
USUAL = ("student", "state_dict", "model", "model_state_dict", "net", "network", "weights", "params")
AVERAGED = {"ema", "swa", "lawa", "avg", "average", "averaged", "averaging", "shadow", "polyak"}
COUNTER = "num_batches_tracked"  # of batch normalisations, since PyTorch 0.4.1
AVERAGED_SO_FAR = "n_averaged"  # beside the weights of `torch.optim.swa_utils.AveragedModel`
AUXILIARY = re.compile(r"(?i)aux")  # begins the names of classifiers that only help a training: aux1, AuxLogits
# DenseNet's, of before names could have no dots in them: norm.1 is norm1 since PyTorch 0.4.1.
DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
DEPTH = 3  # of names such as student.net.backbone.…


@dataclass(frozen=True)
class Reading:
    """Tensors of a file as the weights of a model, by the model's plain names.

    `address` tells where they lie; `own` are the model's shapes. What is missing, left over or of another shape keeps
    them from fitting; entries without which PyTorch loads too are not counted.
    """

    address: str
    entries: dict[str, Tensor]
    own: Mapping[str, tuple[int, ...]]
    metadata: dict[str, str]
    is_averaged: bool

    @property
    def missing(self) -> list[str]:
        counted = any(name.endswith(COUNTER) for name in self.entries)
        absent = sorted(self.own.keys() - self.entries.keys())
        return [name for name in absent if counted or not name.endswith(COUNTER)]

    @property
    def unexpected(self) -> list[str]:
        return sorted(self.entries.keys() - self.own.keys())

    @property
    def misshapen(self) -> list[str]:
        return [name for name in self.own if name in self.entries and self.entries[name].shape != self.own[name]]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def likeness(self) -> tuple[int, int]:
        """How near it is to fitting; the larger, the nearer."""
        return len(self.own.keys() & self.entries.keys()), -len(self.misshapen)

    @property
    def usualness(self) -> list[int] | None:
        """Where it comes among others that fit, the smallest first; None where it lies in no usual place."""
        keys = self.address.split(".") if self.address else []
        return [USUAL.index(key) for key in keys] if set(keys) <= set(USUAL) else None

    def lies_under(self, address: str) -> bool:
        """Whether these keys lead to it, with or without wrappers: the first of them may be left out."""
        wanted, found = (_without_wrappers(one) for one in (address, self.address))
        return f".{address}." in f".{self.address}." or (bool(wanted) and f".{wanted}." in f".{found}.")

    def is_same_as(self, other: "Reading") -> bool:
        """Whether both hold the same numbers."""
        same = self.entries.keys() == other.entries.keys()
        return same and all(value.equal(other.entries[name]) for name, value in self.entries.items())


def readings(groups: Sequence[Group], model: nn.Module) -> list[Reading]:
    """All ways to read a file for a model."""
    own = shapes(model)
    return [
        Reading(address, _counted(tensors, own), own, group.metadata, _is_averaged(address, group.tensors))
        for group in groups
        for address, tensors in _parts(group.address, _named_as_now(group.tensors), DEPTH)
    ]


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The entries of a model's state dict by their plain names."""
    return plain_names({name: tuple(value.shape) for name, value in model.state_dict().items()})


def usual(fitting: Sequence[Reading]) -> Reading | None:
    """The one of several readings that a training means by its weights; None where that cannot be told."""
    plain = [reading for reading in fitting if not reading.is_averaged] or fitting
    known = {tuple(reading.usualness): reading for reading in reversed(plain) if reading.usualness is not None}
    if known:
        return known[min(known)]
    return plain[0] if all(reading.is_same_as(plain[0]) for reading in plain[1:]) else None


def _parts(address: str, tensors: dict[str, Tensor], depth: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Tensors as they stand, then those under the prefix "student.", under "student.net.", and so on.

    An unknown prefix counts where most names bear it: a whole model, not a layer of one.
    """
    yield address, tensors
    inner: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        owner, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(owner, {})[rest] = value
    largest = max(map(len, inner.values()), default=0)
    for owner, part in inner.items():
        if depth and (owner in USUAL or AVERAGED & _words(owner) or len(part) == largest):
            is_of_all = len(part) == len(tensors)  # then it tells nothing, however many there are
            yield from _parts(f"{address}.{owner}".lstrip("."), part, depth if is_of_all else depth - 1)


def _named_as_now(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {DENSE_LAYER.sub(r"\1", name): value for name, value in plain_names(tensors).items()}


def _counted(tensors: dict[str, Tensor], own: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors that have to fit: no count of averages, no auxiliary classifiers that the model is without."""
    parts = {name.partition(".")[0] for name in own}
    names = {
        name
        for name in tensors.keys() - own.keys()
        if name == AVERAGED_SO_FAR or (AUXILIARY.match(name) and name.partition(".")[0] not in parts)
    }
    return {name: value for name, value in tensors.items() if name not in names}


def _is_averaged(address: str, tensors: Mapping[str, Tensor]) -> bool:
    return AVERAGED_SO_FAR in tensors or bool(AVERAGED & _words(address))


def _words(name: str) -> set[str]:
    """The words of a key: model_ema, modelEma → {model, ema}."""
    return {word.lower() for word in re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", name)}


def _without_wrappers(address: str) -> str:
    return ".".join(part for part in address.split(".") if part not in WRAPPERS)
