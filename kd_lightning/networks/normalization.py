"""The mean and standard deviation that a network's images are normalised with."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kd_lightning.batch import INPUT, as_text
from kd_lightning.data import DataModule, ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.models import pretrained_normalization, read_normalization

Normalization = tuple[Sequence[float], Sequence[float]]


def normalization(
    key: str, given: Any, model: Any, data: DataModule, metadata: Mapping[str, str], *, with_weights: bool
) -> Normalization | None:
    """The mean and standard deviation that a network was, or will be, trained with; None where that is not known.

    It is not for data of the user's own, which come as their loaders give them.

    `given` is what the config says of it by this key, `metadata` what its file of weights does; `with_weights` says
    that it has weights from elsewhere.
    """
    if given != "auto":
        return given_normalization(key, given, data)
    if not isinstance(data, ImageDataModule):
        return None
    stored, published = read_normalization(metadata), pretrained_normalization(model)
    if stored is not None:
        return stored
    if published is not None and with_weights:
        return published if len(published[0]) == data.in_channels else averaged(published, data.in_channels)
    return data.mean, data.std


def channels_of(data: DataModule) -> int | None:
    """The channels of the images (C, H, W) that the data give; None where they give none."""
    shape = data.inputs.get(INPUT)
    return shape[0] if isinstance(shape, tuple) and len(shape) == 3 else None


def given_normalization(key: str, given: Any, data: DataModule) -> Normalization:
    """The normalisation that a config names; raises `UserError` unless it is a mean and a std for each channel."""
    values, channels = given, channels_of(data)
    if channels is None:
        raise UserError(
            f"{key}={values}: is of images (C, H, W), and the data {data.name} give "
            f"{as_text(data.inputs)}; leave it auto"
        )
    mean: Any
    std: Any
    mean, std = (values.get(name) for name in ("mean", "std")) if isinstance(values, dict) else (None, None)
    fits = all(isinstance(numbers, list) and len(numbers) == channels for numbers in (mean, std))
    fits = fits and values.keys() == {"mean", "std"}
    if not fits or not all(is_finite(number) for number in (*mean, *std)) or min(std) <= 0:
        raise UserError(
            f"{key}={values}: give auto, or {{mean: […], std: […]}} with finite numbers, above 0 for "
            f"std, one of each for every channel; the data have {channels}"
        )
    return mean, std


def is_finite(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)


def averaged(known: Normalization, channels: int) -> Normalization:
    """A colour normalisation for images of another number of channels: the mean over its own."""
    mean, std = ([sum(values) / len(values)] * channels for values in known)
    return mean, std
