"""A network to learn from, beside a packaged one."""

from torch import Tensor, nn


class Perceptron(nn.Module):
    """Images (B, C, H, W) of so many numbers to logits (B, num_classes)."""

    def __init__(self, inputs: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))
