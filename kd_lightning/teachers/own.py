"""A teacher that is a class of the user's own: built, its networks given what networks get."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from kd_lightning.batch import example_batch
from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.models import normalize_inputs, stored_normalization, trained_with
from kd_lightning.networks import short_name
from kd_lightning.networks.normalization import averaged
from kd_lightning.part import Part
from kd_lightning.sources import FrozenSource, Source, UntrainedSource
from kd_lightning.teachers.teacher import Teacher
from kd_lightning.terminal import say
from kd_lightning.training.context import Context
from kd_lightning.training.measuring import TestedNetwork, measure_alone

STATISTICS = "batch_statistics"  # the teacher's, which a method may set
SLACK = 0.2  # by which resizing may leave [0, 1]


class OwnTeacher(Teacher):
    """A `Source` of the user's own, whose networks normalise the images that they are called with.

    Its `answer` gets images in [0, 1]. Each network in it that takes them as they are is made to normalise them: with
    the statistics that its weights were trained with where these are known, else with the data's.
    """

    exists = True

    def __init__(self, part: Part[Any], takes_statistics: bool) -> None:
        self.part = part
        self.takes_statistics = takes_statistics
        self.target = part.target
        self.name = short_name(part)

    def tells_signals(self) -> bool:
        return False

    def obtain(self, context: Context) -> TestedNetwork:
        say("teacher", self.name)
        source = self.build(context)
        return TestedNetwork(source, {}) if source.changes else measure_alone(source, context)

    def build(self, context: Context, there: Mapping[str, nn.Module] = MappingProxyType({})) -> Source:
        """Raises UserError for what is no source, or cannot answer a batch of images."""
        teacher, data = self.made(), context.data
        if teacher.changes:  # its networks are those of the student, which normalise
            return teacher
        if not isinstance(data, ImageDataModule):  # which come as the user's loaders give them
            return teacher
        try:
            networks = networks_in(teacher, ramps(data, teacher))
            for network, channels in networks:
                statistics = trained_with(network) or (data.mean, data.std)
                known = statistics if len(statistics[0]) == channels else averaged(statistics, channels)
                normalize_inputs(network, *known)
        except UserError:
            raise
        except Exception as error:  # whatever the user's class raises
            raise UserError(
                f"teacher._target_={self.target}: cannot answer a batch of images ({type(error).__name__}: "
                f"{' '.join(str(error).split())}); mend it"
            ) from error
        if networks:
            count = "1 network gets its" if len(networks) == 1 else f"{len(networks)} networks get their"
            say("teacher", f"{count} images normalised")
        return teacher

    def made(self) -> Source:
        """The source. Raises UserError for what is none, and where it does not take what a method sets."""
        of_batches = None if self.takes_statistics else self.part.settings.get(STATISTICS)
        teacher = self.part()
        if not isinstance(teacher, Source):
            raise UserError(
                f"teacher._target_={self.target}: built {type(teacher).__name__}, not a kd_lightning.sources.Source; "
                f"for a network give teacher.model={{_target_: {self.target}}}"
            )
        if of_batches is not None:
            if not has_statistics_of_its_own(teacher):
                raise UserError(
                    f"teacher.{STATISTICS}={of_batches}: {self.name} takes no such argument; ~teacher.{STATISTICS} "
                    "leaves the statistics to it"
                )
            teacher.batch_statistics = of_batches
        return teacher

    def find(self, context: Context) -> Source:
        return self.build(context)

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> Source:
        assert isinstance(built, Source)
        return built


def has_statistics_of_its_own(teacher: Source) -> TypeGuard[UntrainedSource]:
    """Whether a source itself, and not its base alone, says whose statistics it normalises by."""
    kinds = [kind for kind in type(teacher).__mro__ if kind not in FrozenSource.__mro__]
    return isinstance(teacher, UntrainedSource) and any(STATISTICS in vars(one) for one in (teacher, *kinds))


def ramps(data: ImageDataModule, teacher: Source) -> Tensor:
    """Two images from black to white: any usual normalisation of them leaves [0, 1], and resizing does not."""
    like = next(teacher.parameters(), torch.empty(0))
    return torch.linspace(0, 1, data.image_size, device=like.device).expand(2, *data.input_shape).contiguous()


@dataclass
class Call:
    """A module that was called, and those that it called."""

    module: nn.Module
    args: tuple[Any, ...]
    within: list["Call"] = field(default_factory=list)

    @property
    def channels(self) -> int | None:
        """The channels of the images that it was called with; None where these are none, or normalised already."""
        first = self.args[0] if self.args else None
        if not (isinstance(first, Tensor) and first.ndim == 4 and first.is_floating_point()):
            return None
        return first.shape[1] if first.min() >= -SLACK and first.max() <= 1 + SLACK else None

    def first_layer(self) -> "Call":
        """The first call that takes numbers of the network's own."""
        layers = (call for call in self.all() if not call.within and [*call.module.parameters()])
        return next(layers, self)

    def all(self) -> Iterator["Call"]:
        yield self
        for call in self.within:
            yield from call.all()

    def is_network(self) -> bool:
        """Whether the module is known to be a whole network, by what its weights or its inputs are normalised with."""
        return trained_with(self.module) is not None or bool(stored_normalization(self.module))


def networks_in(teacher: Source, images: Tensor) -> list[tuple[nn.Module, int]]:
    """The networks that a teacher calls with images in [0, 1], as far as they do not normalise them, and the channels.

    A network is a module that is known to be one, else the outermost module that gets the images.
    """
    teacher.request({"input": {"logits"}})
    with torch.no_grad(), calls() as seen:
        teacher(example_batch(images))
    found: dict[nn.Module, int] = {}
    for call in networks_below(seen):
        if not stored_normalization(call.module) and call.channels and call.first_layer().channels:
            found[call.module] = call.channels
    return list(found.items())


def networks_below(seen: list[Call]) -> Iterator[Call]:
    for call in seen:
        is_holder = isinstance(call.module, Source) or any(inner.is_network() for inner in call.all())
        if is_holder and not call.is_network():
            yield from networks_below(call.within)
        else:
            yield call


@contextmanager
def calls() -> Iterator[list[Call]]:
    """All calls of modules meanwhile, also of such as their owner has not registered."""
    seen: list[Call] = []
    running: list[Call] = []

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        call = Call(module, args)
        (running[-1].within if running else seen).append(call)
        running.append(call)

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        running.pop()

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
