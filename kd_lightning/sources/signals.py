"""The signals of a training step: what sources give for its batches, as far as terms take it, and the batches' own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from kd_lightning.batch import INPUT, KNOWN, Batch, as_streams, example_of, main_stream
from kd_lightning.signals import DETACHED, LENGTHS, Signal, has_rows, read, requested
from kd_lightning.sources.source import Source
from kd_lightning.tasks import Task
from kd_lightning.tasks.rows import ALL

NamesOf = Callable[[Iterable[str | None]], list[str]]
OfStreams = tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]  # the main stream's signals; all streams' by name
OF_ROWS = ("target", LENGTHS)  # what a batch has anew with its rows


class StepSignals:
    """Asks the sources for what the terms take: `names` in all, and `names_of` some streams, of which None is the main.

    Outputs and targets are the task's `rows`. `switch` is told before each source who draws random numbers next.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        names: list[str],
        names_of: NamesOf,
        task: Task,
        switch: Callable[[str], None] | None = None,
    ) -> None:
        self.sources = sources
        self.task = task
        self.switch = switch
        self.requested = {name: requested(name, names) for name in sources}
        self.ask_sources()
        self.detached = [name for name in names if name.endswith(DETACHED)]
        self.without_gradient = without_gradient(names)
        self.names_of = names_of
        self.answered: dict[tuple[str, str, str], dict[str, Tensor]] | None = None  # which are not asked for again
        self._of_stream: dict[tuple[str, bool], list[str]] = {}

    def ask_sources(self) -> None:
        """Have the sources give the taps that are taken; another training of the same may have asked for others."""
        for name, source in self.sources.items():
            source.request(self.requested[name])

    def of(self, batch: Batch, training: bool, stream: str = "", is_main: bool = True) -> dict[str, Tensor]:
        """All signals of one batch in one flat dict; of a named stream the sources give those alone that terms take."""
        signals = {name: value for name, value in batch.items() if not name.startswith((INPUT, KNOWN))}
        for name, source in self.sources.items():
            if self.switch is not None:
                self.switch(name)
            for input in self._inputs(name, source, training, stream, is_main):
                given = self._given(name, source, batch, input, training, stream)
                signals |= {str(Signal(name, tap, input)): value for tap, value in given.items()}
        if type(self.task).rows is not Task.rows:
            outputs = {name: value for name, value in signals.items() if name not in batch and has_rows(name)}
            rows, changed = self.task.rows(outputs, batch)
            signals |= {**rows, **{name: changed[name] for name in OF_ROWS if name in changed}}
        detached = {name: name.removesuffix(DETACHED) for name in self.detached}
        return signals | {name: signals[taken].detach() for name, taken in detached.items() if taken in signals}

    def _given(
        self, name: str, source: Source, batch: Batch, input: str, training: bool, stream: str
    ) -> dict[str, Tensor]:
        """What a source gives; one that learns nothing is not asked again where its answers are held.

        Of a further input no gradient is prepared where all that is taken of it comes without.
        """
        if source.trained and (name, input) in self.without_gradient:
            with torch.no_grad():
                given = source(batch, input, training=training)
            torch.clear_autocast_cache()  # which in older torch has weights in lower precision without gradient now
            return given
        if self.answered is None or source.trained:
            return source(batch, input, training=training)
        if (name, stream, input) not in self.answered:
            self.answered[name, stream, input] = source(batch, input, training=training)
        return self.answered[name, stream, input]

    def of_streams(self, streams: Mapping[str, Batch], training: bool) -> OfStreams:
        """The signals of the main stream, and of all streams that have a name."""
        main = main_stream(streams)
        found = {name: self.of(batch, training, name, name == main) for name, batch in streams.items()}
        return found[main], {name: signals for name, signals in found.items() if name}

    def of_examples(self, streams: Mapping[str, Batch], device: torch.device, training: bool) -> OfStreams:
        """The same of examples, on the device; targets and indices are 0 where they have none."""
        examples = {name: {**example_of(batch), ALL: True} for name, batch in streams.items()}
        batches = move_data_to_device(examples, device)
        main, named = self.of_streams(batches, training)
        for signals in (main, *named.values()):
            outputs = next((value for name, value in signals.items() if has_rows(name)), signals["index"])
            signals.setdefault("target", self.task.blank_target(outputs))
        return main, named

    def _inputs(self, name: str, source: Source, training: bool, stream: str, is_main: bool) -> Iterable[str]:
        """The inputs that a source is asked for; of a learner in training, and of a stream, those that terms take."""
        if stream:
            if (stream, is_main) not in self._of_stream:
                self._of_stream[stream, is_main] = self.names_of([stream, *([None] if is_main else [])])
            return requested(name, self._of_stream[stream, is_main])
        asked = self.requested[name]
        return asked if source.trained and training else {INPUT: None, **asked}


def without_gradient(names: Iterable[str]) -> set[tuple[str, str]]:
    """The sources and their further inputs of which the signals by these names are all taken without gradient."""
    taken: dict[tuple[str, str], bool] = {}
    for signal in map(read, names):
        if signal is not None and signal.input != INPUT:
            place = signal.source, signal.input
            taken[place] = taken.get(place, True) and signal.is_detached
    return {place for place, is_detached in taken.items() if is_detached}


def before_transfer(batch: Any, task: Task, sources: Iterable[Source]) -> Any:
    """A batch, or those of several streams, while they lie on the CPU: with what the task and the sources know of them.

    Raises UserError for targets that cannot be.
    """
    streams = as_streams(batch)
    for one in streams.values():
        task.check_batch(one)
    if type(task).before_transfer is not Task.before_transfer:
        streams = {name: task.before_transfer(one) for name, one in streams.items()}
        batch = streams.get("", streams)
    for source in sources:
        if type(source).before_transfer is not Source.before_transfer:
            streams = {name: source.before_transfer(one) for name, one in streams.items()}
            batch = streams.get("", streams)
    return batch
