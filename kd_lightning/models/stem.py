"""The stem of a model that was made for large images, replaced by one for small images."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.catalog import ModelName, split_name

CIFAR = "cifar"
CONVOLUTIONS = 3  # which a stem has at most before its max-pool
KERNEL = 3


def check_stem(name: ModelName, stem: Any, key: str = "stem", *, pretrained: bool = False) -> None:
    """Raise UserError unless a model by its name may get this stem, and needs no published weights for it.

    Examples:
        >>> from kd_lightning.models import check_stem
        >>> check_stem("torchvision/resnet18", "cifar")
    """
    if stem is None:
        return
    if stem != CIFAR:
        raise UserError(f"{key}={stem}: must be {CIFAR}, or null for the model's own stem")
    if not isinstance(name, str) or split_name(name)[0] == "zoo":
        raise UserError(
            f"{key}={stem}: changes models of timm and torchvision, and {name} is none; leave it null, or take one "
            "such as torchvision/resnet18"
        )
    if pretrained:
        raise UserError(
            f"{key}={stem}: the published weights of {name} are those of its own stem; leave it null, or begin with "
            "random weights, or with a file of a network that has this stem"
        )


def with_cifar_stem(model: nn.Module, name: str, key: str = "stem") -> nn.Module:
    """A fresh model, in place, whose first convolution is 3x3 with stride 1, and whose stem has no max-pool.

    As ResNets are changed for images of CIFAR's size, 32x32 (He et al. 2016, arXiv:1512.03385, section 4.2, has such a
    stem). A larger kernel becomes its centre, times the root of the ratio of their sizes, which is how an
    initialisation by fan would have drawn it; no random number is drawn.

    Raises UserError for a model whose first convolution has stride 1, or makes patches.
    """
    first, pool = _stem_of(model)
    convolution: Any = None if first is None else model.get_submodule(first)
    place = f"{key}={CIFAR}: {name}"
    if convolution is None:
        raise UserError(f"{place} has no convolution to be changed; leave it null")
    height, width = convolution.kernel_size
    if convolution.stride == (1, 1) and pool is None:
        raise UserError(f"{place} has no stem that makes an image smaller; leave it null")
    if tuple(convolution.stride) == (height, width) or min(height, width) < KERNEL:
        raise UserError(f"{place} cuts an image into patches of {height}x{width}; leave it null, or take a ResNet")
    if convolution.stride == (1, 1) and (height, width) == (KERNEL, KERNEL):
        raise UserError(f"{place} has a stem of 3x3 and stride 1 already; leave it null")
    if (height, width) != (KERNEL, KERNEL):
        top, left = (height - KERNEL) // 2, (width - KERNEL) // 2
        scale = (height * width / KERNEL**2) ** 0.5
        centre = convolution.weight.detach()[:, :, top : top + KERNEL, left : left + KERNEL]
        convolution.weight = nn.Parameter((centre * scale).contiguous())
    convolution.kernel_size, convolution.stride = (KERNEL, KERNEL), (1, 1)
    convolution.padding, convolution.dilation = (KERNEL // 2, KERNEL // 2), (1, 1)
    convolution._reversed_padding_repeated_twice = [KERNEL // 2] * 4
    if pool is not None:
        model.set_submodule(pool, nn.Identity())
    note_stem(model, CIFAR)
    return model


def note_stem(model: nn.Module, stem: str | None) -> None:
    """Note which stem a model got in place of its own."""
    if stem is not None:
        model._stem = stem  # type: ignore[assignment]  # no part of its state


def stem_of(model: nn.Module) -> str | None:
    """The stem that a model got in place of its own, `cifar`; None where it has its own.

    Examples:
        >>> from kd_lightning.models import create_model, stem_of
        >>> stem_of(create_model("torchvision/resnet18", num_classes=10, stem="cifar"))
        'cifar'
    """
    stem: str | None = getattr(model, "_stem", None)
    return stem


def stored_stem(model: nn.Module) -> dict[str, str]:
    """The same, to lie beside its weights; empty where it has its own."""
    stem = stem_of(model)
    return {} if stem is None else {"stem": stem}


def _stem_of(model: nn.Module) -> tuple[str | None, str | None]:
    """The paths of the first convolution, and of the max-pool that follows in the same stem; some have a mean there.

    Modules stand in the order in which they are made, and models make their stem first.
    """
    convolutions: list[str] = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            convolutions.append(path)
        if len(convolutions) > CONVOLUTIONS:
            break
        if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)) and convolutions:
            pool = _widest_without_weights(model, path)
            beside = pool.rpartition(".")[0]
            if not beside or convolutions[0].startswith(f"{beside}."):  # else it is a branch of a block
                return convolutions[0], pool
    return (convolutions[0] if convolutions else None), None


def _widest_without_weights(model: nn.Module, path: str) -> str:
    """A max-pool, or what holds it with further layers that have no weights, such as the blur behind it."""
    widest = path
    for around in _above(path):
        if next(model.get_submodule(around).parameters(), None) is None:
            widest = around
    return widest


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition(".")[0]:
        yield path
