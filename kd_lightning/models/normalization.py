"""Models that take floats in [0, 1] and normalise them as they were trained to."""

import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def normalize_inputs(model: Model, mean: Sequence[float], std: Sequence[float]) -> Model:
    """Make `model` normalise its first argument, images (B, C, H, W) in [0, 1]: (x − mean) / std by channel.

    In place, before every forward; the state dict keeps its keys. Called again it replaces the statistics.

    Raises ValueError for lengths that differ, and for a std that is not positive.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import normalize_inputs
        >>> network = normalize_inputs(torch.nn.Identity(), mean=[0.5], std=[0.25])
        >>> network(torch.ones(1, 1, 2, 2))
        tensor([[[[2., 2.],
                  [2., 2.]]]])
    """
    if len(mean) != len(std) or not mean:
        raise ValueError(f"mean and std must be as long as the channels; got mean={list(mean)}, std={list(std)}")
    if min(std) <= 0:
        raise ValueError(f"std must be positive; got std={list(std)}")
    like = next(model.parameters(), torch.empty(0))
    dtype = torch.promote_types(torch.float32, like.dtype)
    for name, values in (("input_mean", mean), ("input_std", std)):
        statistic = torch.tensor(values, dtype=dtype, device=like.device).view(-1, 1, 1)
        model.register_buffer(name, statistic, persistent=False)
    if _normalize not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_normalize)
    return model


def stored_normalization(model: nn.Module) -> dict[str, str]:
    """A model's normalisation as JSON, to lie beside its weights; empty where it has none.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import normalize_inputs, stored_normalization
        >>> stored_normalization(normalize_inputs(torch.nn.Identity(), mean=[0.5], std=[0.25]))
        {'mean': '[0.5]', 'std': '[0.25]'}
    """
    statistics = {"mean": getattr(model, "input_mean", None), "std": getattr(model, "input_std", None)}
    return {name: json.dumps(value.flatten().tolist()) for name, value in statistics.items() if value is not None}


def read_normalization(metadata: Mapping[str, str]) -> tuple[list[float], list[float]] | None:
    """What `stored_normalization` left beside the weights; None where nothing, or something else, lies there.

    Examples:
        >>> from kd_lightning.models import read_normalization
        >>> read_normalization({"mean": "[0.5]", "std": "[0.25]"})
        ([0.5], [0.25])
        >>> read_normalization({}) is None
        True
    """
    try:
        mean, std = json.loads(metadata["mean"]), json.loads(metadata["std"])
    except (KeyError, json.JSONDecodeError):
        return None
    return (mean, std) if isinstance(mean, list) and isinstance(std, list) else None


def carry_normalization(model: nn.Module, other: nn.Module) -> None:
    """Have a model that takes the place of another normalise as that one did, once."""
    statistics = read_normalization(stored_normalization(model))
    if other is model or statistics is None:
        return
    for key, hook in list(model._forward_pre_hooks.items()):
        if hook is _normalize:
            del model._forward_pre_hooks[key]
    del model.input_mean, model.input_std
    normalize_inputs(other, *statistics)
    note_training(other, trained_with(model))


def note_training(model: nn.Module, statistics: tuple[Sequence[float], Sequence[float]] | None) -> None:
    """Note with which mean and std the weights that a model got were trained; None leaves it as it is."""
    if statistics is not None:
        model._trained_with = statistics  # type: ignore[assignment]  # no part of its state


def trained_with(model: nn.Module) -> tuple[Sequence[float], Sequence[float]] | None:
    """The mean and std that a model's weights were trained with, where their file or their publisher told them.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import trained_with
        >>> trained_with(torch.nn.Linear(4, 2)) is None
        True
    """
    return getattr(model, "_trained_with", None)


# A function of the module that it is called with, no closure: a deep copy of the model reads its own buffers.
def _normalize(model: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    images, *rest = args
    mean, std = model.input_mean, model.input_std
    assert isinstance(mean, Tensor)
    assert isinstance(std, Tensor)
    if not images.is_floating_point():
        raise ValueError(f"images must be floats in [0, 1], got {images.dtype}; convert them: images.float() / 255")
    if mean.shape[0] not in (1, images.shape[-3]):  # else broadcasting would multiply the channels silently
        raise ValueError(
            f"images of {images.shape[-3]} channels meet normalisation statistics of {mean.shape[0]}; "
            "give mean and std one value per channel"
        )
    return ((images - mean) / std).to(images.dtype), *rest
