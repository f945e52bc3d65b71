"""Outputs with classes for each token or pixel, as rows of classes: one for each that counts."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd_lightning.batch import INPUT, KNOWN, Batch
from kd_lightning.losses.functional.samples import has_label

INDEX = f"{KNOWN}rows"  # where in all positions those lie that count
ALL = f"{KNOWN}all_rows"  # true where all do
MASK = "attention_mask"


def with_known_rows(batch: Batch) -> Batch:
    """The batch with what its targets and its mask say of the rows, found before it lies on the device.

    A device would have to be waited for, as how many rows count decides the size of what comes after.
    """
    counts = counted_positions(batch)
    if counts is None or counts.device.type != "cpu":
        return batch
    return {**batch, ALL: True} if bool(counts.all()) else {**batch, INDEX: counts.flatten().nonzero()[:, 0]}


def counted_positions(batch: Mapping[str, Any]) -> Tensor | None:
    """Which tokens or pixels count, (B, …) as the targets: those with a label and, of tokens, within the mask.

    Without targets the mask alone tells; None, all, without either.
    """
    target, mask = batch.get("target"), mask_of(batch)
    labelled = has_label(target) if isinstance(target, Tensor) and target.ndim > 1 else None
    if labelled is None or mask is None:
        return mask if labelled is None else labelled
    return labelled & mask if labelled.shape == mask.shape else labelled


def mask_of(batch: Mapping[str, Any]) -> Tensor | None:
    """The `attention_mask` (B, T) of an input that is a mapping, as bool; None where there is none of this shape."""
    inputs = batch.get(INPUT)
    mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    return mask != 0 if isinstance(mask, Tensor) and mask.ndim == 2 else None


class Rows:
    """Which of a batch's tokens or pixels count, in the order of the samples.

    `positions` is the shape (B, …) of outputs without their classes. On the meta device all count.
    """

    def __init__(self, batch: Mapping[str, Any], positions: tuple[int, ...], device: torch.device) -> None:
        self.samples, self.each, self.device = positions[0], math.prod(positions[1:]), device
        index = batch.get(INDEX)
        if index is None and not batch.get(ALL) and device.type != "meta":
            counts = counted_positions(batch)
            index = None if counts is None else counts.flatten().nonzero()[:, 0]
        self.index: Tensor | None = None if index is None else index.to(device)

    def of(self, values: Tensor) -> Tensor:
        """Values (B·…, *), of all positions, as those that count, (N, *)."""
        return values if self.index is None else values.index_select(0, self.index)

    def of_samples(self, values: Tensor) -> Tensor:
        """Values of samples (B,) as those of their rows (N,)."""
        if self.index is None:
            return values.repeat_interleave(self.each)
        return values.index_select(0, self.index // self.each)

    @property
    def lengths(self) -> Tensor:
        """How many rows each sample has, (B,)."""
        if self.index is None:
            return torch.full((self.samples,), self.each, device=self.device)
        lengths = torch.zeros(self.samples, dtype=torch.long, device=self.device)
        return lengths.index_add_(0, self.index // self.each, torch.ones_like(self.index))
