"""Random numbers of several learners in one step, each of which draws as if it were alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

States = list[Tensor]


class OwnStreams:
    """The state of the global generators, CPU's and the GPU's, for each learner: dropout and its like draw from them.

    Where they were seeded since the last step, as `SeededBatches` does, every learner begins there. Otherwise each goes
    on where it was, and whatever draws outside of the learners, such as a loader, draws from the first one's. Nothing
    waits for a device: the states lie on the host.

    Examples:
        >>> import torch
        >>> from kd_lightning.learners.random_state import OwnStreams
        >>> streams = OwnStreams(["first", "second"])
        >>> with streams.step(torch.device("cpu")):
        ...     first = torch.rand(2)
        ...     streams.switch("second")
        ...     torch.equal(torch.rand(2), first)
        True
    """

    def __init__(self, learners: Sequence[str]) -> None:
        self.learners = list(learners)
        self._states: dict[str, States] = {}
        self._seeds: list[int] = []
        self._generators: list[torch.Generator] = []
        self._current: str | None = None

    @contextmanager
    def step(self, device: torch.device) -> Iterator[None]:
        """A step, in which the first learner draws first; behind it the global generators are that one's again."""
        if len(self.learners) == 1:
            yield
            return
        self._generators = generators_of(device)
        seeds = [generator.initial_seed() for generator in self._generators]
        if seeds != self._seeds or all(is_fresh(generator) for generator in self._generators):
            self._states = dict.fromkeys(self.learners, self._state())
        self._seeds = seeds
        self._current = self.learners[0]
        try:
            yield
            self.switch(self.learners[0])
        finally:
            self._current, self._generators = None, []  # a copy of the module shall have no copy of these

    def switch(self, source: str) -> None:
        """Draw as this learner from here on; for a source that learns nothing as the first. Nothing outside a step."""
        name = source if source in self._states else self.learners[0]
        if self._current is None or self._current == name:
            return
        self._states[self._current] = self._state()
        for generator, state in zip(self._generators, self._states[name], strict=True):
            generator.set_state(state)
        self._current = name

    def _state(self) -> States:
        return [generator.get_state() for generator in self._generators]


def generators_of(device: torch.device) -> list[torch.Generator]:
    """What modules on a device draw from where they are given no generator."""
    if device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


def is_fresh(generator: torch.Generator) -> bool:
    """Whether nothing was drawn from a generator since it was seeded."""
    seeded = torch.Generator(generator.device).manual_seed(generator.initial_seed())
    return torch.equal(seeded.get_state(), generator.get_state())
