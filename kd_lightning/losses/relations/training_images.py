"""Which images train, and draws of negatives among them."""

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import has_label
from kd_lightning.losses.tables import rows_of


class TrainingImages(nn.Module):
    """The M training images that have a label, in the order of their index: their row in a memory bank.

    Args:
        index, target: index and label of every training image, (M,).

    Raises `UserError` where there are none, or all are of one class.
    """

    index: Tensor  # (M,) ascending; an image's place is its row
    by_class: Tensor  # (M,) rows, class by class
    classes: Tensor  # (M,) the labels of these rows, ascending

    def __init__(self, index: Tensor | None, target: Tensor | None) -> None:
        super().__init__()
        if index is None or target is None or len(index) == 0:
            raise UserError("train.index=[]: a memory bank needs the training images' index and label; use such data")
        if index.shape != target.shape:
            raise UserError(
                f"train.target={list(target.shape)}: {len(index)} images need a label each; give class indices (M,)"
            )
        if not target.is_meta and not has_label(target).all():
            index, target = index[has_label(target)], target[has_label(target)]
            if len(index) == 0:
                raise UserError("train.target=-1: no training image has a label; negatives are images of other classes")
        ascending, order = index.long().sort()
        classes, by_class = target.long()[order].sort(stable=True)
        if not classes.is_meta and classes[0] == classes[-1]:
            raise UserError(f"train.target={classes[0]}: all images are of one class; negatives need another")
        self.register_buffer("index", ascending)
        self.register_buffer("by_class", by_class)
        self.register_buffer("classes", classes)

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: Tensor) -> Tensor:
        """The rows (B,) of images; -1 of an image that does not train."""
        return rows_of(index, self.index)

    def negatives(self, index: Tensor, target: Tensor, count: int, key: Tensor) -> Tensor:
        """Rows (B, count) of images of other classes, each as likely as any other, with replacement.

        A pure function of image and `key` (a 0-d integer), so that a resumed run draws what an uninterrupted one does,
        and several processes draw what one would.
        """
        first = torch.searchsorted(self.classes, target.long())
        own = torch.searchsorted(self.classes, target.long(), right=True) - first
        numbers = torch.arange(count, device=index.device)
        bits = _mix(_mix(_mix(key) + index.long())[:, None] + numbers)
        place = (bits & (2**63 - 1)) % (len(self) - own)[:, None]
        return self.by_class[place + own[:, None] * (place >= first[:, None])]


def _mix(value: Tensor) -> Tensor:
    """64 well-mixed bits of each integer: SplitMix64 (Steele, Lea, Flood 2014). Products wrap around."""
    value = value + _signed(0x9E3779B97F4A7C15)
    value = (value ^ _shift(value, 30)) * _signed(0xBF58476D1CE4E5B9)
    value = (value ^ _shift(value, 27)) * _signed(0x94D049BB133111EB)
    return value ^ _shift(value, 31)


def _shift(value: Tensor, bits: int) -> Tensor:
    """To the right, filling with zeros."""
    return (value >> bits) & (2 ** (64 - bits) - 1)


def _signed(constant: int) -> int:
    return constant - 2**64
