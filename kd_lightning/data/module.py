"""The data module that all image data sets share."""

import copy
import os
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader
from typing_extensions import Self

from kd_lightning.batch import SAME_CLASS, SECOND, STRONG, as_streams
from kd_lightning.data.augmentation.augment import Augmentation, in_unit_range
from kd_lightning.data.augmentation.in_order import divided
from kd_lightning.data.augmentation.mixing import Mixing, described, mixed, mixed_labels
from kd_lightning.data.augmentation.strong import StrongAugmentation, StrongView
from kd_lightning.data.augmentation.trial import try_augmentations
from kd_lightning.data.batches import Batch, FixedBatches, Images, ImageSet, ShardedBatches, batched_loader, whole
from kd_lightning.data.data import DataModule
from kd_lightning.data.derived.peek import as_example, first_batches
from kd_lightning.data.evaluation import MODES, EvaluationTransform
from kd_lightning.data.labels.balanced import BALANCED, BalancedBatches, balanced_draw, check_labelled, equally_often
from kd_lightning.data.labels.noise import mislabelled
from kd_lightning.data.split import SPLIT_SEED, Split, examples_with_quiz, loaders_with_quiz
from kd_lightning.data.values import as_folder, check_callable, check_flag, check_numbers, check_whole, is_number
from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import NO_LABEL

WORKERS_A_CORE = 16  # more only take memory


@dataclass(frozen=True)
class Sources:
    """What a data set brings along; without `val`, validation is split off `train` or is `test`.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import MemoryImages, Sources
        >>> images = MemoryImages(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
        >>> Sources(train=images, test=images).val is None  # then it is split off, or is the test set
        True
    """

    train: Images
    test: Images
    val: Images | None = None

    def copy(self) -> Self:
        """One that may be altered without altering this one."""
        return copy.deepcopy(self)


