"""Image files on disk, class by class, as a source of images."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lightning.data.crops import training_image
from kd_lightning.data.images import evaluation_image, open_rgb


@dataclass
class FileImages:
    """Image files, decoded as they are read; with views to random resized crops, mirrored or not, else the centre."""

    root: Path
    names: np.ndarray  # bytes (N,): one array, which worker processes share, instead of a million str
    targets: Tensor
    image_size: int
    resize_size: int

    def read(self, rows: Tensor, views: Tensor | None) -> Tensor:
        batch = torch.empty(len(rows), 3, self.image_size, self.image_size, dtype=torch.uint8)
        for i, row in enumerate(rows.tolist()):
            batch[i] = self.one(row, None if views is None else int(views[i]))
        return batch

    def one(self, row: int, view: int | None) -> Tensor:
        """uint8 (3, H, W); raises UserError naming a file that cannot be read"""
        path = self.root / os.fsdecode(self.names[row])
        if view is None:
            return evaluation_image(open_rgb(path), self.image_size, self.resize_size)
        return training_image(path, self.image_size, row, view)

    def digest(self) -> str:
        """SHA-256 of the files' names, sizes and times."""
        listing = hashlib.sha256()
        for name in self.names.tolist():
            file = os.stat(self.root / os.fsdecode(name))
            listing.update(b"%s %d %d\n" % (name, file.st_size, file.st_mtime_ns))
        return listing.hexdigest()
