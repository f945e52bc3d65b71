"""A teacher's answers to the views of the training images."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.finite import is_wrong
from kd_lightning.store.encoding import Encoding, divergence
from kd_lightning.store.records import RecordFile


class Answers:
    """Vectors (C,) by (index, view), on the disk; `read` and `write` take and give tensors on the CPU.

    Args:
        path: their file; None keeps nothing: all are asked for, and rounded as if they were kept.
        images: how many images there are; index is below it.
        views: how many views each has.
        encoding: how a vector becomes a record.
    """

    def __init__(self, path: Path | None, images: int, views: int, encoding: Encoding) -> None:
        self.views, self.encoding = views, encoding
        self.records = None if path is None else RecordFile(path, images * views, encoding.words)
        self.disk_is_full = path is None
        self.divergence: float | None = None  # of what is kept from the answers, in nats, over the first ones written

    def read(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """index, view int64 (B,) -> values float32 (B, C), and the positions (M,) whose answers are not there."""
        if self.records is None:
            words, found = torch.zeros(len(index), self.encoding.words, dtype=torch.int16), torch.zeros_like(index) > 0
        else:
            words, found = self.records.read(self.rows(index, view))
        values = self.encoding.decode(words)
        return values, (~found | is_wrong(values)).nonzero().flatten()

    def write(self, index: Tensor, view: Tensor, values: Tensor) -> Tensor:
        """Keep values (B, C); returns them as they will be read. A full disk is a warning, and nothing more is kept.

        Rows that are not finite are not kept.
        """
        wrong = is_wrong(values)
        if bool(wrong.any()):
            kept = self.write(index[~wrong], view[~wrong], values[~wrong])
            return values.float().masked_scatter(~wrong[:, None], kept)
        words = self.encoding.encode(values)
        if self.encoding.is_partial and self.divergence is None and len(values):
            self.divergence = divergence(self.encoding, values)
        if self.records is not None and not self.disk_is_full:
            try:
                self.records.write(self.rows(index, view), words)
            except OSError as error:
                self.disk_is_full = True
                warnings.warn(
                    f"teacher.cache: {self.records.path} takes no more ({error.strerror}); the training goes on and "
                    "asks the teacher for what is not kept",
                    stacklevel=2,
                )
        return self.encoding.decode(words)

    def has(self, index: Tensor, view: Tensor) -> Tensor:
        """Whether each answer is there: bool (B,)"""
        return torch.zeros_like(index) > 0 if self.records is None else self.records.holds(self.rows(index, view))

    def close(self) -> None:
        """Close the file; read or written again, it is opened anew."""
        if self.records is not None:
            self.records.close()

    def rows(self, index: Tensor, view: Tensor) -> Tensor:
        return index * self.views + view

    def filled(self) -> tuple[Tensor, Tensor]:
        """index and view (M,) of all answers that are there."""
        rows = torch.empty(0, dtype=torch.int64) if self.records is None else self.records.filled()
        return torch.div(rows, self.views, rounding_mode="floor"), rows % self.views
