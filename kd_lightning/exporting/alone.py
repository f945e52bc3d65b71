"""A network as an export has it: tensors in, one tensor out."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.batch import INPUT, Input, call
from kd_lightning.taps import TapReader
from kd_lightning.taps.outputs import logits_of

LOGITS, PROBABILITIES = "logits", "probabilities"
BATCH = "batch"  # what exports call the dimension of the samples


class Alone(nn.Module):
    """A network that takes tensors by position and gives its logits (B, …), or with `softmax` probabilities (B, C).

    Args:
        network: in eval mode, with its normalisation; a network of a mapping gets its tensors by name.
        names: of the tensors of a mapping, in the order in which they are given; None for one tensor.
        tap: the address of the logits where the network's output does not tell them; see `kd_lightning.taps`.
        num_classes: tells the logits among several outputs.
        softmax: whether it gives probabilities.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str] | None = None,
        tap: str | None = None,
        num_classes: int | None = None,
        *,
        softmax: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.names = None if names is None else tuple(names)
        self.num_classes = num_classes
        self.softmax = softmax
        self.reader = None if tap is None else TapReader(network, {LOGITS: tap}, num_classes=num_classes)

    def forward(self, *inputs: Tensor) -> Tensor:
        given: Input = inputs[0] if self.names is None else dict(zip(self.names, inputs, strict=True))
        if self.reader is None:
            logits = logits_of(self.network, call(self.network, given), self.num_classes)
        else:
            logits = self.reader(given)[LOGITS]
        return logits.softmax(1) if self.softmax else logits

    @property
    def gives(self) -> str:
        """What an export calls its output."""
        return PROBABILITIES if self.softmax else LOGITS

    def takes(self) -> tuple[str, ...]:
        """What an export calls its inputs."""
        return (INPUT,) if self.names is None else self.names


def names_of(input: Any) -> tuple[str, ...] | None:
    """The names of a mapping's tensors; None of one tensor."""
    return tuple(input) if isinstance(input, Mapping) else None


def tensors_of(input: Input) -> tuple[Tensor, ...]:
    """An input as `Alone` takes it."""
    return tuple(input.values()) if isinstance(input, Mapping) else (input,)


def answer(alone: Alone, inputs: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        given: Tensor = alone(*inputs)
    return given
