"""STL-10 in its original layout: what features that were learned elsewhere are often tried on."""

import os
from pathlib import Path

import numpy as np
import torch

from kd_lightning.data.augmentation.augment import CropFlip
from kd_lightning.data.memory import InMemoryDataModule, MemoryImages
from kd_lightning.data.module import Sources
from kd_lightning.errors import UserError

FOLDER, SIDE = "stl10_binary", 96
PIXELS = 3 * SIDE**2
CLASSES = "airplane bird car cat deer dog horse monkey ship truck"
PARTS = ("train", "test")


class STL10DataModule(InMemoryDataModule):
    """5,000 training and 8,000 test images of 96x96 pixels in `root`/stl10_binary (Coates, Ng, Lee 2011).

    `root` may be that folder itself. The images without labels are not read. Mean and standard deviation are those of
    ImageNet, from which the images are.

    Examples:
        >>> from kd_lightning.data import STL10DataModule
        >>> data = STL10DataModule(root="data")
        >>> data.class_names[:3], data.input_shape
        (['airplane', 'bird', 'car'], (3, 96, 96))
    """

    name = "stl10"
    in_channels = 3
    image_size = SIDE
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    usual_augmentation = CropFlip(padding=12, flip=True)

    @property
    def class_names(self) -> list[str]:
        return CLASSES.split()

    @property
    def folder(self) -> Path:
        """The original folder: in the root, unless the root is one."""
        assert self.root is not None
        inner = self.root / FOLDER
        return inner if os.path.isdir(inner) else self.root

    def check(self) -> None:
        """Raise UserError on values that cannot work, and where the images are not there."""
        super().check()
        if self.root is None:
            raise UserError(f"data.root=null: give the folder that holds {FOLDER}/")
        names = [f"{part}_{kind}.bin" for part in PARTS for kind in "Xy"]
        absent = [name for name in names if not os.path.isfile(self.folder / name)]
        if absent:
            raise UserError(
                f"data.root={self.root}: has no {', '.join(absent)}; unpack {FOLDER}.tar.gz of "
                "https://cs.stanford.edu/~acoates/stl10 there"
            )

    def read(self) -> Sources:
        train, test = (self.part(name) for name in PARTS)
        return Sources(train=train, test=test)

    def part(self, name: str) -> MemoryImages:
        """The images of a part, whose columns lie one after the other. Raises UserError where a file is damaged."""
        pixels, labels = (np.fromfile(self.folder / f"{name}_{kind}.bin", dtype=np.uint8) for kind in "Xy")
        if len(pixels) != PIXELS * len(labels) or not len(labels):
            fault = f"{len(labels):,} labels for {len(pixels) / PIXELS:,g} images"
        elif labels.min() < 1 or labels.max() > self.num_classes:
            fault = f"labels from {labels.min()} to {labels.max()}, which are from 1 to {self.num_classes}"
        else:
            images = torch.from_numpy(pixels).view(-1, 3, SIDE, SIDE).transpose(2, 3).contiguous()
            return MemoryImages(images, torch.from_numpy(labels).long() - 1)
        raise UserError(f"data.root={self.root}: {name}_X.bin and {name}_y.bin have {fault}; put the originals there")
