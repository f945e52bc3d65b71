"""Data sets that fit in memory: one tensor, a batch is one gather, no worker processes."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import Self

from kd_lightning.data.augmentation.augment import Augmentation, CropFlip, Identity
from kd_lightning.data.augmentation.in_order import Chain, InOrder, as_augmentation, as_order, chained, usual_crop
from kd_lightning.data.batches import Batch, Images, ImageSet
from kd_lightning.data.module import ImageDataModule
from kd_lightning.data.values import MOST_VIEWS
from kd_lightning.errors import UserError

SHARE = 0.25  # of a GPU's free memory, which images may take without being told to


@dataclass
class MemoryImages:
    """images uint8 (N, C, H, W), targets int64 (N,) on the CPU; augmentation is left to the device.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import MemoryImages
        >>> images = MemoryImages(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
        >>> images.read(torch.tensor([2, 3]), views=None).shape
        torch.Size([2, 1, 8, 8])
    """

    images: Tensor
    targets: Tensor
    _copies: dict[torch.device, "MemoryImages"] = field(default_factory=dict, repr=False, compare=False)

    def read(self, rows: Tensor, views: Tensor | None) -> Tensor:
        return self.images[rows.to(self.images.device, non_blocking=True)]

    def on(self, device: torch.device) -> "MemoryImages":
        """The same with its images on a device, moved there once."""
        if device not in self._copies:
            self._copies[device] = MemoryImages(self.images.to(device), self.targets)
        return self._copies[device]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels and labels."""
        content = hashlib.sha256(self.targets.numpy().tobytes())
        content.update(self.images.cpu().contiguous().numpy().data)
        return content.hexdigest()


class InMemoryDataModule(ImageDataModule):
    """`read` gives MemoryImages; `augment` says how the training images vary: None not at all, `auto` as is usual for
    these data, a list or `InOrder` by several augmentations. `views` says how many variants of an image there are;
    None: as many as the augmentation has.

    `resident` says whether the images lie on the GPU, so that a batch is gathered there; `auto`: where they take less
    than a quarter of its free memory.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import InMemoryDataModule, MemoryImages, Sources
        >>> class Dark(InMemoryDataModule):
        ...     name, in_channels, image_size, mean, std = "dark", 1, 8, (0.0,), (1.0,)
        ...     class_names = ["day", "night"]
        ...     def read(self):
        ...         black = MemoryImages(torch.zeros(64, 1, 8, 8, dtype=torch.uint8), torch.arange(64) % 2)
        ...         return Sources(train=black, test=black)
        >>> data = Dark(batch_size=16, val_fraction=0.25)
        >>> data.setup("fit")
        >>> len(data.train_set), len(data.val_set)
        (48, 16)
    """

    usual_augmentation: ClassVar[Augmentation] = Identity()

    # LightningCLI makes an instance for a Callable; for a protocol it does not.
    def __init__(
        self,
        *,
        augment: Augmentation | Callable[..., Any] | InOrder | list[Any] | Literal["auto"] | None = "auto",
        views: int | None = None,
        resident: bool | str = "auto",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.resident = resident
        self.augment = self.augmentation(augment, MOST_VIEWS if views is None and self.mixing.is_on else views)
        self.num_views = self.augment.num_views

    def augmentation(self, given: Any, views: int | None) -> Augmentation:
        """What a config says of it. Raises UserError for what is none."""
        if given is None:
            return chained((), views)
        if given == "auto":
            return chained((self.usual_augmentation,), views)
        order = as_order(given)
        if order is not None:
            return chained(order.resolved(usual_crop(self.usual_augmentation), self.image_size), views)
        return chained((as_augmentation(given),), views)

    def check(self) -> None:
        """Raise UserError on values that cannot work, without reading an image."""
        super().check()
        for part in self.augment.parts if isinstance(self.augment, Chain) else (self.augment,):
            if isinstance(part, CropFlip) and part.padding > self.image_size:
                raise UserError(
                    f"data.augment.padding={part.padding}: more than the {self.image_size} pixels of the images, of "
                    "which nothing would be left; take less"
                )
        if not (isinstance(self.resident, bool) or self.resident == "auto"):
            raise UserError(f"data.resident={self.resident}: must be auto, true or false")
        if self.resident is True and (key := self.read_on_cpu_by) is not None:
            raise UserError(f"data.resident=true: data.{key} reads the images on the CPU; use data.resident=auto")

    @property
    def read_on_cpu_by(self) -> str | None:
        """The key for which images cannot lie on a device; None where there is none."""
        reasons = {"strong": self.strong is not None, "augment": self.divided[0] is not None}
        return next((key for key, holds in {**reasons, "num_workers": self.num_workers > 0}.items() if holds), None)

    def check_images(self, part: str, images: Images) -> None:
        """Raise UserError where the images are no uint8 (N, C, H, W), or their labels wrong."""
        super().check_images(part, images)
        if not isinstance(images, MemoryImages):  # a subclass may read its images as they are asked for
            return
        pixels, expected = images.images, (len(images.targets), *self.input_shape)
        if pixels.dtype != torch.uint8 or tuple(pixels.shape) != expected:
            raise UserError(
                f"data={self.name}: the images of {part} are {pixels.dtype} of shape {tuple(pixels.shape)}; give uint8 "
                f"from 0 to 255, of shape {expected}: floats in [0, 1] as (x * 255).round().to(torch.uint8)"
            )

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        # Lightning advises more workers to whoever has none.
        warnings.filterwarnings("ignore", ".*does not have many workers which may be a bottleneck.*")

    def loader(
        self, images: ImageSet, batch_size: int, *, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[Batch]:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if isinstance(images.images, MemoryImages) and self.is_resident(images.images, device):
            images = replace(images, images=images.images.on(device))
        return super().loader(images, batch_size, shuffle=shuffle, drop_last=drop_last)

    def is_resident(self, images: MemoryImages, device: torch.device) -> bool:
        """Whether these images shall lie on the device."""
        if self.resident != "auto":
            return bool(self.resident)
        if device.type != "cuda" or self.read_on_cpu_by is not None:
            return False
        free, _ = torch.cuda.mem_get_info(device)
        return images.images.nbytes < SHARE * free

    def in_this_process(self) -> Self:
        data = super().in_this_process()
        data.resident = False
        return data

    def fingerprint(self) -> dict[str, Any]:
        base = super().fingerprint()
        sources = {"train": self.train_set.images, "test": self.test_set.images}
        content = {part: images.digest for part, images in sources.items() if isinstance(images, MemoryImages)}
        return {**base, "content": content}
