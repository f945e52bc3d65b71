"""What decides numbers, as plain values that name what is kept: of data, of a recipe, of what is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from kd_lightning.conversions import conversions_of
from kd_lightning.conversions.entries import in_key
from kd_lightning.data import ImageDataModule
from kd_lightning.models import stored_normalization
from kd_lightning.models.resolution import stored_image_size
from kd_lightning.models.stem import stored_stem
from kd_lightning.sources import FrozenNetwork, Source
from kd_lightning.store.source_code import is_released, own_code
from kd_lightning.training.context import Context, Recipe

# All of trainer and callbacks shapes the numbers, but for where it runs and what it shows or keeps.
SHAPELESS = ("accelerator", "log_every_n_steps", "enable_model_summary", "enable_progress_bar", "profiler")
SHAPELESS_CALLBACKS = (
    "progress_bar",
    "learning_rate",
    "gradient_norm",
    "device_memory",
    "checkpoint_last",
    "checkpoint_timed",
)
# Arguments of images that decide nothing, or that other entries of a key tell.
TOLD = ("root", "seed", "batch_size", "num_workers", "eval_batch_size", "resident", "download")


def data_key(context: Context) -> dict[str, Any]:
    """What decides the data; where that is not known, the folder of the run, for which alone something is kept then."""
    data, given = context.data, context.settings["data"]
    known: dict[str, Any] = {"data": data.fingerprint()}
    if isinstance(data, ImageDataModule) and not is_released(str(given.get("_target_"))):  # may decide by any argument
        known["arguments"] = {name: value for name, value in given.items() if name not in TOLD}
    return known if data.undecided is None else {**known, "run": context.settings["paths"]["output_dir"]}


def trainer_shape(recipe: Recipe) -> dict[str, Any]:
    """The trainer's arguments that shape numbers."""
    return {name: value for name, value in recipe.trainer.settings.items() if name not in SHAPELESS}


def callbacks_shape(recipe: Recipe) -> dict[str, Any]:
    """The callbacks that shape numbers, without the folders that they write into."""
    shaping = {name: value for name, value in recipe.callbacks.settings.items() if name not in SHAPELESS_CALLBACKS}
    return {name: without_place(value) if isinstance(value, Mapping) else value for name, value in shaping.items()}


def without_place(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "dirpath"}


def measured_by(context: Context) -> dict[str, Any]:
    """What decides the numbers that the task gives for a network."""
    given = context.settings["task"]
    return {"task": {name: value for name, value in given.items() if name != "selects_on"}, "own_code": own_code(given)}


def told(value: object) -> Any:
    """A value as JSON holds it: of an object its class and what it was made with, as far as its attributes tell.

    Examples:
        >>> from kd_lightning.losses import SoftTarget
        >>> from kd_lightning.schedules import Linear
        >>> from kd_lightning.training.keys import told
        >>> told(SoftTarget(temperature=Linear(start=8.0, end=1.0)))["temperature"]
        {'_target_': 'kd_lightning.schedules.progress.Linear', 'start': 8.0, 'end': 1.0}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): told(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [told(one) for one in value]
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(map(told, value), key=repr)
    if isinstance(value, partial):
        return {"_partial_": told(value.func), "args": told(value.args), **told(value.keywords)}
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if not (is_dataclass(value) or hasattr(value, "__dict__")):
        return repr(value)  # a path, a dtype
    return {"_target_": told(type(value)), **attributes(value)}


def attributes(value: object) -> dict[str, Any]:
    """Those that an object has of its own, without underscores; of a module also its parts."""
    if is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        own = dict(vars(value)) if hasattr(value, "__dict__") else {}
    if isinstance(value, nn.Module):
        own = {**own, **dict(value.named_buffers(recurse=False)), **dict(value.named_children())}
        own.pop("training", None)
    return {name: told(one) for name, one in own.items() if not name.startswith("_")}


def of_source(source: Source) -> dict[str, Any]:
    """What a source is: its own identity, and what of its networks no weight tells."""
    networks = [part for part in source.modules() if isinstance(part, FrozenNetwork)]
    return {
        **source.identity(),
        "networks": [
            {
                **one.identity(),
                **stored_normalization(one.network),
                **stored_stem(one.network),
                **stored_image_size(one.network),
                **in_key(conversions_of(one.network)),
                "taps": one.taps,
            }
            for one in networks
        ],
    }
