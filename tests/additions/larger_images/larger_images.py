"""A network that sees its images larger than they are."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.models import create_model


class LargerImages(nn.Module):
    """A named network on images (B, C, H, W) that are resized to `size`; it is trained so, too."""

    def __init__(self, network: str, size: int, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.size = size
        self.network = create_model(network, num_classes, in_channels)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False))
