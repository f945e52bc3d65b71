"""What a curriculum is: it draws the samples of each epoch, by what it saw of the training and of its validations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from kd_lightning.curricula.concepts import Concepts
from kd_lightning.schedules.progress import BEGIN, Assessment, Progress


class Question(Protocol):
    """What can be asked about all samples as they are: a value of the signals that `asks` names.

    These are the signals of frozen sources, such as `teacher.logits`, and the batch's, such as `target`.
    """

    @property
    def asks(self) -> tuple[str, ...]: ...

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        """Of a batch's samples, (B, …), without gradient."""
        ...


class Samples(NamedTuple):
    """The training samples in their own order, each value with N rows, on the training's device.

    A curriculum names a sample by its position here, 0 to N - 1. `index` is what batches have by that name;
    `target`, `concepts` and `difficulty` are None where the data do not tell. Concepts are the classes unless the data
    tell others. `answers` gives a question's value of all samples, (N, …): each is shown as validation shows it, not
    augmented, and a command asks about them once for all runs.

    Of all samples together, where the data tell them: `classes`, the names of the classes by their labels; `groups`,
    the names of the classes in each group of a hierarchy; `folders`, which gives the folder of each sample's file.
    `validation` are the samples of the first validation loader, with `answers` of their own; `is_of_training` says that
    they have been split off the training set, so that an index means the same in both. `total` is how many samples the
    whole training set has, those that are set apart or left out included.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples
        >>> len(Samples(index=torch.arange(100)).index)
        100
    """

    index: Tensor  # type: ignore[assignment] # a tuple's method
    target: Tensor | None = None
    concepts: Tensor | None = None
    difficulty: Tensor | None = None
    answers: Callable[[Question], Tensor] | None = None
    classes: Sequence[str] | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    folders: Callable[[], Sequence[str]] | None = None
    validation: "Samples | None" = None
    is_of_training: bool = False
    total: int | None = None


class Account(NamedTuple):
    """What a curriculum tells of an epoch, in plain values, for loggers and reports.

    Args:
        values: curves by name, such as the share of the samples in use; logged as `curriculum/NAME`.
        concepts: the student's latest accuracy on each concept by name, from 0 to 1.
        teaches: the names of the concepts that the epoch teaches.
        decisions: sentences on what was decided as the epoch began, and why.

    Examples:
        >>> from kd_lightning.curricula import Account
        >>> Account(values={"share": 0.4}, teaches=["cat"], decisions=["cat is opened: dog is mastered"]).teaches
        ['cat']
    """

    values: Mapping[str, float] = {}
    concepts: Mapping[str, float] = {}
    teaches: Sequence[str] = ()
    decisions: Sequence[str] = ()


class Curriculum:
    """Which samples an epoch holds, and in which order. One of your own is a subclass.

    All methods are called on every rank of a training with the same values, and must come to the same state there.
    Random numbers that they take from torch, numpy or Python follow from the run's seed and the epoch.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Curriculum, Samples
        >>> class Growing(Curriculum):
        ...     def begin(self, samples):
        ...         self.order = samples.difficulty.argsort()
        ...     def draw(self, epoch, count):
        ...         easiest = self.order[: (epoch + 1) * count // 4]
        ...         return easiest[torch.randperm(len(easiest))]
        >>> growing = Growing()
        >>> growing.begin(Samples(torch.arange(8), difficulty=torch.arange(8) / 8))
        >>> sorted(growing.draw(epoch=1, count=8).tolist())
        [0, 1, 2, 3]
    """

    observes: tuple[str, ...] = ()
    """The signals that `observe` gets, such as `student.logits` and `target`."""

    asks: tuple[str, ...] = ()
    """The signals that `begin` may ask for by `samples.answers`, such as `teacher.logits` and `target`."""

    progress: Progress = BEGIN
    """How far the training is as an epoch is drawn."""

    next_progress: Progress = BEGIN
    """How far it will be when that epoch is over, if it takes as many samples as `draw` is told."""

    learning_rate: float | Tensor = 0.0
    """That of the step whose batch `observe` sees, of the student's first group of parameters."""

    awaits: str | None = None
    """What `finished` waits for, told where the training reaches the trainer's limit first; None: for nothing."""

    @property
    def learns(self) -> bool:
        """Whether what it draws may depend on what it sees; if not, `teacher.cache=prefill` asks for it beforehand."""
        return type(self).observe is not Curriculum.observe or assesses(self)

    def begin(self, samples: Samples) -> None:
        """Forget everything: a training of these samples begins."""

    def draw(self, epoch: int, count: int) -> Tensor:
        """The samples of an epoch in their order: positions int64 (M,), 0 to N - 1, with M of one's own choice.

        `count` is how many samples an epoch takes: all N, or fewer where the trainer is told so. It is called once, as
        an epoch begins; what is observed meanwhile counts from the next one on.
        """
        raise NotImplementedError

    def observe(self, positions: Tensor, signals: Mapping[str, Tensor]) -> None:
        """See a batch after its step: positions int64 (B,) of its samples, and the signals that `observes` names.

        They are those of all ranks, on the device, without gradient, in float32. A step that is left out because it was
        not finite is not seen. Nothing here may wait for the device: no `.item()`, no `if tensor`.
        """

    def concepts_to_assess(self) -> Concepts | None:
        """What validation measures by concept, once the training has begun; None where nothing is asked for."""
        return None

    def assess(self, results: Assessment) -> None:
        """See what a validation measured."""

    def account(self) -> Account:
        """What is to be told of the epoch that was drawn last. It changes nothing.

        It is asked once an epoch is drawn, and as the epoch ends for what `concepts` are by then.
        """
        return Account()

    def graph(self) -> Mapping[str, Any] | None:
        """The knowledge graph of its concepts, or None: node-link data of networkx, asked once, after `begin`.

        `nodes` have an `id`, which is the concept's name, `edges` a `source`, a `target`, and perhaps a `cost`;
        `directed` says whether edges lead one way.
        """
        return None

    def finished(self) -> str | None:
        """Why the training may end now, asked after each assessment; None: it goes on to the trainer's limit."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What has changed since `begin`, as `torch.load` reads it with `weights_only`: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, after `begin`; its tensors lie on the training's device."""


def has_state(curriculum: Curriculum) -> bool:
    """Whether it says what its state is."""
    return type(curriculum).state_dict is not Curriculum.state_dict


def assesses(curriculum: Curriculum) -> bool:
    """Whether what it draws may depend on validations."""
    return type(curriculum).assess is not Curriculum.assess