class ImageDataModule(DataModule):
    """Images and one label each, as dict batches.

    Loaders give `ImageSet`'s uint8 batches; the hook after the transfer makes of them, on the device,
    {"input": float32 (B, C, H, W) in [0, 1], "target", "index": int64 (B,)}. Only the training loader's images are
    augmented, and only its batches have a "view": int64 (B,) and, where `strong` says so, a strongly augmented one as
    "input_strong"; `with_views` has them give others, too. With `mixup` or `cutmix` each is mixed with another one, and
    "target" is float32 (B, C). Networks normalise for themselves: `mean` and `std` are the data's.

    A subclass sets the attributes declared here and implements `read`; it extends `check` and `fingerprint`.
    """

    name: str
    in_channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augmentation
    num_views: int
    beside: tuple[str, ...] = ()
    train_set: ImageSet
    val_set: ImageSet
    test_set: ImageSet
    quiz_set: ImageSet | None = None  # apart from the training images, as `with_quiz` has it

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        train_samples: int | None = None,
        imbalance: float | None = None,
        label_noise: float | None = None,
        sampler: Literal["balanced"] | None = None,
        drop_last: bool = False,
        mixup: float | None = None,
        cutmix: float | None = None,
        strong: StrongAugmentation | Callable[..., Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root = as_folder("data.root", root)
        self.batch_size = batch_size
        self.eval_batch_size = 4 * batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers = num_workers
        self.val_fraction = val_fraction
        self.train_samples = train_samples
        self.imbalance = imbalance
        self.label_noise = label_noise
        self.sampler = sampler
        self.drop_last = drop_last
        self.mixing = Mixing(mixup, cutmix)
        self.strong = strong
        self.seed = seed

    @abstractmethod
    def read(self) -> Sources:
        """The images, from the disk. Raises UserError where they are missing or damaged."""

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """The classes in the order of their labels; known before any download."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The images, (C, H, W), and further views of them, where there are any."""
        views = [*([] if self.strong is None else [STRONG]), *self.beside]
        return dict.fromkeys(["input", *(f"input_{view}" for view in views)], self.input_shape)

    @cached_property
    def streams(self) -> Mapping[str, Batch]:
        """An example of each stream, which a subclass with a `train_dataloader` of its own may give."""
        if type(self).train_dataloader is ImageDataModule.train_dataloader:
            return {} if self.quiz_set is None else examples_with_quiz(self.example())
        found = first_batches(self, f"data={self.name}")
        return {name: as_example(batch) for name, batch in found.items() if name}

    def example(self) -> Batch:
        """Noise in the images' shape, a batch of two without targets; no image is read."""
        images = torch.rand(2, *self.input_shape, generator=torch.Generator().manual_seed(0))
        return {**dict.fromkeys(self.inputs, images), "index": torch.zeros(2, dtype=torch.int64)}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.in_channels, self.image_size, self.image_size

    @property
    def evaluation_transform(self) -> EvaluationTransform | None:
        """Of images of 1 or 3 channels, which files can hold."""
        if self.in_channels not in MODES:
            return None
        return EvaluationTransform(self.in_channels, self.image_size, getattr(self, "resize_size", self.image_size))

    @property
    def validates_on(self) -> str:
        """ "test" where selection sees the test set, as in published tables, else "validation"."""
        return "validation" if self.val_fraction > 0 else "test"

    def check(self) -> None:
        """Raise UserError on values that cannot work, without reading an image."""
        for name in ("name", "in_channels", "image_size", "mean", "std", "augment", "num_views"):
            if not hasattr(self, name) or self.name is None:
                raise UserError(
                    f"data._target_={type(self).__qualname__}: sets no {name}; see kd_lightning.data.ImageDataModule"
                )
        for key in ("batch_size", "eval_batch_size"):
            check_whole(f"data.{key}", getattr(self, key), 1)
        if self.train_samples is not None:
            check_whole("data.train_samples", self.train_samples, 1)
        check_whole("data.num_workers", self.num_workers, 0, WORKERS_A_CORE * (os.cpu_count() or 1))
        check_whole("data.seed", self.seed, 0, 2**32 - 1)
        if not (is_number(self.val_fraction) and 0 <= self.val_fraction < 1):
            raise UserError(
                f"data.val_fraction={self.val_fraction}: the part of the training images to validate on, from 0 "
                "(validate on the test set) to below 1"
            )
        if self.imbalance is not None and not (is_number(self.imbalance) and self.imbalance >= 1):
            raise UserError(
                f"data.imbalance={self.imbalance}: how many times as many training images the first class has as the "
                "last, 1 or more; or null"
            )
        if self.label_noise is not None and not (is_number(self.label_noise) and 0 <= self.label_noise < 1):
            raise UserError(
                f"data.label_noise={self.label_noise}: the share of the training labels that are made wrong, from 0 to "
                "below 1; or null"
            )
        if self.sampler not in (None, BALANCED):
            raise UserError(f"data.sampler={self.sampler}: must be balanced, each class equally likely, or null")
        check_flag("data.drop_last", self.drop_last)
        if self.mixing.is_on and self.strong is not None:
            raise UserError(
                f"{self.mixing.key}: beside data.strong, whose terms compare two views of one image; leave one out"
            )
        check_callable("data.strong", self.strong, "an augmentation, such as kd_lightning.data.RandAugment")
        check_numbers("data.mean", self.mean, self.in_channels)
        check_numbers("data.std", self.std, self.in_channels, positive=True)
        try_augmentations(self.augment, self.strong, self.input_shape)
        if self.num_classes < 2:
            where = f"data={self.name}" if self.root is None else f"data.root={self.root}"
            raise UserError(
                f"{where}: one class ({', '.join(self.class_names)}) is nothing to learn; give two classes at least"
            )

    def setup(self, stage: str | None = None) -> None:
        """Read and split the images, once."""
        if hasattr(self, "test_set"):
            return
        self.check()
        sources = self.read()
        for part, images in (("train", sources.train), ("test", sources.test), ("val", sources.val)):
            if images is not None:
                self.check_images(part, images)
        val_fraction = self.val_fraction if sources.val is None else 0
        split = Split(val_fraction, self.num_classes, self.train_samples, self.imbalance, self.seed)
        used, held_out = split.of(sources.train.targets)
        if self.sampler is not None:
            check_labelled(f"data.sampler={self.sampler}", sources.train.targets[used])
        if self.mixing.is_on:
            check_labelled(self.mixing.key, sources.train.targets[used])
        strong = None if self.strong is None else StrongView(self.augment, self.strong)
        mixing = self.mixing if self.mixing.is_on else None
        self.train_set = ImageSet(sources.train, used, self.seed, self.num_views, strong, self.divided[0], mixing)
        if self.label_noise:
            of_all = (sources.train.targets, used, self.label_noise, self.num_classes, self.seed)
            self.train_set.labels = mislabelled(*of_all)
        if self.sampler is not None:  # what images are mixed with, too
            self.train_set.partners = used[equally_often(self.train_set.targets)]
        self.test_set = whole(sources.test)
        if sources.val is not None:
            self.val_set = whole(sources.val)
        else:
            self.val_set = ImageSet(sources.train, held_out) if len(held_out) else self.test_set

    @cached_property
    def divided(self) -> tuple[Augmentation | None, Augmentation]:
        """What the loader does of the augmentation, None of nothing, and what the device does."""
        return divided(self.augment)

    def check_images(self, part: str, images: Images) -> None:
        """Raise UserError where what was read of a part has no labels of the classes, or other images than promised."""
        targets = images.targets
        if not (isinstance(targets, torch.Tensor) and targets.dtype == torch.int64 and targets.ndim == 1):
            raise UserError(f"data={self.name}: the targets of {part} must be one int64 label for each image, (N,)")
        if not len(targets):
            raise UserError(f"data={self.name}: {part} has no image; give some")
        unlabelled = torch.isin(targets, torch.tensor(NO_LABEL))
        if part != "train" and bool(unlabelled.all()):
            raise UserError(
                f"data={self.name}: no image of {part} has a label, so nothing could be measured; give some"
            )
        odd = targets[(targets >= self.num_classes) | ((targets < 0) & ~unlabelled)]
        if len(odd):
            raise UserError(
                f"data={self.name}: the targets of {part} hold {int(odd[0])}; labels are from 0 to "
                f"{self.num_classes - 1}, as class_names has them, and -1 and -100 mean none"
            )

    def check_views(self, views: Collection[str]) -> None:
        if STRONG in views and self.strong is None:
            raise UserError(
                "data.strong=null: a term compares two views of an image; choose a strong augmentation, as method=mlkd "
                "does"
            )
        for view in {SECOND, SAME_CLASS} & {*views} if self.mixing.is_on else ():
            raise UserError(f"{self.mixing.key}: beside terms on @{view}, which is an image by itself; mix none")
        if SECOND in views and self.num_views == 1:
            raise UserError(
                "data.augment=null: a term compares two views of an image, and each has one; augment the images, or "
                "allow more data.views"
            )

    def with_views(self, views: Collection[str]) -> Self:
        """The same images, whose training batches hold these views beside the first, as "input_second", and no others.

        `strong` are those of the strong augmentation, `second` the image in another of its views, `same_class` another
        image of its class: a function of seed, epoch and index, and of how often the epoch had it. Raises UserError.

        Examples:
            >>> from kd_lightning.data import DigitsDataModule
            >>> data = DigitsDataModule().with_views(["second", "same_class"])
            >>> batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())))
            >>> [name for name in batch if name.startswith("input")]
            ['input', 'input_second', 'input_same_class']
        """
        self.setup()
        given = copy.copy(self)
        given.beside = tuple(view for view in (SECOND, SAME_CLASS) if view in views)
        given.check_views(given.beside)
        strong = self.train_set.strong if STRONG in views else None
        given.train_set = replace(self.train_set, strong=strong, beside=given.beside)
        return given

    def in_this_process(self) -> Self:
        data = copy.copy(self)
        data.num_workers = 0
        return data

    def order(self) -> dict[str, Any]:
        sampler = {} if self.sampler is None else {"sampler": self.sampler}
        return {"drop_last": self.drop_last, "seed": self.seed, **sampler}

    def statistics(self) -> dict[str, list[float]]:
        return {"mean": list(self.mean), "std": list(self.std)}

    def training_set(self) -> dict[str, torch.Tensor]:
        self.setup()
        return {"index": self.train_set.rows, "target": self.train_set.targets}

    def sizes(self) -> dict[str, int | None]:
        self.setup()
        return {"train": len(self.train_set), "val": len(self.val_set), "test": len(self.test_set)}

    def fingerprint(self) -> dict[str, Any]:
        """What decides which images a network is trained and tested on, as JSON has it; reads the data if need be."""
        self.setup()
        imbalance = {} if self.imbalance is None else {"imbalance": self.imbalance, "imbalance_seed": self.seed}
        noise = {"label_noise": self.label_noise, "label_noise_seed": self.seed} if self.label_noise else {}
        return {
            "name": self.name,
            "classes": self.class_names,
            "images": self.sizes(),
            "input_shape": list(self.input_shape),
            "augmentation": repr(self.augment),
            "views": self.num_views,
            "val_fraction": self.val_fraction,
            "split_seed": SPLIT_SEED,
            "train_samples": self.train_samples,
            "train_samples_seed": None if self.train_samples is None else self.seed,
            **imbalance,
            **noise,
            **({"mixing": described(self.mixing, self.train_set.mixed_with)} if self.mixing.is_on else {}),
        }

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int = 0) -> Batch:
        """uint8 images to augmented floats in [0, 1], where the batch lies; nothing waits for the device.

        What a loader of one's own gives as floats is in [0, 1] already, and stays so.
        """
        streams = as_streams(batch)
        if "" not in streams:
            return {name: self.on_after_batch_transfer(one, dataloader_idx) for name, one in streams.items()}
        batch = streams[""]
        whole_numbers = not batch["input"].is_floating_point()
        strong = {name: in_unit_range(value, whole_numbers) for name, value in batch.items() if name == "input_strong"}
        shown = {**batch, **strong, "input": self._shown(batch)}
        shown |= {f"input_{view}": self._shown(one) for view, one in shown.pop("beside", {}).items()}
        if "partner" not in batch:
            return shown
        partner = shown.pop("partner")
        share = partner["share"]
        return {
            **shown,
            "input": mixed(shown["input"], self._shown(partner), share, partner["box"]),
            "target": mixed_labels(batch["target"], partner["target"], share, self.num_classes),
        }

    def _shown(self, batch: Batch) -> torch.Tensor:
        """The images as networks are shown them, in [0, 1], before they are mixed."""
        images = self.divided[1](batch["input"], batch["view"]) if "view" in batch else batch["input"]
        return in_unit_range(images, whole_numbers=not batch["input"].is_floating_point())

    def train_dataloader(self) -> Any:
        loader = self.loader(self.train_set, self.batch_size, shuffle=True, drop_last=self.drop_last)
        loader.sampler.over, self.batches_over = self.batches_over, 0  # type: ignore[attr-defined]
        return loader if self.quiz_set is None else loaders_with_quiz(self, loader)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.loader(self.val_set, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.loader(self.test_set, self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self.test_dataloader()

    def loader(
        self, images: ImageSet, batch_size: int, *, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[Batch]:
        """This rank's part of the images."""
        trainer = self.trainer
        overfits = getattr(trainer, "overfit_batches", 0) > 0  # which Lightning does not declare
        shuffled = ShardedBatches if self.sampler is None else BalancedBatches
        batches = (shuffled if shuffle and not overfits else FixedBatches)(
            images,
            batch_size,
            num_replicas=1 if trainer is None else trainer.world_size,
            rank=0 if trainer is None else trainer.global_rank,
            shuffle=shuffle,
            seed=self.seed,
            drop_last=drop_last,
        )
        if shuffle and overfits and self.sampler is not None:
            batches.take(balanced_draw(images.targets, self.seed, 0))
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        return batched_loader(images, batches, self.num_workers, pin_memory=on_gpu and not images.is_on_device)
