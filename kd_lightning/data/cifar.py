"""CIFAR-10 and CIFAR-100 in their original layout, downloaded or found."""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import download_and_extract_archive

from kd_lightning.data.augmentation.augment import CropFlip
from kd_lightning.data.memory import InMemoryDataModule, MemoryImages
from kd_lightning.data.module import Sources
from kd_lightning.data.pickles import as_integers, as_text, load_archive, load_arrays
from kd_lightning.data.values import check_flag
from kd_lightning.errors import UserError
from kd_lightning.system.files import DAY, put_in_place

LATEST: dict[Any, Sources] = {}  # what this process read last, by the state of its files
PIXELS = 3 * 32 * 32

CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
CIFAR100_SUPERCLASSES = """
aquatic_mammals: beaver dolphin otter seal whale
fish: aquarium_fish flatfish ray shark trout
flowers: orchid poppy rose sunflower tulip
food_containers: bottle bowl can cup plate
fruit_and_vegetables: apple mushroom orange pear sweet_pepper
household_electrical_devices: clock keyboard lamp telephone television
household_furniture: bed chair couch table wardrobe
insects: bee beetle butterfly caterpillar cockroach
large_carnivores: bear leopard lion tiger wolf
large_man-made_outdoor_things: bridge castle house road skyscraper
large_natural_outdoor_scenes: cloud forest mountain plain sea
large_omnivores_and_herbivores: camel cattle chimpanzee elephant kangaroo
medium_mammals: fox porcupine possum raccoon skunk
non-insect_invertebrates: crab lobster snail spider worm
people: baby boy girl man woman
reptiles: crocodile dinosaur lizard snake turtle
small_mammals: hamster mouse rabbit shrew squirrel
trees: maple_tree oak_tree palm_tree pine_tree willow_tree
vehicles_1: bicycle bus motorcycle pickup_truck train
vehicles_2: lawn_mower rocket streetcar tank tractor
"""


def state_of(file: Path) -> tuple[str, int, int]:
    """What changes whenever the file does."""
    now = file.stat()
    return file.name, now.st_size, now.st_mtime_ns


def remove_abandoned(holder: Path, prefix: str) -> None:
    """Remove the folders of downloads that were killed more than a day ago."""
    for folder in holder.glob(f"{prefix}*"):
        if time.time() - folder.stat().st_mtime > DAY:
            shutil.rmtree(folder, ignore_errors=True)


