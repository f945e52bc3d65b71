"""Encoded images, as files have them, as a source of images: decoded as they are read."""

import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from kd_lightning.data.folders.crops import training_image
from kd_lightning.data.folders.images import File, evaluation_image, open_rgb
from kd_lightning.data.folders.listing import unreadable
from kd_lightning.errors import UserError


class EncodedImages(ABC):
    """Images as files have them, wherever these lie; with views to random resized crops, mirrored or not, else the
    centre. Without `crops` to the centre in any case.
    """

    targets: Tensor  # int64 (N,)
    image_size: int
    resize_size: int
    crops: bool

    @property
    @abstractmethod
    def place(self) -> str:
        """Where they lie, for messages."""

    @abstractmethod
    def file(self, row: int) -> File:
        """One of them. Raises UserError naming one that is not there."""

    @abstractmethod
    def digest(self, *, empty: bool = False) -> str:
        """SHA-256 of all that decides what they are. Raises UserError naming one that is gone.

        One without content is refused, too, unless it may be `empty`.
        """

    @abstractmethod
    def only(self, rows: Tensor) -> Self:
        """Some of them, by their rows, int64 (M,)."""

    def read(self, rows: Tensor, views: Tensor | None) -> Tensor:
        batch = torch.empty(len(rows), 3, self.image_size, self.image_size, dtype=torch.uint8)
        for i, row in enumerate(rows.tolist()):
            batch[i] = self.one(row, None if views is None or not self.crops else int(views[i]))
        return batch

    def one(self, row: int, view: int | None) -> Tensor:
        """uint8 (3, H, W); raises UserError naming a file that cannot be read"""
        file = self.file(row)
        if view is None:
            return evaluation_image(open_rgb(file), self.image_size, self.resize_size)
        return training_image(file, self.image_size, row, view)


@dataclass
class FileImages(EncodedImages):
    """Image files in a folder."""

    root: Path
    names: np.ndarray  # bytes (N,): one array, which worker processes share, instead of a million str
    targets: Tensor
    image_size: int
    resize_size: int
    crops: bool = True

    @property
    def place(self) -> str:
        return str(self.root)

    def file(self, row: int) -> Path:
        return self.root / os.fsdecode(self.names[row])

    def only(self, rows: Tensor) -> Self:
        return replace(self, names=self.names[rows.numpy()], targets=self.targets[rows])

    def digest(self, *, empty: bool = False) -> str:
        """SHA-256 of the files' names, sizes and times. Raises UserError naming one that is gone.

        One without content is refused, too, unless it may be `empty`.
        """
        listing = hashlib.sha256()
        for name in self.names.tolist():
            path = self.root / os.fsdecode(name)
            try:
                file = os.stat(path)
            except OSError as error:
                raise unreadable(path, error) from None
            if file.st_size == 0 and not empty:
                raise UserError(f"data.root: {path} cannot be read as an image (it is empty); replace or remove it")
            listing.update(b"%s %d %d\n" % (name, file.st_size, file.st_mtime_ns))
        return listing.hexdigest()
