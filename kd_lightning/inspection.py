"""What a model offers before it has weights: its taps, their shapes, its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import OmegaConf

from kd_lightning.errors import UserError
from kd_lightning.models import create_model, default_input_size
from kd_lightning.taps import find_taps, tap_shapes

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Inspection:
    """One model seen from outside: `taps` holds names and addresses, `shapes` has no batch dimension."""

    role: str
    model: str
    input_size: Shape
    params: int
    taps: dict[str, str]
    shapes: dict[str, Shape]


def inspect_model(
    role: str, model: Any, input_size: Shape, num_classes: int, taps: Mapping[str, str], find: bool = True
) -> Inspection:
    """Build a model without weights, on the meta device where it runs there, and find its taps.

    `role` is the config's key, `model` its value, `taps` are named beside those that are found; without `find` there
    are only these and the logits. Raises `UserError` where the model does not run on this input, or has no such module
    as a tap names.
    """
    name = model if isinstance(model, str) else str(model["_target_"])
    for device in ("meta", "cpu"):
        try:
            return _inspect_on(device, role, model, name, input_size, num_classes, taps, find)
        except UserError:
            raise
        except Exception as error:
            if device == "cpu":
                shape = "x".join(map(str, input_size))
                raise UserError(
                    f"{role}.model={name}: does not run on an input of {shape} ({error}); take a model for this size, "
                    f"other data, or in kd-inspect another {role}.input_size"
                ) from error
    raise AssertionError


def _inspect_on(
    device: str,
    role: str,
    model: Any,
    name: str,
    input_size: Shape,
    num_classes: int,
    given: Mapping[str, str],
    find: bool,
) -> Inspection:
    with torch.device(device):
        network = create_model(model, num_classes, input_size[0], key=f"{role}.model")
        example = torch.zeros(2, *input_size)
    try:
        taps = {**(find_taps(network, example) if find else {"logits": ""}), **given}
        shapes = tap_shapes(network, example, taps)
    except UserError as error:
        raise UserError(f"{role}.{error}") from error
    params = sum(parameter.numel() for parameter in network.parameters())
    return Inspection(role, name, input_size, params, taps, shapes)


def given_taps(role: str, taps: Any) -> dict[str, str]:
    """The taps that a config names; none for `auto`."""
    taps = plain(taps)
    if taps == "auto":
        return {}
    if not isinstance(taps, dict) or not all(isinstance(address, str) for address in taps.values()):
        raise UserError(f"{role}.taps={taps}: give auto, or a mapping such as {{stage3: layer3.2}}")
    return {str(name): address for name, address in taps.items()}


def input_size(role: str, settings: Mapping[str, Any]) -> Shape:
    """The input (C, H, W) that a config names, else the one that the model was made for."""
    size = plain(settings["input_size"])
    if size is None:
        return default_input_size(plain(settings["model"]))
    if not isinstance(size, list) or len(size) != 3 or not all(type(n) is int and n > 0 for n in size):
        raise UserError(f"{role}.input_size={size}: give [channels, height, width], such as [3,224,224]")
    return (size[0], size[1], size[2])


def plain(value: Any) -> Any:
    """A config's value as plain Python."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
