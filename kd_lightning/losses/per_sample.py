"""Each sample's value of a loss: whether it has one, how it is asked for, and which samples count in the mean."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor, nn

from kd_lightning.losses.functional.samples import has_label


def has_values(loss: nn.Module) -> bool | None:
    """Whether a loss is a mean over samples that gives each one's value; None where only what it returns will tell.

    It says so by an attribute `per_sample`, or by taking `reduction`.
    """
    declared: bool | None = getattr(loss, "per_sample", True if _takes_reduction(type(loss).forward) else None)
    return declared


def values(loss: nn.Module, *signals: Any) -> Tensor:
    """Each sample's value (B,), of a loss that gives it; of others what they return."""
    value: Tensor = loss(*signals, reduction="none") if _takes_reduction(type(loss).forward) else loss(*signals)
    return value


def counted(loss: nn.Module, *signals: Any) -> Tensor | None:
    """Which samples the loss's mean is over, (B,); None for all. A loss that leaves some out has a method `counted`."""
    of_loss: Any = getattr(loss, "counted", None)
    return None if of_loss is None else of_loss(*signals)


def labelled(target: Tensor) -> Tensor | None:
    """Which samples have a label (B,), of class indices (B,); None, all, of probabilities (B, C)."""
    return has_label(target) if target.ndim == 1 else None


@cache
def _takes_reduction(forward: Callable[..., Any]) -> bool:
    return "reduction" in inspect.signature(forward).parameters
