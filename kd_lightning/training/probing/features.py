"""What a frozen network makes of images of other data, in front of its classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kd_lightning.data import ImageDataModule
from kd_lightning.data.batches import ImageSet
from kd_lightning.errors import UserError
from kd_lightning.taps import TapReader, find_taps
from kd_lightning.tasks.metrics import labelled
from kd_lightning.training.probing.linear import Samples

POOLED = "pooled"


def pooled_reader(network: nn.Module, example: Tensor, logits: str, width: int | None) -> TapReader:
    """Reads what enters the classifier of a network. Raises UserError where nothing does, or nobody knows what."""
    tap = find_taps(network, example, logits, width).get(POOLED)
    if tap is None:
        raise UserError("its logits are not given by one linear layer, so nothing tells its features")
    return TapReader(network, {POOLED: tap}, "", width)


def as_images_of(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Images (B, C, H, W) in [0, 1] as a network takes them that knows others of a shape (C, H, W).

    Resized bilinearly, colours to their mean and grey to each colour.
    """
    channels, height, width = shape
    if images.shape[1] != channels:
        images = images.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    if images.shape[-2:] != (height, width):
        images = interpolate(images, (height, width), mode="bilinear", antialias=True)
    return images.contiguous()


@torch.no_grad()
def features_of(
    reader: TapReader, data: ImageDataModule, images: ImageSet, shape: Sequence[int], device: torch.device
) -> Samples:
    """What a network in eval mode makes of images that are not augmented, and the labels of those that have one."""
    features, targets = [], []
    plain = ImageSet(images.images, images.rows)
    for batch in data.loader(plain, data.eval_batch_size):
        shown = data.on_after_batch_transfer({name: value.to(device) for name, value in batch.items()})
        features.append(reader(as_images_of(shown["input"], shape))[POOLED].flatten(1).float())
        targets.append(shown["target"])
    return Samples(*labelled(torch.cat(features), torch.cat(targets)))
