"""What every source has in common: it maps a batch to signals."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Self

from kd_lightning.batch import INPUT, Batch, Input, size_of, with_input
from kd_lightning.models.batch_norm import batch_statistics
from kd_lightning.schedules.progress import Progress


class Step(NamedTuple):
    """A step of a training that is about to be taken, as its sources see it beforehand.

    Args:
        streams: the batches on the device, by stream; one alone has the name "". Of a step of several, the first.
        sources: all of them by name.
        objectives: what each learner minimises.
        minimised: computes each learner's total on these batches, with the networks as they are when it is called.
        rates: each learner's learning rate, that of its first group of parameters.
        progress: how far the training is.
        skips: whether a step that is not finite changes nothing.

    Examples:
        >>> import torch
        >>> from kd_lightning.schedules import Progress
        >>> from kd_lightning.sources import FrozenNetwork, Step
        >>> class Watching(FrozenNetwork):  # logs the student's rate, as train/teacher_rate
        ...     def before_step(self, step: Step):
        ...         return {"rate": torch.tensor(step.rates["student"])}
        >>> step = Step({}, {}, {}, dict, {"student": 0.1}, Progress(), skips=False)
        >>> Watching(torch.nn.Linear(16, 3)).before_step(step)
        {'rate': tensor(0.1000)}
    """

    streams: Mapping[str, Batch]
    sources: Mapping[str, "Source"]
    objectives: Mapping[str, nn.Module]
    minimised: Callable[[], Mapping[str, Tensor]]
    rates: Mapping[str, float]
    progress: Progress
    skips: bool


class Source(nn.Module):
    """Maps a batch to signals: a network that is trained, a frozen one, a moving average, or whatever has an answer.

    A subclass implements `forward` and `identity`, and names in `signals` what it can give. Its parameters and buffers
    go into checkpoints. `FrozenSource` is the base of those that neither learn nor change.

    Examples:
        >>> import torch
        >>> from kd_lightning.sources import Source
        >>> class Noise(Source):
        ...     signals = ["logits"]
        ...     def forward(self, batch, input="input", training=False):
        ...         return {"logits": torch.randn(len(batch[input]), 10)}
        ...     def identity(self):
        ...         return {"noise": 10}
        >>> Noise()({"input": torch.rand(2, 3, 8, 8)})["logits"].shape
        torch.Size([2, 10])
    """

    signals: list[str]
    """What this source can give, such as `logits`, `stage1`; stages from input to output."""

    role: str = ""
    """What its training calls it, for messages; a `DistillationModule` sets it."""

    trained: bool = False
    """Whether a training's optimizer changes it."""

    changes: bool = True
    """Whether a training changes it, as it does a moving average: then it is measured afterwards."""

    def begin(self, sources: Mapping[str, "Source"]) -> None:
        """See all sources of a training by name as it begins, before it is asked for anything."""

    def request(self, taps: Mapping[str, set[str]]) -> None:
        """Learn which signals the terms take of each input; `input` is the batch's first."""

    def before_transfer(self, batch: Batch) -> Batch:
        """A training batch, still on the CPU, with whatever this source already knows of it."""
        return batch

    def close(self) -> None:
        """Give back the files that it holds open; asked again, it opens them anew."""

    def forward(self, batch: Mapping[str, Any], input: str = INPUT, training: bool = False) -> dict[str, Tensor]:
        """The requested signals of one of the batch's inputs; `training` says that a learner learns from them."""
        raise NotImplementedError

    def before_step(self, step: Step) -> Mapping[str, Tensor]:
        """What precedes a training's step, such as a step of the source's own; gives what is logged of it, by name."""
        return {}

    def after_step(self, sources: Mapping[str, "Source"], progress: Progress) -> None:
        """What follows an optimizer step, such as another step of a moving average."""

    def identity(self) -> dict[str, Any]:
        """What this source is, in plain values, for checkpoints and summaries."""
        raise NotImplementedError

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the networks inside in place, each by itself; arguments as of `torch.compile`."""
        for network in self.children():
            network.compile(*args, **kwargs)


class UntrainedSource(Source):
    """A source that learns by no gradient: always in eval mode, out of every optimizer's reach.

    A subclass implements `answer` and `identity`, and calls `freeze` once built.
    """

    batch_statistics: bool = False
    """Whether batch normalisations take each training batch's own statistics; the running ones stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[nn.Module] | None = None

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The requested signals for a batch, of which `input` is the input that is asked for."""
        raise NotImplementedError

    def forward(self, batch: Mapping[str, Any], input: str = INPUT, training: bool = False) -> dict[str, Tensor]:
        if self._parts is None:
            self._parts = list(self.modules())  # to walk the tree in every step would take as long as a layer
        if any(part.training for part in self._parts):  # somebody called train() on a part of it
            self.train(False)
        batch = with_input(batch, input)
        own = training and self.batch_statistics and size_of(batch) > 1  # a single image has no variance
        with torch.no_grad(), batch_statistics(self) if own else nullcontext():
            return self.answer(batch)

    def freeze(self) -> None:
        """Into eval mode, and out of every optimizer's reach."""
        self._parts = None
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class FrozenSource(UntrainedSource):
    """A source that never changes, and is never in a checkpoint: its state is empty.

    Examples:
        >>> import torch
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.sources import FrozenSource
        >>> class Certain(FrozenSource):
        ...     signals = ["logits"]
        ...     def answer(self, batch):
        ...         return {"logits": batch["input"].flatten(1)[:, :10] * 100}
        ...     def identity(self):
        ...         return {"certain": 100}
        >>> module = DistillationModule(student=torch.nn.Linear(16, 10), teacher=Certain(), num_classes=10)
        >>> sorted(name.partition(".")[0] for name in module.state_dict())  # no teacher
        ['student', 'student']
    """

    changes = False

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_keep_own_state)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        return {} if destination is None else destination


def _keep_own_state(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    # Fills in what a checkpoint leaves out, so that strict loading still guards the student beside this module.
    state_dict.update(nn.Module.state_dict(module, prefix=prefix))


class LogitsOf(nn.Module):
    """A source as an ordinary network, to be tested like one: inputs (B, …) to its logits (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.sources import FrozenNetwork, LogitsOf
        >>> LogitsOf(FrozenNetwork(torch.nn.Linear(16, 10)))(torch.rand(2, 16)).shape
        torch.Size([2, 10])
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def forward(self, inputs: Input) -> Tensor:
        return self.source({INPUT: inputs})["logits"]
