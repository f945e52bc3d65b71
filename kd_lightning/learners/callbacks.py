"""Callbacks that watch a metric of one network, for several learners."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from kd_lightning.learners.names import of_learner

STAGES = ("train", "val", "test")


def for_learners(callbacks: Iterable[Callback], learners: Sequence[str]) -> list[Callback]:
    """Of each callback that watches a metric one for each learner, which watches that one's; the others as they are.

    A checkpoint gets the learner's name behind its own: `best.ckpt` is `best_first.ckpt`, `best_second.ckpt`, each of
    the whole module as it was when that learner was best. What ends a training, as early stopping does, ends it for all
    as soon as one learner's says so. A monitor that names a learner, `val/first/top1`, stays; with one learner all do.

    Examples:
        >>> from lightning.pytorch.callbacks import ModelCheckpoint
        >>> from kd_lightning.callbacks import for_learners
        >>> best = ModelCheckpoint(monitor="val/top1", filename="best", mode="max")
        >>> [(one.monitor, one.filename) for one in for_learners([best], ["first", "second"])]
        [('val/first/top1', 'best_first'), ('val/second/top1', 'best_second')]
    """
    found: list[Callback] = []
    for callback in callbacks:
        if len(learners) > 1 and is_of_any(getattr(callback, "monitor", None), learners):
            found += [_of_learner(callback, learner, is_first=learner == learners[0]) for learner in learners]
        else:
            found.append(callback)
    return found


def is_of_any(monitor: Any, learners: Sequence[str]) -> bool:
    """Whether a logged name is of a stage, and of no learner in particular: then each has it."""
    if not isinstance(monitor, str):
        return False
    stage, _, name = monitor.partition("/")
    return stage in STAGES and name != "" and name.partition("/")[0] not in learners


def _of_learner(callback: Any, learner: str, is_first: bool) -> Callback:
    own = copy.deepcopy(callback)
    own.monitor = of_learner(callback.monitor, learner)
    if isinstance(own, ModelCheckpoint):
        own.filename = f"{own.filename or '{epoch}-{step}'}_{learner}"
        own.save_last = own.save_last if is_first else None  # which is the same of all
    assert isinstance(own, Callback)
    return own
