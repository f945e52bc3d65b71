"""The five small mammals of CIFAR-100, on which Hacohen and Weinshall (2019, arXiv:1904.03626) try curricula."""

import torch

from kd_lightning.data import CIFAR100DataModule, MemoryImages, Sources

CLASSES = ("hamster", "mouse", "rabbit", "shrew", "squirrel")


class SmallMammals(CIFAR100DataModule):
    """The images of one superclass of CIFAR-100: 2,500 to train on, 500 to test."""

    name = "small_mammals"

    @property
    def class_names(self) -> list[str]:
        return [*CLASSES]

    def read(self) -> Sources:
        whole = CIFAR100DataModule(root=self.root, download=self.download)
        numbers = torch.tensor([whole.class_names.index(name) for name in CLASSES])
        images = whole.read()
        return Sources(train=of_classes(images.train, numbers), test=of_classes(images.test, numbers))


def of_classes(images: object, numbers: torch.Tensor) -> MemoryImages:
    """The images of these classes, in the order of theirs as new targets."""
    assert isinstance(images, MemoryImages)
    is_of = images.targets[:, None] == numbers
    rows = is_of.any(dim=1).nonzero().flatten()
    return MemoryImages(images.images[rows], is_of[rows].int().argmax(dim=1))
