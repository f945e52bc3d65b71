"""Two images in one: mixup and CutMix, as pure functions of an image's index and view."""

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.data.values import MOST_VIEWS, is_number
from kd_lightning.errors import UserError
from kd_lightning.store.hashing import MASK, fold, scramble

WORDS = 2**32  # that a hash can be
LARGEST = 1000.0  # beyond it all shares are a half


class Drawn(NamedTuple):
    """With what images are mixed: each (B,).

    `partner` is a number below that of the images to choose from, `view` the partner's, `share` what of the image is
    left. `box` (B, 4) has the edges of what the partner covers, top, bottom, left and right; an empty one is of mixup,
    where the share is each pixel's.
    """

    partner: Tensor
    view: Tensor
    share: Tensor
    box: Tensor


@dataclass(frozen=True)
class Mixing:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899).

    Of mixup λ·x + (1 - λ)·x', of CutMix x with a box of the share 1 - λ of x', about a uniform place and cut off at the
    edges; λ ~ Beta(a, a), and of both each image gets one or the other with equal chances. x' is any of the training
    images, and all that is drawn follows from (index, view) alone: whatever the batch, a view is the same image. The
    label is λ·y + (1 - λ)·y', λ of a box what it leaves.

    Args:
        mixup, cutmix: a of each; None or 0 is none.

    Raises UserError for other values.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import Mixing
        >>> index, view = torch.arange(3), torch.tensor([5, 9, 2])
        >>> drawn = Mixing(mixup=1.0).draw(index, view, candidates=100, height=8, width=8)
        >>> again = Mixing(mixup=1.0).draw(index[2:], view[2:], candidates=100, height=8, width=8)
        >>> bool(drawn.share[2] == again.share[0])
        True
    """

    mixup: float | None = None
    cutmix: float | None = None

    def __post_init__(self) -> None:
        for key, value in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if value is not None and not (is_number(value) and 0 <= value <= LARGEST):
                raise UserError(
                    f"data.{key}={value}: the a of Beta(a, a), which gives shares; a number from 0, which is none, to "
                    f"{LARGEST:g}, or null"
                )

    @property
    def is_on(self) -> bool:
        return bool(self.mixup or self.cutmix)

    @property
    def key(self) -> str:
        """What makes a config mix, as `data.mixup=0.8`."""
        return f"data.mixup={self.mixup}" if self.mixup else f"data.cutmix={self.cutmix}"

    def draw(self, index: Tensor, view: Tensor, candidates: int, height: int, width: int) -> Drawn:
        """With what images (B,) of these indices and views are mixed; on the CPU."""
        image = scramble(scramble(index & MASK) ^ (view & MASK))
        partner, its_view, of_share, of_kind, of_row, of_column = (
            scramble(image ^ fold(number)) for number in range(6)
        )
        chance = (of_share.double() + 0.5) / WORDS
        cuts = torch.full_like(of_kind, not self.mixup, dtype=torch.bool)
        if self.mixup and self.cutmix:
            cuts = of_kind % 2 == 1
        share = torch.where(cuts, shares(chance, self.cutmix), shares(chance, self.mixup))
        half = torch.sqrt(1 - share) / 2
        edges = []
        for place, size in ((of_row, height), (of_column, width)):
            centre, reach = place * size // WORDS, (half * size).long()
            edges += [(centre - reach).clamp(min=0), (centre + reach).clamp(max=size)]
        top, bottom, left, right = (torch.where(cuts, edge, 0) for edge in edges)
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        share = torch.where(cuts, kept.double(), share).float()
        return Drawn(partner % candidates, its_view % MOST_VIEWS, share, torch.stack([top, bottom, left, right], dim=1))


def shares(chance: Tensor, a: float | None) -> Tensor:
    """Draws of Beta(a, a) from uniform ones, float64 (B,) both; all ones where a is none."""
    if not a:
        return torch.ones_like(chance)
    return torch.from_numpy(betaincinv(a, a, chance.numpy()))


def mixed(images: Tensor, partners: Tensor, share: Tensor, box: Tensor) -> Tensor:
    """Images (B, C, H, W) with their partners, as `Drawn` says; where they lie, and nothing waits for the device."""
    top, bottom, left, right = (edge.view(-1, 1, 1, 1) for edge in box.unbind(dim=1))
    rows = torch.arange(images.shape[2], device=images.device).view(-1, 1)
    columns = torch.arange(images.shape[3], device=images.device)
    covered = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    is_box = ((bottom > top) & (right > left)).to(images.dtype)
    of_pixels = torch.maximum(is_box, share.to(images.dtype).view(-1, 1, 1, 1))
    return torch.where(covered, partners, of_pixels * images + (1 - of_pixels) * partners)


def mixed_labels(target: Tensor, others: Tensor, share: Tensor, classes: int) -> Tensor:
    """Labels, both int64 (B,), as probabilities: float32 (B, C)."""
    own, its = (F.one_hot(labels, classes) for labels in (target, others))
    return share[:, None] * own + (1 - share[:, None]) * its


def described(mixing: Mixing, rows: Tensor) -> dict[str, Any]:
    """What decides with what images are mixed, as JSON has it: `rows` are those to choose from."""
    partners = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
    return {"mixup": mixing.mixup or None, "cutmix": mixing.cutmix or None, "partners": partners}
