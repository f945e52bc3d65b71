"""Networks that see images at a size of their own, whatever the size that the data have."""

from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.functional import interpolate

from kd_lightning.errors import UserError

Model = TypeVar("Model", bound=nn.Module)
LARGEST = 2**13  # pixels of a side


def check_image_size(size: Any, key: str) -> None:
    """Raise UserError for what is neither a number of pixels nor None."""
    if size is None:
        return
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= LARGEST:
        raise UserError(
            f"{key}={size}: the pixels of the short side of the images that it sees, a whole number from 1 to "
            f"{LARGEST}, or null, as they come"
        )


def resize_inputs(model: Model, size: int) -> Model:
    """Make `model` resize its first argument, images (B, C, H, W), so that their short side has `size` pixels.

    Bilinear, and antialiased where they become smaller; images of that size stay as they are. In place, before every
    forward and before whatever else it does with its inputs; the state dict keeps its keys. Called again it replaces
    the size.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import resize_inputs
        >>> network = resize_inputs(torch.nn.Identity(), 4)
        >>> network(torch.ones(1, 3, 8, 16)).shape
        torch.Size([1, 3, 4, 8])
    """
    model._image_size = size  # type: ignore[assignment]  # no part of its state
    if _resize not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_resize, prepend=True)
    return model


def image_size_of(model: nn.Module) -> int | None:
    """The size that a model resizes images to; None where it takes them as they come.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import image_size_of
        >>> image_size_of(torch.nn.Identity()) is None
        True
    """
    size: int | None = getattr(model, "_image_size", None)
    return size


def stored_image_size(model: nn.Module) -> dict[str, str]:
    """The same, to lie beside its weights; empty where it takes images as they come."""
    size = image_size_of(model)
    return {} if size is None else {"image_size": str(size)}


def carry_image_size(model: nn.Module, other: nn.Module) -> None:
    """Have a model that takes the place of another see images at the same size."""
    size = image_size_of(model)
    if size is not None:
        resize_inputs(other, size)


def as_seen(model: nn.Module, example: Any) -> Any:
    """An example as a model sees it: images (B, C, H, W) at its size, all else as it is."""
    size = image_size_of(model)
    return example if size is None or not isinstance(example, Tensor) else at_size(example, size)


def at_size(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) whose short side has so many pixels."""
    height, width = images.shape[-2:]
    short = min(height, width)
    if short == size:
        return images
    shape = (round(height * size / short), round(width * size / short))
    return interpolate(images, shape, mode="bilinear", antialias=True)


# A function of the module that it is called with, no closure: a deep copy of the model reads its own size.
def _resize(model: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    size = image_size_of(model)
    assert size is not None
    images, *rest = args
    return at_size(images, size), *rest
