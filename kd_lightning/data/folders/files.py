"""Image files on disk, class by class, as a source of images."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lightning.data.folders.crops import training_image
from kd_lightning.data.folders.images import evaluation_image, open_rgb
from kd_lightning.data.folders.listing import unreadable
from kd_lightning.errors import UserError


@dataclass
class FileImages:
    """Image files, decoded as they are read; with views to random resized crops, mirrored or not, else the centre.

    Without `crops` to the centre in any case.
    """

    root: Path
    names: np.ndarray  # bytes (N,): one array, which worker processes share, instead of a million str
    targets: Tensor
    image_size: int
    resize_size: int
    crops: bool = True

    def read(self, rows: Tensor, views: Tensor | None) -> Tensor:
        batch = torch.empty(len(rows), 3, self.image_size, self.image_size, dtype=torch.uint8)
        for i, row in enumerate(rows.tolist()):
            batch[i] = self.one(row, None if views is None or not self.crops else int(views[i]))
        return batch

    def one(self, row: int, view: int | None) -> Tensor:
        """uint8 (3, H, W); raises UserError naming a file that cannot be read"""
        path = self.root / os.fsdecode(self.names[row])
        if view is None:
            return evaluation_image(open_rgb(path), self.image_size, self.resize_size)
        return training_image(path, self.image_size, row, view)

    def digest(self) -> str:
        """SHA-256 of the files' names, sizes and times. Raises UserError naming one that is empty or gone."""
        listing = hashlib.sha256()
        for name in self.names.tolist():
            path = self.root / os.fsdecode(name)
            try:
                file = os.stat(path)
            except OSError as error:
                raise unreadable(path, error) from None
            if file.st_size == 0:
                raise UserError(f"data.root: {path} cannot be read as an image (it is empty); replace or remove it")
            listing.update(b"%s %d %d\n" % (name, file.st_size, file.st_mtime_ns))
        return listing.hexdigest()
