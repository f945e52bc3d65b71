"""What a plan consists of: trainings, conversions, and what each of them gives."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from kd_lightning.batch import Input
from kd_lightning.conversions import Conversion
from kd_lightning.data import DataModule
from kd_lightning.networks import Network
from kd_lightning.part import Part
from kd_lightning.runs.summary import Role
from kd_lightning.sources import Ensemble, FrozenNetwork, Source
from kd_lightning.training.context import Context, Recipe, Terms
from kd_lightning.training.measuring import TestedNetwork


class LearnedFrom(Protocol):
    """What a training can learn from, as its experiment describes it: a `Teacher`."""

    @property
    def name(self) -> str: ...

    def like(self, data: DataModule, example: Input) -> nn.Module | None: ...

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> Source: ...

    def callbacks(self) -> Sequence[Callback]: ...

    def uncached(self) -> "LearnedFrom": ...

    def in_key(self) -> Mapping[str, Any]: ...

    def logits_tap(self) -> dict[str, str] | str: ...


class Trained(NamedTuple):
    """What a step of a plan gave.

    Args:
        name: what its plan calls it.
        described: the network, or the teacher, as the experiment describes it.
        tested: the network itself, and what was measured of it; None where it was looked for and is not there.
        terms_state: what its terms learned, by the names in their objective's state.
        key: what it is kept under in the store; None where it is not.
    """

    name: str
    described: Network | LearnedFrom
    tested: TestedNetwork | None
    terms_state: Mapping[str, Tensor] = {}
    key: Mapping[str, Any] | None = None

    @property
    def network(self) -> nn.Module | None:
        return None if self.tested is None else self.tested.network

    def uncached(self) -> "Trained":
        """The same without answers that are kept."""
        described = self.described
        return self if isinstance(described, Network) else self._replace(described=described.uncached())

    def callbacks(self) -> Sequence[Callback]:
        """What stands beside the training of what learns from it."""
        return [] if isinstance(self.described, Network) else self.described.callbacks()

    def source(self, role: str, names: Iterable[str], context: Context) -> Source | None:
        """A frozen source of the signals that terms take by these names of a role; None where it is not there."""
        network, described = self.network, self.described
        if network is None:
            return None
        if not isinstance(described, Network):
            return described.source(network, names, context)
        return described.frozen(network, role, names, context.data, context.task.width)

    def measured_source(self, context: Context) -> Source | None:
        """A frozen source of its logits alone; None where it is not there."""
        network, described = self.network, self.described
        if network is None or isinstance(network, Source):
            return network
        tap = described.logits_tap()
        taps = {} if isinstance(tap, str) else tap
        return FrozenNetwork(network, taps, described.name, num_classes=context.task.width)


class Learner(NamedTuple):
    """A network that a training trains.

    Args:
        network: what it is.
        terms: makes the terms that it is trained on, in which `student` is itself and `peers` the other learners.
        title: what tables call it; its name where empty.
        role: what it is in a comparison.
        recipe: its optimizer and scheduler, where they are not the training's.
        starts_from: what it is before the training begins, in place of its own weights.
        seeds_on: how far the seed of its random weights is from the training's.
        is_rebuilt: whether it is rebuilt as `student.adapt` says, perhaps around what it learns from.
        baseline: of several that a run is about, what the plan calls the network that it is compared with.

    Examples:
        >>> from kd_lightning import Term
        >>> from kd_lightning.losses import CrossEntropy
        >>> from kd_lightning.plans import Learner, Parts, Steps, Training
        >>> def labels():
        ...     return {"ce": Term(CrossEntropy(), ["student.logits", "target"])}
        >>> class Alone:  # a plan of one training
        ...     def steps(self, parts: Parts) -> Steps:
        ...         learners = {"student": Learner(parts.student, labels)}
        ...         yield Training("student", learners, parts.recipe, parts.context.data)
    """

    network: Network
    terms: Callable[[], Terms]
    title: str = ""
    role: Role = Role.STUDENT
    recipe: Recipe | None = None
    starts_from: Trained | None = None
    seeds_on: int = 0
    is_rebuilt: bool = True
    baseline: str | None = None


class Training(NamedTuple):
    """One fit of one module.

    Args:
        name: of its folder below the run's; the last one's is the run's folder itself.
        learners: the networks that are trained, by name.
        recipe: how.
        data: on which data.
        sources: what they learn from, by its name in their terms.
        is_kept: whether it is done once for all runs, and kept in the store; the last one of a plan is not.
        prepares: the training that goes on with its network and the parts of its terms; it is not measured.
        called: what loggers call it behind the networks' names, such as `as teacher`.
        curriculum: makes what decides which samples are seen when.
        finetune: how much of the network learns, `whole`, `head` or `gradual`, or some stages, counted from 0;
            None: all of it.
        is_compared: whether what it gave is measured for the run's comparison, where it is kept.
    """

    name: str
    learners: Mapping[str, Learner]
    recipe: Recipe
    data: DataModule
    sources: Mapping[str, Trained] = {}
    is_kept: bool = False
    prepares: "Training | None" = None
    called: str = ""
    curriculum: Part[Any] | None = None
    finetune: str | Sequence[int] | None = None
    is_compared: bool = True

    @property
    def first(self) -> Learner:
        """Its only learner, or the first."""
        return next(iter(self.learners.values()))

    @property
    def owner(self) -> str | None:
        """The key of the config below which its recipe may stand; None for one that prepares another."""
        if self.prepares is not None:
            return None
        network = self.first.network
        return network.owner if self.sources or not self.is_kept else network.alone

    @property
    def title(self) -> str:
        """What the terminal calls it."""
        return self.first.title or self.name

    @property
    def networks(self) -> str:
        """What learns from what, such as `resnet8 ← resnet20`."""
        names = ", ".join(one.network.title for one in self.learners.values())
        sources = ", ".join(one.described.name for one in self.sources.values())
        return f"{names} ← {sources}" if sources else names


class Convert(NamedTuple):
    """A change of a trained network that is no training, kept as a record in the store.

    Args:
        name: what its plan calls it.
        of: what gave the network.
        conversion: what changes it; its `fit` sees the training batches, and the sources.
        sources: networks and teachers by name, for its `fit`.

    Examples:
        >>> from kd_lightning.conversions import ReplaceHead
        >>> from kd_lightning.plans import Convert, Parts, Steps
        >>> class OtherClasses:  # a student that is trained, gets another head, and is trained again
        ...     def steps(self, parts: Parts) -> Steps:
        ...         first = yield parts.by_itself("first", parts.student)
        ...         changed = yield Convert("changed", first, ReplaceHead(num_classes=10))
        ...         yield parts.distilled("student", parts.student, None, starts_from=changed)
    """

    name: str
    of: Trained
    conversion: Conversion
    sources: Mapping[str, Trained] = {}


@dataclass(frozen=True)
class Mean:
    """The mean of the logits of trained networks, which is measured and compared; it may follow the run's training.

    Args:
        name: what its plan calls it.
        of: what gave the networks.
        title: what tables call it; its name where empty.
        role: what it is in a comparison.

    Examples:
        >>> from kd_lightning.plans import Mean, Parts, Steps
        >>> class Pair:  # the teacher and its student together
        ...     def steps(self, parts: Parts) -> Steps:
        ...         teacher = yield parts.teacher
        ...         yield Mean("both", [teacher, (yield parts.distilled("student", parts.student, teacher))])
    """

    name: str
    of: Sequence[Trained]
    title: str = ""
    role: Role = Role.STUDENT

    @property
    def model(self) -> str:
        """What tables call the networks: `3 x resnet8`, or each by its name."""
        return mean_of([one.described.name for one in self.of])

    def around(self, context: Context) -> Ensemble:
        """The mean of the networks as they are."""
        return Ensemble([source for one in self.of if (source := one.measured_source(context)) is not None])

    def like(self, data: DataModule, example: Input) -> nn.Module | None:
        return None

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> Source:
        assert isinstance(built, Source)
        return built

    def callbacks(self) -> Sequence[Callback]:
        return []

    def uncached(self) -> "Mean":
        return self

    def in_key(self) -> Mapping[str, Any]:
        """What decides what is learned from it, besides what its source tells: nothing."""
        return {}

    def logits_tap(self) -> dict[str, str] | str:
        return "auto"


def mean_of(names: Sequence[str]) -> str:
    """What tables call several networks together: `3 x resnet8`, or each by its name."""
    return f"{len(names)} x {names[0]}" if len({*names}) == 1 else " + ".join(names)


def by_itself(
    name: str,
    network: Network,
    context: Context,
    *,
    seeds_on: int = 0,
    title: str = "",
    role: Role = Role.STUDENT,
    called: str = "",
    finetune: str | None = None,
) -> Training:
    """The training of a network that learns from nobody, kept for all runs."""
    alone = context.alone[network.alone]
    learner = Learner(network, alone.terms, title, role, is_rebuilt=False)
    recipe = alone.recipe.seeds_on(seeds_on)
    data = context.data if alone.batch_size is None else context.data.in_batches_of(alone.batch_size)
    options: dict[str, Any] = {"called": called, "finetune": finetune, "curriculum": alone.curriculum}
    return Training(name, {name: learner}, recipe, data, is_kept=True, **options)
