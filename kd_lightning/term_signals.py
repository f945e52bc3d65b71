"""What a term takes from a step's signals: tensors by their names, and a weight for each sample."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from kd_lightning.errors import UserError, did_you_mean

Signals = Mapping[str, Tensor]
SampleWeight = str | Callable[[Signals], Tensor]


def as_list(value):  # type: ignore[no-untyped-def]
    """A list of tensors as it is, one tensor as a list of one."""
    return value if isinstance(value, list) else [value]


def pick(signals: Signals, name: str | list[str], key: str = "signals") -> Tensor | list[Tensor]:
    """A signal by its name, or several. Raises `UserError`, which begins with `key`, for one that nobody gives."""
    try:
        return signals[name] if isinstance(name, str) else [signals[one] for one in name]
    except KeyError as missing:
        raise unknown(missing.args[0], signals, key) from None


def unknown(name: str, signals: Signals, key: str) -> UserError:
    """The line about a signal that is not there."""
    close = did_you_mean(str(name), signals)
    return UserError(f"{key}={name}: nobody gives this signal; {close}there are {', '.join(signals)}")


def full_precision(value: Tensor) -> Tensor:
    """A half-precision value as float32; any other as it is."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


class FullPrecision(Mapping[str, Tensor]):
    """Signals by name, in full precision once they are asked for."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def __getitem__(self, name: str) -> Tensor:
        return full_precision(self.signals[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.signals)

    def __len__(self) -> int:
        return len(self.signals)


def named(sample_weight: Any) -> str:
    """Sample weights on a line: the signal, or what makes them."""
    return sample_weight if isinstance(sample_weight, str) else type(sample_weight).__name__


def signals_of(sample_weight: SampleWeight | None) -> list[str]:
    """The names of the signals that sample weights are made from, as far as these tell."""
    found = sample_weight if isinstance(sample_weight, str) else getattr(sample_weight, "signals", [])
    return [found] if isinstance(found, str) else list(found)


def renamed(sample_weight: str, names: Mapping[str, str | list[str]]) -> str:
    """Sample weights' signal by the name that it stands for. Raises `UserError` where it stands for several."""
    found = names.get(sample_weight, sample_weight)
    if isinstance(found, str):
        return found
    raise UserError(f"sample_weight={sample_weight}: is {len(found)} signals; must be one, a weight for each sample")


@torch.no_grad()
def weights_of(sample_weight: SampleWeight, signals: Signals, values: Tensor) -> Tensor:
    """The weights (B,) of a loss's values (B,), in their precision, without gradient.

    Raises `UserError` for a signal that nobody gives, and for weights of another shape.
    """
    weights = pick(signals, sample_weight, "sample_weight") if isinstance(sample_weight, str) else None
    if not isinstance(sample_weight, str):
        try:
            weights = sample_weight(FullPrecision(signals))
        except KeyError as missing:
            if missing.args[0] in signals:
                raise
            raise unknown(missing.args[0], signals, "sample_weight") from missing
    if not isinstance(weights, Tensor) or weights.shape != values.shape:
        found = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise UserError(
            f"sample_weight={named(sample_weight)}: gives {found}; must be a weight for each sample, "
            f"{tuple(values.shape)}"
        )
    return weights.detach().to(values.dtype)
