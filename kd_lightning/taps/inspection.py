"""What a model offers before it has weights: its taps, their shapes, its parameters."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kd_lightning.batch import Input, as_text, moved_to, shape_of
from kd_lightning.errors import UserError
from kd_lightning.models.profile import count_flops, first_sample
from kd_lightning.models.ready import Scripted
from kd_lightning.models.resolution import as_seen
from kd_lightning.taps import dry_run, shapes_of, tap_values
from kd_lightning.taps.resolving import find_all

Shape = tuple[int, ...]
Make = Callable[[Input], nn.Module]
Adapt = Callable[[nn.Module, Any], nn.Module]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Inspection:
    """One model seen from outside: `taps` holds names and addresses, `values` examples of them for a batch of two."""

    role: str
    model: str
    inputs: str
    cost: "Cost"
    taps: dict[str, str]
    values: dict[str, Tensor]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Of the taps, without the batch dimension."""
        return shapes_of({tap: self.values[tap] for tap in self.taps}, self.taps)


def inspect_model(
    role: str,
    model: str,
    make: Make,
    example: Input,
    taps: Mapping[str, str],
    taken: Collection[str] | None,
    adapt: Adapt | None = None,
    *,
    num_classes: int | None = None,
    key: str | None = None,
) -> Inspection:
    """Build a model without weights, on the meta device where it runs there, and find its taps.

    `role` is whose model it is, `key` where that stands in the config, `model` its value; `make` makes it for an
    example, where that lies. `taps` are named beside those that are found, of which `taken` need to be found, all where
    None. `adapt` is what becomes of the model before it is used, given an example; `num_classes` tells its logits among
    several outputs. Raises `UserError` where the model does not run on this input, or lacks a module that a tap names.
    """
    key, inputs = key or f"{role}.model", as_text(shape_of(example))

    def inspect(device: str) -> Inspection:
        network, there = _build(device, make, example, adapt)
        try:
            wanted = None if taken is None else {*taken} - {*taps}
            found = _found(network, there, wanted, taps.get("logits", ""), num_classes)
            values = tap_values(network, there, {**found, **taps}, num_classes)
        except UserError as error:
            raise UserError(f"{role}_{error}") from error
        return Inspection(role, model, inputs, cost_of(network, there), {**found, **taps}, values)

    try:
        return _on_meta_or_cpu(inspect)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{key}={model}: does not run on an input of {inputs} ({error}); take a model for this size, "
            f"other data, or in kd-inspect another {role}.input_size"
        ) from error


def _found(
    network: nn.Module, example: Input, wanted: set[str] | None, logits: str, num_classes: int | None
) -> dict[str, str]:
    """The taps that `auto` finds; the output alone where no more is wanted."""
    if wanted is not None and wanted <= {"logits"}:
        return {"logits": logits}
    if isinstance(network, Scripted):
        raise UserError("taps=auto: TorchScript shows its output alone; use terms that take its logits")
    return find_all(network, example, wanted, logits, num_classes)


@dataclass(frozen=True)
class Cost:
    """Parameters, and operations of one input, a multiply-add counted as 2."""

    params: int
    flops: int

    @classmethod
    def total(cls, costs: Sequence["Cost"]) -> "Cost":
        """What several networks cost together."""
        return cls(sum(cost.params for cost in costs), sum(cost.flops for cost in costs))


def cost_of(network: nn.Module, example: Input) -> Cost:
    """The cost of a network that runs on this example."""
    with dry_run(network, example):
        flops = count_flops(network, first_sample(example, network))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), flops)


def _build(device: str, make: Make, example: Input, adapt: Adapt | None) -> tuple[nn.Module, Input]:
    """The network, adapted, and the example as it sees it, both on a device."""
    with torch.device(device):
        there = moved_to(example, torch.device(device))
        network = make(there)
        seen = as_seen(network, there)
        return (network if adapt is None else adapt(network, there)), seen


def _on_meta_or_cpu(run: Callable[[str], Result]) -> Result:
    """What comes of it without memory; of a network that does not run so, on the CPU."""
    try:
        return run("meta")
    except UserError as error:
        if error.__cause__ is None:
            raise
    except Exception:
        pass
    return run("cpu")  # where what a class of the user's own raises is no fault of the meta device
