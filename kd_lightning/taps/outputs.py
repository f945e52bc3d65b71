"""Which of a network's outputs are its logits."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.taps.address import Address


def logits_of(model: nn.Module, output: Any, num_classes: int | None = None) -> Tensor:
    """The logits in what a network returned: a tensor, what it calls `logits`, or the one output that can be these.

    Of several, logits are (N, C), C the number of classes where that is known. The first of a network that trains two
    heads apart, as a distilled DeiT (Touvron et al. 2021, arXiv:2012.12877). Raises UserError where several fit.

    Examples:
        >>> import torch
        >>> from kd_lightning.taps import logits_of
        >>> logits = torch.rand(2, 10)
        >>> logits_of(torch.nn.Identity(), {"features": torch.rand(2, 64), "logits": logits}) is logits
        True
        >>> logits_of(torch.nn.Identity(), (torch.rand(2, 64), logits), num_classes=10) is logits
        True
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    outputs = dict(_tensors("", output))
    if len(outputs) > 1 and callable(getattr(model, "set_distilled_training", None)):
        return next(iter(outputs.values()))
    rows = [value for value in outputs.values() if value.ndim == 2]
    of_these_classes = [value for value in rows if value.shape[1] == num_classes]
    for fitting in (list(outputs.values()), rows, of_these_classes):
        if len(fitting) == 1:
            return fitting[0]
    if not outputs:
        raise UserError(f"taps.logits=: {type(model).__name__} returns {type(output).__name__}, not a tensor")
    shapes = ", ".join(f"{name.removeprefix('.')} {tuple(value.shape)}" for name, value in outputs.items())
    raise UserError(
        f"taps.logits=: {type(model).__name__} gives several outputs, {shapes}, and does not name its logits; name "
        f"the module that gives them, as in {{logits: {_last_layer(model)}}}"
    )


def is_own_output(address: Address) -> bool:
    """Whether an address is that of what a model returns."""
    return not (address.path or address.is_input or address.parameter)


def _tensors(name: str, output: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in an output, by where they stand in it."""
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors(f"{name}.{key}", value)
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        for key, value in zip(output._fields, output, strict=True):
            yield from _tensors(f"{name}.{key}", value)
    elif isinstance(output, (tuple, list)):
        for number, value in enumerate(output):
            yield from _tensors(f"{name}[{number}]", value)
    elif dataclasses.is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from _tensors(f"{name}.{field.name}", getattr(output, field.name))


def _last_layer(model: nn.Module) -> str:
    """The path of the last linear layer, as an example; any name where there is none."""
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else "fc"
