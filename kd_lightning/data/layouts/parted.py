"""Images of which nobody has set some apart for the test: drawn from them, classes in proportion."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.folders.class_order import class_order
from kd_lightning.data.folders.image_files import ImageFilesDataModule
from kd_lightning.data.module import Sources
from kd_lightning.data.split import stratified, without
from kd_lightning.data.values import is_number
from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import has_label
from kd_lightning.terminal import warn

TEST_SEED = 1797  # of the test set, which is the same whatever the run's seed
NO_LABEL = -1
SHOWN = 5  # names in a message


class PartedDataModule(ImageFilesDataModule):
    """Images that may lack a test set; `test_fraction` of the labelled ones are it then, the same in every run.

    Where there is one, or a val set, which is tested on, the fraction has no effect. `val_fraction` is of what is left.
    """

    def __init__(self, *, test_fraction: float = 0.2, **common: Any) -> None:
        super().__init__(**common)
        self.test_fraction = test_fraction

    def check(self) -> None:
        """Raise UserError on values and places that cannot work."""
        if not (is_number(self.test_fraction) and 0 < self.test_fraction < 1):
            raise UserError(
                f"data.test_fraction={self.test_fraction}: the part of the images to test on where none are set apart "
                "for it, above 0 and below 1"
            )
        super().check()

    def read(self) -> Sources:
        if self.test_split is not None:
            return super().read()
        images = self.usable("train")
        test = self.set_apart(images.targets)
        return Sources(images.only(without(torch.arange(len(images.targets)), test)), images.only(test))

    def set_apart(self, targets: Tensor) -> Tensor:
        """The rows to test on, of labels (N,): int64 (M,). A class with a single image is trained on.

        Raises UserError where too few are left for either; says which classes have none to test on.
        """
        _, classes, sizes = targets.unique(return_inverse=True, return_counts=True)
        labelled = has_label(targets)
        several = (labelled & (sizes[classes] > 1)).nonzero().flatten()
        count = min(round(int(labelled.sum()) * self.test_fraction), len(several))
        test = several[stratified(targets[several], count, TEST_SEED)]
        rest = without(targets, test)
        if not len(test) or not bool(has_label(rest).any()):
            raise UserError(
                f"data.test_fraction={self.test_fraction}: takes {len(test)} of {int(labelled.sum())} labelled images; "
                "take another fraction, or more images"
            )
        all_of = {*targets[labelled].tolist()}
        if untrained := all_of - {*rest.tolist()}:
            raise UserError(
                f"data.test_fraction={self.test_fraction}: leaves no image of {self.named(untrained)} to train on; "
                "take less"
            )
        if untested := all_of - {*targets[test].tolist()}:
            names = self.named(untested)
            warn(f"data.test_fraction={self.test_fraction}: there are too few images of {names} to test on any")
        return test

    def named(self, labels: set[int]) -> str:
        names = [self.class_names[label] for label in sorted(labels)]
        return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more classes" if len(names) > SHOWN else "")

    def of_labels(self, labels: Sequence[Any]) -> Tensor:
        """Labels as numbers: int64 (N,), -1 of None. Raises UserError for one that is no class.

        Where the order of the classes is given and the labels are numbers, these are places in it.
        """
        index = {name: number for number, name in enumerate(self.class_names)}
        if self.class_to_idx is not None and not {*map(str, present(labels))} & {*index}:
            index = {str(number): number for number in range(len(self.class_names))}
        missing = [name for name in as_classes(labels) if name not in index]
        if missing:
            raise UserError(
                f"{self.place}: nothing that is trained on is of class {', '.join(missing[:SHOWN])}; give all splits "
                "the same classes"
            )
        return torch.tensor([NO_LABEL if is_none(label) else index[str(label)] for label in labels])

    def classes_of(self, labels: Sequence[Any]) -> list[str]:
        """The classes that labels name; all of a given order where they are places in it."""
        found, order = as_classes(labels), class_order(self.class_to_idx)
        places = {str(number) for number in range(len(order or ()))}
        return list(order) if order and {*found} <= places and not {*found} & {*order} else found


def is_none(label: Any) -> bool:
    """Whether a label says that there is none."""
    return label is None or label != label or str(label).strip() == ""


def present(labels: Sequence[Any]) -> list[Any]:
    return [label for label in labels if not is_none(label)]


def as_classes(labels: Sequence[Any]) -> list[str]:
    """The classes that labels name, each once: whole numbers by size, all else by name.

    >>> from kd_lightning.data.layouts.parted import as_classes
    >>> as_classes(["10", "9", None]), as_classes(["cat", "ant", "cat"])
    (['9', '10'], ['ant', 'cat'])
    """
    found = {str(label) for label in present(labels)}
    return sorted(found, key=int) if all(name.isdecimal() for name in found) else sorted(found)
