"""What data tell of their samples beside inputs and targets: the classes' names, a hierarchy of them, folders."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch.utils.data import Subset

from kd_lightning.data.batches import ImageSet


class Described(NamedTuple):
    """What is known of a data set; None where nobody tells.

    Args:
        classes: names by label.
        groups: the names of the classes in each group of a hierarchy.
        folders: gives that of each sample, in order.
    """

    classes: Sequence[str] | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    folders: Callable[[], Sequence[str]] | None = None


def described(dataset: Any, module: Any) -> Described:
    """What a loader's data set tells, and its data module, if there is one.

    Other data sets than images have the names of classes as `classes`, as torchvision's have; a subset has those of
    the whole.
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(module, "class_names", None)
    if names is None:
        whole = dataset.dataset if isinstance(dataset, Subset) else dataset
        names = getattr(whole, "classes", None)
    return Described(
        classes=None if names is None or isinstance(names, str) else [str(name) for name in names],
        groups=getattr(module, "groups", None),
        folders=partial(folders_of, dataset) if hasattr(getattr(dataset, "images", None), "names") else None,
    )


def folders_of(images: ImageSet) -> list[str]:
    """The folder of each image file, below that of the whole set or of its split."""
    names: Any = getattr(images.images, "names")  # noqa: B009 # which files have, and other images have not
    return [os.path.dirname(os.fsdecode(names[row])).replace(os.sep, "/") for row in images.rows.tolist()]


def are_of_one_set(first: Any, second: Any) -> bool:
    """Whether two data sets have the same images, so that an index means the same in both."""
    return isinstance(first, ImageSet) and isinstance(second, ImageSet) and first.images is second.images
