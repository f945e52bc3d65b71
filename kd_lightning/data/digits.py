"""scikit-learn's digits: 1797 real images of 8x8 pixels that come with the package, nothing to download."""

import numpy as np
import torch

from kd_lightning.data.augmentation.augment import CropFlip
from kd_lightning.data.memory import InMemoryDataModule, MemoryImages
from kd_lightning.data.module import Sources
from kd_lightning.data.split import stratified, without

TEST_IMAGES = 898
TEST_SEED = 1797


class DigitsDataModule(InMemoryDataModule):
    """Ten classes, one channel; a fixed stratified half of the images is the test set.

    Examples:
        >>> from kd_lightning.data import DigitsDataModule
        >>> data = DigitsDataModule(batch_size=64, val_fraction=0.5)
        >>> data.setup("fit")
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["input"].shape, batch["target"].shape
        (torch.Size([64, 1, 8, 8]), torch.Size([64]))
    """

    name = "digits"
    in_channels = 1
    image_size = 8
    mean = (0.3050,)  # of the training half
    std = (0.3757,)
    usual_augmentation = CropFlip(padding=1, flip=False)

    @property
    def class_names(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def read(self) -> Sources:
        from sklearn.datasets import load_digits  # takes a second to import

        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
        targets = torch.from_numpy(labels).long()
        test = stratified(targets, TEST_IMAGES, TEST_SEED)
        train = without(torch.arange(len(targets)), test)
        return Sources(MemoryImages(images[train], targets[train]), MemoryImages(images[test], targets[test]))
