"""Data sets as LightningDataModules, and the pieces they are made of."""

from kd_lightning.data.augmentation.augment import Augmentation, CropFlip, Identity
from kd_lightning.data.augmentation.in_order import InOrder
from kd_lightning.data.augmentation.mixing import Mixing
from kd_lightning.data.augmentation.per_image import PerImage
from kd_lightning.data.augmentation.strong import RandAugment
from kd_lightning.data.batches import Batch, Draw, FixedBatches, Images, ImageSet, ShardedBatches
from kd_lightning.data.cifar import CIFAR10DataModule, CIFAR100DataModule
from kd_lightning.data.data import Data, DataModule
from kd_lightning.data.digits import DigitsDataModule
from kd_lightning.data.evaluation import EvaluationTransform
from kd_lightning.data.folders.folder import ImageFolderDataModule
from kd_lightning.data.folders.image_files import ImageFilesDataModule
from kd_lightning.data.folders.small_folder import SmallFolderDataModule
from kd_lightning.data.labels.balanced import BalancedBatches
from kd_lightning.data.layouts.arrow import HFDatasetDataModule
from kd_lightning.data.layouts.flat_folder import FlatFolderDataModule
from kd_lightning.data.layouts.shards import WebDatasetDataModule
from kd_lightning.data.layouts.stl10 import STL10DataModule
from kd_lightning.data.layouts.tables import ImageTableDataModule
from kd_lightning.data.memory import InMemoryDataModule, MemoryImages
from kd_lightning.data.module import ImageDataModule, Sources
from kd_lightning.data.views import view_of

__all__ = [
    "Augmentation",
    "BalancedBatches",
    "Batch",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "CropFlip",
    "Data",
    "DataModule",
    "DigitsDataModule",
    "Draw",
    "EvaluationTransform",
    "FixedBatches",
    "FlatFolderDataModule",
    "HFDatasetDataModule",
    "Identity",
    "ImageDataModule",
    "ImageFilesDataModule",
    "ImageFolderDataModule",
    "ImageSet",
    "ImageTableDataModule",
    "Images",
    "InMemoryDataModule",
    "InOrder",
    "MemoryImages",
    "Mixing",
    "PerImage",
    "RandAugment",
    "STL10DataModule",
    "ShardedBatches",
    "SmallFolderDataModule",
    "Sources",
    "WebDatasetDataModule",
    "view_of",
]
