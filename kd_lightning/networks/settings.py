"""What kd-inspect and kd-train are told of a network: its taps, the size of its input."""

from collections.abc import Mapping
from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.models import default_input_size

Shape = tuple[int, ...]


def given_taps(key: str, taps: Any) -> dict[str, str]:
    """The taps that a config names; none for `auto`. Raises UserError for anything else."""
    if taps == "auto":
        return {}
    if not isinstance(taps, dict) or not all(isinstance(address, str) for address in taps.values()):
        raise UserError(f"{key}={taps}: give auto, or a mapping such as {{stage3: layer3.2}}")
    return {str(name): address for name, address in taps.items()}


def input_size(role: str, settings: Mapping[str, Any]) -> Shape:
    """The input (C, H, W) that a config names, else the one that the model was made for.

    Raises UserError for anything else.
    """
    size = settings["input_size"]
    if size is None:
        return default_input_size(settings["model"])
    if not isinstance(size, list) or len(size) != 3 or not all(type(n) is int and n > 0 for n in size):
        raise UserError(f"{role}.input_size={size}: give [channels, height, width], such as [3,224,224]")
    return (size[0], size[1], size[2])
