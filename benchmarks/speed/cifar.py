"""CIFAR-100's folder: the real one, or one of noise in its layout."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from kd_lightning.data import CIFAR100DataModule, MemoryImages


def write_noise(root: Path) -> None:
    """A folder that reads like CIFAR-100, with random pixels and labels."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name, count in CIFAR100DataModule.images_per_file.items():
        pixels = noise.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = noise.permutation(count) % 100
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "fine_labels": labels.tolist()}))
    names = CIFAR100DataModule().class_names
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))


class PillowImages(Dataset[tuple[Tensor, int]]):
    """The training images one by one, as published code has them: (transformed image, label)."""

    def __init__(self, root: Path) -> None:
        data = CIFAR100DataModule(root=root, download=False)
        images = data.read().train
        assert isinstance(images, MemoryImages)
        self.pixels = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.targets.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]
