"""What a training step receives: a mapping of tensors, whatever the loader gave."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kd_lightning.errors import UserError

Batch = dict[str, Tensor]


def as_batch(batch: Any) -> Batch:
    """`input`, and `target` where there is one, from a mapping, an `(input, target)` pair or a lone input."""
    if isinstance(batch, Tensor):
        return {"input": batch}
    if isinstance(batch, Mapping) and "input" in batch:
        return {name: value for name, value in batch.items() if value is not None}
    if isinstance(batch, (tuple, list)) and 1 <= len(batch) <= 2:
        return {name: value for name, value in zip(("input", "target"), batch, strict=False) if value is not None}
    raise UserError(
        f"batch of type {type(batch).__name__}: give (input, target), a lone input, or a mapping with the key 'input'"
    )