class CIFAR10DataModule(InMemoryDataModule):
    """50,000 training and 10,000 test images of 32x32 pixels in `root`/cifar-10-batches-py.

    `root` may be that folder itself, or hold the original archive instead of it, or be that archive, which is read as
    it is. Files found there are checked by structure, so that a copy pickled anew will do; a download by its checksum.
    """

    name = "cifar10"
    in_channels = 3
    image_size = 32
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    usual_augmentation = CropFlip(padding=4, flip=True)

    archive: type[CIFAR10] = CIFAR10
    labels_key = "labels"
    names_file, names_key = "batches.meta", "label_names"
    train_files = tuple(f"data_batch_{i}" for i in range(1, 6))
    test_files: tuple[str, ...] = ("test_batch",)
    images_per_file: ClassVar[dict[str, int]] = {**dict.fromkeys(train_files, 10_000), "test_batch": 10_000}

    def __init__(self, *, download: bool = True, **common: Any) -> None:
        super().__init__(**common)
        self.download = download

    @property
    def class_names(self) -> list[str]:
        return CIFAR10_CLASSES.split()

    @property
    def folder(self) -> Path:
        """The original folder: in the root, unless the root is one."""
        assert self.root is not None
        inner = self.root / self.archive.base_folder
        is_one = self.root.name == inner.name or any(os.path.isfile(self.root / name) for name in self.file_names)
        return self.root if is_one and not os.path.isdir(inner) else inner

    @property
    def file_names(self) -> list[str]:
        return [*self.images_per_file, self.names_file]

    @property
    def archive_file(self) -> Path | None:
        """The original archive; None where the folder is there instead, or neither."""
        assert self.root is not None
        places = (self.root, self.root / self.archive.filename, self.folder.parent / self.archive.filename)
        return None if os.path.isdir(self.folder) else next((place for place in places if os.path.isfile(place)), None)

    def check(self) -> None:
        """Raise UserError on values that cannot work, and where there are no images and none are to be downloaded."""
        super().check()
        check_flag("data.download", self.download)
        if self.root is None:
            raise UserError(f"data.root=null: give the folder that holds {self.archive.base_folder}/ or shall hold it")
        if self.archive_file is not None:
            return
        if os.path.isdir(self.folder):
            if names := [name for name in self.file_names if not os.path.isfile(self.folder / name)]:
                raise UserError(
                    f"data.root={self.root}: {self.folder.name}/ lacks {', '.join(names)}; complete it, or remove it "
                    "for a new download"
                )
        elif not self.download:
            if not os.path.isdir(self.root):
                raise UserError(f"data.root={self.root}: no such folder; create it or set data.download=true")
            raise UserError(
                f"data.root={self.root}: no {self.folder.name}/ in it, nor {self.archive.filename}; put it there or "
                "data.download=true"
            )

    def prepare_data(self) -> None:
        """Download the archive, unless it or its folder is there; a download broken off leaves no trace.

        Raises UserError where the download fails.
        """
        self.check()
        if os.path.exists(self.folder) or self.archive_file is not None:
            return
        holder = self.folder.parent
        try:
            holder.mkdir(parents=True, exist_ok=True)
            prefix = f".{self.name}-download-"
            remove_abandoned(holder, prefix)
            with TemporaryDirectory(dir=holder, prefix=prefix) as scratch:
                download_and_extract_archive(
                    self.archive.url, scratch, filename=self.archive.filename, md5=self.archive.tgz_md5
                )
                put_in_place(Path(scratch) / self.folder.name, self.folder)
        except (OSError, RuntimeError) as error:  # no network, a wrong checksum, a full disk
            if not os.path.exists(self.folder):  # else another process was first
                raise UserError(
                    f"data.root={self.root}: no {self.folder.name}/ in it and the download failed "
                    f"({' '.join(str(error).split())}); put it there by hand"
                ) from error

    def read(self) -> Sources:
        """The images, read from the files once in a process, as long as these stay as they are.

        Raises UserError where they are missing or damaged.
        """
        archive = self.archive_file
        if archive is None and not os.path.exists(self.folder):
            raise UserError(f"data.root={self.root}: no {self.folder.name}/ in it; call prepare_data() first")
        files = sorted(self.folder.iterdir()) if archive is None else [archive]
        state = (type(self), files[0].resolve().parent, *map(state_of, files))
        if state not in LATEST:
            LATEST.clear()
            LATEST[state] = self.read_all(archive)
        return LATEST[state].copy()

    def read_all(self, archive: Path | None) -> Sources:
        """Read all files. Raises UserError where these name other classes."""
        key = f"data.root={self.root}"
        if archive is None:
            records = {name: load_arrays(self.folder / name, key) for name in self.file_names}
        else:
            records = load_archive(archive, self.file_names, key)
        names = records[self.names_file].get(self.names_key)
        if not isinstance(names, (list, tuple)) or [as_text(name) for name in names] != self.class_names:
            raise UserError(f"{key}: {self.names_file} names other classes than {self.name} has")
        train, test = (self.joined(records, files) for files in (self.train_files, self.test_files))
        return Sources(train=train, test=test)

    def joined(self, records: Mapping[str, dict[str, Any]], names: tuple[str, ...]) -> MemoryImages:
        images, targets = zip(*(self.arrays(name, records[name]) for name in names), strict=True)
        pixels = np.require(np.concatenate(images) if len(images) > 1 else images[0], requirements=["C", "W"])
        return MemoryImages(torch.from_numpy(pixels).view(-1, 3, 32, 32), torch.from_numpy(np.concatenate(targets)))

    def arrays(self, name: str, record: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (N, 3072) and int64 (N,). Raises UserError where the file is damaged."""
        count, classes = self.images_per_file[name], self.num_classes
        pixels, targets = record.get("data"), as_integers(record.get(self.labels_key))
        if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape == (count, PIXELS)):
            fault = f"data is not uint8 of shape ({count}, {PIXELS})"
        elif targets is None or len(targets) != count:
            fault = f"{self.labels_key} are not {count} whole numbers"
        elif targets.min() < 0 or targets.max() >= classes:
            fault = f"{self.labels_key} run from {targets.min()} to {targets.max()}, not within 0..{classes - 1}"
        else:
            return pixels, targets
        raise UserError(f"data.root={self.root}: {name}: {fault}; put the original there")


class CIFAR100DataModule(CIFAR10DataModule):
    """The same with 100 (fine) classes, in `root`/cifar-100-python."""

    name = "cifar100"
    mean = (0.5071, 0.4867, 0.4408)  # as published teachers were trained with, 0.0002 off the measured ones
    std = (0.2675, 0.2565, 0.2761)

    archive = CIFAR100
    labels_key = "fine_labels"
    names_file, names_key = "meta", "fine_label_names"
    train_files = ("train",)
    test_files = ("test",)
    images_per_file: ClassVar[dict[str, int]] = {"train": 50_000, "test": 10_000}

    @property
    def class_names(self) -> list[str]:
        return CIFAR100_CLASSES.split()

    @property
    def groups(self) -> Mapping[str, list[str]]:
        """The twenty superclasses, each of five classes."""
        lines = (line.partition(": ") for line in CIFAR100_SUPERCLASSES.strip().splitlines())
        return {name: classes.split() for name, _, classes in lines}
