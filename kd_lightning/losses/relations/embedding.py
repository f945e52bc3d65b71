"""The linear embedding that some losses compare features in."""

from torch import Tensor, nn


class Embedding(nn.Module):
    """A linear map of the flattened feature, made for the shape of an example (B, ...). Returns (B, width)."""

    def __init__(self, example: Tensor, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(example.flatten(1).shape[1], width)

    def forward(self, feature: Tensor) -> Tensor:
        return self.linear(feature.flatten(1))
