"""A random transform of one image, such as torchvision's, as a pure function of the image and its view."""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kd_lightning.data.derived.content import pieces
from kd_lightning.data.derived.peek import seeded
from kd_lightning.data.values import MOST_VIEWS

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True, repr=False)
class PerImage:
    """A transform of uint8 images (C, H, W), which draws its random numbers from the view alone.

    It is called image by image, in the loader: of a whole batch a transform of torchvision draws once. It may draw from
    torch, numpy or `random`; their own numbers go on afterwards as if nothing had been drawn.

    Examples:
        >>> import torch
        >>> from torchvision.transforms import v2
        >>> from kd_lightning.data import PerImage
        >>> augment = PerImage(v2.RandomHorizontalFlip())
        >>> images, views = torch.arange(6, dtype=torch.uint8).view(2, 1, 1, 3), torch.tensor([0, 1])
        >>> torch.equal(augment(images, views)[1:], augment(images[1:], views[1:]))  # whatever else is in the batch
        True
    """

    transform: Callable[[Tensor], Tensor]

    in_loader: ClassVar[bool] = True
    num_views: ClassVar[int] = MOST_VIEWS

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        with seeded(0):
            return torch.stack([self._one(image, view) for image, view in zip(images, views.tolist(), strict=True)])

    def _one(self, image: Tensor, view: int) -> Tensor:
        torch.default_generator.manual_seed(view)
        np.random.seed(view)
        random.seed(view)
        return self.transform(image)

    @property
    def name(self) -> str:
        """What messages call it."""
        return getattr(self.transform, "__name__", type(self.transform).__name__)

    def __repr__(self) -> str:
        """What decides the images: how the transform shows itself, and a digest of its attributes."""
        shown = ADDRESS.sub("", " ".join(repr(self.transform).split()))
        digest = hashlib.sha256()
        for attributes in _attributes(self.transform):
            digest.update(b"|".join(pieces(attributes)))
        return f"PerImage({shown}, {digest.hexdigest()[:16]})"


def _attributes(transform: Any) -> Iterator[dict[str, Any]]:
    """The public attributes of a transform, and of all that it consists of."""
    for part in transform.modules() if isinstance(transform, nn.Module) else [transform]:
        given = getattr(part, "__dict__", {})
        yield {name: value for name, value in given.items() if not name.startswith("_") and name != "training"}
