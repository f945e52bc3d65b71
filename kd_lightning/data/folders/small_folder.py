"""Image folders whose pixels, at the size that networks see, are decoded once."""

from typing import Any

from kd_lightning.data.augmentation.augment import CropFlip
from kd_lightning.data.folders.decoded import decoded
from kd_lightning.data.folders.folder import ImageFolderDataModule
from kd_lightning.data.memory import InMemoryDataModule, MemoryImages


class SmallFolderDataModule(InMemoryDataModule, ImageFolderDataModule):
    """The folders of ImageFolderDataModule, trained on as a data set in memory.

    Each image's short side is resized to `resize_size` and its centre cut out, for training too, which varies them by
    `augment` on the device. The pixels are kept in the folder `cache` (None: the store's), where every later run finds
    them unless a file was changed.
    """

    usual_augmentation = CropFlip(padding=8, flip=True)

    def __init__(
        self,
        *,
        name: str = "small_folder",
        image_size: int = 64,
        resize_size: int = 64,
        **common: Any,
    ) -> None:
        super().__init__(name=name, image_size=image_size, resize_size=resize_size, **common)

    def source(self, split: str) -> MemoryImages:
        return decoded(self.usable(split), self.cache)

    def fingerprint(self) -> dict[str, Any]:
        base = super().fingerprint()
        if self.has_validation and isinstance(self.val_set.images, MemoryImages):
            base["content"]["val"] = self.val_set.images.digest
        return base
