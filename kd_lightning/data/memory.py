"""Data sets that fit in memory: one tensor, a batch is one gather, no worker processes."""

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kd_lightning.data.augment import Augmentation, Identity
from kd_lightning.data.module import ImageDataModule


@dataclass
class MemoryImages:
    """images uint8 (N, C, H, W), targets int64 (N,); augmentation is left to the device."""

    images: Tensor
    targets: Tensor

    def read(self, rows: Tensor, views: Tensor | None) -> Tensor:
        return self.images[rows]

    def digest(self) -> str:
        """SHA-256 of all pixels and labels."""
        content = hashlib.sha256(self.targets.numpy().tobytes())
        content.update(self.images.contiguous().numpy().data)
        return content.hexdigest()


class InMemoryDataModule(ImageDataModule):
    """`read` gives MemoryImages; `augment` says how the training images vary on the device, None that they do not."""

    def __init__(self, *, augment: Augmentation | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.augment = Identity() if augment is None else augment
        self.num_views = self.augment.num_views

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        # Lightning advises more workers to whoever has none.
        warnings.filterwarnings("ignore", ".*does not have many workers which may be a bottleneck.*")

    def fingerprint(self) -> dict[str, Any]:
        base = super().fingerprint()
        sources = {"train": self.train_set.images, "test": self.test_set.images}
        content = {part: images.digest() for part, images in sources.items() if isinstance(images, MemoryImages)}
        return {**base, "content": content}
