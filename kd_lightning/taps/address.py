"""The address of a tap, `path[:input][:nhwc|:tokens|:mean]` or `path:weight|:bias`, and what it asks for."""

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from kd_lightning.errors import UserError


class Address(NamedTuple):
    """A parsed address.

    Attributes:
        path: the dotted path of a module; the empty path is the model itself.
        is_input: whether the tap is what enters the module, its first argument, instead of what leaves it.
        layout: `nhwc`, `tokens`, `mean`, or empty where the tensor is taken as it is.
        parameter: `weight` or `bias` where the tap is the module's parameter instead of an activation.
    """

    path: str
    is_input: bool = False
    layout: str = ""
    parameter: str = ""

    def __str__(self) -> str:
        suffixes = [*(["input"] if self.is_input else []), self.layout, self.parameter]
        return ":".join([self.path, *filter(None, suffixes)])


def nhwc_to_nchw(value: Tensor) -> Tensor:
    """(B,H,W,C) to (B,C,H,W)."""
    return value.permute(0, 3, 1, 2)


def tokens_to_map(value: Tensor) -> Tensor:
    """(B,N,C) to (B,C,h,w), h = w = floor(sqrt(N)); the tokens in front that fill no square are dropped."""
    side = math.isqrt(value.shape[1])
    return value[:, value.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))


def mean_over_map(value: Tensor) -> Tensor:
    """(B,C,H,W) to (B,C)."""
    return value.mean((2, 3))


LAYOUTS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "nhwc": (4, nhwc_to_nchw),
    "tokens": (3, tokens_to_map),
    "mean": (4, mean_over_map),
}


PARAMETERS = ("weight", "bias")


def parse_address(name: str, address: str) -> Address:
    """The parts of an address; `name` is the tap's, for the error message. Raises UserError for what is none."""
    path, *suffixes = address.split(":")
    if len(suffixes) == 1 and suffixes[0] in PARAMETERS:
        return Address(path, parameter=suffixes[0])
    is_input = suffixes[:1] == ["input"]
    layout = suffixes[is_input:]
    if len(layout) > 1 or any(suffix not in LAYOUTS for suffix in layout):
        raise UserError(
            f"taps.{name}={address}: write path[:input][:{'|:'.join(LAYOUTS)}], such as layer3.2 or fc:input, or "
            f"path:{'|:'.join(PARAMETERS)} for a parameter"
        )
    return Address(path, is_input, *layout)


def find_module(model: nn.Module, name: str, address: Address) -> nn.Module:
    """The module that an address names. Raises UserError where the model has none there."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if address.path in modules:
        return modules[address.path]
    close = difflib.get_close_matches(address.path, modules, n=3)
    remedy = (
        f"close matches: {', '.join(close)}" if close else f"it has {', '.join(n for n, _ in model.named_children())}"
    )
    raise UserError(f"taps.{name}={address}: {type(model).__name__} has no module {address.path!r}; {remedy}")


def parameter_of(module: nn.Module, name: str, address: Address) -> Tensor:
    """A module's weight, one row for each output, or its bias. Raises UserError where it has none."""
    value = getattr(module, address.parameter, None)
    if not isinstance(value, Tensor):
        raise UserError(
            f"taps.{name}={address}: {type(module).__name__} has no {address.parameter}; tap a linear layer"
        )
    return value.flatten(1) if value.ndim > 2 else value


def check_taps(model: nn.Module, taps: Mapping[str, str]) -> None:
    """UserError for an address that cannot be read, or that names no module of the model.

    Examples:
        >>> import torch
        >>> from kd_lightning.taps import check_taps
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> check_taps(network, {"hidden": "1", "pooled": "2:input"})
    """
    for name, address in taps.items():
        if not isinstance(address, str):
            raise UserError(f"taps.{name}={address}: an address is a text, the path of a module such as layer3.2")
        find_module(model, name, parse_address(name, address))


def first_tensor(value: Any) -> Tensor | None:
    """The tensor that a module's output stands for: a mapping's `logits`, else the first of several."""
    if isinstance(value, Mapping):
        value = value.get("logits", next(iter(value.values()), None))
    if isinstance(value, (tuple, list)):
        return first_tensor(value[0]) if value else None
    return value if isinstance(value, Tensor) else None


def to_layout(name: str, address: Address, value: Tensor) -> Tensor:
    """The tensor in the layout that its address asks for.

    Raises UserError where its dimensions are not those of the layout.
    """
    if not address.layout:
        return value
    dimensions, convert = LAYOUTS[address.layout]
    if value.ndim != dimensions:
        raise UserError(
            f"taps.{name}={address}: :{address.layout} takes a tensor of {dimensions} dimensions, "
            f"here it has the shape {tuple(value.shape)}; leave the suffix out or tap another module"
        )
    return convert(value)
