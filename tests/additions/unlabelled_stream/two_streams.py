"""Digits, few of which have labels: the others are a stream of their own."""

from dataclasses import replace
from typing import Any

from kd_lightning.data import Batch, DigitsDataModule, Draw, ImageSet


class Unlabelled(ImageSet):
    """Images without their labels."""

    def __getitem__(self, draw: Draw) -> Batch:
        return {name: value for name, value in super().__getitem__(draw).items() if name != "target"}


class TwoStreams(DigitsDataModule):
    """The first `labelled` training images in batches of `batch_size`, the others in batches of `unlabelled_size`."""

    name = "two_streams"

    def __init__(self, labelled: int, unlabelled_size: int, **options: Any) -> None:
        super().__init__(**options)
        self.labelled, self.unlabelled_size = labelled, unlabelled_size

    def train_dataloader(self) -> Any:
        rows, all_images = self.train_set.rows, vars(self.train_set)
        others = Unlabelled(**{**all_images, "rows": rows[self.labelled :]})
        few = replace(self.train_set, rows=rows[: self.labelled])
        return {
            "labelled": self.loader(few, self.batch_size, shuffle=True),
            "unlabelled": self.loader(others, self.unlabelled_size, shuffle=True),
        }
