"""The numbers of an object that are schedules: plain numbers for as long as something is computed with them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from kd_lightning.schedules.progress import Progress, Schedule


class Scheduled(NamedTuple):
    """An attribute that is a schedule, or a list with some."""

    owner: Any
    name: str
    value: Schedule | Sequence[Any]

    def at(self, progress: Progress) -> Any:
        return _at(self.value, progress)

    def schedules(self) -> list[Schedule]:
        parts = [self.value] if isinstance(self.value, Schedule) else self.value
        return [part for part in parts if isinstance(part, Schedule)]


def scheduled(holder: Any) -> list[Scheduled]:
    """The attributes of an object, of a module also those of its parts, that are schedules or lists with some.

    So are those of what a module was `given` to call, which is no module, such as sample weights.
    """
    owners = list(holder.modules()) if isinstance(holder, nn.Module) else [holder]
    called = [one.given for one in owners if isinstance(one, nn.Module) and callable(getattr(one, "given", None))]
    owners += [one for one in called if not isinstance(one, (nn.Module, Schedule))]
    found = [Scheduled(owner, *pair) for owner in owners for pair in getattr(owner, "__dict__", {}).items()]
    return [one for one in found if isinstance(one.value, (Schedule, list, tuple)) and one.schedules()]


@contextmanager
def numbers_at(found: Sequence[Scheduled], progress: Progress) -> Iterator[None]:
    """Within, each attribute is the number, or the list of numbers, that it is at this moment of the training."""
    for one in found:
        vars(one.owner)[one.name] = one.at(progress)
    try:
        yield
    finally:
        for one in found:
            vars(one.owner)[one.name] = one.value


def _at(value: Any, progress: Progress) -> Any:
    if isinstance(value, Schedule):
        return value(progress)
    return [_at(one, progress) for one in value] if isinstance(value, (list, tuple)) else value
