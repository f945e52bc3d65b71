"""What a training step receives: a mapping of tensors, whatever the loader gave."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError

Batch = dict[str, Tensor]
INPUT = "input"
KNOWN = "known."  # begins what sources know of a batch beforehand


def as_batch(batch: Any) -> Batch:
    """`input`, and `target` where there is one, from a mapping, an `(input, target)` pair or a lone input."""
    if isinstance(batch, Tensor):
        return {"input": batch}
    named: Mapping[str, Any] = {}
    if isinstance(batch, Mapping):
        named = batch
    elif isinstance(batch, (tuple, list)) and 1 <= len(batch) <= 2:
        named = dict(zip(("input", "target"), batch, strict=False))
    if isinstance(named.get("input"), (Tensor, Mapping)):
        return {name: value for name, value in named.items() if value is not None}
    found = named.get("input")
    held = "" if found is None else f", its input of type {type(found).__name__}"
    raise UserError(
        f"batch of type {type(batch).__name__}{held}: give (input, target), a lone input, or a mapping with the key "
        "'input', of tensors and from one loader"
    )


def example_batch(inputs: Tensor) -> Batch:
    """A batch of these inputs with target, index and strong view."""
    zeros = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    return {"input": inputs, "input_strong": inputs, "target": zeros, "index": zeros}


def seen_as(batch: Mapping[str, Tensor], input: str) -> Mapping[str, Tensor]:
    """The batch with another of its inputs as `input`, without what is known of the first; raises `UserError`.

    An input goes by its name, such as `audio`, a view by what follows in it, as `strong` for `input_strong`.
    """
    if input == INPUT:
        return batch
    value = batch.get(f"{INPUT}_{input}", batch.get(input))
    if value is None:
        raise UserError(
            f"{INPUT}_{input}: a term takes signals of this view or input, and the batch has none; let the loader give "
            f"it as '{INPUT}_{input}' or '{input}'; it gives {', '.join(batch)}"
        )
    return {name: value for name, value in batch.items() if not name.startswith((KNOWN, "view"))} | {INPUT: value}


class Constants(nn.Module):
    """Tensors by name that lie where the module lies and go into no checkpoint."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, value, persistent=False)

    def names(self) -> list[str]:
        return list(self._buffers)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._buffers.items():
            assert value is not None
            yield name, value
