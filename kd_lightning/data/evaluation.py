"""What evaluation shows a network of an image file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kd_lightning.data.folders.images import evaluation_image, open_rgb
from kd_lightning.errors import UserError

MODES = {1: "L", 3: "RGB"}  # of images with so many channels


@dataclass(frozen=True)
class EvaluationTransform:
    """An image file, or an image, as float32 (C, H, W) in [0, 1]: the short side to `resize`, then the centre.

    Networks normalise for themselves. Raises UserError for other channels than 1 or 3, and where a file cannot be read.

    Examples:
        >>> from PIL import Image
        >>> from kd_lightning.data import EvaluationTransform
        >>> EvaluationTransform(channels=3, size=32, resize=36)(Image.new("RGB", (64, 48))).shape
        torch.Size([3, 32, 32])
    """

    channels: int
    size: int
    resize: int

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise UserError(f"transform: image files have 1 or 3 channels, and the network takes {self.channels}")

    def __call__(self, image: str | Path | Image.Image) -> Tensor:
        return self.pixels(image).to(torch.float32) / 255

    def pixels(self, image: str | Path | Image.Image) -> Tensor:
        """The same as uint8 (C, H, W)."""
        opened = image if isinstance(image, Image.Image) else open_rgb(Path(image))
        mode = MODES[self.channels]
        return evaluation_image(opened if opened.mode == mode else opened.convert(mode), self.size, self.resize)

    def as_values(self) -> dict[str, int]:
        """Plain values, from which `from_values` makes it again."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "EvaluationTransform":
        return cls(**values)
